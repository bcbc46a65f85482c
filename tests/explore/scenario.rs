//! What the kernel does, and what pages shall be after it.

use super::sabotage::Sabotage;
use std::collections::{BTreeMap, BTreeSet};

/// Something that the kernel does. Pages and data frames are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Do {
    Map(u64, u64),
    MapReadOnly(u64, u64),
    /// Two pages, as one leaf.
    MapHuge(u64, u64),
    Unmap(u64),
    UnmapRange(u64, u64),
    /// Unmaps a page and maps another one before CPUs were told (R7: they may fault once).
    Replace(u64, u64, u64),
    ReadOnly(u64),
    Writable(u64),
    /// Puts another frame into a page's raw entry.
    Exchange(u64, u64),
    /// Puts a raw entry of the kernel's own in a page's place.
    SwapOut(u64),
    Scan,
    Split(u64),
    Promote(u64),
    Move(u64, u8),
    MoveRoot,
    MoveAll,
    EndBatch,
    TearDown,
}

/// One exploration.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// What is done before CPUs come on.
    pub(crate) before: Vec<Do>,
    pub(crate) then: Vec<Do>,
    /// Pages that CPUs use, and whether they write there.
    pub(crate) pages: Vec<(u64, bool)>,
    pub(crate) cpus: usize,
    /// INVLPG keeps unrelated pointers (AMD).
    pub(crate) keeps_unrelated: bool,
    /// Root entries of PAE are read again (AMD).
    pub(crate) rereads: bool,
    /// Frames that are freed are handed out again at once.
    pub(crate) reuse: bool,
    /// The host copies tables.
    pub(crate) copies: bool,
    pub(crate) sabotage: Option<Sabotage>,
}

impl Scenario {
    pub(crate) fn new(before: &[Do], then: &[Do]) -> Self {
        Self {
            before: before.to_vec(),
            then: then.to_vec(),
            pages: vec![(0, true)],
            cpus: 1,
            keeps_unrelated: false,
            rereads: false,
            reuse: false,
            copies: false,
            sabotage: None,
        }
    }
}

/// What each page is: its frame, and whether it can be written.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pub(crate) known: BTreeMap<u64, (u64, bool)>,
    /// Those that are the first half of a leaf of twice the size.
    huge: BTreeSet<u64>,
    /// Those that are swapped out.
    out: BTreeSet<u64>,
}

impl Pages {
    /// Whether a verb does what it says here, and is no error.
    pub(crate) fn allow(&self, verb: Do, frame: impl Fn(u64) -> u64) -> bool {
        let mapped = |page| self.known.contains_key(&page);
        let hole = |page| !mapped(page) && !self.out.contains(&page);
        let free = |to| self.known.values().all(|page| page.0 != frame(to));
        let huge = |page: u64| self.huge.contains(&(page & !1));
        match verb {
            Do::Map(page, to) | Do::MapReadOnly(page, to) => hole(page) && free(to),
            Do::MapHuge(page, to) => {
                let holes = hole(page) && hole(page + 1);
                (page | to) & 1 == 0 && holes && free(to) && free(to + 1)
            }
            Do::Unmap(page) => !hole(page),
            Do::ReadOnly(page) | Do::Writable(page) => mapped(page),
            Do::Exchange(page, to) => mapped(page) && !huge(page) && free(to),
            Do::SwapOut(page) => mapped(page) && !huge(page),
            Do::Replace(page, new, to) => mapped(page) && (new == page || hole(new)) && free(to),
            Do::Split(page) => huge(page),
            Do::Promote(page) => self.is_one(page & !1),
            _ => true,
        }
    }

    /// Whether a page has a table of height 0.
    pub(crate) fn have_leaf_table(&self, page: u64) -> bool {
        let first = page & !1;
        let there = |page| self.known.contains_key(&page) || self.out.contains(&page);
        (there(first) || there(first + 1)) && !self.huge.contains(&first)
    }

    fn is_one(&self, first: u64) -> bool {
        match (self.known.get(&first), self.known.get(&(first + 1))) {
            (Some(&(one, write)), Some(&other)) => {
                one & 0x1000 == 0 && other == (one + 0x1000, write) && !self.huge.contains(&first)
            }
            _ => false,
        }
    }

    /// Notes what a verb does. A part of a huge page that is changed alone is split off it.
    pub(crate) fn plan(&mut self, verb: Do, frame: impl Fn(u64) -> u64) {
        match verb {
            Do::Map(page, to) => self.set(page, (frame(to), true)),
            Do::MapReadOnly(page, to) => self.set(page, (frame(to), false)),
            Do::MapHuge(page, to) => {
                (0..2).for_each(|part| self.set(page + part, (frame(to + part), true)));
                self.huge.insert(page);
            }
            Do::Unmap(page) => self.unmap(page..page + 1),
            Do::UnmapRange(page, pages) => self.unmap(page..page + pages),
            Do::Replace(page, new, to) => {
                self.unmap(page..page + 1);
                self.set(new, (frame(to), true));
            }
            Do::ReadOnly(page) => self.set_writable(page, false),
            Do::Writable(page) => self.set_writable(page, true),
            Do::Exchange(page, to) => self.set(page, (frame(to), true)),
            Do::SwapOut(page) => {
                self.known.remove(&page);
                self.out.insert(page);
            }
            Do::Split(page) => drop(self.huge.remove(&(page & !1))),
            Do::Promote(page) => drop(self.huge.insert(page & !1)),
            _ => {}
        }
    }

    fn set(&mut self, page: u64, is: (u64, bool)) {
        self.known.insert(page, is);
    }

    fn unmap(&mut self, pages: std::ops::Range<u64>) {
        self.huge.retain(|first| !pages.contains(first) && !pages.contains(&(first + 1)));
        self.known.retain(|page, _| !pages.contains(page));
        self.out.retain(|page| !pages.contains(page));
    }

    fn set_writable(&mut self, page: u64, writable: bool) {
        self.huge.remove(&(page & !1));
        self.known.get_mut(&page).unwrap().1 = writable;
    }
}
