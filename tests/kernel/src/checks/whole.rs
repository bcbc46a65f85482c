//! What concerns all of a CPU's translations: global pages, directories whose entries are in
//! registers, roots.

use super::{Stop, bad, good, new_frame, page};
use crate::mode::{LAYOUT, Mode, PAGE, ROOT, ROOT_LG2, data};
use crate::probe::Fault;
use crate::sabotage::{Control, without};
use crate::spaces::{KERNEL, PROCESS};
use crate::{Build, cpus, frames, probe};
use pgtable::arch::native;
use pgtable::{Arch, Error, Gather, Placement, Reload, Span, VirtAddr};

/// More than are dropped one by one.
const MANY: u64 = 100;

/// How many of the kernel's pages CPU 1 can read.
fn readable() -> u64 {
    let read = || (0..MANY).filter(|page| probe::read(LAYOUT.area + page * PAGE).is_ok()).count();
    cpus::elsewhere(read) as u64
}

/// Global pages of the kernel's half are gone in every space when they are unmapped.
pub fn global(_: Build) -> Result<(), Stop> {
    for number in 0..MANY {
        let at = page(LAYOUT.area + number * PAGE);
        KERNEL.lock().map(at, new_frame()?, data().with_global(true))?;
    }
    let before = readable();
    let span = Span::new(VirtAddr(LAYOUT.area), MANY * PAGE).ok_or(Stop::NoMemory)?;
    let survived = Gather::scope(|mut gather| {
        let mut pages = [const { None }; MANY as usize];
        let mut places = pages.iter_mut();
        KERNEL.lock().unmap_range(span, &mut gather, |gone| {
            if let Some(place) = places.next() {
                *place = gone.page();
            }
        })?;
        // A root that is loaded again leaves global translations, where the machine knows of such.
        cpus::elsewhere(|| cpus::activate(&PROCESS));
        let survived = readable();
        let flushed = KERNEL.lock().finish(gather)?;
        pages.into_iter().flatten().for_each(|page| frames::give(page.open(&flushed), 12));
        Ok::<_, Error>(survived)
    })?;
    match (before, readable()) {
        (MANY, 0) => good(format_args!("{survived} of {MANY} outlive a root, none the shootdown")),
        (_, left) => bad(format_args!("a CPU still reads {left} of {before} pages that are gone")),
    }
    Ok(())
}

/// Pages of the process, far from each other, that CPU 1 has used.
fn used_pages() -> Result<(), Stop> {
    for at in LAYOUT.windows {
        let frame = new_frame()?;
        PROCESS.lock().map(page(at), frame, data())?;
    }
    use_pages().map_err(Stop::Fault)
}

/// CPU 1 uses them, with no translation of theirs at hand.
fn use_pages() -> Result<(), Fault> {
    cpus::elsewhere(|| {
        LAYOUT.windows.into_iter().try_for_each(|at| {
            // SAFETY: at level 0.
            unsafe { native::invalidate_page(at as usize) };
            probe::write(at, 1)
        })
    })
}

/// What CPU 1 finds in the end.
fn judge(done: Result<(), Fault>, what: core::fmt::Arguments<'_>) {
    match done {
        Ok(()) => good(what),
        Err(Fault { at, .. }) => {
            let mapped = PROCESS.lock().translate(VirtAddr(at as u64)).is_ok();
            bad(format_args!("{at:#x} faults on a CPU; it is mapped: {mapped}"));
        }
    }
}

/// The tables that the root names move, and their old frames are spoilt. Where root entries are in
/// registers, CPUs must load the root.
pub fn directory(_: Build) -> Result<(), Stop> {
    used_pages()?;
    without(Control::Directory, || {
        let mut space = PROCESS.lock();
        let mut session = space.enter();
        for at in LAYOUT.windows.map(VirtAddr) {
            session.migrate_pgd_entry(at, |_| Placement::Anywhere)?;
        }
        Ok::<_, Error>(session.leave())
    })?;
    let registers = Mode::reload(ROOT) == Reload::Root;
    judge(use_pages(), format_args!("moved; root entries are in registers: {registers}"));
    Ok(())
}

/// The root moves, and its old frame is spoilt.
pub fn root(_: Build) -> Result<(), Stop> {
    used_pages()?;
    without(Control::Root, || {
        let mut space = PROCESS.lock();
        space.enter().migrate_root(|_| Placement::Anywhere)
    })?;
    let first = use_pages();
    // A change of CR4 reads root entries that are in registers again.
    // SAFETY: at level 0, with interrupts off.
    let again = || cpus::without_interrupts(|| unsafe { native::invalidate_everything() });
    cpus::elsewhere(again);
    let second = use_pages();
    // SAFETY: at level 0.
    let loaded = cpus::elsewhere(|| unsafe { native::root(ROOT_LG2) });
    let root = PROCESS.lock().root();
    judge(first.and(second), format_args!("moved to {root}; the CPU has {loaded}"));
    if loaded != root {
        bad(format_args!("the root is at {root}, and the CPU has {loaded}"));
    }
    Ok(())
}
