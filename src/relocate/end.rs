//! The end of a batch.

use super::Mover;
use super::policy::tally;
use crate::addr::Span;
use crate::level::{Config, Entry, Error, Format, PageTableLevel, relocatable};
use crate::limbo::Record;
use crate::table::{Host, Table, Words, with_roots};
use crate::walk::{FormatOf, Half, Names, RootOf, Spot, Step, Visitor, used_bits};
use core::ops::Range;

impl<C: Config, H: Host> Mover<'_, C, H> {
    /// Makes every CPU drop what is in limbo, merges what hardware has noted there, and gives the
    /// frames back. Does nothing if nothing is in limbo.
    pub(crate) fn end(&mut self) {
        if !relocatable::<C>() {
            return;
        }
        let Some(due) = self.limbo.due() else { return };
        self.shoot_down(due);
        // A table that the host does not reach, against its word, stays in limbo with those after it.
        let _ = self.settle_all();
        let freed = &mut self.statistics.freed;
        self.limbo.give_back(self.ground.host, |record| tally(freed, record.height));
    }

    fn settle_all(&self) -> Result<(), Error> {
        while let Some(record) = self.limbo.unsettled() {
            self.settle(&record)?;
        }
        Ok(())
    }

    fn settle(&self, record: &Record) -> Result<(), Error> {
        if record.height == RootOf::<C>::LEVEL.height {
            return self.settle_root(record);
        }
        let mut settle = Settle { mover: self, record, settled: false };
        match self.ground.names {
            Names::Aliased => self.walk_names(&mut settle)?,
            Names::Unique => {
                let page = Span::around(record.at, FormatOf::<C>::PAGE_LG2);
                self.ground.descend(self.ground.root(self.cell)?, page, &mut settle)?;
            }
        }
        if !settle.settled {
            // Nothing names the table any more: there is nothing to merge it into.
            self.limbo.settled(record.new);
        }
        Ok(())
    }

    /// Roots that share a half are changed under their list's lock; there the old one is taken off, when
    /// what was noted in its words of that half is in the new one's. Other spaces write there, too: a sum
    /// of words tells nothing.
    fn settle_root(&self, record: &Record) -> Result<(), Error> {
        let root = self.ground.root(self.cell)?;
        if self.ground.half == Half::Apart {
            self.merge(root, None);
        } else {
            with_roots(self.ground.host, |list| {
                self.merge(root, None);
                list.remove(record.old);
            });
        }
        self.limbo.settled(record.new);
        self.cell.clear_twin();
        Ok(())
    }

    /// Whether the sum of the words of a table tells if hardware has noted anything in them.
    ///
    /// Hardware sets bits, and so makes the sum larger: by less than comes around to the same again, if
    /// the bits are not the uppermost ones.
    pub(super) fn sum_tells<M>() -> bool
    where
        M: PageTableLevel<Format = FormatOf<C>>,
    {
        used_bits::<M>().leading_zeros() >= u32::from(M::LEVEL.index_lg2)
    }

    /// Gives the live table what hardware has noted in the copy, where both say the same. `sum` is what
    /// the copy's words added up to before, if that is known to tell.
    fn merge<M>(&self, table: Table<M>, sum: Option<u64>)
    where
        M: PageTableLevel<Format = FormatOf<C>>,
    {
        let Some(twin) = table.twin() else { return };
        if sum.is_some_and(|sum| sum == twin.quiet_sum()) {
            return;
        }
        // Most often there is nothing new in many entries: a look at several at once finds that out.
        let run = M::LEVEL.entries().min(16);
        let mut first = 0;
        while first < M::LEVEL.entries() {
            let next = first.saturating_add(run);
            let new = |index| twin.load(index) & !table.load(index);
            if (first..next).fold(0, |any, index| any | new(index)) & used_bits::<M>() != 0 {
                self.merge_some(table, twin, first..next);
            }
            first = next;
        }
    }

    #[inline(never)]
    fn merge_some<M>(&self, table: Table<M>, twin: Words<M>, indices: Range<usize>)
    where
        M: PageTableLevel<Format = FormatOf<C>>,
    {
        let sight = self.ground.sight;
        for index in indices {
            let noted = M::Format::copied(M::LEVEL, twin.load(index)) & used_bits::<M>();
            if noted & !table.load(index) == 0 {
                continue;
            }
            let (old, now) = (twin.see(index, sight).entry(), table.see(index, sight).entry());
            let named = matches!(now, Entry::Leaf(_) | Entry::Table(_));
            // What is mirrored is alike. If it is not, somebody else has written there.
            if named && old == now {
                table.live().modify(index, 0, noted);
            }
        }
    }
}

/// Merges a table by whatever names it, and clears TWIN there.
struct Settle<'m, 'a, C: Config, H: Host> {
    mover: &'m Mover<'a, C, H>,
    record: &'m Record,
    settled: bool,
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Settle<'_, '_, C, H> {
    type Stop = Error;
    const EMPTY: bool = false;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        let level = <L::Below as PageTableLevel>::LEVEL;
        let ours = L::LEVEL.height != 0 && level.height == self.record.height;
        let moved = ours && spot.seen.raw & L::Format::TWIN != 0;
        if moved && spot.seen.names(self.record.new) {
            if let Some(below) = self.mover.ground.below(&spot.seen)? {
                self.mover.merge(below, self.record.sum);
            }
            // The record first: who sees TWIN finds the record, or is one who saw it before.
            self.mover.limbo.settled(self.record.new);
            self.settled = true;
            self.mover.ground.modify(spot, L::Format::TWIN, 0);
        }
        Ok(if ours { Step::Over } else { self.mover.onward(spot) })
    }
}
