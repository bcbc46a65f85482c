//! Single pages of the process: CPU 0 changes its tables, CPU 1 runs it.

use super::{Stop, bad, flushing, good, new_frame, page, take_away, word_of};
use crate::mode::{NO_EXECUTE, can, data};
use crate::probe::{FETCH, Fault, PRESENT, WRITE};
use crate::sabotage::{Control, without};
use crate::spaces::PROCESS;
use crate::{Build, cpus, memory, probe};
use pgtable::{Attrs, Error, Feature, PhysAddr, Rights, Used};

const AT: u64 = 0x5000_0000;
const WORD: usize = 0x1234_5678;

/// Maps a page; its frame.
fn mapped(attrs: Attrs) -> Result<PhysAddr, Stop> {
    let frame = new_frame()?;
    PROCESS.lock().map(page(AT), frame, attrs)?;
    Ok(frame.start())
}

/// Says whether two CPUs see one page.
pub fn map(_: Build) -> Result<(), Stop> {
    let frame = mapped(data())?;
    // SAFETY: the frame is the process's.
    unsafe { memory::poke(frame.0, WORD) };
    let read = cpus::elsewhere(|| probe::read(AT))?;
    cpus::elsewhere(|| probe::write(AT, !WORD))?;
    let dirty = PROCESS.lock().translate(page(AT).start())?.attrs.dirty;
    match (read, word_of(frame), dirty) {
        (WORD, written, true) if written == !WORD => good(format_args!("read and written")),
        found => bad(format_args!("read, written, dirty: {found:x?}")),
    }
    Ok(())
}

/// A hole faults; a page that is mapped there then is found with no flush.
pub fn fault(_: Build) -> Result<(), Stop> {
    let expected = Fault { at: AT as usize, error: 0 };
    let fault = cpus::elsewhere(|| probe::read(AT));
    mapped(data())?;
    let read = cpus::elsewhere(|| probe::read(AT));
    match (fault, read) {
        (Err(fault), Ok(0)) if fault == expected => good(format_args!("taken at {AT:#x}")),
        found => bad(format_args!("before and after mapping: {found:x?}")),
    }
    Ok(())
}

/// A page that is gone is gone for the CPU that has just used it.
pub fn unmap(_: Build) -> Result<(), Stop> {
    mapped(data())?;
    cpus::elsewhere(|| probe::write(AT, WORD))?;
    let dirty = without(Control::Unmap, || take_away(&mut PROCESS.lock(), AT))?;
    match (cpus::elsewhere(|| probe::read(AT)), dirty) {
        (Err(Fault { error: 0, .. }), true) => good(format_args!("gone, and reported dirty")),
        (Ok(_), _) => bad(format_args!("a CPU still reads a page that is unmapped")),
        found => bad(format_args!("reading, dirty: {found:x?}")),
    }
    Ok(())
}

/// A page that is read-only now is so for the CPU that has just written to it.
pub fn protect(_: Build) -> Result<(), Stop> {
    mapped(data())?;
    cpus::elsewhere(|| probe::write(AT, WORD))?;
    let rights = |rights: Rights| {
        let to = can(rights).rights;
        flushing(&mut PROCESS.lock(), |space, gather| space.protect(page(AT), to, gather))
    };
    without(Control::Protect, || rights(Rights::READ))?;
    let write = cpus::elsewhere(|| probe::write(AT, WORD));
    let read = cpus::elsewhere(|| probe::read(AT));
    rights(Rights::READ | Rights::WRITE)?;
    let again = cpus::elsewhere(|| probe::write(AT, WORD));
    let expected = Fault { at: AT as usize, error: PRESENT | WRITE };
    match (write, read, again) {
        (Err(fault), Ok(WORD), Ok(())) if fault == expected => {
            good(format_args!("written, not written, written"));
        }
        (Ok(()), ..) => bad(format_args!("a CPU still writes to a page that is read-only")),
        found => bad(format_args!("writing, reading, writing: {found:x?}")),
    }
    Ok(())
}

/// The same for executing.
pub fn execute(_: Build) -> Result<(), Stop> {
    const RETURN: u8 = 0xc3;
    let frame = mapped(Attrs::ALL)?;
    // SAFETY: the frame is the process's.
    unsafe { memory::poke(frame.0, RETURN) };
    cpus::elsewhere(|| probe::execute(AT))?;
    let only = Rights::READ | Rights::WRITE;
    let done = flushing(&mut PROCESS.lock(), |space, gather| space.protect(page(AT), only, gather));
    if !NO_EXECUTE {
        match done {
            Err(Error::Unsupported(Feature::NoExecute)) => {
                good(format_args!("executed; the mode has no NX, and to ask for it is refused"));
            }
            found => bad(format_args!("NX where there is none: {found:?}")),
        }
        return Ok(());
    }
    done?;
    match cpus::elsewhere(|| probe::execute(AT)) {
        Err(Fault { error, .. }) if error == PRESENT | FETCH => {
            good(format_args!("executed, and not executed once it is NX"));
        }
        found => bad(format_args!("executing: {found:x?}")),
    }
    Ok(())
}

/// A write after D was cleared sets it again.
pub fn dirty(_: Build) -> Result<(), Stop> {
    mapped(data())?;
    cpus::elsewhere(|| probe::write(AT, WORD))?;
    let scan = || {
        let mut pages = 0;
        flushing(&mut PROCESS.lock(), |space, gather| {
            space.test_and_clear(page(AT).span(), Used::DIRTY, gather, |_| pages += 1)
        })?;
        Ok::<_, Error>(pages)
    };
    let first = without(Control::Dirty, scan)?;
    cpus::elsewhere(|| probe::write(AT, !WORD))?;
    match (first, scan()?, scan()?) {
        (1, 1, 0) => good(format_args!("cleared, and set again")),
        (1, 0, 0) => bad(format_args!("a CPU has written to a page, and it is clean")),
        found => bad(format_args!("pages found dirty in three scans: {found:?}")),
    }
    Ok(())
}
