//! Reading a tree, whoever it belongs to.

use super::View;
use crate::addr::{Span, VirtAddr};
use crate::level::{Config, Error};
use crate::map::Tree;
use crate::table::{Host, RootCell};
use crate::walk::{
    Finder, First, FormatOf, Ground, LeafmostOf, Leaves, Mapped, Mapping, Reach, Visitor,
};
use core::fmt;

/// A tree, for as long as it takes to read something of it.
pub(super) struct Look<'a, C, H> {
    pub(super) ground: Ground<'a, C, H>,
    pub(super) cell: &'a RootCell,
}

/// The first thing that is mapped, and where what comes after it can be looked for.
type Next<C> = (Option<Mapped>, Option<Leaves<LeafmostOf<C>>>);

impl<'a, C: Config, H: Host> Look<'a, C, H> {
    /// Looks at a space.
    pub(super) fn at(tree: &'a Tree<'_, C, H>) -> Self {
        Self { ground: tree.ground(), cell: tree.cell }
    }

    /// What is mapped at an address. See [`View::translate`].
    #[cold]
    pub(super) fn translate(&self, at: VirtAddr) -> Result<Mapping, Error> {
        if !Reach::<C::Arch>::has(at) {
            return Err(Error::NoSuchAddress(at));
        }
        let mut finder = Finder::new(at, u64::MAX);
        let page = Span::around(at, 0);
        self.reading(page, || {
            self.ground.descend(self.ground.root(self.cell)?, page, &mut finder)
        })?;
        finder.answer
    }

    /// Visits every entry of a span, which is in one piece.
    pub(super) fn walk<V: Visitor<FormatOf<C>>>(
        &self,
        span: Span,
        v: &mut V,
    ) -> Result<(), V::Stop> {
        self.reading(span, || self.ground.walk(self.ground.root(self.cell)?, span, v))
    }

    /// The first thing that is mapped in a span.
    fn first(&self, span: Span) -> Result<Next<C>, Error> {
        for half in Reach::<C::Arch>::halves().into_iter().flatten() {
            let Some(part) = half.intersect(span) else { continue };
            let mut first = First::new();
            let found = first.end(|first| self.walk(part, first))?;
            if found.is_some() {
                // What belongs to the kernel's own space may be freed when the walk is over.
                let theirs = self.ground.borrows(part);
                return Ok((found, first.leaves.filter(|_| !theirs)));
            }
        }
        Ok((None, None))
    }

    /// The first thing that is mapped in a table of the lowest level.
    fn first_of(&self, leaves: Leaves<LeafmostOf<C>>, span: Span) -> Option<Mapped> {
        let part = leaves.rest.intersect(span)?;
        let mut first: First<LeafmostOf<C>> = First::below(leaves.granted);
        first.end(|first| self.ground.walk(leaves.table, part, first)).ok()?
    }

    /// Reads tables of a span: in a reader section where they are the kernel's, which may free them
    /// meanwhile.
    #[inline]
    fn reading<R>(&self, span: Span, mut look: impl FnMut() -> R) -> R {
        if !self.ground.borrows(span) {
            return look();
        }
        let mut answer = None;
        self.ground.host.read(&mut || answer = Some(look()));
        answer.unwrap_or_else(look)
    }
}

/// Everything that is mapped in a span, in order. See [`View::mappings`].
pub struct Mappings<'h, C: Config, H> {
    view: View<'h, C, H>,
    rest: Option<Span>,
    /// Where the last one was. The view borrows the tree, so no table of it goes or moves.
    leaves: Option<Leaves<LeafmostOf<C>>>,
}

impl<'h, C: Config, H: Host> Mappings<'h, C, H> {
    pub(super) fn new(view: View<'h, C, H>, span: Span) -> Self {
        Self { view, rest: Some(span), leaves: None }
    }

    fn find(&mut self, span: Span) -> Result<Option<Mapped>, Error> {
        let look = self.view.look();
        if let Some(found) = self.leaves.and_then(|leaves| look.first_of(leaves, span)) {
            return Ok(Some(found));
        }
        let found;
        (found, self.leaves) = look.first(span)?;
        Ok(found)
    }
}

impl<C: Config, H: Host> Iterator for Mappings<'_, C, H> {
    type Item = Result<Mapped, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let found = self.find(rest).transpose()?;
        if let Ok(mapped) = &found {
            let next = mapped.span().last().0.checked_add(1).map(VirtAddr);
            self.rest = next.and_then(|next| Span::inclusive(next, rest.last()));
        }
        Some(found)
    }
}

impl<C: Config, H> fmt::Debug for Mappings<'_, C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mappings").field("rest", &self.rest).finish_non_exhaustive()
    }
}
