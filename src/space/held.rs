//! What a space holds: its tree, and the table that it came to last.

use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::gather::{Gather, Gone, Unmapped};
use crate::level::{Attrs, Config, Error, Format, Level, PageTableLevel, Rights};
use crate::map::{OneLeaf, Tree};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, LeafmostOf};

/// A tree, and beside it the table of the lowest level that the last verb for a base page came to: the
/// next one is likely to be for a page of the same table, and then does not walk.
///
/// Who is given the tree to change it in any other way has this forgotten first, so that it never is a
/// table that was unlinked or moved.
pub(super) struct Held<'r, C: Config, H: Host> {
    tree: Tree<'r, C, H>,
    near: Option<Near<C>>,
}

/// A table of the lowest level to which plain entries alone lead.
struct Near<C: Config> {
    /// The first address that it serves.
    first: VirtAddr,
    table: Table<LeafmostOf<C>>,
    /// Whether the entries above it let user mode through. All other rights they grant.
    user: bool,
}

/// A table of the lowest level, and the place of an entry in it.
pub(super) type Place<C> = (Table<LeafmostOf<C>>, usize);

impl<C: Config> Near<C> {
    const LEVEL: Level = LeafmostOf::<C>::LEVEL;

    fn new(at: VirtAddr, table: Table<LeafmostOf<C>>, user: bool) -> Self {
        Self { first: at.align_down(Self::LEVEL.reach_lg2()), table, user }
    }

    /// The place of the entry for the base page at `at`, if it serves that.
    #[inline(always)]
    fn place(&self, at: VirtAddr, user: bool) -> Option<Place<C>> {
        let offset = at.0.wrapping_sub(self.first.0).wrapping_shr(Self::LEVEL.span_lg2.into());
        let index = usize::try_from(offset).ok()?;
        let serves = index < Self::LEVEL.entries() && (self.user || !user);
        serves.then(|| (self.table.alone(), index))
    }
}

impl<'r, C: Config, H: Host> Held<'r, C, H> {
    pub(super) const fn new(tree: Tree<'r, C, H>) -> Self {
        Self { tree, near: None }
    }

    /// The tree, to be looked at.
    #[inline]
    pub(super) const fn tree(&self) -> &Tree<'r, C, H> {
        &self.tree
    }

    /// The tree, for whatever changes it.
    #[inline]
    pub(super) fn change(&mut self) -> &Tree<'r, C, H> {
        self.near = None;
        &self.tree
    }

    /// Whether a table is at hand: if one was just used and is not any more, it may be gone.
    #[inline(always)]
    pub(super) const fn has_near(&self) -> bool {
        self.near.is_some()
    }

    /// The table at hand, if it serves `at`, and the entry for it.
    #[inline(always)]
    fn at_hand(&self, at: VirtAddr, user: bool) -> Option<Place<C>> {
        self.near.as_ref()?.place(at, user)
    }

    /// The table that serves the base page at `at`, if the way there is plain, whether that lets user
    /// mode through.
    pub(super) fn approach(&mut self, at: VirtAddr) -> Option<(Table<LeafmostOf<C>>, bool)> {
        if self.at_hand(at, false).is_none() {
            self.near = None;
            self.tree.admit(Span::around(at, FormatOf::<C>::PAGE_LG2)).ok()?;
            let (table, granted) = self.tree.straight(at)?;
            let user = FormatOf::<C>::rights(granted).contains(Rights::USER);
            self.near = Some(Near::new(at, table, user));
        }
        self.near.as_ref().map(|near| (near.table.alone(), near.user))
    }

    /// Maps one page of exactly this size.
    #[inline(always)]
    pub(super) fn map(
        &mut self,
        page: Span,
        size_lg2: u8,
        frame: PhysAddr,
        attrs: Attrs,
    ) -> Result<(), Error> {
        if size_lg2 == FormatOf::<C>::PAGE_LG2 {
            if let Some(leaf) = self.tree.base_leaf(frame, attrs) {
                return match self.at_hand(page.first(), attrs.rights.contains(Rights::USER)) {
                    Some(place) => self.tree.map_in(place, page, leaf),
                    None => self.map_afar(page.first(), leaf),
                };
            }
        }
        self.change().map(page, size_lg2, frame, attrs)
    }

    /// Maps the base page of an entry in a table that serves it, if its leaf can be.
    #[inline(always)]
    pub(super) fn map_at(
        &self,
        place: Place<C>,
        page: Span,
        frame: PhysAddr,
        attrs: Attrs,
    ) -> Option<Result<(), Error>> {
        let leaf = self.tree.base_leaf(frame, attrs)?;
        Some(self.tree.map_in(place, page, leaf))
    }

    #[inline(always)]
    fn map_afar(&mut self, at: VirtAddr, leaf: OneLeaf) -> Result<(), Error> {
        let (near, user) = (&mut self.near, leaf.rights.contains(Rights::USER));
        *near = None;
        self.tree.map_base(at, leaf, |table| *near = Some(Near::new(at, table, user)))
    }

    /// Unmaps one page of exactly this size.
    #[inline(always)]
    pub(super) fn unmap<'g>(
        &mut self,
        page: Span,
        size_lg2: u8,
        gather: &mut Gather<'g>,
    ) -> Result<Gone<'g>, Error> {
        if size_lg2 == FormatOf::<C>::PAGE_LG2 {
            if let Some(place) = self.at_hand(page.first(), false) {
                if let Some(unmapped) = self.unmap_at::<true>(place, page, gather) {
                    return Ok(Gone::Page(unmapped));
                }
            }
        }
        // Not the answer itself, so that the one above need not be in memory.
        match self.unmap_afar(page.first(), size_lg2, gather) {
            Ok(gone) => Ok(gone),
            Err(error) => Err(error),
        }
    }

    /// Unmaps the base page of an entry in a table that serves it, if all that is ordinary, as
    /// [`Tree::take`] says.
    #[inline(always)]
    pub(super) fn unmap_at<'g, const LOCAL: bool>(
        &mut self,
        (table, index): Place<C>,
        page: Span,
        gather: &mut Gather<'g>,
    ) -> Option<Unmapped<'g>> {
        gather.bind(self.tree.owner).ok()?;
        let unmapped = self.tree.take::<LOCAL>((table, index), page, gather)?;
        let last = table.one_less_at(index, &self.tree.host, C::FREE_EMPTY_TABLES);
        if C::FREE_EMPTY_TABLES && last {
            self.prune(page.first(), gather);
        }
        Some(unmapped)
    }

    #[inline(never)]
    fn prune(&mut self, at: VirtAddr, gather: &mut Gather<'_>) {
        let page = Span::around(at, FormatOf::<C>::PAGE_LG2);
        // A table that is not reached any more, against the host's word, stays.
        let _ = self.change().prune_path(page, gather);
    }

    #[inline(never)]
    fn unmap_afar<'g>(
        &mut self,
        at: VirtAddr,
        size_lg2: u8,
        gather: &mut Gather<'g>,
    ) -> Result<Gone<'g>, Error> {
        let (page, base) = (Span::around(at, size_lg2), size_lg2 == FormatOf::<C>::PAGE_LG2);
        if let Some(place) = self.at_hand(at, false).filter(|_| base) {
            if let Some(unmapped) = self.unmap_at::<false>(place, page, gather) {
                return Ok(Gone::Page(unmapped));
            }
        }
        let gone = self.change().unmap(page, size_lg2, gather)?;
        if base {
            // The next page is likely to be near.
            let _ = self.approach(at);
        }
        Ok(gone)
    }
}
