//! What a CPU keeps of what it has read.

use std::fmt;

/// What the entries on the way have granted so far (section 4.6): combined with AND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) write: bool,
    pub(super) user: bool,
    pub(super) execute: bool,
}

impl Granted {
    pub(super) const ALL: Self = Self { write: true, user: true, execute: true };

    /// What is left after an entry.
    pub(super) const fn through(self, entry: u64, wide: bool) -> Self {
        Self {
            write: self.write && entry & 2 != 0,
            user: self.user && entry & 4 != 0,
            execute: self.execute && !(wide && entry >> 63 != 0),
        }
    }
}

/// The entry that something was read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) entry: u64,
    pub(super) step: u64,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read at step {} from the entry at {:#x}", self.step, self.entry)
    }
}

/// An entry of a paging-structure cache (section 4.10.3): where a table is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointer {
    /// The level of the table, from the root down.
    pub(super) level: usize,
    /// What it serves: an address without the bits below, and how many these are.
    pub(super) prefix: u64,
    pub(super) below: u32,
    pub(super) table: u64,
    pub(super) granted: Granted,
    pub(super) pcid: u16,
    pub(super) source: Source,
}

impl Pointer {
    pub(super) const fn serves(&self, at: u64) -> bool {
        at >> self.below == self.prefix
    }
}

/// An entry of the TLB (section 4.10.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) prefix: u64,
    pub(super) shift: u32,
    pub(super) frame: u64,
    pub(super) granted: Granted,
    pub(super) dirty: bool,
    pub(super) global: bool,
    pub(super) pcid: u16,
    pub(super) source: Source,
}

impl Page {
    pub(super) const fn serves(&self, at: u64, pcid: u16) -> bool {
        at >> self.shift == self.prefix && (self.global || self.pcid == pcid)
    }

    pub(super) const fn physical(&self, at: u64) -> u64 {
        self.frame | (at & ((1 << self.shift) - 1))
    }
}
