//! Tables that nobody names yet.

use super::spare::Spare;
use super::words::private;
use super::{AtomicOf, Host, PlainOf, Table, Words, give_back, table_lg2};
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::level::{Entry, Error, Format, Limits, PageTableLevel, Word};
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::Range;
use core::ptr::NonNull;

/// A new table, with all that hangs below it: private until its word is written into a live table.
///
/// Dropped before that, it gives itself and everything below back to the host: never linked, it
/// needs no shootdown.
pub(crate) struct Fresh<'h, L: PageTableLevel, H: Host> {
    host: &'h H,
    limits: &'h Limits,
    frame: PhysAddr,
    /// What the host answered for the frame.
    first: NonNull<u8>,
    words: &'h mut [MaybeUninit<PlainOf<L>>],
    /// Those of its words that nobody has written yet.
    todo: Range<usize>,
}

impl<'h, L: PageTableLevel, H: Host> Fresh<'h, L, H> {
    /// Asks the host for a frame with addresses of at most `highest`. The entries that stand for the
    /// bytes of `part` are for [`extend`](Self::extend) to fill; all others are zero.
    #[inline]
    pub(crate) fn new(
        host: &'h H,
        limits: &'h Limits,
        highest: PhysAddr,
        part: Span,
    ) -> Result<Self, Error> {
        let spare = ManuallyDrop::new(Spare::<L, H>::new(host, highest, None, part.first())?);
        let (from, to) = (L::LEVEL.index(part.first()), L::LEVEL.index(part.last()));
        let mut fresh = Self::private(host, limits, spare.frame, spare.first);
        if to.wrapping_sub(from) < L::LEVEL.entries() / 2 {
            // All at once is less work than what is before and what is after.
            zero(fresh.words);
        } else {
            zero(fresh.words.get_mut(..from).unwrap_or_default());
            zero(fresh.words.get_mut(to.wrapping_add(1)..).unwrap_or_default());
        }
        fresh.todo = from..to.wrapping_add(1);
        Ok(fresh)
    }

    /// A new table whose entries are all zero.
    #[inline]
    pub(crate) fn empty(
        host: &'h H,
        limits: &'h Limits,
        highest: PhysAddr,
        serving: VirtAddr,
    ) -> Result<Self, Error> {
        let spare = ManuallyDrop::new(Spare::<L, H>::new(host, highest, None, serving)?);
        let fresh = Self::private(host, limits, spare.frame, spare.first);
        zero(fresh.words);
        Ok(fresh)
    }

    /// Takes back a table that [`into_live`](Self::into_live) let go: one that nobody has linked or
    /// seen, or that was unlinked, and that every CPU has dropped.
    pub(crate) fn taken_back(host: &'h H, limits: &'h Limits, frame: PhysAddr) -> Option<Self> {
        host.table_gone(frame, L::LEVEL.height);
        let first = host.reach(frame, table_lg2::<L>())?;
        let aligned = first.cast::<AtomicOf<L>>().is_aligned();
        aligned.then(|| Self::private(host, limits, frame, first))
    }

    /// For a frame of a table's size that nobody else uses, where the host reaches it.
    #[inline]
    fn private(host: &'h H, limits: &'h Limits, frame: PhysAddr, first: NonNull<u8>) -> Self {
        // SAFETY: all callers have seen to the alignment of the pointer, and the frame is nobody else's
        // until this table is linked or freed, which consumes the slice.
        let words = unsafe { private::<L>(first) };
        Self { host, limits, frame, first, words, todo: 0..0 }
    }

    /// The frame it is in.
    pub(crate) fn frame(&self) -> PhysAddr {
        self.frame
    }

    /// Writes an entry: a leaf, or the word of another fresh table.
    #[inline]
    pub(crate) fn set(&mut self, index: usize, raw: u64) {
        if let Some(word) = self.words.get_mut(index) {
            word.write(Word::from_raw(raw));
        }
    }

    /// Writes the next `count` of the entries that are to be filled, in order.
    #[inline]
    pub(crate) fn extend(&mut self, count: usize, mut raw: impl FnMut() -> u64) {
        let from = self.todo.start;
        let to = from.saturating_add(count).min(self.todo.end);
        let words = self.words.get_mut(from..to).unwrap_or_default();
        for word in words {
            word.write(Word::from_raw(raw()));
        }
        self.todo.start = to;
    }

    /// Reads an entry.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> u64 {
        match self.words.get(index) {
            // SAFETY: `new` and `extend` have written all words but those to do, and a table that was
            // taken back has been filled before.
            Some(word) if !self.todo.contains(&index) => unsafe { word.assume_init() }.raw(),
            _ => 0,
        }
    }

    /// Its words, if none is to be written any more.
    pub(crate) fn words(&self) -> &[PlainOf<L>] {
        if !self.todo.is_empty() {
            return &[];
        }
        let words: *const [MaybeUninit<PlainOf<L>>] = &raw const *self.words;
        // SAFETY: a word has the layout of one that may not be written yet; all of them are written, as
        // `get` says; and they are borrowed for as long as the table is.
        unsafe { &*(words as *const [PlainOf<L>]) }
    }

    /// Ends its being private: it is filled now, and whoever gets the handle links it.
    pub(crate) fn into_live(self) -> Table<L> {
        let mut fresh = ManuallyDrop::new(self);
        let todo = fresh.todo.clone();
        zero(fresh.words.get_mut(todo).unwrap_or_default());
        let (host, frame) = (fresh.host, fresh.frame);
        // Not by way of the slice, which nobody uses any more: others have the host's pointer as well.
        let live = Words::from_reached(fresh.first);
        let table = Table { live, frame, twin: None };
        table.recount(host);
        host.table_made(frame, L::LEVEL.height);
        table
    }
}

impl<L: PageTableLevel, H: Host> Drop for Fresh<'_, L, H> {
    fn drop(&mut self) {
        for index in 0..self.words.len() {
            discard::<L, H>(self.host, self.limits, self.get(index));
        }
        give_back(self.host, self.frame, L::LEVEL.height, table_lg2::<L>());
    }
}

/// Makes empty entries of words.
fn zero<W: Word>(words: &mut [MaybeUninit<W>]) {
    words.fill(MaybeUninit::new(W::from_raw(0)));
}

/// Gives back the fresh table that the word `raw` of a table of level `L` names, if it names one.
///
/// For words that [`Fresh::into_live`] stood behind and that never were present in a live table.
pub(crate) fn discard<L: PageTableLevel, H: Host>(host: &H, limits: &Limits, raw: u64) {
    if L::LEVEL.height == 0 {
        return;
    }
    if let Entry::Table(frame) = L::Format::decode(L::LEVEL, raw, limits) {
        drop(Fresh::<L::Below, H>::taken_back(host, limits, frame));
    }
}
