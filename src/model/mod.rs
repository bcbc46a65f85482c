//! A model of x86's MMU, as unkind as the manual allows: for testing a kernel's host code, and this
//! crate, without a machine.
//!
//! - [`Memory`] is physical memory on several nodes, with an allocator that remembers what was freed.
//!   Addresses are bytes; an entry is a `u64` whatever its width.
//! - A [`Cpu`] translates addresses through the tables in it, one entry at a time. It has a TLB (with
//!   page sizes, rights, the dirty state, global pages and PCIDs; a large page may be cached in parts),
//!   cached pointers to tables of every level, the root register, the four root entries of PAE, and the
//!   [`Control`] bits. Whatever it is not told to drop, it may use at any later time, and may drop at
//!   any time: a source of [`Choices`] decides, [`Random`] or a [`Script`]. It sets A and D where it
//!   has walked, in one step with a look whether the entry is still as it was.
//! - INVLPG ([`Cpu::invalidate_page`]), INVPCID ([`Invpcid`]), a load of CR3 with and without its
//!   no-flush bit ([`Cpu::switch`]) and changes of control bits ([`Cpu::set_control`]) drop what the
//!   manual says that they must, **and nothing else**: a host that relies on more is found out.
//! - Where processors differ, an option says which kind it is: [`Cpu::keeps_unrelated`] (AMD's
//!   translation cache extension) and [`Cpu::rereads_registers`].
//! - A CPU that reads what is no table any more, or uses a frame that was handed back
//!   ([`Memory::forbid`]), notes a [`Violation`], with the way by which it came there: the root it had
//!   loaded and each entry that it has read, with what it said, and when.
//! - A [`Machine`] is several CPUs on several threads, and a shootdown that waits for them all.
//!
//! It walks raw words by the rules of the manual (Intel SDM volume 3A, chapter 4; AMD64 manual, volume
//! 2, section 5.5), and shares no code with the rest of the crate. Not modelled: protection keys, memory
//! types, nested paging, and a change of the mode of a running CPU.
//!
//! Tests that decide for themselves what a CPU does next, since they try everything, ask it what it
//! could do ([`Cpu::pointers_for`], [`Cpu::translations_for`]), and have it done ([`Cpu::advance`]) in a
//! memory of their own ([`Bus`]).
//!
//! ```
//! use pgtable::model::{Access, Cpu, Memory, Mode, Random};
//!
//! let memory = Memory::new(8, &[(0x1000, 0x10000, 0)]);
//! let tables: Vec<u64> = (0..4).map(|_| memory.allocate(12, u64::MAX, None).unwrap()).collect();
//! tables.iter().for_each(|&table| memory.zero(table, 12));
//! for step in 0..3 {
//!     memory.store(tables[step], tables[step + 1] | 3);
//! }
//! memory.store(tables[3] + 5 * 8, 0x1234_5003);
//!
//! let mut cpu = Cpu::new(&Mode::X86_64, Random::new(1));
//! cpu.load_root(&memory, tables[0]).unwrap();
//! assert_eq!(cpu.access(&memory, 0x5678, Access::WRITE).unwrap().physical, 0x1234_5678);
//! assert_eq!(memory.load(tables[3] + 5 * 8), Some(0x1234_5063)); // accessed, dirty
//!
//! // The page is unmapped, and nobody tells the CPU: it may go on using it.
//! memory.store(tables[3] + 5 * 8, 0);
//! cpu.invalidate_page(0x5678);
//! assert!(cpu.access(&memory, 0x5678, Access::READ).is_err());
//! ```
// It is a tool for tests, where a number out of range is a mistake to be shown at once; no kernel has
// this room in it.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod bus;
mod cache;
mod choices;
mod control;
mod cpu;
mod flush;
mod machine;
mod memory;
mod mode;
mod walk;

pub use bus::Bus;
pub use cache::{History, Pointer, Translation};
pub use choices::{Choices, Decision, KeepAll, KeepNothing, Random, Script};
pub use control::Control;
pub use cpu::{Access, Cpu, Fault, Translated};
pub use flush::Invpcid;
pub use machine::Machine;
pub use memory::{Memory, Violation};
pub use mode::{Level, Mode};
pub use walk::Next;
