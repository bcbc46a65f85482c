//! One line for each check.

use crate::io::say;
use crate::lock::Lock;
use core::fmt::Arguments;
use core::sync::atomic::{AtomicUsize, Ordering};

static STAGE: Lock<&str> = Lock::new("boot");
static GOOD: AtomicUsize = AtomicUsize::new(0);
static BAD: AtomicUsize = AtomicUsize::new(0);
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// A check begins.
pub fn begin(name: &'static str) {
    *STAGE.lock() = name;
}

/// The check that is running.
pub fn stage() -> &'static str {
    *STAGE.lock()
}

/// The check has ended.
pub fn verdict(good: bool, text: Arguments<'_>) {
    let count = if good { &GOOD } else { &BAD };
    count.fetch_add(1, Ordering::Relaxed);
    say!("{} {}: {text}", if good { "ok  " } else { "FAIL" }, stage());
}

/// The check cannot be made in this mode, or on this machine.
pub fn skip(why: &str) {
    SKIPPED.fetch_add(1, Ordering::Relaxed);
    say!("skip {}: {why}", stage());
}

/// How many were good, how many were not, and how many could not be made.
pub fn counts() -> [usize; 3] {
    [&GOOD, &BAD, &SKIPPED].map(|count| count.load(Ordering::Relaxed))
}
