//! Segments, task states and the interrupt table (Intel SDM volume 3A, chapters 3, 6 and 8).

use crate::boot::CPUS;
use crate::{apic, shootdown, traps};
use core::arch::asm;
use core::cell::UnsafeCell;

const LONG: bool = cfg!(target_arch = "x86_64");
const CODE: u16 = if LONG { 0x18 } else { 0x08 };
/// The first task state; each takes two places.
const TASKS: usize = 4;
const STACK: usize = 1 << 14;
/// In 64-bit mode an interrupt has a stack of its own: what it interrupts may use memory below its
/// stack pointer. And so have faults, and double faults.
const STACKS: usize = 3;

/// What the CPU reads, and for each CPU of its own.
struct Cell<T>(UnsafeCell<T>);

// SAFETY: `load` fills what is this CPU's, before it is used.
unsafe impl<T> Sync for Cell<T> {}

#[repr(C, align(16))]
struct Task([u32; 26]);

type Segments = [u64; TASKS + 2 * CPUS];
type Interrupts = [u64; 256 * if LONG { 2 } else { 1 }];

static TASK_STATES: [Cell<Task>; CPUS] = [const { Cell(UnsafeCell::new(Task([0; 26]))) }; CPUS];
static SEGMENTS: [Cell<Segments>; CPUS] = [const {
    Cell(UnsafeCell::new([
        0,
        0x00cf_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00af_9b00_0000_ffff,
        0,
        0,
        0,
        0,
    ]))
}; CPUS];
static INTERRUPTS: [Cell<Interrupts>; CPUS] =
    [const { Cell(UnsafeCell::new([0; 256 * if LONG { 2 } else { 1 }])) }; CPUS];

#[repr(C, align(16))]
struct Stacks([[u8; STACK]; STACKS]);
static OWN_STACKS: [Cell<Stacks>; CPUS] =
    [const { Cell(UnsafeCell::new(Stacks([[0; STACK]; STACKS]))) }; CPUS];

/// The number of the CPU whose task state has this selector.
pub fn number_of(selector: usize) -> usize {
    // Before one is loaded, this is CPU 0.
    (selector / 8).saturating_sub(TASKS) / 2
}

/// What `lgdt` and `lidt` read.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: usize,
}

impl Pointer {
    fn to<T>(table: *const T) -> Self {
        let limit = u16::try_from(size_of::<T>() - 1).unwrap_or(u16::MAX);
        Self { limit, base: table.addr() }
    }
}

/// An address, cut into the halves that the descriptors have.
fn low(address: usize) -> u64 {
    address as u64 & 0xffff_ffff
}

fn high(address: usize) -> u64 {
    address as u64 >> 32
}

/// An interrupt gate (figures 6-2 and 6-8).
fn gate(handler: usize, stack: u64) -> [u64; 2] {
    let (address, kind) = (low(handler), 0x8e00);
    let first = address & 0xffff | u64::from(CODE) << 16 | stack << 32 | kind << 32;
    [first | (address & 0xffff_0000) << 32, high(handler)]
}

fn fill_interrupts(table: &mut Interrupts) {
    let words = if LONG { 2 } else { 1 };
    for (vector, handler) in traps::handlers() {
        let stack = match vector {
            _ if !LONG => 0,
            8 => 3,
            shootdown::VECTOR | apic::SPURIOUS_VECTOR => 1,
            _ => 2,
        };
        let at = usize::from(vector) * words;
        table[at..at + words].copy_from_slice(&gate(handler, stack)[..words]);
    }
}

/// The stacks of a 64-bit task state (figure 8-11).
fn fill_task(task: &mut Task, stacks: *const Stacks) {
    for stack in 1..=STACKS {
        let end = stacks.addr() + stack * STACK;
        let at = 9 + 2 * (stack - 1);
        let halves = [low(end), high(end)].map(|half| u32::try_from(half).unwrap_or(0));
        task.0[at..at + 2].copy_from_slice(&halves);
    }
}

/// The descriptor of a task state (figures 3-8 and 8-4).
fn fill_segments(segments: &mut Segments, task: *const Task, cpu: usize) {
    let (base, limit) = (low(task.addr()), size_of::<Task>() as u64 - 1);
    let parts = (base & 0xff_ffff) << 16 | (base & 0xff00_0000) << 32;
    let at = TASKS + 2 * cpu;
    segments[at] = limit | parts | 0x89 << 40;
    segments[at + 1] = high(task.addr());
}

/// Gives this CPU its own.
pub fn load(cpu: usize) {
    let (task, segments) = (TASK_STATES[cpu].0.get(), SEGMENTS[cpu].0.get());
    let (interrupts, stacks) = (INTERRUPTS[cpu].0.get(), OWN_STACKS[cpu].0.get());
    if LONG {
        // SAFETY: each CPU comes here once, with its own number.
        fill_task(unsafe { &mut *task }, stacks);
    }
    // SAFETY: each CPU comes here once, with its own number.
    fill_segments(unsafe { &mut *segments }, task, cpu);
    // SAFETY: each CPU comes here once, with its own number.
    fill_interrupts(unsafe { &mut *interrupts });
    let (segments, interrupts) = (Pointer::to(segments), Pointer::to(interrupts));
    let selector = (TASKS + 2 * cpu) * 8;
    // SAFETY: the segments that are loaded are the same ones as before; the others are new.
    unsafe {
        asm!("lgdt [{}]", "lidt [{}]", "ltr {:x}", in(reg) &raw const segments,
            in(reg) &raw const interrupts, in(reg) selector, options(nostack));
    }
}
