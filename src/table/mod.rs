//! Tables as memory: the one place where a physical address becomes a pointer.
//!
//! # What holds of every table of a tree
//!
//! The unsafe code of this room rests on one invariant:
//!
//! > **Whatever a live table, or a root cell in use, names as a table is a table: of the level
//! > below, which the host reaches, aligned to its size, and freed only after it is named no more
//! > and every CPU has acknowledged that.**
//!
//! It is established where a tree begins: an empty root that this room made (`Fresh`), or the
//! promise given to `Space::adopt` and `View::new`. It is kept because only two kinds of words are
//! ever written: those that name no table, and those that name what `Fresh::into_live` or `Spare::into_live` let go. A `Table` is
//! made from nothing but a word that was read from a live table, or from a root cell; no verb keeps
//! one after it has returned, but for the one that a space keeps at hand, and forgets before anything
//! can unlink or move it, and the one that an iterator has come to, which borrows the space.
//!
//! No reference to live table memory exists but to one atomic word, for the time of one operation:
//! the MMU reads and writes the same words.

mod fresh;
mod host;
mod root;
mod spare;
mod twins;
mod words;

pub(crate) use fresh::{Fresh, discard};
pub use host::{CopyTable, Host, NoRoots, Roots};
pub(crate) use host::{give_back, with_roots};
pub use root::RootCell;
pub(crate) use root::listed;
pub(crate) use spare::Spare;
pub(crate) use twins::{NoTwins, Twins};
pub(crate) use words::Words;

use crate::addr::PhysAddr;
use crate::level::{Entry, Error, Format, LevelSight, PageTableLevel, Sight, Word};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU16, Ordering};

type WordOf<L> = <<L as PageTableLevel>::Format as Format>::Word;
type AtomicOf<L> = <WordOf<L> as Word>::Atomic;
/// A word of a table that is private.
pub(crate) type PlainOf<L> = <WordOf<L> as Word>::Plain;

/// The size of a table of this level is 2 to this.
pub(crate) const fn table_lg2<L: PageTableLevel>() -> u8 {
    L::LEVEL.table_lg2::<L::Format>()
}

/// A live table of level `L`, and the copy of it that is in limbo, if it was moved.
pub(crate) struct Table<L> {
    live: Words<L>,
    frame: PhysAddr,
    twin: Option<Words<L>>,
}

impl<L> Clone for Table<L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L> Copy for Table<L> {}

/// An entry as it was read from a live table. What it says is worked out when somebody asks: most who
/// come by do not, or need a part of it.
pub(crate) struct Seen<'s, L> {
    pub(crate) raw: u64,
    sight: &'s Sight,
    read_from: PhantomData<L>,
}

impl<L> Clone for Seen<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L> Copy for Seen<'_, L> {}

impl<L: PageTableLevel> Table<L> {
    /// The table at `frame`.
    ///
    /// # Safety
    /// `frame` is a table of level `L` in the sense of this room's invariant.
    #[inline]
    unsafe fn at<H: Host>(host: &H, frame: PhysAddr) -> Result<Self, Error> {
        // SAFETY: as the caller promises.
        let live = unsafe { Words::at(host, frame) }?;
        Ok(Self { live, frame, twin: None })
    }

    /// The table, with the copy in limbo that a word which names it speaks of.
    #[cold]
    pub(crate) fn with_twin<H: Host>(self, host: &H, twins: &dyn Twins) -> Result<Self, Error> {
        let Some(old) = twins.twin_of(self.frame) else { return Ok(self) };
        // SAFETY: by the contract of `Twins`, `old` is a table of this level, not freed yet.
        let twin = unsafe { Words::at(host, old) }?;
        Ok(Self { twin: Some(twin), ..self })
    }

    /// The table, if it is known that no copy of it is in limbo.
    #[inline]
    pub(crate) fn alone(self) -> Self {
        Self { twin: None, ..self }
    }

    /// The words that new walks come to.
    #[inline]
    pub(crate) fn live(self) -> Words<L> {
        self.live
    }

    /// The words that CPUs may still come to through what they have cached.
    #[inline]
    pub(crate) fn twin(self) -> Option<Words<L>> {
        self.twin
    }

    /// The frame it is in.
    #[inline]
    pub(crate) fn frame(self) -> PhysAddr {
        self.frame
    }

    /// The same table, if `M` is the same level under another name.
    #[inline]
    pub(crate) fn if_of<M: PageTableLevel<Format = L::Format>>(self) -> Option<Table<M>> {
        let same = L::LEVEL == M::LEVEL;
        let Self { live, frame, twin } = self;
        same.then(|| Table { live: live.as_of(), frame, twin: twin.map(Words::as_of) })
    }

    /// Reads an entry of the live words.
    #[inline]
    pub(crate) fn load(self, index: usize) -> u64 {
        self.live.load(index)
    }

    /// Reads an entry of the live words, to be decoded.
    #[inline]
    pub(crate) fn see(self, index: usize, sight: &Sight) -> Seen<'_, L> {
        self.live.see(index, sight)
    }

    /// The host's count of the table's used entries, where it keeps one.
    #[inline]
    fn count<H: Host>(self, host: &H) -> Option<&AtomicU16> {
        // A count must be able to hold the number of entries.
        if L::LEVEL.index_lg2 < 16 { host.count(self.frame) } else { None }
    }

    /// Takes the count over from the table that this one is a copy of, or counts if that had none.
    fn count_as<H: Host>(self, of: Self, host: &H) {
        match (self.count(host), of.count(host)) {
            (Some(count), Some(other)) => {
                count.store(other.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            _ => self.recount(host),
        }
    }

    /// An empty entry came into use.
    #[inline]
    pub(crate) fn one_more<H: Host>(self, host: &H) {
        if let Some(count) = self.count(host) {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// A used entry became empty.
    #[inline]
    pub(crate) fn one_less<H: Host>(self, host: &H) {
        if let Some(count) = self.count(host) {
            count.store(count.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
        }
    }

    /// The used entry at `index` became empty: whether it was the last one. Without a count that is
    /// looked for, if `look` says so.
    #[inline(always)]
    pub(crate) fn one_less_at<H: Host>(self, index: usize, host: &H, look: bool) -> bool {
        let Some(count) = self.count(host) else { return look && self.looks_empty(index) };
        let last = count.load(Ordering::Relaxed) == 1;
        count.store(count.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
        last
    }

    /// Counts again from the entries themselves.
    pub(crate) fn recount<H: Host>(self, host: &H) {
        if let Some(count) = self.count(host) {
            let used = (0..L::LEVEL.entries()).filter(|&index| self.load(index) != 0);
            count.store(u16::try_from(used.count()).unwrap_or(u16::MAX), Ordering::Relaxed);
        }
    }

    /// Whether every entry is empty. Without a count it looks, beginning after `near`: where pages go
    /// one after the other, the next one still there answers at once.
    #[inline]
    pub(crate) fn is_empty<H: Host>(self, host: &H, near: usize) -> bool {
        match self.count(host) {
            Some(count) => count.load(Ordering::Relaxed) == 0,
            None => self.looks_empty(near),
        }
    }

    #[inline]
    fn looks_empty(self, near: usize) -> bool {
        let beside = self.load(near.wrapping_sub(1)) | self.load(near.wrapping_add(1));
        beside == 0 && self.looks_empty_after(near)
    }

    #[cold]
    #[inline(never)]
    fn looks_empty_after(self, near: usize) -> bool {
        (1..=L::LEVEL.entries()).all(|step| self.load(near.wrapping_add(step)) == 0)
    }
}

impl<L: PageTableLevel> Seen<'_, L> {
    #[inline]
    fn sight(&self) -> LevelSight {
        self.sight.of::<L>()
    }

    /// What it says.
    #[inline]
    pub(crate) fn entry(&self) -> Entry {
        self.sight().decode::<L>(self.raw)
    }

    /// The frame of a leaf, if it is one at a glance.
    #[inline]
    pub(crate) fn leaf(&self) -> Option<PhysAddr> {
        let leaf = self.sight().is_leaf::<L>(self.raw);
        leaf.then(|| L::Format::address(L::LEVEL, true, self.raw))
    }

    /// The same of one that is not global.
    #[inline]
    pub(crate) fn local_leaf(&self) -> Option<PhysAddr> {
        let leaf = self.sight().is_local_leaf::<L>(self.raw);
        leaf.then(|| L::Format::address(L::LEVEL, true, self.raw))
    }

    /// The table that the entry names, if that is all that it says: it takes no rights away (but those
    /// of user mode, where `user` does not ask for them), and no copy of the table is in limbo.
    #[inline]
    pub(crate) fn plain_below<H: Host>(
        &self,
        host: &H,
        user: bool,
    ) -> Result<Option<Table<L::Below>>, Error> {
        let Some(frame) = self.sight().plain_table::<L>(self.raw, user) else { return Ok(None) };
        // SAFETY: as in `below`: by the contract of `Format`, where a glance knows the name of a table,
        // `entry` says the same, with this address.
        unsafe { Table::at(host, frame) }.map(Some)
    }

    /// Whether the entry names `table`.
    #[inline]
    pub(crate) fn names(&self, table: PhysAddr) -> bool {
        // Hardly any entry has the address, and what kind it is of needs more steps.
        !self.raw & name_bits::<L>(table) == 0 && self.entry() == Entry::Table(table)
    }

    /// The table that the entry names, if it names one.
    #[inline]
    pub(crate) fn below<H: Host>(&self, host: &H) -> Result<Option<Table<L::Below>>, Error> {
        match self.entry() {
            Entry::Table(frame) => {
                // SAFETY: `Seen` is made by `Table::see` alone, so a live table of level `L` names
                // `frame` as a table; by this room's invariant it is one, of the level below.
                unsafe { Table::at(host, frame) }.map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The bits of a word in a table of level `L` that are the address of `table`.
#[inline]
pub(crate) fn name_bits<L: PageTableLevel>(table: PhysAddr) -> u64 {
    L::Format::table(L::LEVEL, table, false) & !L::Format::table(L::LEVEL, PhysAddr(0), false)
}
