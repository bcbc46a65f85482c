//! What is timed, and nothing else.

use std::time::{Duration, Instant};

/// Valgrind counts instructions between its entry and its end, and nowhere else.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn pgtable_timed_region(work: &mut dyn FnMut()) {
    work();
}

/// Does the work, and says how long it took.
pub fn timed(mut work: impl FnMut()) -> Duration {
    let began = Instant::now();
    pgtable_timed_region(&mut work);
    began.elapsed()
}
