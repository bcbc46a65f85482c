//! Test and clear accessed and dirty bits.

use super::tree::Tree;
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::gather::Gather;
use crate::level::{Attrs, Config, Entry, Error, Fields, Format, PageTableLevel};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, LeafmostOf, Spot, Step, Visitor};
use bitflags::bitflags;

bitflags! {
    /// What hardware notes of a page.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Used: u8 {
        /// It has used the translation.
        const ACCESSED = 1 << 0;
        /// It has written through it.
        const DIRTY = 1 << 1;
    }
}

/// A page of which a bit was set, and is clear now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsedPage {
    /// Its first address.
    pub at: VirtAddr,
    /// It has 2 to this many bytes.
    pub size_lg2: u8,
    /// Its frame.
    pub frame: PhysAddr,
    /// What the leaf said before.
    pub attrs: Attrs,
}

/// Clears bits that hardware sets, and reports where they were set.
pub(crate) struct Scan<'a, 'r, 'g, C, H, F> {
    tree: &'a Tree<'r, C, H>,
    gather: &'a mut Gather<'g>,
    fields: Fields,
    report: F,
}

impl<'r, C: Config, H: Host> Tree<'r, C, H> {
    pub(crate) fn test_and_clear(
        &self,
        span: Span,
        used: Used,
        gather: &mut Gather<'_>,
        report: impl FnMut(UsedPage),
    ) -> Result<(), Error> {
        self.admit_with(span, gather)?;
        self.walk(span, &mut self.scanner(used, gather, report))
    }

    /// The same for one base page, at this place of a table if that is known to serve it.
    pub(crate) fn scan_page(
        &self,
        place: Option<(Table<LeafmostOf<C>>, usize)>,
        page: Span,
        used: Used,
        gather: &mut Gather<'_>,
        report: impl FnMut(UsedPage),
    ) -> Result<(), Error> {
        self.admit_with(page, gather)?;
        let mut scanner = self.scanner(used, gather, report);
        match place {
            Some((table, index)) => self.ground().page(table, index, page, &mut scanner),
            None => self.descend(page, &mut scanner),
        }
    }

    fn scanner<'a, 'g, F: FnMut(UsedPage)>(
        &'a self,
        used: Used,
        gather: &'a mut Gather<'g>,
        report: F,
    ) -> Scan<'a, 'r, 'g, C, H, F> {
        let when = |bit, field| if used.contains(bit) { field } else { Fields::empty() };
        let fields = when(Used::ACCESSED, Fields::ACCESSED) | when(Used::DIRTY, Fields::DIRTY);
        Scan { tree: self, gather, fields, report }
    }
}

impl<C: Config, H: Host, F: FnMut(UsedPage)> Visitor<FormatOf<C>> for Scan<'_, '_, '_, C, H, F> {
    type Stop = Error;

    #[inline]
    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        let Entry::Leaf(frame) = spot.seen.entry() else {
            return Ok(Step::Into);
        };
        let mask = L::Format::mask(L::LEVEL, self.fields);
        // A bit that is set after this look is one of the next scan.
        if spot.seen.raw & mask != 0 {
            let was = self.tree.ground().modify(spot, mask, 0);
            self.tree.note::<L>(self.gather, spot.whole, was);
            (self.report)(UsedPage {
                at: spot.whole.first(),
                size_lg2: L::LEVEL.span_lg2,
                frame,
                attrs: L::Format::attrs(L::LEVEL, was),
            });
        }
        Ok(Step::Over)
    }
}
