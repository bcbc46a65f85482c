//! A small kernel for four paging modes, whose page tables are `pgtable`'s from the moment paging goes
//! on. It checks on the machine what the crate promises, above all that tables can be moved while
//! CPUs use them, and says so on the serial line.
#![no_std]
#![no_main]
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

use core::panic::PanicInfo;
use io::say;

/// Every CPU comes here, from [`boot`].
extern "C" fn entry(cpu: u32, info: u32) -> ! {
    descriptors::load(cpu as usize);
    if cpu != 0 {
        start::other_cpu(cpu as usize);
    }
    if let Err(error) = start::first_cpu(info) {
        say!("FAIL {}: {error}", report::stage());
        io::switch_off(false);
    }
    checks::all();
    let [good, bad, skipped] = report::counts();
    say!("done: {good} good, {bad} bad, {skipped} skipped of {}", checks::COUNT);
    io::switch_off(bad == 0);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    io::cry(format_args!("FAIL {}: {info}", report::stage()));
    io::switch_off(false);
}
