//! Accesses that may fault, and say so.

use crate::boot::CPUS;
use crate::cpus;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A page fault, with its error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub error: usize,
}

/// The page was there, and forbids it.
pub const PRESENT: usize = 1 << 0;
/// It was a write.
pub const WRITE: usize = 1 << 1;
/// It was a fetch.
pub const FETCH: usize = 1 << 4;

/// What each CPU tries.
struct Try {
    armed: AtomicBool,
    faulted: AtomicBool,
    at: AtomicUsize,
    error: AtomicUsize,
}

static TRIES: [Try; CPUS] = [const {
    Try {
        armed: AtomicBool::new(false),
        faulted: AtomicBool::new(false),
        at: AtomicUsize::new(0),
        error: AtomicUsize::new(0),
    }
}; CPUS];

unsafe extern "C" {
    fn probe_read(at: usize) -> usize;
    fn probe_write(at: usize, value: usize);
    fn probe_execute(at: usize);
    fn probe_failed();
}

fn attempt<R>(access: impl FnOnce() -> R) -> Result<R, Fault> {
    let this = &TRIES[cpus::number()];
    this.faulted.store(false, Ordering::Relaxed);
    this.armed.store(true, Ordering::SeqCst);
    let result = access();
    this.armed.store(false, Ordering::SeqCst);
    if this.faulted.load(Ordering::Relaxed) {
        let (at, error) = (this.at.load(Ordering::Relaxed), this.error.load(Ordering::Relaxed));
        return Err(Fault { at, error });
    }
    Ok(result)
}

/// Reads a word.
pub fn read(at: u64) -> Result<usize, Fault> {
    // SAFETY: pages that are probed hold nothing of Rust's.
    attempt(|| unsafe { probe_read(at as usize) })
}

/// Writes a word.
pub fn write(at: u64, value: usize) -> Result<(), Fault> {
    // SAFETY: pages that are probed hold nothing of Rust's.
    attempt(|| unsafe { probe_write(at as usize, value) })
}

/// Calls what is there.
pub fn execute(at: u64) -> Result<(), Fault> {
    // SAFETY: there is a `ret`, or nothing that can be fetched.
    attempt(|| unsafe { probe_execute(at as usize) })
}

/// Whether this CPU was trying something; and if so, where it goes on.
pub fn caught(at: usize, error: usize) -> Option<usize> {
    let this = &TRIES[cpus::number()];
    if !this.armed.swap(false, Ordering::SeqCst) {
        return None;
    }
    this.faulted.store(true, Ordering::Relaxed);
    this.at.store(at, Ordering::Relaxed);
    this.error.store(error, Ordering::Relaxed);
    Some((probe_failed as unsafe extern "C" fn()) as usize)
}
