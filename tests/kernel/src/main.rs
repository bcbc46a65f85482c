//! The kernel as it is built: with all its duties, or without one of them. The flags are
//! `--cfg control="..."`, with the name of a [`Control`], and `--cfg short`.
#![no_std]
#![no_main]

use machine::{Build, Control};

const BUILD: Build = Build {
    short: cfg!(short),
    control: if cfg!(control = "no-unmap-shootdown") {
        Some(Control::Unmap)
    } else if cfg!(control = "no-protect-shootdown") {
        Some(Control::Protect)
    } else if cfg!(control = "no-dirty-shootdown") {
        Some(Control::Dirty)
    } else if cfg!(control = "no-root-reload") {
        Some(Control::Root)
    } else if cfg!(control = "no-directory-reload") {
        Some(Control::Directory)
    } else if cfg!(control = "no-global-flush") {
        Some(Control::Global)
    } else {
        None
    },
};

/// Every CPU comes here from the first instructions.
#[unsafe(no_mangle)]
extern "C" fn kernel_entry(cpu: u32, info: u32) -> ! {
    machine::run(cpu, info, BUILD)
}
