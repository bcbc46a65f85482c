//! A space as the verbs see it.

use crate::addr::{PhysAddr, Span};
use crate::gather::Gather;
use crate::level::{
    Arch, Config, Error, Extent, Feature, Fields, Format, Limits, PageTableLevel, Reload, Stale,
    levels,
};
use crate::level::{Attrs, Found};
use crate::table::{Host, RootCell, Table};
use crate::walk::{FormatOf, Ground, Reach, RootOf, Visitor};
use core::marker::PhantomData;

/// How many names the tables of an adopted tree have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Names {
    /// Each table is named by one entry: so it is in every tree that the crate has built.
    #[default]
    Unique,
    /// Some tables are named by several entries. Before it gives a table back, the crate looks for
    /// other names of it in the whole tree: slower, and right.
    Aliased,
}

/// What the space has to do with the half that many spaces share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    /// Nothing.
    Apart,
    /// It is the kernel's own space, and alone may change what lies there.
    Owner(Span),
    /// It has the kernel's root entries there.
    Guest(Span),
}

/// A space: its root, its host, and what is known of both.
pub(crate) struct Tree<'r, C, H> {
    pub(crate) host: H,
    pub(crate) cell: &'r RootCell,
    pub(crate) limits: Limits,
    pub(crate) names: Names,
    pub(crate) half: Half,
    pub(crate) self_map: Option<usize>,
    pub(crate) config: PhantomData<C>,
}

impl Half {
    pub(crate) const fn span(self) -> Option<Span> {
        match self {
            Self::Apart => None,
            Self::Owner(span) | Self::Guest(span) => Some(span),
        }
    }
}

impl<C: Config, H: Host> Tree<'_, C, H> {
    #[inline]
    pub(crate) fn ground(&self) -> Ground<'_, C, H> {
        Ground {
            host: &self.host,
            limits: self.limits,
            self_map: self.self_map,
            shared: self.half.span(),
            guest: matches!(self.half, Half::Guest(_)),
            config: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn root(&self) -> Result<Table<RootOf<C>>, Error> {
        self.cell.table(&self.host)
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

    /// The same, for a verb that leaves something stale.
    #[inline]
    pub(crate) fn admit_with(&self, span: Span, gather: &mut Gather<'_>) -> Result<(), Error> {
        self.admit(span)?;
        gather.bind(self.cell.id())
    }

    /// Refuses spans that are not made of pages, do not exist, or are not this space's to change.
    #[inline]
    pub(crate) fn admit(&self, span: Span) -> Result<(), Error> {
        if !Reach::<C::Arch>::has_span(span) {
            return Err(Self::no_such(span));
        }
        if !span.is_aligned(FormatOf::<C>::PAGE_LG2) {
            return Err(Error::BadSpan(span));
        }
        if let Half::Guest(shared) = self.half {
            if let Some(both) = shared.intersect(span) {
                return Err(Error::Shared { at: both.first() });
            }
        }
        match self.self_map {
            Some(index) => self.beside_self_map(index, span),
            None => Ok(()),
        }
    }

    #[cold]
    fn no_such(span: Span) -> Error {
        let ends = [span.first(), span.last()];
        let strange = ends.into_iter().find(|&at| !Reach::<C::Arch>::has(at));
        strange.map_or(Error::BadSpan(span), Error::NoSuchAddress)
    }

    fn beside_self_map(&self, index: usize, span: Span) -> Result<(), Error> {
        let start = Reach::<C::Arch>::root_entry(index);
        match Span::around(start, RootOf::<C>::LEVEL.span_lg2).intersect(span) {
            Some(both) => Err(Error::SelfMap { at: both.first() }),
            None => Ok(()),
        }
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

    /// Tells a gather that an entry of level `L`, which said `was`, has changed.
    #[inline]
    pub(crate) fn note<L>(&self, gather: &mut Gather<'_>, span: Span, was: u64)
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let global = was & L::Format::mask(L::LEVEL, Fields::GLOBAL) != 0;
        let extent = match C::Arch::reload(L::LEVEL) {
            Reload::Root => Extent::Root,
            // The same table may serve other addresses.
            Reload::Entry if self.names == Names::Aliased => Extent::Everything,
            Reload::Entry => Extent::Spans,
        };
        // A global translation serves a CPU whatever space it runs.
        let everywhere = global || self.owns(span);
        let space = if everywhere { None } else { Some(self.cell.id()) };
        gather.add(extent, span, space, everywhere);
    }

    /// After an entry came into use: where CPUs do not look for it by themselves, makes them.
    pub(crate) fn announce<L: PageTableLevel>(&self, span: Span) {
        if C::Arch::reload(L::LEVEL) == Reload::Root {
            let space = if self.owns(span) { None } else { Some(self.cell.id()) };
            let mut stale = Stale::nothing();
            stale.add(Extent::Root, span, space, false);
            core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
            self.host.shoot_down(&stale);
        }
    }

    /// Whether every space has what this one has at `span`.
    #[inline]
    pub(crate) fn owns(&self, span: Span) -> bool {
        matches!(self.half, Half::Owner(shared) if shared.intersect(span).is_some())
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

/// What is at a spot, as an error says it: what was there, not what was asked for.
#[cold]
pub(crate) fn in_the_way<L: PageTableLevel>(spot: &crate::walk::Spot<L>) -> Error {
    use crate::level::Entry;
    let at = spot.at();
    let found = match spot.seen.entry() {
        Entry::Empty => return Error::NotMapped { at, size_lg2: L::LEVEL.span_lg2 },
        Entry::Malformed(raw) => return Error::Malformed { at, height: L::LEVEL.height, raw },
        Entry::NonPresent(raw) => Found::NonPresent { raw },
        Entry::Table(table) => Found::Table { table, height: L::LEVEL.height.saturating_sub(1) },
        Entry::Leaf(frame) => Found::Leaf { frame, size_lg2: L::LEVEL.span_lg2 },
    };
    Error::Occupied { at, found }
}
