//! The one way to read and to change a live entry.
//!
//! An entry may stand in several places: one of a table that was moved stands in the limbo copy, too,
//! until every CPU has dropped that; a root entry of the shared half stands in every root on the
//! host's list. Whatever is done to it is done to each copy by itself, this space's own live one first,
//! and the accessed and dirty bits of all of them are in the answer.

use super::{FormatOf, Ground, RootOf, Slots, Spot};
use crate::addr::{PhysAddr, Span};
use crate::level::{Config, Entry, Fields, Format, PageTableLevel, relocatable};
use crate::table::{Host, Roots, Seen, Table, Words, listed, with_roots};

/// Something to be done to the words of each copy.
type Work<'a, L> = &'a mut dyn FnMut(Words<L>);

/// The bits of a leaf that hardware sets.
pub(crate) fn used_bits<L: PageTableLevel>() -> u64 {
    L::Format::mask(L::LEVEL, Fields::ACCESSED | Fields::DIRTY)
}

impl<'h, C: Config, H: Host> Ground<'h, C, H> {
    /// Reads an entry; of a leaf, A and D are those of all copies.
    #[inline]
    pub(crate) fn see<L>(&self, table: Table<L>, index: usize, whole: Span) -> Seen<'h, L>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        if relocatable::<C>() {
            if let Some(twin) = table.twin() {
                return self.see_both(table, twin, index, whole);
            }
        }
        let seen = table.see(index, self.sight);
        if L::LEVEL.maps && self.in_every_root::<L>(whole) {
            return self.used_anywhere(table, index, seen);
        }
        seen
    }

    /// The limbo copy first, the live one last: what is merged in between is seen.
    #[cold]
    fn see_both<L>(&self, table: Table<L>, twin: Words<L>, index: usize, whole: Span) -> Seen<'h, L>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let noted = twin.see(index, self.sight);
        let mut seen = table.see(index, self.sight);
        if matches!(seen.entry(), Entry::Leaf(_)) && seen.entry() == noted.entry() {
            seen.raw |= noted.raw & used_bits::<L>();
        }
        if L::LEVEL.maps && self.in_every_root::<L>(whole) {
            return self.used_anywhere(table, index, seen);
        }
        seen
    }

    #[cold]
    fn used_anywhere<L>(&self, table: Table<L>, index: usize, mut seen: Seen<'h, L>) -> Seen<'h, L>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        if !matches!(seen.entry(), Entry::Leaf(_)) {
            return seen;
        }
        let mut found = 0;
        with_roots(self.host, |list| {
            self.each_other(list, table, |root| found |= root.load(index));
        });
        seen.raw |= found & used_bits::<L>();
        seen
    }

    /// Writes over an entry, and tells what was there.
    #[inline]
    pub(crate) fn replace<L>(&self, spot: &Spot<'_, L>, raw: u64) -> u64
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        self.on_each_copy(spot.table, spot.whole, |words| words.swap(spot.index, raw))
    }

    /// Writes over an entry that is not present.
    #[inline]
    pub(crate) fn put<L>(&self, spot: &Spot<'_, L>, raw: u64)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        self.on_each_copy(spot.table, spot.whole, |words| {
            words.store(spot.index, raw);
            0
        });
    }

    /// Clears and sets bits, and tells what was there.
    #[inline]
    pub(crate) fn modify<L>(&self, spot: &Spot<'_, L>, clear: u64, set: u64) -> u64
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        self.on_each_copy(spot.table, spot.whole, |words| words.modify(spot.index, clear, set))
    }

    /// Writes over an entry that still says `was`, or tells what it says. The answer has what hardware
    /// set in other copies meanwhile.
    pub(crate) fn replace_if<L>(&self, spot: &Spot<'_, L>, was: u64, raw: u64) -> Result<u64, u64>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let everywhere = self.in_every_root::<L>(spot.whole);
        let mirrored = relocatable::<C>() && spot.table.twin().is_some();
        if !everywhere && !mirrored {
            return spot.table.live().compare_exchange(spot.index, was, raw);
        }
        if spot.seen.raw != was {
            return Err(spot.seen.raw);
        }
        // What the walk saw has the bits of all copies; gather them in this one to compare.
        let (live, used) = (spot.table.live(), used_bits::<L>());
        live.modify(spot.index, 0, spot.seen.raw & used);
        let mut found = Err(spot.seen.raw);
        let mut exchange = |others: &dyn Fn(Work<'_, L>)| {
            found = live.compare_exchange(spot.index, was, raw);
            if let Ok(was) = &mut found {
                others(&mut |words| *was |= words.swap(spot.index, raw) & used);
            }
        };
        if everywhere {
            with_roots(self.host, |list| {
                exchange(&|work| self.each_other(list, spot.table, work));
            });
        } else {
            exchange(&|work| spot.table.twin().into_iter().for_each(work));
        }
        found
    }

    #[inline]
    fn on_each_copy<L>(&self, table: Table<L>, span: Span, change: impl Fn(Words<L>) -> u64) -> u64
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        if Self::is_root::<L>() && self.in_every_root::<L>(span) {
            return self.on_each_root(table, &change);
        }
        let was = change(table.live());
        if relocatable::<C>() {
            if let Some(twin) = table.twin() {
                return was | (change(twin) & used_bits::<L>());
            }
        }
        was
    }

    /// A root that was moved is on the list as long as it is in limbo, and so is among them.
    #[cold]
    fn on_each_root<L>(&self, own: Table<L>, change: &dyn Fn(Words<L>) -> u64) -> u64
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let mut found = 0;
        with_roots(self.host, |list| {
            found = change(own.live());
            self.each_other(list, own, |root| found |= change(root) & used_bits::<L>());
        });
        found
    }

    /// Shows every root on the list but `own`. For use under the list's lock.
    fn each_other<L: PageTableLevel>(
        &self,
        list: &dyn Roots,
        own: Table<L>,
        mut work: impl FnMut(Words<L>),
    ) {
        list.each(&mut |frame| {
            let other: Option<Table<L>> =
                if frame == own.frame() { None } else { listed(self.host, frame) };
            other.into_iter().for_each(|root| work(root.live()));
        });
    }

    /// Gives what hardware noted in the shared leaves of a root that is on the list no more to one
    /// that is. For use under the list's lock.
    pub(crate) fn hand_over(&self, root: PhysAddr, list: &dyn Roots) {
        let level = RootOf::<C>::LEVEL;
        let mut heir: Option<Table<RootOf<C>>> = None;
        list.each(&mut |frame| heir = heir.or_else(|| listed(self.host, frame)));
        let old: Option<Table<RootOf<C>>> = listed(self.host, root);
        let (Some(heir), Some(old), Some(half)) = (heir, old, self.half.span()) else { return };
        for (whole, _) in Slots::<RootOf<C>>::of(half).filter(|_| level.maps) {
            let seen = old.see(level.index(whole.first()), self.sight);
            if let Entry::Leaf(_) = seen.entry() {
                let noted = seen.raw & used_bits::<RootOf<C>>();
                heir.live().modify(level.index(whole.first()), 0, noted);
            }
        }
    }
}
