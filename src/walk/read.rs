//! Visitors that change nothing.

use super::{Spot, Step, Visitor};
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::level::{Attrs, Entry, Error, Format, PageTableLevel, Rights};
use crate::table::Table;

/// A page that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mapping {
    /// Its first address.
    pub at: VirtAddr,
    /// Its frame.
    pub frame: PhysAddr,
    /// Both have 2 to this many bytes.
    pub size_lg2: u8,
    /// What the leaf itself says.
    pub attrs: Attrs,
    /// What is left of its rights on the way down: the tables above can take some away.
    pub effective: Rights,
    /// The leaf's word.
    pub raw: u64,
}

impl Mapping {
    /// The page at `at` whose leaf of level `L` is `raw`, below entries that grant `granted`.
    #[inline]
    pub(crate) fn of<L: PageTableLevel>(
        at: VirtAddr,
        frame: PhysAddr,
        raw: u64,
        granted: u64,
    ) -> Self {
        let grants = L::Format::grants(L::LEVEL, raw) & granted;
        Self {
            at,
            frame,
            size_lg2: L::LEVEL.span_lg2,
            attrs: L::Format::attrs(L::LEVEL, raw),
            effective: L::Format::rights(grants),
            raw,
        }
    }

    /// Where the byte at `at`, a byte of this page, is in physical memory.
    ///
    /// ```
    /// # fn of(mapping: pgtable::Mapping) {
    /// let at = mapping.at;
    /// assert_eq!(mapping.phys(at), mapping.frame);
    /// # }
    /// ```
    #[must_use]
    pub fn phys(&self, at: VirtAddr) -> PhysAddr {
        PhysAddr(self.frame.0 | (at.0 & crate::addr::low_bits(self.size_lg2)))
    }

    /// All its addresses.
    #[must_use]
    pub fn span(&self) -> Span {
        Span::around(self.at, self.size_lg2)
    }
}

/// An entry that is not empty and names no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mapped {
    /// A page.
    Page(Mapping),
    /// An entry of the user's own.
    NonPresent {
        /// The first address that it stands for.
        at: VirtAddr,
        /// It stands for 2 to this many bytes.
        size_lg2: u8,
        /// Its raw value.
        raw: u64,
    },
    /// An entry with reserved bits: using it faults.
    Malformed {
        /// The first address that it stands for.
        at: VirtAddr,
        /// It stands for 2 to this many bytes.
        size_lg2: u8,
        /// Its raw value.
        raw: u64,
    },
}

impl Mapped {
    /// All addresses that it stands for.
    #[must_use]
    pub fn span(&self) -> Span {
        match *self {
            Self::Page(page) => page.span(),
            Self::NonPresent { at, size_lg2, .. } | Self::Malformed { at, size_lg2, .. } => {
                Span::around(at, size_lg2)
            }
        }
    }
}

/// The rights that are left on the way down. A visitor goes down one path at a time, so one word for
/// each height is enough.
pub(crate) struct Path {
    granted: [u64; crate::level::MAX_LEVELS],
}

impl Path {
    /// Begins below entries that grant this.
    pub(crate) const fn new(granted: u64) -> Self {
        Self { granted: [granted; crate::level::MAX_LEVELS] }
    }

    /// What the entries above `height` grant.
    #[inline]
    pub(crate) fn above(&self, height: u8) -> u64 {
        self.granted.get(usize::from(height)).copied().unwrap_or(0)
    }

    /// Goes down through a table entry.
    #[inline]
    pub(crate) fn down<L: PageTableLevel>(&mut self, spot: &Spot<'_, L>) {
        let granted = self.above(L::LEVEL.height) & L::Format::grants(L::LEVEL, spot.seen.raw);
        let below = usize::from(L::LEVEL.height).wrapping_sub(1);
        if let Some(place) = self.granted.get_mut(below) {
            *place = granted;
        }
    }

    /// What is mapped at a spot, if it is neither empty nor a table.
    #[inline]
    fn mapped<L: PageTableLevel>(&self, spot: &Spot<'_, L>) -> Option<Mapped> {
        let (at, size_lg2, raw) = (spot.whole.first(), L::LEVEL.span_lg2, spot.seen.raw);
        match spot.seen.entry() {
            Entry::Empty | Entry::Table(_) => None,
            Entry::NonPresent(_) => Some(Mapped::NonPresent { at, size_lg2, raw }),
            Entry::Malformed(_) => Some(Mapped::Malformed { at, size_lg2, raw }),
            Entry::Leaf(frame) => {
                let granted = self.above(L::LEVEL.height);
                Some(Mapped::Page(Mapping::of::<L>(at, frame, raw, granted)))
            }
        }
    }
}

/// Finds what is mapped at one address.
pub(crate) struct Finder {
    path: Path,
    pub(crate) answer: Result<Mapping, Error>,
}

impl Finder {
    /// Begins below entries that grant this.
    pub(crate) fn new(at: VirtAddr, granted: u64) -> Self {
        // What is never visited is the self-map.
        Self { path: Path::new(granted), answer: Err(Error::SelfMap { at }) }
    }
}

impl<F: Format> Visitor<F> for Finder {
    type Stop = Error;

    #[inline]
    fn entry<L: PageTableLevel<Format = F>>(&mut self, spot: &Spot<'_, L>) -> Result<Step, Error> {
        let at = spot.at();
        self.path.down(spot);
        self.answer = match self.path.mapped(spot) {
            Some(Mapped::Page(mapping)) => Ok(mapping),
            Some(Mapped::NonPresent { raw, .. }) => Err(Error::NonPresent { at, raw }),
            Some(Mapped::Malformed { raw, .. }) => {
                Err(Error::Malformed { at, height: L::LEVEL.height, raw })
            }
            None => Err(Error::NotMapped { at, size_lg2: L::LEVEL.span_lg2 }),
        };
        Ok(Step::Into)
    }
}

/// What of a table of the lowest level is still to be read.
pub(crate) struct Leaves<L> {
    pub(crate) table: Table<L>,
    pub(crate) rest: Span,
    /// What the entries above it grant.
    pub(crate) granted: u64,
}

impl<L> Clone for Leaves<L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L> Copy for Leaves<L> {}

/// Finds the first thing that is mapped, and stops there.
pub(crate) struct First<L> {
    path: Path,
    /// Where it came to last.
    pub(crate) leaves: Option<Leaves<L>>,
}

impl<L> First<L> {
    pub(crate) const fn new() -> Self {
        Self::below(u64::MAX)
    }

    /// Begins below entries that grant this.
    pub(crate) const fn below(granted: u64) -> Self {
        Self { path: Path::new(granted), leaves: None }
    }

    /// What a walk that it goes along ends with.
    pub(crate) fn end(
        &mut self,
        walk: impl FnOnce(&mut Self) -> Result<(), Stopped>,
    ) -> Result<Option<Mapped>, Error> {
        match walk(self) {
            Ok(()) => Ok(None),
            Err(Stopped::Found(mapped)) => Ok(Some(mapped)),
            Err(Stopped::Failed(error)) => Err(error),
        }
    }
}

/// Why [`First`] has stopped.
pub(crate) enum Stopped {
    Found(Mapped),
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<F: Format, B: PageTableLevel<Format = F>> Visitor<F> for First<B> {
    type Stop = Stopped;
    const EMPTY: bool = false;

    #[inline]
    fn leaves<L: PageTableLevel<Format = F>>(&mut self, table: Table<L>, rest: Span) -> usize {
        let granted = self.path.above(L::LEVEL.height);
        self.leaves = table.if_of().map(|table| Leaves { table, rest, granted });
        0
    }

    #[inline]
    fn entry<L: PageTableLevel<Format = F>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Stopped> {
        self.path.down(spot);
        match self.path.mapped(spot) {
            Some(mapped) => Err(Stopped::Found(mapped)),
            None => Ok(Step::Into),
        }
    }
}
