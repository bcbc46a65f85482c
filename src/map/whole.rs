//! Tables that a range unmaps whole.
//!
//! Entry by entry, each page costs an instruction that locks the bus. A table of the lowest level that
//! a range covers whole is unlinked with all that is in it instead, and read when every CPU has dropped
//! it: then nobody writes to it any more, and the accessed and dirty bits in it are all that there are.
//! That takes a shootdown in the verb, and so is for ranges that would make one anyway.

use super::clear::{Clear, unmapped};
use crate::addr::VirtAddr;
use crate::gather::Gone;
use crate::level::{Config, Entry, Error, Format, PageTableLevel, Word};
use crate::table::{Fresh, Host, PlainOf};
use crate::walk::{FormatOf, LeafmostOf, Spot};
use core::sync::atomic::Ordering;

impl<'g, C: Config, H: Host, F: FnMut(Gone<'g>)> Clear<'_, '_, 'g, C, H, F> {
    /// Reports an entry after all that was met before.
    #[inline]
    pub(super) fn tell(&mut self, gone: Gone<'g>) {
        self.report_whole();
        (self.report)(gone);
    }

    /// Unlinks the table of the lowest level that a spot names, with all that is in it, where nothing
    /// speaks against that: it has one name, no copy in limbo and no entry that must stay, and no
    /// translation of it serves other spaces.
    #[inline]
    pub(super) fn unlink_whole<L>(&mut self, spot: &Spot<'_, L>) -> Result<bool, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let plain = L::LEVEL.height == 1 && self.wholesale && spot.covered();
        let ours = self.tree.local && !self.tree.strange.load(Ordering::Relaxed);
        if !plain || !ours {
            return Ok(false);
        }
        let Some(below) = spot.seen.plain_below(&self.tree.host, false)? else { return Ok(false) };
        if self.whole.is_full() {
            self.report_whole();
        }
        self.tree.ground().replace(spot, 0);
        spot.table.one_less(&self.tree.host);
        self.tree.note::<L>(self.gather, spot.whole, 0);
        self.gather.add_tables();
        let _ = self.whole.try_push((below.frame(), spot.whole.first()));
        Ok(true)
    }

    /// Makes every CPU drop the tables that were unlinked whole. Then nobody writes to them any more,
    /// and what they hold is reported.
    #[inline]
    pub(super) fn report_whole(&mut self) {
        if !self.whole.is_empty() {
            self.report_unlinked();
        }
    }

    #[inline(never)]
    fn report_unlinked(&mut self) {
        let host = &self.tree.host;
        self.gather.flush(host);
        for (frame, at) in core::mem::take(&mut self.whole) {
            // One that the host reaches no more, against its word, is leaked.
            let limits = &self.tree.sight.limits;
            if let Some(table) = Fresh::<LeafmostOf<C>, H>::taken_back(host, limits, frame) {
                self.report_all(at, &table);
            }
        }
    }

    fn report_all(&mut self, at: VirtAddr, table: &Fresh<'_, LeafmostOf<C>, H>) {
        let words = table.words();
        let all = words.iter().fold(u64::MAX, |all, word| all & word.raw());
        // What is present is a leaf, since it is not malformed: where such an entry can be, no table is
        // unlinked whole.
        if !all & FormatOf::<C>::PRESENT != 0 {
            return pages::<LeafmostOf<C>>(at, words, |at, raw| self.report_any(at, raw));
        }
        pages::<LeafmostOf<C>>(at, words, |at, raw| (self.report)(page::<LeafmostOf<C>>(at, raw)));
    }

    fn report_any(&mut self, at: VirtAddr, raw: u64) {
        let size_lg2 = FormatOf::<C>::PAGE_LG2;
        match self.tree.sight.of::<LeafmostOf<C>>().decode::<LeafmostOf<C>>(raw) {
            Entry::Empty => {}
            Entry::Leaf(_) => (self.report)(page::<LeafmostOf<C>>(at, raw)),
            Entry::NonPresent(_) => (self.report)(Gone::NonPresent { at, size_lg2, raw }),
            // Neither is there: such a table is not unlinked whole.
            Entry::Table(_) | Entry::Malformed(_) => {
                (self.report)(Gone::Malformed { at, size_lg2, raw });
            }
        }
    }
}

/// Shows every word and the address of its page, from `at` on.
#[inline(always)]
fn pages<L: PageTableLevel>(
    mut at: VirtAddr,
    words: &[PlainOf<L>],
    mut show: impl FnMut(VirtAddr, u64),
) {
    for word in words {
        show(at, word.raw());
        at = VirtAddr(at.0.wrapping_add(1 << L::LEVEL.span_lg2));
    }
}

/// The page at `at` whose leaf was `raw` in the end.
#[inline(always)]
fn page<'g, L: PageTableLevel>(at: VirtAddr, raw: u64) -> Gone<'g> {
    let frame = L::Format::address(L::LEVEL, true, raw);
    Gone::Page(unmapped::<L>(at, frame, raw))
}
