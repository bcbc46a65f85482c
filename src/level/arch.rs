//! Paging modes, and the kinds of spaces that a kernel has.

use super::{Format, Level, Limits, PageTableLevel};

/// What CPUs must do before they see that an entry changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Drop what they cached of it.
    Entry,
    /// Load the root register again: the entry was read when that was loaded last, and will not be
    /// read again before, not even if it was not present (PAE's four root entries; Intel SDM
    /// volume 3A, section 4.4.1).
    Root,
}

/// How a live name may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// From one table to another in one write.
    Swap,
    /// Only with a not-present entry and a shootdown in between.
    BreakBeforeMake,
}

/// A paging mode: an entry format, a list of levels, and what holds of (mode, level).
///
/// ```
/// use pgtable::{Above, Arch, Last, Limits, arch::x86::X86Long};
///
/// /// x86-64 as a CPU without 1 GiB pages and without keys has it.
/// struct Early64;
/// type Pte = Last<X86Long, 9>;
/// type Pmd = Above<Pte, 9, true>;
/// type Pud = Above<Pmd, 9, false>;
/// type Pgd = Above<Pud, 9, false>;
/// impl Arch for Early64 {
///     type Format = X86Long;
///     type Root = Pgd;
///     const NAME: &'static str = "early x86-64";
///     const SIGN_EXTENDED: bool = true;
///     const LIMITS: Limits = Limits {
///         phys_bits: 40, largest_leaf_lg2: 21, no_execute: true, global: true, keys: false,
///     };
/// }
/// ```
pub trait Arch: Sized + 'static {
    /// The format of its entries.
    type Format: Format;
    /// The level of its root, and through it all levels.
    type Root: PageTableLevel<Format = Self::Format>;
    /// Its name, as an emulator or a manual writes it.
    const NAME: &'static str;
    /// Whether a virtual address repeats its highest bit up to bit 63. If not, those bits are zero.
    const SIGN_EXTENDED: bool;
    /// The most that a CPU of this mode can have.
    const LIMITS: Limits;
    /// How a live name may be changed.
    const STRATEGY: Strategy = Strategy::Swap;

    /// Whether roots can be moved.
    const MIGRATE_PAGETABLE_PGD: bool = true;
    /// Whether tables of height 3 below the root can be moved.
    const MIGRATE_PAGETABLE_P4D: bool = true;
    /// Whether tables of height 2 below the root can be moved.
    const MIGRATE_PAGETABLE_PUD: bool = true;
    /// Whether tables of height 1 below the root can be moved.
    const MIGRATE_PAGETABLE_PMD: bool = true;
    /// Whether tables of height 0 below the root can be moved.
    const MIGRATE_PAGETABLE_PTE: bool = true;

    /// What CPUs must do after an entry of a table of `level` changed.
    #[must_use]
    fn reload(level: Level) -> Reload {
        let _ = level;
        Reload::Entry
    }

    /// How wide the address of a root can be: what the root register holds.
    #[must_use]
    fn root_phys_bits(limits: &Limits) -> u8 {
        limits.phys_bits
    }
}

/// What a kernel fixes at compile time for one kind of space.
///
/// Every [`Arch`] is a config with its own defaults. A kernel that wants other flags says so in a
/// type of its own:
///
/// ```
/// use pgtable::{Config, arch::x86::X86_64};
///
/// /// The kernel's own space: it stays where it is.
/// enum InitMm {}
/// impl Config for InitMm {
///     type Arch = X86_64;
///     const RELOCATABLE: bool = false;
/// }
/// assert!(<X86_64 as Config>::RELOCATABLE);
/// ```
pub trait Config: Sized + 'static {
    /// The paging mode.
    type Arch: Arch;
    /// Whether roots are moved.
    const MIGRATE_PAGETABLE_PGD: bool = <Self::Arch as Arch>::MIGRATE_PAGETABLE_PGD;
    /// Whether tables of height 3 below the root are moved.
    const MIGRATE_PAGETABLE_P4D: bool = <Self::Arch as Arch>::MIGRATE_PAGETABLE_P4D;
    /// Whether tables of height 2 below the root are moved.
    const MIGRATE_PAGETABLE_PUD: bool = <Self::Arch as Arch>::MIGRATE_PAGETABLE_PUD;
    /// Whether tables of height 1 below the root are moved.
    const MIGRATE_PAGETABLE_PMD: bool = <Self::Arch as Arch>::MIGRATE_PAGETABLE_PMD;
    /// Whether tables of height 0 below the root are moved.
    const MIGRATE_PAGETABLE_PTE: bool = <Self::Arch as Arch>::MIGRATE_PAGETABLE_PTE;
    /// Whether any table of such a space is ever moved.
    const RELOCATABLE: bool = true;
    /// Whether a table that unmap leaves empty is given back at once. If not, it stays for the next
    /// map, until the space is torn down.
    const FREE_EMPTY_TABLES: bool = true;
    /// How many tables of height 0 a range that is unmapped must cover whole for them to be unlinked
    /// with all that is in them, and read after a shootdown in the verb: that is ten times as fast as
    /// page by page. (Only where empty tables are given back.) By default as many as fill a
    /// [`Gather`](crate::Gather), which makes a shootdown then anyway; `u64::MAX` is never.
    const UNMAP_WHOLE_FROM: u64 = 64;
}

impl<A: Arch> Config for A {
    type Arch = A;
}

/// Whether the code that moves tables, and that keeps their copies alike, is there for a config.
pub(crate) const fn relocatable<C: Config>() -> bool {
    C::RELOCATABLE && !cfg!(pgtable_no_relocation)
}

/// Whether tables of a level are moved in spaces of a config: what its flags say.
pub(crate) const fn movable<C: Config>(level: Level) -> bool {
    let root = <<C::Arch as Arch>::Root as PageTableLevel>::LEVEL.height;
    let flag = match level.height {
        height if height == root => C::MIGRATE_PAGETABLE_PGD,
        0 => C::MIGRATE_PAGETABLE_PTE,
        1 => C::MIGRATE_PAGETABLE_PMD,
        2 => C::MIGRATE_PAGETABLE_PUD,
        3 => C::MIGRATE_PAGETABLE_P4D,
        // Above these no mode has a flag of its own.
        _ => true,
    };
    flag && relocatable::<C>()
}
