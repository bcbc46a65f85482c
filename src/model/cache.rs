//! What a CPU keeps of what it has read.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// What the entries on the way have granted so far (section 4.6): combined with AND.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// An entry, as it was read.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    entry: u64,
    raw: u64,
    step: u64,
}

/// How a CPU came by something: the root that it had loaded, and the entries that it has read since,
/// each at its time. It is not part of what was found: two pointers to one table are equal.
#[derive(Clone, Copy, Default)]
pub struct History {
    root: u64,
    loaded: u64,
    read: [Read; 5],
    count: usize,
}

impl History {
    pub(super) const fn of_root(root: u64, loaded: u64) -> Self {
        let nothing = Read { entry: 0, raw: 0, step: 0 };
        Self { root, loaded, read: [nothing; 5], count: 0 }
    }

    pub(super) fn then(mut self, entry: u64, raw: u64, step: u64) -> Self {
        self.read[self.count] = Read { entry, raw, step };
        self.count += 1;
        self
    }

    /// When the last entry was read.
    pub(super) fn last_step(&self) -> u64 {
        self.read.iter().take(self.count).map(|read| read.step).max().unwrap_or(self.loaded)
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "root {:#x}, loaded at step {}", self.root, self.loaded)?;
        self.read.iter().take(self.count).try_for_each(|read| {
            let Read { entry, raw, step } = read;
            write!(f, "; entry at {entry:#x}, read at step {step}: {raw:#x}")
        })
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq for History {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for History {}
impl PartialOrd for History {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for History {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}
impl Hash for History {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// Where a table is, as a CPU has it: from the root register, from one of PAE's four, or from an entry
/// of a paging-structure cache (section 4.10.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    /// The level of the table, from the root down.
    pub(super) level: usize,
    /// What it serves: an address without the bits below, and how many these are.
    pub(super) prefix: u64,
    pub(super) below: u32,
    pub(super) table: u64,
    pub(super) granted: Granted,
    pub(super) pcid: u16,
    pub(super) history: History,
}

impl Pointer {
    /// The address of the table.
    #[must_use]
    pub const fn table(&self) -> u64 {
        self.table
    }

    /// Whether the table serves an address.
    #[must_use]
    pub const fn serves(&self, at: u64) -> bool {
        at >> self.below == self.prefix
    }

    /// How the CPU came by it.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }
}

/// A translation, as the TLB has it (section 4.10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Translation {
    /// What it serves: an address without the `shift` bits below.
    pub(super) prefix: u64,
    pub(super) shift: u32,
    /// The page that it is of has 2 to this many bytes; what it serves may be less (section 4.10.2.3).
    pub(super) page_lg2: u32,
    pub(super) frame: u64,
    pub(super) granted: Granted,
    pub(super) dirty: bool,
    pub(super) global: bool,
    pub(super) pcid: u16,
    pub(super) history: History,
}

impl Translation {
    /// Whether it serves an address under a PCID. A global one serves under all.
    #[must_use]
    pub const fn serves(&self, at: u64, pcid: u16) -> bool {
        at >> self.shift == self.prefix && (self.global || self.pcid == pcid)
    }

    /// The byte that an address, which it serves, is.
    #[must_use]
    pub const fn physical(&self, at: u64) -> u64 {
        self.frame | (at & ((1 << self.shift) - 1))
    }

    /// The first address that it serves.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.prefix << self.shift
    }

    /// It serves 2 to this many bytes.
    #[must_use]
    pub const fn size_lg2(&self) -> u32 {
        self.shift
    }

    /// Whether all entries on the way let pages be written.
    #[must_use]
    pub const fn writable(&self) -> bool {
        self.granted.write
    }

    /// Whether the CPU has set D, or found it: it writes, and looks no more.
    #[must_use]
    pub const fn dirty(&self) -> bool {
        self.dirty
    }

    /// Whether it outlives a load of CR3, and serves under every PCID.
    #[must_use]
    pub const fn global(&self) -> bool {
        self.global
    }

    /// How the CPU came by it.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Whether it is of the page that holds an address: also if it serves another part of that.
    pub(super) const fn is_of_page(&self, at: u64) -> bool {
        at >> self.page_lg2 == self.first() >> self.page_lg2
    }

    /// The part of it that is one base page.
    pub(super) const fn fragment(self, at: u64, shift: u32) -> Self {
        let frame = self.physical(at) & !((1 << shift) - 1);
        Self { prefix: at >> shift, shift, frame, ..self }
    }
}

/// Puts something into a sorted list that has each thing once.
pub(super) fn keep<T: Ord>(list: &mut std::vec::Vec<T>, thing: T) {
    if let Err(place) = list.binary_search(&thing) {
        list.insert(place, thing);
    }
}
