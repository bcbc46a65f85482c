//! Walking the list of levels: one driver for ranges, one for a single page, and what to do at each
//! entry as a [`Visitor`].
//!
//! A verb is a visitor. It is compiled once for each level, so shifts and sizes are constants in it,
//! and it is written once.

mod copies;
mod ground;
mod names;
mod open;
mod reach;
mod read;

pub(crate) use copies::used_bits;
pub use ground::Names;
pub(crate) use ground::{Ground, Half};
pub(crate) use names::Name;
pub(crate) use open::Open;
pub(crate) use reach::Reach;
pub(crate) use read::{Finder, First, Leaves};
pub use read::{Mapped, Mapping};

use crate::addr::{Span, VirtAddr};
use crate::level::{Arch, Config, Entry, Error, Format, Found, PageTableLevel};
use crate::table::{Host, Seen, Table};

/// The level of a config's roots.
pub(crate) type RootOf<C> = <<C as Config>::Arch as Arch>::Root;
/// The format of a config's entries.
pub(crate) type FormatOf<C> = <<C as Config>::Arch as Arch>::Format;
/// The lowest level of a config.
pub(crate) type LeafmostOf<C> = <RootOf<C> as PageTableLevel>::Leafmost;

/// One entry of a walk.
pub(crate) struct Spot<'s, L> {
    /// The table that holds it.
    pub(crate) table: Table<L>,
    /// Its place in the table.
    pub(crate) index: usize,
    /// All that it stands for.
    pub(crate) whole: Span,
    /// What of it the walk is about.
    pub(crate) part: Span,
    /// What it said when the walk came by.
    pub(crate) seen: Seen<'s, L>,
}

impl<L> Clone for Spot<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L> Copy for Spot<'_, L> {}

impl<L> Spot<'_, L> {
    /// The first address that the walk is about here.
    pub(crate) fn at(&self) -> VirtAddr {
        self.part.first()
    }
}

impl<L: PageTableLevel> Spot<'_, L> {
    /// Whether the walk is about all of it. (A verb is about whole base pages.)
    #[inline]
    pub(crate) fn covered(&self) -> bool {
        L::LEVEL.height == 0 || self.part == self.whole
    }

    /// What is here, as an error says it: what was there, not what was asked for.
    #[inline(always)] // so that the spot itself need not be in memory
    pub(crate) fn in_the_way(&self) -> Error {
        in_the_way(self.at(), self.seen)
    }
}

#[cold]
#[inline(never)]
fn in_the_way<L: PageTableLevel>(at: VirtAddr, seen: Seen<'_, L>) -> Error {
    let found = match seen.entry() {
        Entry::Empty => return Error::NotMapped { at, size_lg2: L::LEVEL.span_lg2 },
        Entry::Malformed(raw) => return Error::Malformed { at, height: L::LEVEL.height, raw },
        Entry::NonPresent(raw) => Found::NonPresent { raw },
        Entry::Table(table) => Found::Table { table, height: L::LEVEL.height.saturating_sub(1) },
        Entry::Leaf(frame) => Found::Leaf { frame, size_lg2: L::LEVEL.span_lg2 },
    };
    Error::Occupied { at, found }
}

/// Where a walk goes after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the next entry.
    Over,
    /// Into the table that this entry names, if it names one, and then to the next.
    Into,
}

/// What to do at each entry.
pub(crate) trait Visitor<F: Format> {
    /// What ends the walk early.
    type Stop: From<Error>;
    /// Whether a walk of a range shows it entries that are empty, too.
    const EMPTY: bool = true;

    /// Comes to the pages of `rest` in a table of the lowest level that has no copy in limbo, and may
    /// deal with ordinary leaves from the first on. Answers how many it has dealt with; the others are
    /// shown to it one by one.
    #[inline(always)]
    fn leaves<L: PageTableLevel<Format = F>>(&mut self, table: Table<L>, rest: Span) -> usize {
        let _ = (table, rest);
        0
    }

    /// Comes by an entry, on the way down.
    fn entry<L: PageTableLevel<Format = F>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Self::Stop>;

    /// Comes back from the table `below`, which the entry named.
    #[inline]
    fn left<L: PageTableLevel<Format = F>>(
        &mut self,
        spot: &Spot<'_, L>,
        below: Table<L::Below>,
    ) -> Result<(), Self::Stop> {
        let _ = (spot, below);
        Ok(())
    }
}

impl<C: Config, H: Host> Ground<'_, C, H> {
    /// Visits every entry that stands for a byte of `span`, in order.
    ///
    /// `span` lies inside what `table` stands for.
    pub(crate) fn walk<L, V>(&self, table: Table<L>, span: Span, v: &mut V) -> Result<(), V::Stop>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
        V: Visitor<FormatOf<C>>,
    {
        let mut slots = Slots::<L>::of(span);
        loop {
            if L::LEVEL.height == 0 && !Self::is_root::<L>() && table.twin().is_none() {
                if let Some(rest) = slots.rest() {
                    slots.skip_over(v.leaves(table, rest));
                }
            }
            if !V::EMPTY {
                slots.skip_over(slots.empty_in(table));
            }
            let Some((whole, part)) = slots.next() else { return Ok(()) };
            let index = L::LEVEL.index(whole.first());
            self.visit::<L, V>(table, index, (whole, part), v, Self::walk::<L::Below, V>)?;
        }
    }

    /// The table of the lowest level that serves `at`, if only plain entries lead there from `table`,
    /// and what of `granted` these grant. `None` may mean anything else: it is to be looked at.
    #[inline(always)] // so that nothing of the hot path goes through memory
    pub(crate) fn straight<L>(
        &self,
        table: Table<L>,
        at: VirtAddr,
        granted: u64,
    ) -> Option<(Table<LeafmostOf<C>>, u64)>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        if L::LEVEL.height == 0 {
            // A root of this height may have a twin.
            return if Self::is_root::<L>() { None } else { Some((table.if_of()?, granted)) };
        }
        let seen = table.see(L::LEVEL.index(at), self.sight);
        let below = seen.plain_below(self.host, false).ok()??;
        self.straight(below, at, granted & L::Format::grants(L::LEVEL, seen.raw))
    }

    /// Visits the entry for one base page in the table of the lowest level that serves it.
    #[inline(always)] // as above
    pub(crate) fn page<V: Visitor<FormatOf<C>>>(
        &self,
        table: Table<LeafmostOf<C>>,
        index: usize,
        page: Span,
        v: &mut V,
    ) -> Result<(), V::Stop> {
        self.visit::<LeafmostOf<C>, V>(table, index, (page, page), v, |_, _, _, _| Ok(()))
    }

    /// Visits the entries that stand for the first byte of `part`, from the root down.
    pub(crate) fn descend<L, V>(
        &self,
        table: Table<L>,
        part: Span,
        v: &mut V,
    ) -> Result<(), V::Stop>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
        V: Visitor<FormatOf<C>>,
    {
        let whole = Span::around(part.first(), L::LEVEL.span_lg2);
        let part = part.intersect(whole).unwrap_or(whole);
        let index = L::LEVEL.index(whole.first());
        self.visit::<L, V>(table, index, (whole, part), v, Self::descend::<L::Below, V>)
    }

    #[inline(always)] // the visitor's part of it is what counts
    fn visit<L, V>(
        &self,
        table: Table<L>,
        index: usize,
        (whole, part): (Span, Span),
        v: &mut V,
        go_on: impl FnOnce(&Self, Table<L::Below>, Span, &mut V) -> Result<(), V::Stop>,
    ) -> Result<(), V::Stop>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
        V: Visitor<FormatOf<C>>,
    {
        if Self::is_root::<L>() && self.self_map == Some(index) {
            return Ok(());
        }
        let spot = Spot { table, index, whole, part, seen: self.see(table, index, whole) };
        if v.entry(&spot)? == Step::Into && L::LEVEL.height != 0 {
            if let Some(below) = self.below(&spot.seen)? {
                go_on(self, below, part, v)?;
                v.left(&spot, below)?;
            }
        }
        Ok(())
    }
}

/// The entries of one table that stand for the bytes of a span, in order: all that each stands for,
/// and what of it is in the span.
pub(crate) struct Slots<L> {
    /// The first address of what is left.
    at: VirtAddr,
    last: VirtAddr,
    left: u64,
    level: core::marker::PhantomData<L>,
}

impl<L: PageTableLevel> Slots<L> {
    /// The span lies inside what one table stands for.
    #[inline]
    pub(crate) fn of(span: Span) -> Self {
        let (at, last) = (span.first(), span.last());
        let further = last.0.wrapping_sub(at.align_down(L::LEVEL.span_lg2).0);
        let left = further.wrapping_shr(L::LEVEL.span_lg2.into()).saturating_add(1);
        Self { at, last, left, level: core::marker::PhantomData }
    }

    /// The bytes that are left.
    #[inline]
    fn rest(&self) -> Option<Span> {
        if self.left == 0 { None } else { Span::inclusive(self.at, self.last) }
    }

    /// How many of the next ones are empty.
    #[inline]
    fn empty_in(&self, table: Table<L>) -> usize {
        // No more than a table has.
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        table.live().empty_from(L::LEVEL.index(self.at), left)
    }

    /// Leaves out the next `count`.
    #[inline]
    pub(crate) fn skip_over(&mut self, count: usize) {
        let count = (count as u64).min(self.left);
        if count != 0 {
            self.left = self.left.wrapping_sub(count);
            let bytes = count.wrapping_shl(L::LEVEL.span_lg2.into());
            self.at = VirtAddr(self.at.align_down(L::LEVEL.span_lg2).0.wrapping_add(bytes));
        }
    }
}

impl<L: PageTableLevel> Iterator for Slots<L> {
    type Item = (Span, Span);

    #[inline]
    fn next(&mut self) -> Option<(Span, Span)> {
        self.left = self.left.checked_sub(1)?;
        let whole = Span::around(self.at, L::LEVEL.span_lg2);
        let part = whole.cut(self.at, self.last);
        self.at = VirtAddr(whole.last().0.wrapping_add(1));
        Some((whole, part))
    }
}
