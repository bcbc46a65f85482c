//! What the kernel checks: one line each.

mod basic;
mod huge;
mod image;
mod moves;
mod whole;

use crate::boot::CPUS;
use crate::host::Kernel;
use crate::probe::Fault;
use crate::spaces::{Here, KERNEL, PROCESS};
use crate::{Build, cpus, frames, memory, report, work};
use core::fmt::Arguments;
use pgtable::arch::native;
use pgtable::{Error, Frame, Gather, Page, PhysAddr, Setup, Size4KiB, Space, VirtAddr};

/// Why a check has come to an end before it said anything.
pub enum Stop {
    Error(Error),
    NoMemory,
    Fault(Fault),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

type Check = fn(Build) -> Result<(), Stop>;

const CHECKS: [(&str, Check); 15] = [
    ("image", image::image),
    ("map", basic::map),
    ("fault", basic::fault),
    ("unmap", basic::unmap),
    ("protect", basic::protect),
    ("execute", basic::execute),
    ("dirty", basic::dirty),
    ("huge", huge::huge),
    ("promote", huge::promote),
    ("high", huge::high),
    ("global", whole::global),
    ("directory", whole::directory),
    ("root", whole::root),
    ("moves", moves::of_the_kernel),
    ("process", moves::of_a_process),
];

/// How many checks there are: these, and that the CPUs are there.
pub const COUNT: usize = CHECKS.len() + 1;

/// Makes all checks, each with a process of its own that CPU 1 runs, and looks for what it has left.
pub fn all(build: Build) {
    assert!(cpus::online().count() == CPUS);
    for (name, check) in CHECKS {
        report::begin(name);
        let before = frames::counts();
        if let Err(stop) = begin_process().and_then(|()| check(build)) {
            explain(stop);
        }
        if let Err(error) = end_process() {
            bad(format_args!("the process does not end: {error}"));
        }
        let after = frames::counts();
        if after != before {
            bad(format_args!("frames in use and spoilt: {before:?} before, {after:?} after"));
        }
        let [_, bad, _] = report::counts();
        if bad > 0 {
            // What comes after it would not count.
            break;
        }
    }
}

fn explain(stop: Stop) {
    match stop {
        Stop::Error(error) => bad(format_args!("{error}")),
        Stop::NoMemory => bad(format_args!("there is no memory")),
        Stop::Fault(Fault { at, error }) => {
            bad(format_args!("page fault at {at:#x}, error {error:#x}"));
        }
    }
}

fn good(text: Arguments<'_>) {
    report::verdict(true, text);
}

fn bad(text: Arguments<'_>) {
    report::verdict(false, text);
}

/// A process, which CPU 1 runs from now on; CPU 0 stays in the kernel's own space.
fn begin_process() -> Result<(), Stop> {
    let process = {
        let kernel = KERNEL.lock();
        let half = kernel.kernel_half().ok_or(Stop::NoMemory)?;
        // SAFETY: at level 0.
        let setup = Setup::new().sharing(half).limits(unsafe { native::limits() });
        Space::new(Kernel, &PROCESS.cell, setup)?
    };
    PROCESS.fill(process);
    cpus::elsewhere(|| cpus::activate(&PROCESS));
    Ok(())
}

/// Its end, while CPU 1 still runs it: the shootdown makes it leave.
fn end_process() -> Result<(), Error> {
    let Some(process) = PROCESS.take() else { return Ok(()) };
    let ended = process.tear_down_with(|gone, flushed| {
        if let Some(page) = gone.page() {
            let size_lg2 = page.size_lg2;
            frames::give(page.open(flushed), size_lg2);
        }
    });
    ended.map_err(|(_, error)| error)
}

fn page(at: u64) -> Page<Size4KiB> {
    Page::containing(VirtAddr(at))
}

fn new_frame() -> Result<Frame<Size4KiB>, Stop> {
    work::zeroed().map_err(|_| Stop::NoMemory)
}

/// Runs verbs on a space, and makes every CPU drop what they make stale.
fn flushing<R>(
    space: &mut Here,
    verbs: impl for<'g> FnOnce(&mut Here, &mut Gather<'g>) -> Result<R, Error>,
) -> Result<R, Error> {
    Gather::scope(|mut gather| {
        let result = verbs(space, &mut gather)?;
        space.finish(gather)?;
        Ok(result)
    })
}

/// Unmaps a page and gives its frame back; says whether it was dirty.
fn take_away(space: &mut Here, at: u64) -> Result<bool, Error> {
    Gather::scope(|mut gather| {
        let gone = space.unmap(page(at), &mut gather)?.page();
        let flushed = space.finish(gather)?;
        Ok(gone.is_some_and(|page| {
            let dirty = page.attrs.dirty;
            frames::give(page.open(&flushed), 12);
            dirty
        }))
    })
}

/// A word of a frame, as it is in memory.
fn word_of(frame: PhysAddr) -> usize {
    memory::peek(frame.0)
}
