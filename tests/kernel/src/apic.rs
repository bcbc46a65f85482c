//! Local interrupt controllers (Intel SDM volume 3A, chapter 11).

use crate::boot::CPUS;
use crate::layout::LOW_BYTES;
use crate::mode::{LAYOUT, data};
use crate::spaces::Here;
use crate::{acpi, boot, memory, shootdown};
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU8, Ordering};
use pgtable::arch::x86::PAT_AT_POWER_ON;
use pgtable::{Caching, Error, Frame, Page, PhysAddr, Size4KiB, VirtAddr};

/// Where they are, unless somebody has moved them.
const AT: u64 = 0xfee0_0000;
const IDENTITY: usize = 0x20;
const END: usize = 0xb0;
const SPURIOUS: usize = 0xf0;
const COMMAND: usize = 0x300;
const TARGET: usize = 0x310;
const PENDING: u32 = 1 << 12;
const INIT: u32 = 0x4500;
const START: u32 = 0x4600;
/// The vector of interrupts that were none.
pub const SPURIOUS_VECTOR: u8 = 255;
/// Where other CPUs begin.
const TRAMPOLINE: u64 = 0x8000;

/// The identity of each CPU's controller.
static IDENTITIES: [AtomicU8; CPUS] = [const { AtomicU8::new(0) }; CPUS];

#[allow(clippy::cast_possible_truncation)] // it is an address of this kernel
fn register(offset: usize) -> *mut u32 {
    core::ptr::without_provenance_mut(LAYOUT.devices as usize + offset)
}

fn read(offset: usize) -> u32 {
    // SAFETY: `map` has mapped it, and the registers that are read here do not mind.
    unsafe { register(offset).read_volatile() }
}

fn write(offset: usize, value: u32) {
    // SAFETY: `map` has mapped it; nothing that is written here touches memory.
    unsafe { register(offset).write_volatile(value) }
}

/// Maps it, uncached: every CPU finds its own there.
pub fn map(kernel: &mut Here) -> Result<(), Error> {
    let uncached = PAT_AT_POWER_ON.find(Caching::Uncached);
    let attrs = data().with_global(true).with_memory(uncached.expect("there is at power-on"));
    let page = Page::<Size4KiB>::containing(VirtAddr(LAYOUT.devices));
    kernel.map(page, Frame::new(PhysAddr(AT)).expect("it is aligned"), attrs)
}

/// Switches this CPU's on.
pub fn switch_on(cpu: usize) {
    write(SPURIOUS, 1 << 8 | u32::from(SPURIOUS_VECTOR));
    IDENTITIES[cpu].store(read(IDENTITY).to_le_bytes()[3], Ordering::Release);
}

/// This interrupt is dealt with.
pub fn end() {
    write(END, 0);
}

fn command(identity: u8, command: u32) {
    while read(COMMAND) & PENDING != 0 {
        spin_loop();
    }
    write(TARGET, u32::from(identity) << 24);
    write(COMMAND, command);
}

/// Interrupts another CPU. Interrupts that come in between send none.
pub fn interrupt(cpu: usize, vector: u8) {
    command(IDENTITIES[cpu].load(Ordering::Acquire), u32::from(vector) | 1 << 14);
}

/// Starts the other CPU, if there is one (section 9.4.4.1).
pub fn start_other() -> bool {
    let own = IDENTITIES[0].load(Ordering::Acquire);
    let Some(other) = acpi::controllers().find(|&identity| identity != own) else { return false };
    let (code, bytes) = boot::trampoline();
    assert!(TRAMPOLINE + 4096 <= LOW_BYTES && bytes <= 4096);
    for at in 0..bytes as u64 {
        let byte: u8 = memory::peek(code + at);
        // SAFETY: nothing is there; the loader's information is not needed any more.
        unsafe { memory::poke(TRAMPOLINE + at, byte) };
    }
    command(other, INIT);
    pause();
    for _ in 0..2 {
        command(other, START | (TRAMPOLINE >> 12) as u32);
        pause();
    }
    true
}

/// Long enough.
fn pause() {
    for _ in 0..10_000 {
        // SAFETY: the port of old for waiting: a microsecond each.
        unsafe { crate::io::write_port(0x80, 0) };
    }
}

/// What a CPU does on the shootdown's interrupt.
pub fn answer() {
    shootdown::answer();
    end();
}
