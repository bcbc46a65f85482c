//! Modes whose every access to a word goes through the explorer: small ones, and two real ones.

use super::search::Explore;
use pgtable::arch::x86::{PaeWord, X86_32, X86_64, X86Legacy, X86Long, X86Pae};
use pgtable::model::{self, Mode};
use pgtable::{
    Above, Arch, Attrs, Config, Entry, Feature, Fields, Format, Glance, Last, Level, Limits,
    PageSize, PageTableLevel, PhysAddr, Reload, Rights, SteppedFormat, Strategy,
};

/// The entries of x86-64, for tables of any size.
pub(crate) enum Small {}

// SAFETY: every answer is that of `X86Long`, which keeps the promise; tables are smaller than a page,
// and the explorer's host puts each of them at the start of one.
unsafe impl Format for Small {
    type Word = u64;
    const PAGE_LG2: u8 = X86Long::PAGE_LG2;
    const TABLE_LG2: u8 = 4;
    const PRESENT: u64 = X86Long::PRESENT;
    const LOCK: u64 = X86Long::LOCK;
    const TWIN: u64 = X86Long::TWIN;
    fn decode(level: Level, raw: u64, limits: &Limits) -> Entry {
        X86Long::decode(level, raw, limits)
    }
    fn glance(level: Level, leaf: bool, limits: &Limits) -> Glance {
        X86Long::glance(level, leaf, limits)
    }
    fn address(level: Level, leaf: bool, raw: u64) -> PhysAddr {
        X86Long::address(level, leaf, raw)
    }
    fn leaf(level: Level, frame: PhysAddr, attrs: &Attrs) -> Result<u64, Feature> {
        X86Long::leaf(level, frame, attrs)
    }
    fn attrs(level: Level, raw: u64) -> Attrs {
        X86Long::attrs(level, raw)
    }
    fn mask(level: Level, fields: Fields) -> u64 {
        X86Long::mask(level, fields)
    }
    fn table(level: Level, table: PhysAddr, user: bool) -> u64 {
        X86Long::table(level, table, user)
    }
    fn grants(level: Level, raw: u64) -> u64 {
        X86Long::grants(level, raw)
    }
    fn rights(grants: u64) -> Rights {
        X86Long::rights(grants)
    }
    fn widening(level: Level, rights: Rights) -> (u64, u64) {
        X86Long::widening(level, rights)
    }
    fn phys_bits(level: Level, leaf: bool, limits: &Limits) -> u8 {
        X86Long::phys_bits(level, leaf, limits)
    }
}

type Long = SteppedFormat<Small, Explore>;
type TinyPte = Last<Long, 1>;
type TinyPmd = Above<TinyPte, 1, true>;

const LIMITS: Limits = Limits { largest_leaf_lg2: 13, ..X86_64::LIMITS };

/// What the explorer must know of a mode.
pub(crate) trait Shape: Arch {
    const MODE: &'static Mode;
    /// So many entries of each table are explored: those that CPUs use.
    const ENTRIES: usize;
    /// Bytes of an entry.
    const WORD: u64 = 8;
    /// The root can be loaded without a flush.
    const TAGS: bool = true;
    /// The root entries are registers.
    const REGISTERS: bool = false;
    /// There are leaves of two pages.
    const HUGE: bool = true;
    /// So many pages are explored, from address 0 on.
    const PAGES: u64 = 4;
}

/// A mode in whose spaces each table that can goes whole.
pub(crate) struct Wholesale<A>(A);
impl<A: Shape> Config for Wholesale<A> {
    type Arch = A;
    const UNMAP_WHOLE_FROM: u64 = 1;
}

/// Two levels, two entries in each table: four pages, or two of twice the size.
pub(crate) enum Two {}
impl Arch for Two {
    type Format = Long;
    type Root = TinyPmd;
    const NAME: &'static str = "two levels";
    const SIGN_EXTENDED: bool = false;
    const LIMITS: Limits = LIMITS;
}
impl Shape for Two {
    const MODE: &'static Mode = &Mode::made_up(
        "two levels",
        &[model::Level::new(13, 1, true), model::Level::new(12, 1, false)],
    );
    const ENTRIES: usize = 2;
}

/// Three levels, two entries in each table.
pub(crate) enum Three {}
impl Arch for Three {
    type Format = Long;
    type Root = Above<TinyPmd, 1, false>;
    const NAME: &'static str = "three levels";
    const SIGN_EXTENDED: bool = false;
    const LIMITS: Limits = LIMITS;
}
const THREE: &[model::Level] = &[
    model::Level::new(14, 1, false),
    model::Level::new(13, 1, true),
    model::Level::new(12, 1, false),
];
impl Shape for Three {
    const MODE: &'static Mode = &Mode::made_up("three levels", THREE);
    const ENTRIES: usize = 2;
    const PAGES: u64 = 8;
}

/// The same, where a name must be broken before another is made.
pub(crate) enum Strict {}
impl Arch for Strict {
    type Format = Long;
    type Root = <Three as Arch>::Root;
    const NAME: &'static str = "three strict levels";
    const SIGN_EXTENDED: bool = false;
    const LIMITS: Limits = LIMITS;
    const STRATEGY: Strategy = Strategy::BreakBeforeMake;
}
impl Shape for Strict {
    const MODE: &'static Mode = &Mode::made_up("three strict levels", THREE);
    const ENTRIES: usize = 2;
    const PAGES: u64 = 8;
}

/// x86 without PAE, as it is: 1024 entries, of which CPUs use the first eight.
pub(crate) enum Legacy {}
impl Arch for Legacy {
    type Format = SteppedFormat<X86Legacy, Explore>;
    type Root = Above<Last<Self::Format, 10>, 10, true>;
    const NAME: &'static str = X86_32::NAME;
    const SIGN_EXTENDED: bool = false;
    const LIMITS: Limits = X86_32::LIMITS;
}
impl Shape for Legacy {
    const MODE: &'static Mode = &Mode::X86_32;
    const ENTRIES: usize = 8;
    const PAGES: u64 = 8;
    const WORD: u64 = 4;
    const TAGS: bool = false;
    const HUGE: bool = false;
}

/// x86 with PAE, as it is.
pub(crate) enum Pae {}
impl Arch for Pae {
    type Format = SteppedFormat<PaeWord, Explore>;
    type Root = Above<Above<Last<Self::Format, 9>, 9, true>, 2, false>;
    const NAME: &'static str = X86Pae::NAME;
    const SIGN_EXTENDED: bool = false;
    const LIMITS: Limits = X86Pae::LIMITS;
    fn reload(level: Level) -> Reload {
        X86Pae::reload(level)
    }
    fn root_phys_bits(limits: &Limits) -> u8 {
        X86Pae::root_phys_bits(limits)
    }
}
impl Shape for Pae {
    const MODE: &'static Mode = &Mode::X86_PAE;
    const ENTRIES: usize = 8;
    const PAGES: u64 = 8;
    const TAGS: bool = false;
    const HUGE: bool = false;
    const REGISTERS: bool = true;
}

/// Twice the base page.
#[derive(Clone, Copy)]
pub(crate) enum Size8KiB {}
impl PageSize for Size8KiB {
    const SIZE_LG2: u8 = 13;
}

/// The bytes that an entry of each height stands for.
pub(crate) fn spans<A: Arch>() -> Vec<u8> {
    pgtable::levels::<A>().rev().map(|level| level.span_lg2).collect()
}

/// The height of the roots.
pub(crate) const fn top<A: Arch>() -> u8 {
    <A::Root as PageTableLevel>::LEVEL.height
}
