//! The numbers of a mode, from its list of levels.

use pgtable::{Arch, Level, VirtAddr, levels};

/// The levels of a mode that can have leaves, from the bottom up.
pub fn mapping_levels<A: Arch>() -> Vec<Level> {
    levels::<A>().rev().filter(|level| level.maps).collect()
}

/// The root level.
pub fn root_level<A: Arch>() -> Level {
    levels::<A>().next().unwrap()
}

/// The number of bits of a virtual address.
pub fn virt_bits<A: Arch>() -> u8 {
    root_level::<A>().reach_lg2()
}

/// An offset into the address space as the mode writes it: sign-extended where it does so.
pub fn canonical<A: Arch>(offset: u64) -> VirtAddr {
    let bits = u32::from(virt_bits::<A>());
    let shift = 64 - bits;
    let cut = offset << shift;
    VirtAddr(if A::SIGN_EXTENDED { ((cut as i64) >> shift) as u64 } else { cut >> shift })
}
