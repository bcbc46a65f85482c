//! The one way to change a live entry.
//!
//! An entry may stand in several places: a root entry of the shared half stands in every root on the
//! host's list. Whatever is done to it is done to each copy by itself, this space's own first, and
//! the accessed and dirty bits of all of them are in the answer.

use super::tree::Tree;
use crate::addr::{PhysAddr, Span};
use crate::gather::Gather;
use crate::level::{Config, Entry, Error, Fields, Format, PageTableLevel, Rights};
use crate::table::{Host, Roots, Table, listed, with_roots};
use crate::walk::{FormatOf, Ground, RootOf, Slots, Spot, Step, Visitor};

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Writes over an entry, and tells what was there.
    #[inline]
    pub(super) fn replace<L>(&self, spot: &Spot<L>, raw: u64) -> u64
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        self.on_each_copy(spot.table, spot.whole, |table| table.swap(spot.index, raw))
    }

    /// Writes over an entry that is not present.
    #[inline]
    pub(super) fn put<L>(&self, spot: &Spot<L>, raw: u64)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        self.on_each_copy(spot.table, spot.whole, |table| {
            table.store(spot.index, raw);
            0
        });
    }

    /// Clears and sets bits, and tells what was there.
    #[inline]
    pub(super) fn modify<L>(&self, spot: &Spot<L>, clear: u64, set: u64) -> u64
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        self.on_each_copy(spot.table, spot.whole, |table| table.modify(spot.index, clear, set))
    }

    /// Writes over an entry that still says `was`, or tells what it says. The answer has what hardware
    /// set in other copies meanwhile.
    pub(super) fn replace_if<L>(&self, spot: &Spot<L>, was: u64, raw: u64) -> Result<u64, u64>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        if !self.ground().in_every_root::<L>(spot.whole) {
            return spot.table.compare_exchange(spot.index, was, raw);
        }
        if spot.seen.raw != was {
            return Err(spot.seen.raw);
        }
        // What the walk saw has the bits of all copies; gather them in this one to compare.
        let used = used_bits::<L>();
        spot.table.modify(spot.index, 0, spot.seen.raw & used);
        let mut found = Err(spot.seen.raw);
        with_roots(&self.host, |list| {
            found = spot.table.compare_exchange(spot.index, was, raw);
            if let Ok(was) = &mut found {
                self.each_other(list, spot.table, |root| {
                    *was |= root.swap(spot.index, raw) & used;
                });
            }
        });
        found
    }

    #[inline]
    fn on_each_copy<L>(&self, table: Table<L>, span: Span, change: impl Fn(Table<L>) -> u64) -> u64
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        if Ground::<C, H>::is_root::<L>() && self.ground().in_every_root::<L>(span) {
            return self.on_each_root(table, &change);
        }
        change(table)
    }

    #[cold]
    fn on_each_root<L>(&self, own: Table<L>, change: &dyn Fn(Table<L>) -> u64) -> u64
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let mut found = 0;
        with_roots(&self.host, |list| {
            found = change(own);
            self.each_other(list, own, |root| found |= change(root) & used_bits::<L>());
        });
        found
    }

    fn each_other<L: PageTableLevel>(
        &self,
        list: &dyn Roots,
        own: Table<L>,
        mut work: impl FnMut(Table<L>),
    ) {
        list.each(&mut |frame| {
            let other = if frame == own.frame() { None } else { listed(&self.host, frame) };
            other.into_iter().for_each(&mut work);
        });
    }

    /// Gives what hardware noted in the shared leaves of a root that is on the list no more to one
    /// that is.
    pub(crate) fn hand_over(&self, root: PhysAddr, list: &dyn Roots) {
        let level = RootOf::<C>::LEVEL;
        let mut heir: Option<Table<RootOf<C>>> = None;
        list.each(&mut |frame| heir = heir.or_else(|| listed(&self.host, frame)));
        let old: Option<Table<RootOf<C>>> = listed(&self.host, root);
        let (Some(heir), Some(old), Some(half)) = (heir, old, self.half.span()) else { return };
        for (whole, _) in Slots::<RootOf<C>>::of(half).filter(|_| level.maps) {
            let seen = old.see(level.index(whole.first()), &self.limits);
            if let Entry::Leaf(_) = seen.entry() {
                let noted = seen.raw & used_bits::<RootOf<C>>();
                heir.modify(level.index(whole.first()), 0, noted);
            }
        }
    }

    /// Takes away the table `below` that a spot names, if it is empty, has no other name, and may go.
    pub(super) fn prune<L>(
        &self,
        spot: &Spot<L>,
        below: Table<L::Below>,
        gather: &mut Gather<'_>,
    ) -> Result<(), Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        if !C::FREE_EMPTY_TABLES {
            return Ok(());
        }
        let near = <L::Below as PageTableLevel>::LEVEL.index(spot.part.last());
        // Root entries of the shared half stay as they were filled, unless the roots follow anyway.
        let fixed = !L::LEVEL.maps && self.ground().in_every_root::<L>(spot.whole);
        if fixed || !below.is_empty(&self.host, near) || self.has_other_name(spot, below.frame()) {
            return Ok(());
        }
        let was = self.replace(spot, 0);
        spot.table.one_less(&self.host);
        self.note::<L>(gather, spot.part, was);
        gather.unlinked(below, &self.host);
        Ok(())
    }

    /// Takes away every empty table on the way to a page.
    pub(crate) fn prune_path(&self, page: Span, gather: &mut Gather<'_>) -> Result<(), Error> {
        self.descend(page, &mut Prune { tree: self, gather })
    }

    /// Widens what a table entry grants, where that is less than `rights`.
    #[inline]
    pub(super) fn widen<L>(&self, spot: &Spot<L>, rights: Rights)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let (clear, set) = L::Format::widening(L::LEVEL, rights);
        if spot.seen.raw & clear != 0 || !spot.seen.raw & set != 0 {
            self.modify(spot, clear, set);
        }
    }
}

struct Prune<'a, 'r, 'g, C, H> {
    tree: &'a Tree<'r, C, H>,
    gather: &'a mut Gather<'g>,
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Prune<'_, '_, '_, C, H> {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        _: &Spot<L>,
    ) -> Result<Step, Error> {
        Ok(Step::Into)
    }

    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<L>,
        below: Table<L::Below>,
    ) -> Result<(), Error> {
        self.tree.prune(spot, below, self.gather)
    }
}

/// The bits of a leaf that hardware sets.
fn used_bits<L: PageTableLevel>() -> u64 {
    L::Format::mask(L::LEVEL, Fields::ACCESSED | Fields::DIRTY)
}
