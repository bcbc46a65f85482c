//! A small kernel for four paging modes, whose page tables are `pgtable`'s from the moment paging goes
//! on. It checks on the machine what the crate promises, above all that tables can be moved while
//! CPUs use them, and says so on the serial line.
#![no_std]
#![allow(clippy::cast_possible_truncation)] // addresses of this kernel are as wide as its words

mod acpi;
mod apic;
mod boot;
mod checks;
mod cpus;
mod descriptors;
mod frames;
mod host;
mod io;
#[allow(dead_code)] // the other modes are there as well
mod layout;
mod lock;
mod memory;
mod mode;
mod probe;
mod report;
mod sabotage;
mod shootdown;
mod spaces;
mod start;
mod traps;
mod work;

pub use sabotage::Control;

use core::panic::PanicInfo;
use io::say;

/// How a kernel is built: what differs between builds for one mode.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Fewer rounds, for a slow emulator.
    pub short: bool,
    /// The duty that is left out.
    pub control: Option<Control>,
}

/// What every CPU does, with paging on and on a stack of its own.
pub fn run(cpu: u32, info: u32, build: Build) -> ! {
    descriptors::load(cpu as usize);
    if cpu != 0 {
        start::other_cpu(cpu as usize);
    }
    sabotage::begin(build);
    if let Err(error) = start::first_cpu(info) {
        say!("FAIL {}: {error}", report::stage());
        io::switch_off(false);
    }
    checks::all(build);
    let [good, bad, skipped] = report::counts();
    say!("done: {good} good, {bad} bad, {skipped} skipped of {}", checks::COUNT);
    io::switch_off(bad == 0);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    io::cry(format_args!("FAIL {}: {info}", report::stage()));
    io::switch_off(false);
}
