//! A space as the verbs see it.

use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::gather::{Gather, Owner};
use crate::level::{
    Attrs, Config, Error, Feature, Format, PageTableLevel, Sight, levels, relocatable,
};
use crate::limbo::Limbo;
use crate::table::{Host, NoTwins, RootCell, Table};
use crate::walk::{
    FormatOf, Ground, Half, LeafmostOf, Mapping, Names, Open, Reach, RootOf, Visitor,
};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};

/// A space: its root, its host, and what is known of both.
pub(crate) struct Tree<'r, C, H> {
    pub(crate) host: H,
    pub(crate) cell: &'r RootCell,
    pub(crate) owner: Owner,
    pub(crate) sight: Sight,
    pub(crate) names: Names,
    pub(crate) half: Half,
    /// Whether what changes is stale at its own addresses and in this space alone.
    pub(crate) local: bool,
    pub(crate) self_map: Option<usize>,
    /// Addresses that need no further admission.
    pub(crate) open: Open,
    /// Whether a leaf in it may be global, or an entry malformed.
    pub(crate) strange: AtomicBool,
    pub(crate) limbo: Limbo,
    pub(crate) config: PhantomData<C>,
}

impl<C: Config, H: Host> Tree<'_, C, H> {
    #[inline]
    pub(crate) fn ground(&self) -> Ground<'_, C, H> {
        Ground {
            host: &self.host,
            twins: if relocatable::<C>() { &self.limbo } else { &NoTwins },
            space: Some(self.cell.id()),
            sight: &self.sight,
            names: self.names,
            half: self.half,
            local: self.local,
            self_map: self.self_map,
            config: PhantomData,
        }
    }

    /// Is told of what is about to be mapped.
    #[inline(always)]
    pub(crate) fn expect(&self, global: bool) {
        if global {
            self.strange.store(true, Ordering::Relaxed);
            if relocatable::<C>() {
                self.limbo.has_global();
            }
        }
    }

    #[inline]
    pub(crate) fn root(&self) -> Result<Table<RootOf<C>>, Error> {
        self.ground().root(self.cell)
    }

    /// The table of the lowest level that serves `at`, and what the entries on the way grant, if all of
    /// these are plain.
    #[inline(always)]
    pub(crate) fn straight(&self, at: VirtAddr) -> Option<(Table<LeafmostOf<C>>, u64)> {
        let (root, _) = self.cell.table::<RootOf<C>, H>(&self.host).ok()?;
        self.ground().straight(root, at, u64::MAX)
    }

    /// The base page that is mapped at `at`, if the way there is straight.
    #[inline(always)]
    pub(crate) fn base_page(&self, at: VirtAddr) -> Option<Mapping> {
        if !self.open.contains(at) {
            return None;
        }
        let (table, granted) = self.straight(at)?;
        let level = LeafmostOf::<C>::LEVEL;
        let seen = table.see(level.index(at), &self.sight);
        let frame = seen.leaf()?;
        Some(Mapping::of::<LeafmostOf<C>>(at.align_down(level.span_lg2), frame, seen.raw, granted))
    }

    /// Refuses what [`Ground::admit`] does.
    #[inline]
    pub(crate) fn admit(&self, page: Span) -> Result<(), Error> {
        if self.open.covers(page) && page.is_aligned(FormatOf::<C>::PAGE_LG2) {
            return Ok(());
        }
        self.ground().admit(page)
    }

    /// Does something with the ordinary leaves for the pages of `rest` in a table of the lowest level,
    /// up to the first entry that is something else, and answers how many there were.
    #[inline(always)]
    pub(super) fn each_leaf<L>(
        &self,
        table: Table<L>,
        rest: Span,
        mut work: impl FnMut(usize, u64),
    ) -> usize
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let (first, last) = (L::LEVEL.index(rest.first()), L::LEVEL.index(rest.last()));
        let (sight, mut index) = (self.sight.of::<L>(), first);
        loop {
            let raw = table.load(index);
            if !sight.is_leaf::<L>(raw) {
                return index.wrapping_sub(first);
            }
            work(index, raw);
            if index == last {
                return last.wrapping_sub(first).saturating_add(1);
            }
            // It never is past the table's end, which so need not be checked at each entry.
            index = index.wrapping_add(1) & L::LEVEL.entries().wrapping_sub(1);
        }
    }

    /// Visits every entry of a span.
    pub(crate) fn walk<V: Visitor<FormatOf<C>, Stop = Error>>(
        &self,
        span: Span,
        v: &mut V,
    ) -> Result<(), Error> {
        self.ground().walk(self.root()?, span, v)
    }

    /// Visits the entries on the way to one page.
    #[inline]
    pub(crate) fn descend<V: Visitor<FormatOf<C>, Stop = Error>>(
        &self,
        page: Span,
        v: &mut V,
    ) -> Result<(), Error> {
        self.ground().descend(self.root()?, page, v)
    }

    /// Visits every entry of the space.
    pub(crate) fn walk_all<V: Visitor<FormatOf<C>, Stop = Error>>(
        &self,
        v: &mut V,
    ) -> Result<(), Error> {
        let mut halves = Reach::<C::Arch>::halves().into_iter().flatten();
        halves.try_for_each(|half| self.walk(half, v))
    }

    /// Refuses what [`admit`](Self::admit) does, for a verb that leaves something stale.
    #[inline]
    pub(crate) fn admit_with(&self, span: Span, gather: &mut Gather<'_>) -> Result<(), Error> {
        self.admit(span)?;
        gather.bind(self.owner)
    }

    /// Refuses page sizes that this mode, or this CPU, does not have.
    #[inline]
    pub(crate) fn admit_size(&self, size_lg2: u8) -> Result<(), Error> {
        // Base pages there always are.
        let base = size_lg2 == FormatOf::<C>::PAGE_LG2;
        let fits = |level: crate::level::Level| level.maps && level.span_lg2 == size_lg2;
        let known = size_lg2 <= self.sight.limits.largest_leaf_lg2;
        if base || known && levels::<C::Arch>().any(fits) {
            Ok(())
        } else {
            Err(Error::Unsupported(Feature::PageSize(size_lg2)))
        }
    }
}

/// The word of a leaf, if its frame, which is aligned, is in reach. What else it says was permitted, or
/// was there before.
#[inline]
pub(crate) fn leaf_word<L: PageTableLevel>(
    sight: &Sight,
    frame: PhysAddr,
    attrs: &Attrs,
) -> Result<u64, Error> {
    if !sight.reaches::<L>(frame) {
        return Err(sight.too_wide::<L>(frame));
    }
    L::Format::leaf(L::LEVEL, frame, attrs).map_err(Error::Unsupported)
}

/// The first `count` pages of a span, if there are any.
#[inline]
pub(super) fn pages<L: PageTableLevel>(span: Span, count: usize) -> Option<Span> {
    Span::new(span.first(), (count as u64).wrapping_shl(L::LEVEL.span_lg2.into()))
}
