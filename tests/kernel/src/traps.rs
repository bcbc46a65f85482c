//! Interrupts and faults.

use crate::io::{cry, switch_off};
use crate::{apic, cpus, probe, report, shootdown, work};
use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
global_asm!(include_str!("traps64.s"), TRAP = sym trap, options(att_syntax));
#[cfg(target_arch = "x86")]
global_asm!(include_str!("traps32.s"), TRAP = sym trap, options(att_syntax));

unsafe extern "C" {
    /// The addresses of the handlers, in the order of [`VECTORS`].
    static trap_table: [usize; VECTORS.len()];
}

/// The vectors that have a handler.
const VECTORS: [u8; 34] = {
    let mut vectors = [0; 34];
    let mut vector = 0;
    while vector < 32 {
        vectors[vector] = vector as u8;
        vector += 1;
    }
    vectors[32] = shootdown::VECTOR;
    vectors[33] = apic::SPURIOUS_VECTOR;
    vectors
};

/// Each vector, with the address of its handler.
pub fn handlers() -> impl Iterator<Item = (u8, usize)> {
    // SAFETY: nobody writes to it.
    let table = unsafe { &trap_table };
    VECTORS.into_iter().zip(table.iter().copied())
}

/// What was interrupted.
#[cfg(target_arch = "x86_64")]
#[repr(C)]
pub struct Interrupted {
    registers: [usize; 15],
    vector: usize,
    pub error: usize,
    pub ip: usize,
    code: usize,
    flags: usize,
    stack: usize,
    stack_segment: usize,
}

/// What was interrupted.
#[cfg(target_arch = "x86")]
#[repr(C)]
pub struct Interrupted {
    registers: [usize; 8],
    vector: usize,
    pub error: usize,
    pub ip: usize,
    code: usize,
    flags: usize,
}

const PAGE_FAULT: usize = 14;

extern "C" fn trap(interrupted: &mut Interrupted) {
    match interrupted.vector {
        PAGE_FAULT => page_fault(interrupted),
        vector if vector == usize::from(shootdown::VECTOR) => apic::answer(),
        vector if vector == usize::from(apic::SPURIOUS_VECTOR) => {}
        vector => die(interrupted, format_args!("exception {vector}")),
    }
}

/// A page fault is what a probe was after, or is served, or is the end.
fn page_fault(interrupted: &mut Interrupted) {
    let at: usize;
    // SAFETY: reads CR2.
    unsafe { asm!("mov {}, cr2", out(reg) at, options(nomem, nostack, preserves_flags)) };
    if let Some(resume) = probe::caught(at, interrupted.error) {
        interrupted.ip = resume;
        return;
    }
    if let Err(why) = work::serve(at, interrupted.error) {
        die(interrupted, format_args!("page fault at {at:#x}, {why}"));
    }
}

/// The end.
fn die(interrupted: &Interrupted, what: core::fmt::Arguments<'_>) -> ! {
    let (cpu, ip, error) = (cpus::number(), interrupted.ip, interrupted.error);
    cry(format_args!(
        "FAIL {}: {what} (error {error:#x}) on CPU {cpu} at {ip:#x}",
        report::stage()
    ));
    switch_off(false);
}
