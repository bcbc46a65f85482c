//! A space as the verbs see it.

use crate::addr::{PhysAddr, Span};
use crate::gather::{Gather, Owner};
use crate::level::{
    Attrs, Config, Error, Feature, Format, Limits, PageTableLevel, levels, relocatable,
};
use crate::limbo::Limbo;
use crate::table::{Host, NoTwins, RootCell, Table};
use crate::walk::{FormatOf, Ground, Half, Names, Reach, RootOf, Visitor};
use core::marker::PhantomData;

/// A space: its root, its host, and what is known of both.
pub(crate) struct Tree<'r, C, H> {
    pub(crate) host: H,
    pub(crate) cell: &'r RootCell,
    pub(crate) owner: Owner,
    pub(crate) limits: Limits,
    pub(crate) names: Names,
    pub(crate) half: Half,
    pub(crate) self_map: Option<usize>,
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
            limits: self.limits,
            names: self.names,
            half: self.half,
            self_map: self.self_map,
            config: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn root(&self) -> Result<Table<RootOf<C>>, Error> {
        self.ground().root(self.cell)
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

    /// Refuses what [`Ground::admit`] does, for a verb that leaves something stale.
    #[inline]
    pub(crate) fn admit_with(&self, span: Span, gather: &mut Gather<'_>) -> Result<(), Error> {
        self.ground().admit(span)?;
        gather.bind(self.owner)
    }

    /// Refuses page sizes that this mode, or this CPU, does not have.
    #[inline]
    pub(crate) fn admit_size(&self, size_lg2: u8) -> Result<(), Error> {
        let fits = |level: crate::level::Level| level.maps && level.span_lg2 == size_lg2;
        if size_lg2 <= self.limits.largest_leaf_lg2 && levels::<C::Arch>().any(fits) {
            Ok(())
        } else {
            Err(Error::Unsupported(Feature::PageSize(size_lg2)))
        }
    }

    /// The word of a leaf, if this CPU has such leaves. The frame is aligned.
    #[inline]
    pub(crate) fn leaf<L>(&self, frame: PhysAddr, attrs: &Attrs) -> Result<u64, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        leaf_word::<L>(&self.limits, frame, attrs)
    }
}

/// The word of a leaf, if this CPU has such leaves. The frame is aligned.
#[inline]
pub(crate) fn leaf_word<L: PageTableLevel>(
    limits: &Limits,
    frame: PhysAddr,
    attrs: &Attrs,
) -> Result<u64, Error> {
    limits.permit(attrs)?;
    let bits = L::Format::phys_bits(L::LEVEL, true, limits);
    let last = PhysAddr(frame.0 | crate::addr::low_bits(L::LEVEL.span_lg2));
    if !last.fits(bits) {
        return Err(Error::TooWide { frame, bits });
    }
    L::Format::leaf(L::LEVEL, frame, attrs).map_err(Error::Unsupported)
}
