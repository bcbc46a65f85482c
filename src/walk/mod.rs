//! Walking the list of levels: one driver for ranges, one for a single page, and what to do at each
//! entry as a [`Visitor`].
//!
//! A verb is a visitor. It is compiled once for each level, so shifts and sizes are constants in it,
//! and it is written once.

mod copies;
mod ground;
mod names;
mod reach;
mod read;

pub(crate) use copies::used_bits;
pub use ground::Names;
pub(crate) use ground::{Ground, Half};
pub(crate) use names::Name;
pub(crate) use reach::Reach;
pub(crate) use read::{Finder, First, Path, Stopped};
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
pub(crate) struct Spot<L> {
    /// The table that holds it.
    pub(crate) table: Table<L>,
    /// Its place in the table.
    pub(crate) index: usize,
    /// All that it stands for.
    pub(crate) whole: Span,
    /// What of it the walk is about.
    pub(crate) part: Span,
    /// What it said when the walk came by.
    pub(crate) seen: Seen<L>,
}

impl<L> Spot<L> {
    /// The first address that the walk is about here.
    pub(crate) fn at(&self) -> VirtAddr {
        self.part.first()
    }

    /// Whether the walk is about all of it.
    pub(crate) fn covered(&self) -> bool {
        self.part == self.whole
    }
}

impl<L: PageTableLevel> Spot<L> {
    /// What is here, as an error says it: what was there, not what was asked for.
    #[cold]
    pub(crate) fn in_the_way(&self) -> Error {
        let at = self.at();
        let found = match self.seen.entry() {
            Entry::Empty => return Error::NotMapped { at, size_lg2: L::LEVEL.span_lg2 },
            Entry::Malformed(raw) => return Error::Malformed { at, height: L::LEVEL.height, raw },
            Entry::NonPresent(raw) => Found::NonPresent { raw },
            Entry::Table(table) => {
                Found::Table { table, height: L::LEVEL.height.saturating_sub(1) }
            }
            Entry::Leaf(frame) => Found::Leaf { frame, size_lg2: L::LEVEL.span_lg2 },
        };
        Error::Occupied { at, found }
    }
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

    /// Comes by an entry, on the way down.
    fn entry<L: PageTableLevel<Format = F>>(&mut self, spot: &Spot<L>) -> Result<Step, Self::Stop>;

    /// Comes back from the table `below`, which the entry named.
    #[inline]
    fn left<L: PageTableLevel<Format = F>>(
        &mut self,
        spot: &Spot<L>,
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
        for (whole, part) in Slots::<L>::of(span) {
            self.visit::<L, V>(table, whole, part, v, Self::walk::<L::Below, V>)?;
        }
        Ok(())
    }

    /// Visits the entries that stand for the first byte of `part`, from the root down.
    #[inline]
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
        self.visit::<L, V>(table, whole, part, v, Self::descend::<L::Below, V>)
    }

    #[inline]
    fn visit<L, V>(
        &self,
        table: Table<L>,
        whole: Span,
        part: Span,
        v: &mut V,
        go_on: impl FnOnce(&Self, Table<L::Below>, Span, &mut V) -> Result<(), V::Stop>,
    ) -> Result<(), V::Stop>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
        V: Visitor<FormatOf<C>>,
    {
        let index = L::LEVEL.index(whole.first());
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
    rest: Option<Span>,
    level: core::marker::PhantomData<L>,
}

impl<L: PageTableLevel> Slots<L> {
    #[inline]
    pub(crate) fn of(span: Span) -> Self {
        Self { rest: Some(span), level: core::marker::PhantomData }
    }
}

impl<L: PageTableLevel> Iterator for Slots<L> {
    type Item = (Span, Span);

    #[inline]
    fn next(&mut self) -> Option<(Span, Span)> {
        let rest = self.rest?;
        let whole = Span::around(rest.first(), L::LEVEL.span_lg2);
        let next = whole.last().0.checked_add(1).map(VirtAddr);
        self.rest = next.and_then(|next| Span::inclusive(next, rest.last()));
        Some((whole, rest.intersect(whole)?))
    }
}
