//! A model of x86's MMU, as unkind as the manual allows: for testing a kernel's host code, and this
//! crate, without a machine.
//!
//! [`Memory`] is physical memory on several nodes, with an allocator that remembers what was freed.
//! A [`Cpu`] translates addresses through the tables in it, and caches translations and pointers to
//! tables as long as it may: whatever it is not told to drop, it may use at any later time, and a
//! source of [`Choices`] decides when it does. It walks raw words by the rules of the manual (Intel
//! SDM volume 3A, chapter 4), and shares no code with the rest of the crate. A CPU that touches what
//! was freed notes a [`Violation`], with the way by which it came there.
//!
//! Several CPUs on several threads, and a shootdown that waits for them, are a [`Machine`].
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

mod cache;
mod choices;
mod cpu;
mod machine;
mod memory;
mod mode;
mod walk;

pub use choices::{Choices, Random, Script};
pub use cpu::{Access, Cpu, Fault, Translated};
pub use machine::Machine;
pub use memory::{Memory, Violation};
pub use mode::Mode;
