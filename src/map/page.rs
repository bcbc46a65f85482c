//! Mapping one page.

use super::install::Install;
use super::tree::Tree;
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::level::{Attrs, Config, Entry, Error, Feature, Format, PageTableLevel, Rights, Sight};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, Ground, LeafmostOf, RootOf, Spot, Step, Visitor};

/// A leaf for one page of exactly one size.
#[derive(Clone, Copy)]
pub(crate) struct OneLeaf {
    pub(crate) size_lg2: u8,
    pub(crate) word: u64,
    /// What the tables above must grant.
    pub(crate) rights: Rights,
}

/// Puts it into an empty entry, with the tables that are missing on the way.
struct MapPage<'a, 'r, C: Config, H> {
    tree: &'a Tree<'r, C, H>,
    leaf: OneLeaf,
    mapped: bool,
}

/// The leaf for a page of a size at or below that of level `L`.
fn leaf<L: PageTableLevel>(
    sight: &Sight,
    size_lg2: u8,
    frame: PhysAddr,
    attrs: Attrs,
) -> Result<OneLeaf, Error> {
    if L::LEVEL.span_lg2 == size_lg2 {
        sight.permit::<L>(frame, attrs)?;
        let word = L::Format::leaf(L::LEVEL, frame, &attrs).map_err(Error::Unsupported)?;
        return Ok(OneLeaf { size_lg2, word, rights: attrs.rights });
    }
    if L::LEVEL.height == 0 {
        return Err(Error::Unsupported(Feature::PageSize(size_lg2)));
    }
    leaf::<L::Below>(sight, size_lg2, frame, attrs)
}

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Maps one page of exactly this size.
    pub(crate) fn map(
        &self,
        page: Span,
        size_lg2: u8,
        frame: PhysAddr,
        attrs: Attrs,
    ) -> Result<(), Error> {
        self.admit(page)?;
        self.admit_size(size_lg2)?;
        let leaf = leaf::<RootOf<C>>(&self.sight, size_lg2, frame, attrs)?;
        self.expect(attrs.global);
        self.map_leaf(page, leaf)
    }

    /// The leaf of a base page, if nothing speaks against it.
    #[inline(always)]
    pub(crate) fn base_leaf(&self, frame: PhysAddr, attrs: Attrs) -> Option<OneLeaf> {
        let size_lg2 = FormatOf::<C>::PAGE_LG2;
        let leaf = leaf::<LeafmostOf<C>>(&self.sight, size_lg2, frame, attrs).ok()?;
        self.expect(attrs.global);
        Some(leaf)
    }

    /// Maps the base page of an entry in a table that serves it.
    #[inline(always)]
    pub(crate) fn map_in(
        &self,
        (table, index): (Table<LeafmostOf<C>>, usize),
        page: Span,
        leaf: OneLeaf,
    ) -> Result<(), Error> {
        self.ground().page(table, index, page, &mut MapPage { tree: self, leaf, mapped: false })
    }

    /// Maps the base page at `at`. Tells `near` the table of the lowest level that it came to, if that
    /// was there and the way was plain.
    #[inline(always)] // as `Ground::straight`
    pub(crate) fn map_base(
        &self,
        at: VirtAddr,
        leaf: OneLeaf,
        near: impl FnOnce(Table<LeafmostOf<C>>),
    ) -> Result<(), Error> {
        if self.open.contains(at) {
            if let Ok((root, _)) = self.cell.table::<RootOf<C>, H>(&self.host) {
                if let Some(mapped) = self.map_straight(root, at, leaf, near) {
                    return mapped;
                }
            }
        }
        self.map_by_steps(at, leaf.word, leaf.rights)
    }

    /// The same, if only plain entries lead from `table` to an empty one that is for the page, or for
    /// the table of the lowest level that is missing. `None` may mean anything else, and that nothing
    /// has been done.
    #[inline(always)] // as above
    fn map_straight<L>(
        &self,
        table: Table<L>,
        at: VirtAddr,
        leaf: OneLeaf,
        near: impl FnOnce(Table<LeafmostOf<C>>),
    ) -> Option<Result<(), Error>>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let (index, user) = (L::LEVEL.index(at), leaf.rights.contains(Rights::USER));
        let seen = table.see(index, &self.sight);
        if let Some(below) = seen.plain_below(&self.host, user).ok()? {
            return self.map_straight(below, at, leaf, near);
        }
        // A root may have a twin, and an entry of it may stand in others as well.
        if L::LEVEL.height > 1 || Ground::<C, H>::is_root::<L>() || seen.raw != 0 {
            return None;
        }
        let (whole, part) = (Span::around(at, L::LEVEL.span_lg2), Span::around(at, leaf.size_lg2));
        let spot = Spot { table, index, whole, part, seen };
        if L::LEVEL.height == 0 {
            self.occupy(&spot, leaf.word);
            table.if_of().map(near);
            return Some(Ok(()));
        }
        match self.single::<L>(at, || Ok(leaf.word)) {
            Ok(below) => self.occupy(&spot, L::Format::table(L::LEVEL, below.frame(), user)),
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(()))
    }

    #[cold]
    #[inline(never)]
    fn map_by_steps(&self, at: VirtAddr, word: u64, rights: Rights) -> Result<(), Error> {
        let size_lg2 = FormatOf::<C>::PAGE_LG2;
        let page = Span::around(at, size_lg2);
        self.admit(page)?;
        self.map_leaf(page, OneLeaf { size_lg2, word, rights })
    }

    fn map_leaf(&self, page: Span, leaf: OneLeaf) -> Result<(), Error> {
        self.descend(page, &mut MapPage { tree: self, leaf, mapped: false })
    }

    /// Writes into an empty entry.
    #[inline(always)]
    pub(super) fn occupy<L>(&self, spot: &Spot<'_, L>, word: u64)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        self.ground().put(spot, word);
        spot.table.one_more(&self.host);
        self.ground().announce::<L>(spot.part);
    }
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for MapPage<'_, '_, C, H> {
    type Stop = Error;

    #[inline(always)]
    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        let here = L::LEVEL.span_lg2 == self.leaf.size_lg2;
        match spot.seen.entry() {
            Entry::Table(_) if !here => Ok(Step::Into),
            Entry::Empty => {
                // All or nothing by itself: tables that are missing are filled before this one write.
                let mut leaf = self.leaf;
                let word = self.tree.built::<L, _>(&mut leaf, spot.whole, spot.part)?;
                self.tree.occupy(spot, word);
                self.mapped = true;
                Ok(Step::Over)
            }
            _ => Err(spot.in_the_way()),
        }
    }

    #[inline]
    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
        _: Table<L::Below>,
    ) -> Result<(), Error> {
        if self.mapped {
            self.tree.widen(spot, self.leaf.rights);
        }
        Ok(())
    }
}

impl Install for OneLeaf {
    const SINGLE: bool = true;

    #[inline]
    fn rights(&self) -> Rights {
        self.rights
    }

    #[inline(always)]
    fn leaves<L: PageTableLevel>(
        &mut self,
        _: &Sight,
        _: VirtAddr,
        _: usize,
    ) -> Result<Option<(usize, impl FnMut() -> u64)>, Error> {
        let word = self.word;
        let here = L::LEVEL.span_lg2 == self.size_lg2;
        Ok(if here { Some((1, move || word)) } else { None })
    }
}
