//! Walking the list of levels: one driver for ranges, one for a single page, and what to do at each
//! entry as a [`Visitor`].
//!
//! A verb is a visitor. It is compiled once for each level, so shifts and sizes are constants in it,
//! and it is written once.

mod read;

pub(crate) use read::{Finder, First, Path, Stopped};
pub use read::{Mapped, Mapping};

use crate::addr::{Span, VirtAddr, low_bits};
use crate::level::{Arch, Config, Entry, Error, Fields, Format, Limits, PageTableLevel};
use crate::table::{Host, Seen, Table, listed, with_roots};

/// The level of a config's roots.
pub(crate) type RootOf<C> = <<C as Config>::Arch as Arch>::Root;
/// The format of a config's entries.
pub(crate) type FormatOf<C> = <<C as Config>::Arch as Arch>::Format;
/// The lowest level of a config.
pub(crate) type LeafmostOf<C> = <RootOf<C> as PageTableLevel>::Leafmost;

/// What every walk needs to know of the space it walks.
pub(crate) struct Ground<'h, C, H> {
    pub(crate) host: &'h H,
    pub(crate) limits: Limits,
    /// The root entry that names the root: no walk goes there.
    pub(crate) self_map: Option<usize>,
    /// The half that the roots on the host's list have in common.
    pub(crate) shared: Option<Span>,
    /// That half is the kernel's, and this another space.
    pub(crate) guest: bool,
    pub(crate) config: core::marker::PhantomData<C>,
}

impl<C, H> Clone for Ground<'_, C, H> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<C, H> Copy for Ground<'_, C, H> {}

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
    /// Whether `L` is the level of the roots; a constant once compiled.
    pub(crate) const fn is_root<L: PageTableLevel>() -> bool {
        L::LEVEL.height == <RootOf<C> as PageTableLevel>::LEVEL.height
    }

    /// Whether tables of this span are those of the kernel's own space, and this is another one.
    #[inline]
    pub(crate) fn borrows(&self, span: Span) -> bool {
        self.guest && self.shared.is_some_and(|shared| shared.intersect(span).is_some())
    }

    /// Whether an entry of this level, for this span, stands in every root on the host's list.
    #[inline]
    pub(crate) fn in_every_root<L: PageTableLevel>(&self, span: Span) -> bool {
        Self::is_root::<L>() && self.shared.is_some_and(|shared| shared.covers(span))
    }

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
            if let Some(below) = spot.seen.below(self.host)? {
                go_on(self, below, part, v)?;
                v.left(&spot, below)?;
            }
        }
        Ok(())
    }

    /// Reads an entry; of a leaf that stands in many roots, A and D are those of all of them.
    #[inline]
    fn see<L>(&self, table: Table<L>, index: usize, whole: Span) -> Seen<L>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let seen = table.see(index, &self.limits);
        if L::LEVEL.maps && self.in_every_root::<L>(whole) {
            return self.used_anywhere(table, index, seen);
        }
        seen
    }

    #[cold]
    fn used_anywhere<L>(&self, table: Table<L>, index: usize, mut seen: Seen<L>) -> Seen<L>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        if !matches!(seen.entry(), Entry::Leaf(_)) {
            return seen;
        }
        let used = L::Format::mask(L::LEVEL, Fields::ACCESSED | Fields::DIRTY);
        let mut found = 0;
        self.each_other_root(table, |root| found |= root.load(index));
        seen.raw |= found & used;
        seen
    }

    /// Shows every root on the host's list but `own`, under the list's lock.
    pub(crate) fn each_other_root<L: PageTableLevel>(
        &self,
        own: Table<L>,
        mut show: impl FnMut(Table<L>),
    ) {
        with_roots(self.host, |list| {
            list.each(&mut |frame| {
                if frame != own.frame() {
                    if let Some(root) = listed(self.host, frame) {
                        show(root);
                    }
                }
            });
        });
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

/// Where in the address space a mode's addresses are.
pub(crate) struct Reach<A>(core::marker::PhantomData<A>);

impl<A: Arch> Reach<A> {
    const BITS: u8 = A::Root::LEVEL.reach_lg2();

    /// Whether the mode has this address: the bits that it does not translate are zero, or repeat
    /// the highest one that it does.
    #[inline]
    pub(crate) fn has(at: VirtAddr) -> bool {
        let above = !low_bits(Self::BITS);
        let high = at.0 & (above | (above.wrapping_shr(1) & !above));
        if A::SIGN_EXTENDED {
            high == 0 || high | low_bits(Self::BITS.saturating_sub(1)) == u64::MAX
        } else {
            at.0 & above == 0
        }
    }

    /// Whether a span lies in the mode's address space, without a gap in between.
    #[inline]
    pub(crate) fn has_span(span: Span) -> bool {
        let (first, last) = (span.first(), span.last());
        let one_half = (first.0 ^ last.0) & !low_bits(Self::BITS) == 0;
        Self::has(first) && Self::has(last) && one_half
    }

    /// The first address that an entry of the root stands for.
    pub(crate) fn root_entry(index: usize) -> VirtAddr {
        let offset = (index as u64).wrapping_shl(A::Root::LEVEL.span_lg2.into());
        let upper = offset & !low_bits(Self::BITS.saturating_sub(1)) != 0;
        VirtAddr(if A::SIGN_EXTENDED && upper { offset | !low_bits(Self::BITS) } else { offset })
    }

    /// The address space, in one piece or in two halves, in ascending order.
    pub(crate) fn halves() -> [Option<Span>; 2] {
        let half_lg2 = Self::BITS.saturating_sub(1);
        if !A::SIGN_EXTENDED || Self::BITS >= 64 {
            return [Some(Span::around(VirtAddr(0), Self::BITS)), None];
        }
        let high = Span::around(VirtAddr(u64::MAX), half_lg2);
        [Some(Span::around(VirtAddr(0), half_lg2)), Some(high)]
    }
}
