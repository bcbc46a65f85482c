//! The way to memory.

use super::Violation;

/// What a CPU asks of physical memory. [`Memory`](super::Memory) is one; a test that explores many
/// memories at once has its own.
pub trait Bus {
    /// Reads the entry at `at`; `None` where there is no memory.
    fn load(&self, at: u64) -> Option<u64>;
    /// Writes the entry at `at` if it still says `was`, in one step.
    fn replace(&self, at: u64, was: u64, value: u64) -> bool;
    /// Whether an entry at `at` is one of a table.
    fn is_table(&self, at: u64) -> bool;
    /// Whether the byte at `at` is in a frame that was handed back.
    fn is_forbidden(&self, at: u64) -> bool;
    /// Notes what must not happen.
    fn complain(&self, violation: Violation);
}
