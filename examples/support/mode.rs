//! Which paging mode a CPU was in, and how to do the same thing in any of them.

use object::elf::EM_X86_64;
use pgtable::addr::low_bits;
use pgtable::arch::x86::{X86_32, X86_64, X86_64La57, X86Pae};
use pgtable::{Arch, Config, Level, PageTableLevel, PhysAddr};

/// CR0.PG: the CPU translates addresses.
const CR0_PG: u64 = 1 << 31;
/// CR4.PAE.
const CR4_PAE: u64 = 1 << 5;
/// CR4.LA57.
const CR4_LA57: u64 = 1 << 12;

/// The four paging modes of x86.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// 32-bit, two levels.
    Legacy,
    /// 32-bit with PAE, three levels.
    Pae,
    /// 64-bit, four levels.
    Long,
    /// 64-bit, five levels.
    LongLa57,
}

/// What is done alike in every mode: one body, compiled for each.
pub(crate) trait ForMode {
    /// What comes of it.
    type Output;
    /// Does it.
    fn run<C: Config>(self) -> Self::Output;
}

impl Mode {
    /// The mode of a CPU. The core's machine is x86-64 only where long mode was active.
    pub(crate) const fn of(machine: u16, cr4: u64) -> Self {
        match (machine == EM_X86_64, cr4 & CR4_LA57 != 0, cr4 & CR4_PAE != 0) {
            (true, true, _) => Self::LongLa57,
            (true, false, _) => Self::Long,
            (false, _, true) => Self::Pae,
            (false, _, false) => Self::Legacy,
        }
    }

    /// Does `work` in this mode.
    pub(crate) fn run<W: ForMode>(self, work: W) -> W::Output {
        match self {
            Self::Legacy => work.run::<X86_32>(),
            Self::Pae => work.run::<X86Pae>(),
            Self::Long => work.run::<X86_64>(),
            Self::LongLa57 => work.run::<X86_64La57>(),
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        struct Name;
        impl ForMode for Name {
            type Output = &'static str;
            fn run<C: Config>(self) -> &'static str {
                C::Arch::NAME
            }
        }
        self.run(Name)
    }
}

/// What a core says of one CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    /// Its place among the CPUs.
    pub(crate) number: usize,
    /// Its paging mode, whether it translates or not.
    pub(crate) mode: Mode,
    cr0: u64,
    cr3: u64,
}

impl Cpu {
    /// A CPU with these registers.
    pub(crate) const fn new(number: usize, mode: Mode, cr0: u64, cr3: u64) -> Self {
        Self { number, mode, cr0, cr3 }
    }

    /// Whether it translates addresses at all.
    pub(crate) const fn pages(&self) -> bool {
        self.cr0 & CR0_PG != 0
    }

    /// Where its root is. In CR3 there is more below the address (PWT, PCD or a PCID) and above.
    pub(crate) fn root<C: Config>(&self) -> PhysAddr {
        let bits = C::Arch::root_phys_bits(&C::Arch::LIMITS);
        let aligned = table_lg2::<C>(<C::Arch as Arch>::Root::LEVEL);
        PhysAddr(self.cr3 & low_bits(bits) & !low_bits(aligned))
    }
}

/// A table of this level has 2 to this many bytes.
pub(crate) const fn table_lg2<C: Config>(level: Level) -> u8 {
    level.table_lg2::<<C::Arch as Arch>::Format>()
}

/// The alias of a level. The root is the PGD in every mode; a mode that lacks a level lacks its name.
pub(crate) fn level_name<C: Config>(height: u8) -> &'static str {
    let root = <C::Arch as Arch>::Root::LEVEL.height;
    match height {
        _ if height == root => "PGD",
        0 => "PTE",
        1 => "PMD",
        2 => "PUD",
        3 => "P4D",
        _ => "table",
    }
}
