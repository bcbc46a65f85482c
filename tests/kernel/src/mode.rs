//! The paging mode that the kernel is built for.

use crate::layout::{HIGH, LOW_BYTES, Layout};
use pgtable::{Arch, Attrs, Level, PageTableLevel, PhysAddr, Rights, Span, VirtAddr};

#[cfg(all(target_arch = "x86", not(feature = "pae")))]
mod here {
    pub use crate::layout::LEGACY as LAYOUT;
    pub use pgtable::Size4MiB as Huge;
    pub use pgtable::arch::x86::X86_32 as Mode;
}
#[cfg(all(target_arch = "x86", feature = "pae"))]
mod here {
    pub use crate::layout::PAE as LAYOUT;
    pub use pgtable::Size2MiB as Huge;
    pub use pgtable::arch::x86::X86Pae as Mode;
}
#[cfg(all(target_arch = "x86_64", not(feature = "la57")))]
mod here {
    pub use crate::layout::LONG as LAYOUT;
    pub use pgtable::Size2MiB as Huge;
    pub use pgtable::arch::x86::X86_64 as Mode;
}
#[cfg(all(target_arch = "x86_64", feature = "la57"))]
mod here {
    pub use crate::layout::LA57 as LAYOUT;
    pub use pgtable::Size2MiB as Huge;
    pub use pgtable::arch::x86::X86_64La57 as Mode;
}
pub use here::{Huge, Mode};

/// Where things are.
pub const LAYOUT: Layout = here::LAYOUT;
/// The level of the root.
pub const ROOT: Level = <<Mode as Arch>::Root as PageTableLevel>::LEVEL;
/// A root has 2 to this many bytes.
pub const ROOT_LG2: u8 = ROOT.table_lg2::<<Mode as Arch>::Format>();
/// A base page.
pub const PAGE: u64 = 4096;
/// The highest address of memory that base pages can be mapped to.
pub const HIGHEST: PhysAddr = PhysAddr(if LAYOUT.high == 0 { HIGH - 1 } else { u64::MAX });
/// Whether pages can be made not executable.
pub const NO_EXECUTE: bool = Mode::LIMITS.no_execute;

/// The kernel's half.
pub fn shared() -> Span {
    // The layout's, and so not empty.
    Span::inclusive(VirtAddr(LAYOUT.shared), VirtAddr(LAYOUT.last)).unwrap_or(Span::ALL)
}

/// These rights, and to execute as well where that cannot be forbidden.
pub fn can(rights: Rights) -> Attrs {
    Attrs::new(if NO_EXECUTE { rights } else { rights | Rights::EXECUTE })
}

/// Read and write.
pub fn data() -> Attrs {
    can(Rights::READ | Rights::WRITE)
}

/// Where memory at `at` is mapped for good, if it is.
pub fn direct(at: u64) -> Option<u64> {
    match at {
        0..LOW_BYTES => Some(LAYOUT.direct + at),
        HIGH.. if LAYOUT.high != 0 => LAYOUT.high.checked_add(at - HIGH),
        _ => None,
    }
}
