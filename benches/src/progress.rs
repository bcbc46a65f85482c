//! How far long work has come, for whoever waits for it.

use std::io::{IsTerminal, Write, stderr};

/// A line on the terminal, if there is one, that is gone in the end.
pub struct Progress {
    shown: bool,
}

impl Progress {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { shown: stderr().is_terminal() }
    }

    /// Shows what is being done.
    pub fn show(&self, what: &str) {
        if self.shown {
            // Whoever closes the terminal does not wait.
            let _ = write!(stderr(), "\r\x1b[K{what}").and_then(|()| stderr().flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}
