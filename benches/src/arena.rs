//! One piece of memory for the tables of everybody, on which physical equals virtual.
//!
//! It lies below 4 GiB, so that the modes with narrow roots can use it. One thread uses it: plain
//! loads and stores are all that an allocation costs.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::Relaxed};

/// Bytes of a frame.
pub const FRAME: usize = 4096;
/// What is asked for: trees of 100 000 tables, twice.
const BYTES: usize = 900 << 20;
/// Where: nothing else is there in a process, nor in one that valgrind runs.
const START: usize = 0x8000_0000;

static NEXT: AtomicUsize = AtomicUsize::new(0);
static FREE: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);
/// How many entries each table uses, for those who count.
static COUNTS: [AtomicU16; BYTES / FRAME] = [const { AtomicU16::new(0) }; BYTES / FRAME];

/// Asks the system for the memory, once.
pub fn open() -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let at = std::ptr::with_exposed_provenance_mut(START);
    // SAFETY: with this flag, nothing that is there already is replaced.
    let got = unsafe { libc::mmap(at, BYTES, rights, flags | libc::MAP_NORESERVE, -1, 0) };
    if got == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    got.expose_provenance();
    reset();
    Ok(())
}

/// Forgets all tables.
pub fn reset() {
    NEXT.store(START, Relaxed);
    FREE.store(0, Relaxed);
    USED.store(0, Relaxed);
}

/// How many frames are in use.
pub fn used() -> usize {
    USED.load(Relaxed)
}

/// Where a physical address can be reached.
#[inline(always)]
pub fn reach(frame: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(frame as usize)
}

/// A frame that nobody uses. Its content is what was there.
#[inline]
pub fn take() -> Option<u64> {
    let freed = FREE.load(Relaxed);
    let frame = if freed != 0 {
        // SAFETY: a frame on the list is nobody's, and its first word names the next one.
        let next = unsafe { reach(freed as u64).cast::<usize>().read() };
        FREE.store(next, Relaxed);
        freed
    } else {
        let next = NEXT.load(Relaxed);
        if next == START + BYTES {
            return None;
        }
        NEXT.store(next + FRAME, Relaxed);
        next
    };
    USED.store(USED.load(Relaxed) + 1, Relaxed);
    count(frame as u64).store(0, Relaxed);
    Some(frame as u64)
}

/// Takes a frame back.
#[inline]
pub fn give(frame: u64) {
    let next = FREE.load(Relaxed);
    // SAFETY: the frame came from `take`, and whoever gives it uses it no more.
    unsafe { reach(frame).cast::<usize>().write(next) };
    FREE.store(frame as usize, Relaxed);
    USED.store(USED.load(Relaxed) - 1, Relaxed);
}

/// The counter of a table.
#[inline(always)]
pub fn count(frame: u64) -> &'static AtomicU16 {
    let index = frame as usize / FRAME - START / FRAME;
    debug_assert!(index < COUNTS.len());
    // SAFETY: callers have a frame of the arena, and there is a counter for each.
    unsafe { &*COUNTS.as_ptr().add(index) }
}

/// Whether a table can be here.
pub fn holds(frame: u64) -> bool {
    (START as u64..NEXT.load(Relaxed) as u64).contains(&frame)
}

/// A pointer for those who want one that is not null.
#[inline(always)]
pub fn reach_non_null(frame: u64) -> Option<NonNull<u8>> {
    NonNull::new(reach(frame))
}

/// The frame that comes next, if none was freed.
#[cfg(feature = "others")]
pub fn next() -> u64 {
    NEXT.load(Relaxed) as u64
}

/// Copies what is as far above the middle as `from` is above the start, to what is there for `to`: the
/// same pages in the same order as a tree in the lower half is moved, and nothing of it is touched.
#[inline]
pub fn copy_in_upper_half(from: u64, to: u64) {
    let upper = |frame: u64| {
        let offset = frame as usize - START;
        assert!(offset < BYTES / 2, "the lower half is full");
        reach((START + BYTES / 2 + offset) as u64)
    };
    // SAFETY: both pages are in the upper half, are not the same, and are nobody's.
    unsafe { std::ptr::copy_nonoverlapping(upper(from), upper(to), FRAME) };
}
