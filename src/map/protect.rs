//! Protect.

use super::tree::{Tree, pages};
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::gather::Gather;
use crate::level::{
    Change, Config, Entry, Error, Fields, Format, MAX_LEVELS, PageTableLevel, Rights,
};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, LeafmostOf, RootOf, Spot, Step, Visitor};

/// Changes parts of the leaves of a span; hardware's accessed and dirty bits stay.
pub(crate) struct Protect<'a, 'r, 'g, C, H> {
    tree: &'a Tree<'r, C, H>,
    gather: &'a mut Gather<'g>,
    bits: Bits,
    /// What the tables above must grant from now on.
    rights: Rights,
    exact: Option<u8>,
    /// The last page that was changed.
    changed: Option<VirtAddr>,
    partly: bool,
}

/// What to clear and to set in leaves of each height.
type Bits = [(u64, u64); MAX_LEVELS];

impl<'r, C: Config, H: Host> Tree<'r, C, H> {
    /// Changes all pages of a span; what it covers only in part is split. Holes, and entries that
    /// are no pages, stay as they are.
    pub(crate) fn protect_range(
        &self,
        span: Span,
        change: Change,
        gather: &mut Gather<'_>,
    ) -> Result<(), Error> {
        self.admit_with(span, gather)?;
        let mut protector = self.protector(change, gather, None)?;
        self.cut(span, protector.gather)?;
        self.walk(span, &mut protector)
    }

    /// Changes one page of exactly this size; a larger one is split.
    pub(crate) fn protect(
        &self,
        page: Span,
        size_lg2: u8,
        change: Change,
        gather: &mut Gather<'_>,
    ) -> Result<(), Error> {
        self.admit_with(page, gather)?;
        self.admit_size(size_lg2)?;
        let mut protector = self.protector(change, gather, Some(size_lg2))?;
        let result = self.descend(page, &mut protector);
        if !protector.partly {
            return result;
        }
        self.cut(page, protector.gather)?;
        self.descend(page, &mut protector)
    }

    /// Changes one base page of a table that serves it, under entries that grant what it asks for.
    pub(crate) fn protect_in(
        &self,
        (table, index): (Table<LeafmostOf<C>>, usize),
        page: Span,
        change: Change,
        gather: &mut Gather<'_>,
    ) -> Result<(), Error> {
        gather.bind(self.owner)?;
        let exact = Some(FormatOf::<C>::PAGE_LG2);
        let mut protector = self.protector(change, gather, exact)?;
        self.ground().page(table, index, page, &mut protector)
    }

    /// The visitor for a change; an error if some level cannot say it.
    fn protector<'a, 'g>(
        &'a self,
        change: Change,
        gather: &'a mut Gather<'g>,
        exact: Option<u8>,
    ) -> Result<Protect<'a, 'r, 'g, C, H>, Error> {
        self.sight.limits.permit(&change.to())?;
        self.expect(change.fields().contains(Fields::GLOBAL) && change.to().global);
        let mut bits = [(0, 0); MAX_LEVELS];
        level_bits::<RootOf<C>>(change, &mut bits).map_err(Error::Unsupported)?;
        let to_rights = change.fields().contains(Fields::RIGHTS);
        let rights = if to_rights { change.to().rights } else { Rights::empty() };
        Ok(Protect { tree: self, gather, bits, rights, exact, changed: None, partly: false })
    }
}

fn level_bits<L: PageTableLevel>(
    change: Change,
    bits: &mut Bits,
) -> Result<(), crate::level::Feature> {
    if L::LEVEL.maps {
        let mask = L::Format::mask(L::LEVEL, change.fields());
        let to = L::Format::leaf(L::LEVEL, PhysAddr(0), &change.to())? & mask;
        if let Some(place) = bits.get_mut(usize::from(L::LEVEL.height)) {
            *place = (mask & !to, to);
        }
    }
    if L::LEVEL.height == 0 { Ok(()) } else { level_bits::<L::Below>(change, bits) }
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Protect<'_, '_, '_, C, H> {
    type Stop = Error;

    #[inline(always)]
    fn leaves<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        table: Table<L>,
        rest: Span,
    ) -> usize {
        let (clear, set) = self.bits.first().copied().unwrap_or_default();
        let mut any = 0;
        let done = self.tree.each_leaf(table, rest, |index, raw| {
            any |= table.live().modify_from(index, raw, clear, set);
        });
        if let Some(span) = pages::<L>(rest, done) {
            self.tree.note::<L>(self.gather, span, any);
            self.changed = Some(span.last());
        }
        done
    }

    #[inline]
    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        match spot.seen.entry() {
            Entry::Table(_) if self.exact != Some(L::LEVEL.span_lg2) => return Ok(Step::Into),
            Entry::Leaf(_) if spot.covered() => {
                let height = usize::from(L::LEVEL.height);
                let (clear, set) = self.bits.get(height).copied().unwrap_or_default();
                let was = self.tree.ground().modify(spot, clear, set);
                self.tree.note::<L>(self.gather, spot.whole, was);
                self.changed = Some(spot.at());
            }
            Entry::NonPresent(raw) if self.exact.is_some() => {
                return Err(Error::NonPresent { at: spot.at(), raw });
            }
            Entry::Leaf(_) => {
                self.partly = true;
                return Err(spot.in_the_way());
            }
            _ if self.exact.is_some() => return Err(spot.in_the_way()),
            _ => {}
        }
        Ok(Step::Over)
    }

    #[inline]
    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
        _: Table<L::Below>,
    ) -> Result<(), Error> {
        if self.changed.is_some_and(|at| spot.part.contains(at)) {
            self.tree.widen(spot, self.rights);
        }
        Ok(())
    }
}
