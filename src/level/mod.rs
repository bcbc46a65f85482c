//! Levels, and what a paging mode says of itself.
//!
//! A mode is a list of levels, and a list of levels is a type: [`Last`] is the level whose entries
//! map base pages, and [`Above`] puts one more on top of a list. Shifts, table sizes and heights
//! follow from the list and are never written down. Two modes whose lower levels are the same
//! (x86-64 with 4 levels and with 5) are built from the same types.
//!
//! ```
//! use pgtable::arch::x86::X86Long;
//! use pgtable::{Above, Last, PageTableLevel};
//!
//! type Pte = Last<X86Long, 9>;
//! type Pmd = Above<Pte, 9, true>;       // true: an entry may map a huge page
//! assert_eq!(Pmd::LEVEL.span_lg2, 21);
//! assert_eq!(Pmd::LEVEL.table_lg2::<X86Long>(), 12);
//! ```

mod arch;
mod attrs;
mod entry;
mod error;
mod format;
mod limits;
mod memory;
mod sight;
mod stale;
#[cfg(feature = "model")]
mod stepped;
mod word;

pub use arch::{Arch, Config, Reload, Strategy};
pub(crate) use arch::{movable, relocatable};
pub use attrs::{Attrs, Change, Fields, Rights};
pub use entry::Entry;
pub use error::{Error, Feature, Found, Request};
pub use format::Format;
pub use limits::Limits;
pub use memory::{Caching, MemoryType, MemoryTypes};
pub use sight::Glance;
pub(crate) use sight::{LevelSight, Sight};
pub use stale::{Extent, SpaceId, Stale};
#[cfg(feature = "model")]
pub use stepped::{Stepped, SteppedFormat, Steps, WordAccess};
pub use word::Word;

use crate::addr::{VirtAddr, low_bits};
use arrayvec::ArrayVec;
use core::marker::PhantomData;

/// What one level is: the numbers that tell it from the others of its mode.
///
/// Formats are asked about a level by this value, so that tests can sweep over all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Level {
    /// Counted from the bottom: the entries of height 0 map base pages.
    pub height: u8,
    /// One entry stands for 2 to this many bytes of address space.
    pub span_lg2: u8,
    /// A table has 2 to this many entries.
    pub index_lg2: u8,
    /// Whether an entry may map memory.
    pub maps: bool,
}

impl Level {
    /// The number of entries of a table.
    #[must_use]
    #[inline]
    pub const fn entries(self) -> usize {
        match 1usize.checked_shl(self.index_lg2 as u32) {
            Some(entries) => entries,
            None => 0,
        }
    }

    /// A table takes 2 to this many bytes, and is aligned to as many.
    #[must_use]
    #[inline]
    pub const fn table_lg2<F: Format>(self) -> u8 {
        self.index_lg2.saturating_add(<F::Word as Word>::BYTES_LG2)
    }

    /// A whole table stands for 2 to this many bytes of address space.
    #[must_use]
    #[inline]
    pub const fn reach_lg2(self) -> u8 {
        self.span_lg2.saturating_add(self.index_lg2)
    }

    /// Which entry of a table stands for `at`.
    #[must_use]
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // index_lg2 is below 32 by `Last::LEVEL`, `Above::LEVEL`
    pub const fn index(self, at: VirtAddr) -> usize {
        (at.0.wrapping_shr(self.span_lg2 as u32) & low_bits(self.index_lg2)) as usize
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A level of a paging mode, with all that are below it.
///
/// Sealed: levels are made with [`Last`] and [`Above`], so that what the crate derives from a list
/// of levels holds for each of them.
pub trait PageTableLevel: sealed::Sealed + Sized + 'static {
    /// The format of the entries of this level and of those below it.
    type Format: Format;
    /// The level of the tables that entries of this level name. [`Last`] names none, and ends the
    /// recursion by being its own answer: a walk never gets there, since no entry of height 0
    /// decodes as a table.
    type Below: PageTableLevel<Format = Self::Format>;
    /// The level of height 0.
    type Leafmost: PageTableLevel<Format = Self::Format>;
    /// The numbers of this level.
    const LEVEL: Level;
}

/// A level whose entries name tables: every level but [`Last`].
#[diagnostic::on_unimplemented(
    message = "entries of the last level name no tables",
    label = "what a PTE names is the user's page",
    note = "only levels made with `Above` have tables below them"
)]
pub trait NamesTables: PageTableLevel {}

/// A mode's root level with a PMD below it: three levels or more.
#[diagnostic::on_unimplemented(
    message = "this mode has no PMD",
    note = "a mode without a level does not have it; its root is the PGD"
)]
pub trait HasPmd: NamesTables {}

/// A mode's root level with a PUD below it: four levels or more.
#[diagnostic::on_unimplemented(
    message = "this mode has no PUD",
    note = "a mode without a level does not have it; its root is the PGD"
)]
pub trait HasPud: HasPmd {}

/// A mode's root level with a P4D below it: five levels or more.
#[diagnostic::on_unimplemented(
    message = "this mode has no P4D",
    note = "a mode without a level does not have it; its root is the PGD"
)]
pub trait HasP4d: HasPud {}

/// The level whose entries map base pages; tables have 2 to the `INDEX_LG2` entries.
#[derive(Debug)]
pub struct Last<F, const INDEX_LG2: u8>(PhantomData<F>);

/// A level on top of the list `L`; tables have 2 to the `INDEX_LG2` entries, which may map huge
/// pages where `MAPS` says so.
///
/// Tables of `L` are as large, at least, as the format's entries can tell apart
/// ([`Format::TABLE_LG2`]); only a root can be smaller.
///
/// ```compile_fail,E0080
/// use pgtable::{Above, Last, PageTableLevel, arch::x86::X86Long};
/// type Small = Last<X86Long, 3>;           // 64 bytes, of which an entry would forget bits 11:6
/// const LEVEL: pgtable::Level = <Above<Small, 9, true> as PageTableLevel>::LEVEL;
/// # let _ = LEVEL;
/// ```
#[derive(Debug)]
pub struct Above<L, const INDEX_LG2: u8, const MAPS: bool>(PhantomData<L>);

impl<F: Format, const INDEX_LG2: u8> sealed::Sealed for Last<F, INDEX_LG2> {}
impl<L: PageTableLevel, const INDEX_LG2: u8, const MAPS: bool> sealed::Sealed
    for Above<L, INDEX_LG2, MAPS>
{
}

impl<F: Format, const INDEX_LG2: u8> PageTableLevel for Last<F, INDEX_LG2> {
    type Format = F;
    type Below = Self;
    type Leafmost = Self;
    const LEVEL: Level =
        checked(Level { height: 0, span_lg2: F::PAGE_LG2, index_lg2: INDEX_LG2, maps: true });
}

impl<L: PageTableLevel, const INDEX_LG2: u8, const MAPS: bool> PageTableLevel
    for Above<L, INDEX_LG2, MAPS>
{
    type Format = L::Format;
    type Below = L;
    type Leafmost = L::Leafmost;
    const LEVEL: Level = checked(Level {
        height: named::<L>().height.saturating_add(1),
        span_lg2: L::LEVEL.reach_lg2(),
        index_lg2: INDEX_LG2,
        maps: MAPS,
    });
}

impl<L: PageTableLevel, const INDEX_LG2: u8, const MAPS: bool> NamesTables
    for Above<L, INDEX_LG2, MAPS>
{
}

impl<L: NamesTables, const INDEX_LG2: u8, const MAPS: bool> HasPmd for Above<L, INDEX_LG2, MAPS> {}
impl<L: HasPmd, const INDEX_LG2: u8, const MAPS: bool> HasPud for Above<L, INDEX_LG2, MAPS> {}
impl<L: HasPud, const INDEX_LG2: u8, const MAPS: bool> HasP4d for Above<L, INDEX_LG2, MAPS> {}

/// The most levels a mode can have.
pub(crate) const MAX_LEVELS: usize = 8;

/// All levels of a mode, from the root down.
///
/// ```
/// use pgtable::{arch::x86::X86_64La57, levels};
/// let spans: Vec<u8> = levels::<X86_64La57>().map(|level| level.span_lg2).collect();
/// assert_eq!(spans, [48, 39, 30, 21, 12]);
/// ```
#[must_use]
pub fn levels<A: Arch>() -> impl DoubleEndedIterator<Item = Level> {
    let mut list = ArrayVec::<Level, MAX_LEVELS>::new();
    collect::<A::Root>(&mut list);
    list.into_iter()
}

fn collect<L: PageTableLevel>(list: &mut ArrayVec<Level, MAX_LEVELS>) {
    if list.try_push(L::LEVEL).is_ok() && L::LEVEL.height != 0 {
        collect::<L::Below>(list);
    }
}

/// The level of tables that entries name; refused, at compile time, if they are too small for that.
const fn named<L: PageTableLevel>() -> Level {
    let enough = L::LEVEL.table_lg2::<L::Format>() >= <L::Format as Format>::TABLE_LG2;
    assert!(enough, "an entry would forget a part of the address of so small a table");
    L::LEVEL
}

/// Refuses, at compile time, a list of levels that this crate cannot walk.
const fn checked(level: Level) -> Level {
    assert!((level.height as usize) < MAX_LEVELS, "too many levels");
    assert!(level.index_lg2 > 0 && level.index_lg2 <= 24, "a table has 2 to 2^24 entries");
    assert!(level.span_lg2 < 64 && level.reach_lg2() <= 64, "more than 64 bits of address");
    level
}
