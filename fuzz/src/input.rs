//! What the fuzzer's bytes mean.

use arbitrary::Arbitrary;
use pgtable::{Attrs, Limits, MemoryType, Rights};

/// What a CPU has.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Cpuid {
    phys_bits: u8,
    largest_leaf_lg2: u8,
    flags: u8,
}

impl Cpuid {
    /// Any numbers at all: mostly those that a CPU can have.
    pub fn limits(self) -> Limits {
        let wild = self.flags & 0x80 != 0;
        let phys_bits = [52, 46, 40, 39, 36, 33, 32, 52];
        let largest = [30, 21, 22, 12, 30, 30, 30, 30];
        let pick = |list: [u8; 8], number: u8| list[usize::from(number & 7)];
        Limits {
            phys_bits: if wild { self.phys_bits } else { pick(phys_bits, self.phys_bits) },
            largest_leaf_lg2: if wild {
                self.largest_leaf_lg2
            } else {
                pick(largest, self.largest_leaf_lg2)
            },
            no_execute: self.flags & 1 == 0,
            global: self.flags & 2 == 0,
            keys: self.flags & 4 == 0,
        }
    }
}

/// Attributes: mostly such as every mode has.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Says {
    pub rights: u8,
    pub memory: u8,
    pub flags: u8,
    pub software: u16,
    pub key: u8,
}

impl Says {
    pub fn attrs(self) -> Attrs {
        let plain = self.flags & 0xc0 != 0xc0;
        let rights = if plain { self.rights | 1 | 4 } else { self.rights };
        let flag = |bit: u8| self.flags >> bit & 1 != 0;
        Attrs::new(Rights::from_bits_truncate(rights))
            .with_memory(MemoryType::new(self.memory & 7).unwrap_or(Attrs::DATA.memory))
            .with_global(flag(0))
            .with_used(flag(1), flag(2))
            .with_software(if plain { self.software & 7 } else { self.software })
            .with_key(if plain { 0 } else { self.key })
    }
}

/// An address: a page at an interesting place, or anything.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Address {
    Near { anchor: u8, page: u16 },
    Any(u64),
}

/// A length in bytes: a few pages, or anything.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Length {
    Pages(u16),
    Any(u64),
}

/// A frame: that of the same number as the page, another one, or anything.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Memory {
    Same,
    Near(u16),
    Any(u64),
}

/// A raw entry.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Raw {
    Nothing,
    /// What is there.
    Found,
    Own(u8),
    Leaf(Memory, Says),
    Any(u64),
}

/// What a CPU wants.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Use {
    pub cpu: u8,
    pub kind: u8,
}

/// A verb, or something that happens.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Call {
    Map { at: Address, size: u8, frame: Memory, attrs: Says },
    MapRange { at: Address, length: Length, frame: Memory, attrs: Says },
    MapFrames { at: Address, length: Length, frames: [Memory; 2], pages: u8, attrs: Says },
    MapCursor { at: Address, steps: u8, frame: Memory, attrs: Says },
    Unmap { at: Address, size: u8 },
    UnmapRange { at: Address, length: Length },
    UnmapCursor { at: Address, steps: u8 },
    Protect { at: Address, size: u8, attrs: Says },
    ProtectRange { at: Address, length: Length, attrs: Says },
    ProtectCursor { at: Address, steps: u8, attrs: Says },
    Split { at: Address },
    Promote { at: Address, size: u8 },
    Exchange { at: Address, size: u8, was: Raw, raw: Raw },
    Scan { at: Address, length: Length, accessed: bool, dirty: bool },
    Translate { at: Address },
    Use { at: Address, by: Use },
    Move { at: Address, length: Length, what: u8, height: u8, keep: u8, forget: bool },
    Readopt,
}

/// How the host's memory behaves during a call.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Supply {
    Good,
    /// After so many tables there are no more.
    Ends(u8),
    /// After so many tables comes one that is not what was asked for.
    Bad(u8, u8),
}

/// One call, and what happens around it.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Step {
    pub call: Call,
    pub supply: Supply,
    /// Whether the gather is finished after it.
    pub finish: bool,
}

/// A space, and what is done to it.
#[derive(Arbitrary, Clone, Debug)]
pub struct Story {
    pub mode: u8,
    pub cpuid: Cpuid,
    /// With a counter for each table; with the search for other names; with a self-map.
    pub kind: u8,
    pub self_map: u8,
    /// What the manuals leave to the CPUs.
    pub cpus: u8,
    pub whims: u64,
    pub steps: Vec<Step>,
}
