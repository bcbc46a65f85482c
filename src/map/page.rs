//! Mapping one page.

use super::tree::Tree;
use crate::addr::{PhysAddr, Span};
use crate::level::{Attrs, Config, Entry, Error, PageTableLevel};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, Spot, Step, Visitor};

/// Puts one leaf into an empty entry, where the tables are there.
pub(crate) struct MapPage<'a, 'r, C, H> {
    tree: &'a Tree<'r, C, H>,
    size_lg2: u8,
    frame: PhysAddr,
    attrs: &'a Attrs,
    pub(crate) mapped: bool,
}

impl<'r, C: Config, H: Host> Tree<'r, C, H> {
    pub(crate) fn page<'a>(
        &'a self,
        size_lg2: u8,
        frame: PhysAddr,
        attrs: &'a Attrs,
    ) -> MapPage<'a, 'r, C, H> {
        MapPage { tree: self, size_lg2, frame, attrs, mapped: false }
    }

    /// Maps one page of exactly this size.
    #[inline]
    pub(crate) fn map(
        &self,
        page: Span,
        size_lg2: u8,
        frame: PhysAddr,
        attrs: &Attrs,
    ) -> Result<(), Error> {
        self.ground().admit(page)?;
        self.admit_size(size_lg2)?;
        let mut one = self.page(size_lg2, frame, attrs);
        self.descend(page, &mut one)?;
        if one.mapped {
            return Ok(());
        }
        self.map_page_and_tables(page, size_lg2, frame, *attrs)
    }
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for MapPage<'_, '_, C, H> {
    type Stop = Error;

    #[inline]
    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<L>,
    ) -> Result<Step, Error> {
        let here = L::LEVEL.span_lg2 == self.size_lg2;
        match spot.seen.entry() {
            Entry::Table(_) if !here => Ok(Step::Into),
            Entry::Empty if here => {
                let word = self.tree.leaf::<L>(self.frame, self.attrs)?;
                self.tree.ground().put(spot, word);
                spot.table.one_more(&self.tree.host);
                self.mapped = true;
                Ok(Step::Over)
            }
            Entry::Empty => Ok(Step::Over),
            _ => Err(spot.in_the_way()),
        }
    }

    #[inline]
    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<L>,
        _: Table<L::Below>,
    ) -> Result<(), Error> {
        if self.mapped {
            self.tree.widen(spot, self.attrs.rights);
        }
        Ok(())
    }
}
