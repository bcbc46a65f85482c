//! Freeing a whole tree.

use super::clear::unmapped;
use super::tree::Tree;
use crate::gather::Gone;
use crate::level::{Config, Entry, Error, PageTableLevel};
use crate::table::{Host, Table, give_back, table_lg2};
use crate::walk::{FormatOf, Names, Spot, Step, Visitor};

/// Frees every table below the root that is this space's own, each once, when no CPU uses them.
struct Tear<'a, 'r, C, H, F> {
    tree: &'a Tree<'r, C, H>,
    report: Option<F>,
}

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Frees all tables below the root; without a report, those of height 0 are not even read.
    pub(crate) fn free_below_root<'g>(
        &self,
        report: Option<impl FnMut(Gone<'g>)>,
    ) -> Result<(), Error> {
        self.walk_all(&mut Tear { tree: self, report })
    }

    /// Frees one table that is named no more, and that every CPU has dropped.
    pub(crate) fn free<L: PageTableLevel>(&self, table: Table<L>) {
        self.host.table_gone(table.frame(), L::LEVEL.height);
        give_back(&self.host, table.frame(), L::LEVEL.height, table_lg2::<L>());
    }
}

impl<'g, C: Config, H: Host, F: FnMut(Gone<'g>)> Tear<'_, '_, C, H, F> {
    fn tell<L>(&mut self, spot: &Spot<'_, L>)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let Some(report) = &mut self.report else { return };
        let (at, size_lg2, raw) = (spot.whole.first(), L::LEVEL.span_lg2, spot.seen.raw);
        match spot.seen.entry() {
            Entry::Empty | Entry::Table(_) => {}
            Entry::NonPresent(_) => report(Gone::NonPresent { at, size_lg2, raw }),
            Entry::Malformed(_) => report(Gone::Malformed { at, size_lg2, raw }),
            Entry::Leaf(frame) => {
                report(Gone::Page(unmapped::<L>(at, frame, raw)));
            }
        }
    }
}

impl<'g, C: Config, H: Host, F: FnMut(Gone<'g>)> Visitor<FormatOf<C>> for Tear<'_, '_, C, H, F> {
    type Stop = Error;
    const EMPTY: bool = false;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        if self.tree.ground().not_ours(spot) {
            return Ok(Step::Over);
        }
        let Entry::Table(frame) = spot.seen.entry() else {
            self.tell(spot);
            return Ok(Step::Over);
        };
        if self.tree.has_other_name(spot, frame) {
            // One name less; the last one takes the table with it.
            spot.table.live().swap(spot.index, 0);
            return Ok(Step::Over);
        }
        if self.report.is_none() && L::LEVEL.height == 1 {
            if let Some(below) = self.tree.ground().below(&spot.seen)? {
                self.left(spot, below)?;
            }
            return Ok(Step::Over);
        }
        Ok(Step::Into)
    }

    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
        below: Table<L::Below>,
    ) -> Result<(), Error> {
        // The search for other names must not come this way again.
        if self.tree.names == Names::Aliased {
            spot.table.live().swap(spot.index, 0);
        }
        self.tree.free(below);
        Ok(())
    }
}
