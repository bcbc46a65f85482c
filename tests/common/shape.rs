//! The numbers of a mode, from its list of levels; and what to try in leaves.

use pgtable::{Arch, Attrs, Format, Level, MemoryType, PhysAddr, Rights, VirtAddr, levels};

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

/// All attributes there are: every combination of the flags, and of software bits and keys each bit
/// and all of them.
pub fn all_attrs() -> impl Iterator<Item = Attrs> {
    let software = [0, 1, 2, 4, 7, 8, 16, 32, 64, 128, 256, 512, 1023, 1024, 0x8000, 0xffff];
    let keys = [0, 1, 2, 4, 8, 15, 16, 255];
    (0..16u8).flat_map(move |rights| {
        (0..8u8).flat_map(move |memory| {
            (0..8u8).flat_map(move |flags| {
                software.into_iter().flat_map(move |software| {
                    keys.into_iter().map(move |key| {
                        Attrs::new(Rights::from_bits_truncate(rights))
                            .with_memory(MemoryType::new(memory).unwrap())
                            .with_global(flags & 1 != 0)
                            .with_used(flags & 2 != 0, flags & 4 != 0)
                            .with_software(software)
                            .with_key(key)
                    })
                })
            })
        })
    })
}

/// Frames to try in a leaf of a level: none, each bit that there is, and all.
pub fn frames<A: Arch>(level: Level) -> Vec<PhysAddr> {
    let bits = A::Format::phys_bits(level, true, &A::LIMITS);
    let single = (level.span_lg2..bits).map(|bit| PhysAddr(1 << bit));
    let all = PhysAddr((1 << bits) - (1 << level.span_lg2));
    single.chain([PhysAddr(0), all]).collect()
}
