//! Unmap.

use super::tree::Tree;
use crate::addr::{PhysAddr, Span, VirtAddr, low_bits};
use crate::gather::{Gather, Gone, Unmapped};
use crate::level::{Config, Entry, Error, Format, PageTableLevel};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, LeafmostOf, Spot, Step, Visitor};
use arrayvec::ArrayVec;

/// Empties the entries of a span, and reports what was in them.
pub(crate) struct Clear<'a, 'r, 'g, C, H, F> {
    pub(super) tree: &'a Tree<'r, C, H>,
    pub(super) gather: &'a mut Gather<'g>,
    pub(super) report: F,
    /// The one page meant has 2 to this many bytes; without it, holes and pages of any size are well.
    pub(super) exact: Option<u8>,
    /// Whether tables are unlinked whole.
    pub(super) wholesale: bool,
    /// A larger leaf was met; nothing has been changed.
    partly: bool,
    /// Tables of the lowest level that were unlinked with all that is in them, which is not reported
    /// yet, and the first address of each. If they are dropped, they leak.
    pub(super) whole: ArrayVec<(PhysAddr, VirtAddr), { Gather::MAX_TABLES }>,
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
        let mut clear = self.clear(gather, None, report);
        clear.wholesale = C::FREE_EMPTY_TABLES && whole_tables::<C>(span) >= C::UNMAP_WHOLE_FROM;
        let result = self.walk(span, &mut clear);
        clear.report_whole();
        result
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

    /// Unmaps the base page of an entry in a table that serves it, if an ordinary one is there, and, with
    /// `LOCAL`, one that is not global. The caller counts it.
    #[inline(always)]
    pub(crate) fn take<'g, const LOCAL: bool>(
        &self,
        (table, index): (Table<LeafmostOf<C>>, usize),
        page: Span,
        gather: &mut Gather<'g>,
    ) -> Option<Unmapped<'g>> {
        let seen = table.see(index, &self.sight);
        let spot = Spot { table, index, whole: page, part: page, seen };
        if !LOCAL {
            return Some(self.cleared(&spot, seen.leaf()?, gather));
        }
        let frame = seen.local_leaf()?;
        let was = self.ground().replace(&spot, 0);
        self.note_local::<LeafmostOf<C>>(gather, page.first());
        Some(unmapped::<LeafmostOf<C>>(page.first(), frame, was))
    }

    /// Clears an entry that is a leaf. The caller counts it.
    #[inline(always)]
    fn cleared<'g, L>(
        &self,
        spot: &Spot<'_, L>,
        frame: PhysAddr,
        gather: &mut Gather<'g>,
    ) -> Unmapped<'g>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let was = self.ground().replace(spot, 0);
        self.note::<L>(gather, spot.whole, was);
        unmapped::<L>(spot.whole.first(), frame, was)
    }

    /// Clears an entry of the user's own.
    #[cold]
    #[inline(never)]
    fn cleared_own<'g, L>(&self, spot: Spot<'_, L>, raw: u64) -> Gone<'g>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        self.ground().put(&spot, 0);
        spot.table.one_less(&self.host);
        Gone::NonPresent { at: spot.whole.first(), size_lg2: L::LEVEL.span_lg2, raw }
    }

    #[inline(always)]
    fn clear<'a, 'g, F: FnMut(Gone<'g>)>(
        &'a self,
        gather: &'a mut Gather<'g>,
        exact: Option<u8>,
        report: F,
    ) -> Clear<'a, 'r, 'g, C, H, F> {
        let whole = ArrayVec::new_const();
        Clear { tree: self, gather, report, exact, wholesale: false, partly: false, whole }
    }
}

/// How many tables of the lowest level serve nothing but bytes of a span.
fn whole_tables<C: Config>(span: Span) -> u64 {
    let reach_lg2 = LeafmostOf::<C>::LEVEL.reach_lg2();
    let (first, last, rest) = (span.first().0, span.last().0, low_bits(reach_lg2));
    let up = (first >> reach_lg2).saturating_add(u64::from(first & rest != 0));
    let down = (last >> reach_lg2).saturating_add(u64::from(last & rest == rest));
    down.saturating_sub(up)
}

/// The page at `at` whose leaf said `was` in the end.
#[inline(always)]
pub(super) fn unmapped<'g, L>(at: VirtAddr, frame: PhysAddr, was: u64) -> Unmapped<'g>
where
    L: PageTableLevel,
{
    Unmapped::new(at, L::LEVEL.span_lg2, L::Format::attrs(L::LEVEL, was), frame)
}

impl<'g, C: Config, H: Host, F: FnMut(Gone<'g>)> Visitor<FormatOf<C>>
    for Clear<'_, '_, 'g, C, H, F>
{
    type Stop = Error;

    #[inline(always)]
    fn leaves<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        table: Table<L>,
        rest: Span,
    ) -> usize {
        self.report_whole();
        let mut at = rest.first();
        self.tree.each_leaf(table, rest, |index, _| {
            let was = table.live().swap(index, 0);
            table.one_less(&self.tree.host);
            // Before it is reported, since a report may panic.
            self.tree.note::<L>(self.gather, Span::around(at, L::LEVEL.span_lg2), was);
            let frame = L::Format::address(L::LEVEL, true, was);
            (self.report)(Gone::Page(unmapped::<L>(at, frame, was)));
            at = VirtAddr(at.0.wrapping_add(1 << L::LEVEL.span_lg2));
        })
    }

    #[inline(always)]
    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        let single = self.exact.is_some();
        if L::LEVEL.height == 1 && self.unlink_whole(spot)? {
            return Ok(Step::Over);
        }
        match spot.seen.entry() {
            Entry::Table(_) if self.exact == Some(L::LEVEL.span_lg2) => {
                return Err(spot.in_the_way());
            }
            Entry::Table(_) => return Ok(Step::Into),
            Entry::Leaf(frame) if spot.covered() => {
                let page = self.tree.cleared(spot, frame, self.gather);
                spot.table.one_less(&self.tree.host);
                self.tell(Gone::Page(page));
            }
            Entry::NonPresent(raw) if spot.covered() => {
                let own = self.tree.cleared_own(*spot, raw);
                self.tell(own);
            }
            Entry::Leaf(_) => {
                self.partly = true;
                return Err(spot.in_the_way());
            }
            Entry::NonPresent(raw) => return Err(Error::NonPresent { at: spot.at(), raw }),
            Entry::Empty | Entry::Malformed(_) if single => return Err(spot.in_the_way()),
            Entry::Empty => {}
            Entry::Malformed(raw) => {
                let (at, size_lg2) = (spot.whole.first(), L::LEVEL.span_lg2);
                self.tell(Gone::Malformed { at, size_lg2, raw });
            }
        }
        Ok(Step::Over)
    }

    #[inline]
    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
        below: Table<L::Below>,
    ) -> Result<(), Error> {
        self.tree.prune(spot, below, self.gather)
    }
}
