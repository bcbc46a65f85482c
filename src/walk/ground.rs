//! What every walk needs to know of the space it walks.

use super::{FormatOf, Reach, RootOf, Spot};
use crate::addr::Span;
use crate::level::{
    Arch, Config, Error, Format, Limits, PageTableLevel, Sight, SpaceId, relocatable,
};
use crate::table::{Host, NoTwins, RootCell, Seen, Table, Twins};

/// How many names the tables of an adopted tree have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Names {
    /// Each table is named by one entry: so it is in every tree that the crate has built.
    #[default]
    Unique,
    /// Some tables are named by several entries. Before it gives a table back, or moves it, the crate
    /// looks for other names of it in the whole tree: slower, and right.
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

impl Half {
    pub(crate) const fn span(self) -> Option<Span> {
        match self {
            Self::Apart => None,
            Self::Owner(span) | Self::Guest(span) => Some(span),
        }
    }
}

/// What every walk needs to know of the space it walks.
pub(crate) struct Ground<'h, C, H> {
    pub(crate) host: &'h H,
    /// Where the limbo copies of its tables are.
    pub(crate) twins: &'h dyn Twins,
    /// Which space it is; `None` for a tree that is only looked at.
    pub(crate) space: Option<SpaceId>,
    pub(crate) sight: &'h Sight,
    pub(crate) names: Names,
    /// The half that the roots on the host's list have in common.
    pub(crate) half: Half,
    /// Whether what changes is stale at its own addresses and in this space alone.
    pub(crate) local: bool,
    /// The root entry that names the root: no walk goes there.
    pub(crate) self_map: Option<usize>,
    pub(crate) config: core::marker::PhantomData<C>,
}

impl<C, H> Clone for Ground<'_, C, H> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<C, H> Copy for Ground<'_, C, H> {}

impl<'h, C: Config, H: Host> Ground<'h, C, H> {
    /// Whether `L` is the level of the roots; a constant once compiled.
    pub(crate) const fn is_root<L: PageTableLevel>() -> bool {
        L::LEVEL.height == <RootOf<C> as PageTableLevel>::LEVEL.height
    }

    /// How the entries of a tree that is only looked at are to be read.
    pub(crate) fn sight(limits: Limits) -> Sight {
        Sight::new::<RootOf<C>>(C::Arch::LIMITS.narrowed(limits))
    }

    /// A tree that nobody changes, and that is only looked at.
    pub(crate) fn to_look_at(host: &'h H, sight: &'h Sight) -> Self {
        Self {
            host,
            twins: &NoTwins,
            space: None,
            sight,
            names: Names::Aliased,
            half: Half::Apart,
            local: false,
            self_map: None,
            config: core::marker::PhantomData,
        }
    }

    /// The root that a cell names.
    #[inline]
    pub(crate) fn root(&self, cell: &RootCell) -> Result<Table<RootOf<C>>, Error> {
        let (root, moved) = cell.table(self.host)?;
        if relocatable::<C>() && moved {
            return root.with_twin(self.host, self.twins);
        }
        Ok(root)
    }

    /// The table that an entry names, if it names one.
    #[inline]
    pub(crate) fn below<L>(&self, seen: &Seen<'_, L>) -> Result<Option<Table<L::Below>>, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let below = seen.below(self.host)?;
        if relocatable::<C>() && seen.raw & L::Format::TWIN != 0 {
            return below.map(|table| table.with_twin(self.host, self.twins)).transpose();
        }
        Ok(below)
    }

    /// Whether tables of this span are those of the kernel's own space, and this is another one.
    #[inline]
    pub(crate) fn borrows(&self, span: Span) -> bool {
        matches!(self.half, Half::Guest(half) if half.intersect(span).is_some())
    }

    /// Whether a root entry belongs to the kernel's own space, and this is another one.
    #[inline]
    pub(crate) fn not_ours<L: PageTableLevel>(&self, spot: &Spot<'_, L>) -> bool {
        Self::is_root::<L>() && matches!(self.half, Half::Guest(half) if half.covers(spot.whole))
    }

    /// Whether every space has what this one has at `span`. By another name it may lie in the shared
    /// half, too.
    #[inline]
    pub(crate) fn owns(&self, span: Span) -> bool {
        let aliased = self.names == Names::Aliased;
        matches!(self.half, Half::Owner(shared) if aliased || shared.intersect(span).is_some())
    }

    /// Whether an entry of this level, for this span, stands in every root on the host's list.
    #[inline]
    pub(crate) fn in_every_root<L: PageTableLevel>(&self, span: Span) -> bool {
        Self::is_root::<L>() && self.half.span().is_some_and(|shared| shared.covers(span))
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
            Some(index) => Self::beside_self_map(index, span),
            None => Ok(()),
        }
    }

    #[cold]
    fn no_such(span: Span) -> Error {
        let ends = [span.first(), span.last()];
        let strange = ends.into_iter().find(|&at| !Reach::<C::Arch>::has(at));
        strange.map_or(Error::BadSpan(span), Error::NoSuchAddress)
    }

    fn beside_self_map(index: usize, span: Span) -> Result<(), Error> {
        let start = Reach::<C::Arch>::root_entry(index);
        match Span::around(start, RootOf::<C>::LEVEL.span_lg2).intersect(span) {
            Some(both) => Err(Error::SelfMap { at: both.first() }),
            None => Ok(()),
        }
    }
}
