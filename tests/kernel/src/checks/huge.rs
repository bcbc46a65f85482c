//! Huge pages, and memory above 4 GiB.

use super::{Stop, bad, flushing, good};
use crate::layout::HIGH;
use crate::mode::{Huge, LAYOUT, PAGE, can, data};
use crate::probe::{Fault, PRESENT, WRITE};
use crate::spaces::PROCESS;
use crate::{Build, cpus, frames, memory, probe, report, work};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use pgtable::{Error, Frame, Page, PageSize, PhysAddr, Rights, Size4KiB, VirtAddr};

const AT: u64 = 0x5000_0000;
const BYTES: u64 = 1 << Huge::SIZE_LG2;
/// Words that are used: some in every base page.
const STEP: u64 = 0x408;

/// Maps a huge page of the process.
fn mapped() -> Result<(), Stop> {
    let memory = work::huge_memory().ok_or(Stop::NoMemory)?;
    let frame = Frame::<Huge>::new(memory).ok_or(Stop::NoMemory)?;
    PROCESS.lock().map(page(), frame, data())?;
    Ok(())
}

fn page() -> Page<Huge> {
    Page::containing(VirtAddr(AT))
}

/// Splitting: a piece that is read-only, beside one that is not.
pub fn huge(_: Build) -> Result<(), Stop> {
    mapped()?;
    cpus::elsewhere(|| probe::write(AT + PAGE, 1))?;
    let piece = Page::<Size4KiB>::containing(VirtAddr(AT + PAGE));
    let rights = can(Rights::READ).rights;
    flushing(&mut PROCESS.lock(), |space, gather| space.protect(piece, rights, gather))?;
    let [one, other] = [AT + PAGE, AT + 2 * PAGE].map(|at| cpus::elsewhere(|| probe::write(at, 2)));
    let refused = PROCESS.lock().promote(page());
    match (one, other, refused, probe_word(AT + PAGE)?) {
        (Err(Fault { error, .. }), Ok(()), Err(Error::NotOnePage { .. }), 1)
            if error == PRESENT | WRITE =>
        {
            good(format_args!("{} KiB, split for one read-only piece", BYTES >> 10));
        }
        found => bad(format_args!("writing to two pieces, promoting, word: {found:x?}")),
    }
    Ok(())
}

fn probe_word(at: u64) -> Result<usize, Fault> {
    cpus::elsewhere(|| probe::read(at))
}

static STOP: AtomicBool = AtomicBool::new(false);
static PASSES: AtomicUsize = AtomicUsize::new(0);
static WRONG: AtomicUsize = AtomicUsize::new(0);

/// Writes to every base page and reads it back, again and again.
fn work_on_it() {
    while !STOP.load(Ordering::SeqCst) {
        let pass = PASSES.load(Ordering::SeqCst);
        for at in (AT..AT + BYTES).step_by(STEP as usize) {
            let word = core::ptr::without_provenance_mut::<usize>(at as usize);
            // SAFETY: mapped all the time, whole or in pieces; nothing of Rust's is there.
            let found = unsafe { word.read_volatile() };
            let expected = if pass == 0 { 0 } else { at as usize ^ (pass - 1) };
            if found != expected {
                WRONG.fetch_add(1, Ordering::SeqCst);
            }
            // SAFETY: as above.
            unsafe { word.write_volatile(at as usize ^ pass) };
        }
        PASSES.fetch_add(1, Ordering::SeqCst);
    }
}

/// Split and promoted, again and again, under a CPU that works on it.
pub fn promote(build: Build) -> Result<(), Stop> {
    let rounds = if build.short { 20 } else { 100 };
    mapped()?;
    STOP.store(false, Ordering::SeqCst);
    cpus::start(&work_on_it);
    let result = split_and_promote(rounds);
    STOP.store(true, Ordering::SeqCst);
    cpus::wait();
    result?;
    let found = PROCESS.lock().translate(page().start())?;
    let state = (WRONG.load(Ordering::SeqCst), found.size_lg2, found.attrs.dirty);
    let passes = PASSES.load(Ordering::SeqCst);
    if state == (0, Huge::SIZE_LG2, true) && passes > 1 {
        good(format_args!("{rounds} times split and whole again, under {passes} passes of a CPU"));
    } else {
        bad(format_args!("words that were wrong, size, dirty: {state:?}; {passes} passes"));
    }
    Ok(())
}

fn split_and_promote(rounds: usize) -> Result<(), Error> {
    for _ in 0..rounds {
        let mut space = PROCESS.lock();
        flushing(&mut space, |space, gather| space.split(VirtAddr(AT), gather))?;
        space.promote(page())?;
    }
    Ok(())
}

/// Memory above 4 GiB, and the same address below it, are two pages.
pub fn high(_: Build) -> Result<(), Stop> {
    let huge = LAYOUT.high == 0;
    let size_lg2 = if huge { Huge::SIZE_LG2 } else { Size4KiB::SIZE_LG2 };
    let taken = frames::take(size_lg2, PhysAddr(u64::MAX), None).ok_or(Stop::NoMemory)?;
    if taken.0 < HIGH {
        frames::give(taken, size_lg2);
        report::skip("there is none on this machine");
        return Ok(());
    }
    if huge {
        let frame = Frame::<Huge>::new(taken).ok_or(Stop::NoMemory)?;
        PROCESS.lock().map(page(), frame, data())?;
        // By a second name, since it is mapped nowhere else.
        let second = Page::<Huge>::containing(VirtAddr(AT + BYTES));
        PROCESS.lock().map(second, frame, data())?;
        let done = write_high(AT + BYTES, taken);
        flushing(&mut PROCESS.lock(), |space, gather| space.unmap(second, gather).map(|_| ()))?;
        return done;
    }
    let frame = Frame::<Size4KiB>::new(taken).ok_or(Stop::NoMemory)?;
    PROCESS.lock().map(super::page(AT), frame, data())?;
    write_high(LAYOUT.high + (taken.0 - HIGH), taken)
}

/// Writes to it, and reads that at `second`.
fn write_high(second: u64, frame: PhysAddr) -> Result<(), Stop> {
    let low: usize = memory::peek(frame.0 - HIGH);
    cpus::elsewhere(|| probe::write(AT, !low))?;
    let found = cpus::elsewhere(|| probe::read(second))?;
    let low_now: usize = memory::peek(frame.0 - HIGH);
    if (found, low_now) == (!low, low) {
        good(format_args!("written at {frame}"));
    } else {
        bad(format_args!("{frame} has {found:#x}, below 4 GiB {low_now:#x}, was {low:#x}"));
    }
    Ok(())
}
