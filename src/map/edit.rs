//! What verbs do to the tables above a page.

use super::tree::Tree;
use crate::addr::{Span, VirtAddr};
use crate::gather::Gather;
use crate::level::{
    Arch, Config, Error, Fields, Format, PageTableLevel, Reload, Rights, relocatable,
};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, Spot, Step, Visitor};

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Takes away the table `below` that a spot names, if it is empty, has no other name, and may go.
    pub(super) fn prune<L>(
        &self,
        spot: &Spot<'_, L>,
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
        let was = self.ground().replace(spot, 0);
        spot.table.one_less(&self.host);
        self.note::<L>(gather, spot.part, was);
        self.forsake::<L>(was, below);
        gather.unlinked(below, &self.host);
        Ok(())
    }

    /// Tells a gather that an entry of level `L`, which said `was`, has changed.
    #[inline(always)]
    pub(super) fn note<L>(&self, gather: &mut Gather<'_>, span: Span, was: u64)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let global = was & L::Format::mask(L::LEVEL, Fields::GLOBAL) != 0;
        let bytes = span.bytes_less_one().wrapping_add(1);
        if global || !Self::goes_on::<L>(gather, span.first(), bytes) {
            self.note_anew::<L>(gather, span, was);
        }
    }

    /// The same, for one page that was not global.
    #[inline(always)]
    pub(super) fn note_local<L>(&self, gather: &mut Gather<'_>, at: VirtAddr)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        if !Self::goes_on::<L>(gather, at, 1 << L::LEVEL.span_lg2) {
            self.note_local_anew::<L>(gather, at);
        }
    }

    /// Whether a gather knows it without being told: what is not global goes on where the last span
    /// ended. Where that is more than a span of this space, none has begun.
    #[inline(always)]
    fn goes_on<L>(gather: &mut Gather<'_>, first: VirtAddr, bytes: u64) -> bool
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        C::Arch::reload(L::LEVEL) == Reload::Entry && gather.goes_on(first, bytes)
    }

    #[cold]
    #[inline(never)]
    fn note_local_anew<L>(&self, gather: &mut Gather<'_>, at: VirtAddr)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        self.ground().note::<L>(gather, Span::around(at, L::LEVEL.span_lg2), 0);
    }

    #[cold]
    #[inline(never)]
    fn note_anew<L>(&self, gather: &mut Gather<'_>, span: Span, was: u64)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        self.ground().note::<L>(gather, span, was);
    }

    /// The table `below`, which the word `was` named, has lost its last name. A copy of it in limbo
    /// is nobody's any more.
    #[inline]
    pub(super) fn forsake<L: PageTableLevel>(&self, was: u64, below: Table<L::Below>) {
        if relocatable::<C>() && was & L::Format::TWIN != 0 {
            self.limbo.forsake(below.frame());
        }
    }

    /// Takes away every empty table on the way to a page.
    pub(crate) fn prune_path(&self, page: Span, gather: &mut Gather<'_>) -> Result<(), Error> {
        self.descend(page, &mut Prune { tree: self, gather })
    }

    /// Widens what a table entry grants, where that is less than `rights`.
    #[inline]
    pub(super) fn widen<L>(&self, spot: &Spot<'_, L>, rights: Rights)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let (clear, set) = L::Format::widening(L::LEVEL, rights);
        if spot.seen.raw & clear != 0 || !spot.seen.raw & set != 0 {
            self.ground().modify(spot, clear, set);
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
        _: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        Ok(Step::Into)
    }

    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
        below: Table<L::Below>,
    ) -> Result<(), Error> {
        self.tree.prune(spot, below, self.gather)
    }
}
