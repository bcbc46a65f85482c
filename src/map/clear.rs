//! Unmap.

use super::tree::Tree;
use crate::addr::{PhysAddr, Span};
use crate::gather::{Gather, Gone, Unmapped};
use crate::level::{Config, Entry, Error, Format, PageTableLevel};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, Spot, Step, Visitor};

/// Empties the entries of a span, and reports what was in them.
pub(crate) struct Clear<'a, 'r, 'g, C, H, F> {
    pub(crate) tree: &'a Tree<'r, C, H>,
    pub(crate) gather: &'a mut Gather<'g>,
    pub(crate) report: F,
    /// The one page meant has 2 to this many bytes; without it, holes and pages of any size are well.
    pub(crate) exact: Option<u8>,
    /// A larger leaf was met; nothing has been changed.
    pub(crate) partly: bool,
}

impl<'r, C: Config, H: Host> Tree<'r, C, H> {
    /// Unmaps all of a span; what it covers only in part is split.
    pub(crate) fn unmap_range<'g>(
        &self,
        span: Span,
        gather: &mut Gather<'g>,
        report: impl FnMut(Gone<'g>),
    ) -> Result<(), Error> {
        self.admit_with(span, gather)?;
        self.cut(span, gather)?;
        self.walk(span, &mut self.clear(gather, None, report))
    }

    /// Unmaps one page of exactly this size; a larger one is split.
    pub(crate) fn unmap<'g>(
        &self,
        page: Span,
        size_lg2: u8,
        gather: &mut Gather<'g>,
    ) -> Result<Gone<'g>, Error> {
        self.admit_with(page, gather)?;
        self.admit_size(size_lg2)?;
        let mut gone = None;
        let mut clear = self.clear(gather, Some(size_lg2), |found| gone = Some(found));
        let mut result = self.descend(page, &mut clear);
        if clear.partly {
            self.cut(page, clear.gather)?;
            clear.partly = false;
            result = self.descend(page, &mut clear);
        }
        result?;
        gone.ok_or(Error::NotMapped { at: page.first(), size_lg2 })
    }

    pub(crate) fn clear<'a, 'g, F: FnMut(Gone<'g>)>(
        &'a self,
        gather: &'a mut Gather<'g>,
        exact: Option<u8>,
        report: F,
    ) -> Clear<'a, 'r, 'g, C, H, F> {
        Clear { tree: self, gather, report, exact, partly: false }
    }
}

impl<'g, C: Config, H: Host, F: FnMut(Gone<'g>)> Clear<'_, '_, 'g, C, H, F> {
    #[inline]
    fn page<L: PageTableLevel<Format = FormatOf<C>>>(&mut self, spot: &Spot<L>, frame: PhysAddr) {
        let was = self.tree.ground().replace(spot, 0);
        spot.table.one_less(&self.tree.host);
        self.tree.ground().note::<L>(self.gather, spot.whole, was);
        let attrs = L::Format::attrs(L::LEVEL, was);
        let page = Unmapped::new(spot.whole.first(), L::LEVEL.span_lg2, attrs, frame);
        (self.report)(Gone::Page(page));
    }

    fn non_present<L: PageTableLevel<Format = FormatOf<C>>>(&mut self, spot: &Spot<L>, raw: u64) {
        self.tree.ground().put(spot, 0);
        spot.table.one_less(&self.tree.host);
        let (at, size_lg2) = (spot.whole.first(), L::LEVEL.span_lg2);
        (self.report)(Gone::NonPresent { at, size_lg2, raw });
    }
}

impl<'g, C: Config, H: Host, F: FnMut(Gone<'g>)> Visitor<FormatOf<C>>
    for Clear<'_, '_, 'g, C, H, F>
{
    type Stop = Error;

    #[inline]
    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<L>,
    ) -> Result<Step, Error> {
        let single = self.exact.is_some();
        match spot.seen.entry() {
            Entry::Table(_) if self.exact == Some(L::LEVEL.span_lg2) => {
                return Err(spot.in_the_way());
            }
            Entry::Table(_) => return Ok(Step::Into),
            Entry::Leaf(frame) if spot.covered() => self.page(spot, frame),
            Entry::NonPresent(raw) if spot.covered() => self.non_present(spot, raw),
            Entry::Leaf(_) => {
                self.partly = true;
                return Err(spot.in_the_way());
            }
            Entry::NonPresent(raw) => return Err(Error::NonPresent { at: spot.at(), raw }),
            Entry::Empty | Entry::Malformed(_) if single => return Err(spot.in_the_way()),
            Entry::Empty => {}
            Entry::Malformed(raw) => {
                let (at, size_lg2) = (spot.whole.first(), L::LEVEL.span_lg2);
                (self.report)(Gone::Malformed { at, size_lg2, raw });
            }
        }
        Ok(Step::Over)
    }

    #[inline]
    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<L>,
        below: Table<L::Below>,
    ) -> Result<(), Error> {
        self.tree.prune(spot, below, self.gather)
    }
}
