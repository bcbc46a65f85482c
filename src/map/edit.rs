//! What verbs do to the tables above a page.

use super::tree::Tree;
use crate::addr::Span;
use crate::gather::Gather;
use crate::level::{Config, Error, Format, PageTableLevel, Rights, relocatable};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, Spot, Step, Visitor};

impl<C: Config, H: Host> Tree<'_, C, H> {
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
        let was = self.ground().replace(spot, 0);
        spot.table.one_less(&self.host);
        self.ground().note::<L>(gather, spot.part, was);
        self.forsake::<L>(was, below);
        gather.unlinked(below, &self.host);
        Ok(())
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
    pub(super) fn widen<L>(&self, spot: &Spot<L>, rights: Rights)
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
