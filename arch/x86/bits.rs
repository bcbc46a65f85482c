//! What the entries of all x86 modes have in common: the low twelve bits, and where the modes have
//! it, bit 63.

use crate::addr::{PhysAddr, low_bits};
use crate::level::{Attrs, Entry, Feature, Fields, Glance, Level, Limits, MemoryType, Rights};
use bitflags::bitflags;

bitflags! {
    /// The bits of an entry (Intel SDM volume 3A, tables 4-4 to 4-6, 4-8 to 4-12, 4-15 to 4-20).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Bits: u64 {
        /// P: present.
        const PRESENT = 1 << 0;
        /// R/W: writable.
        const WRITE = 1 << 1;
        /// U/S: user mode may.
        const USER = 1 << 2;
        /// PWT: bit 0 of the PAT index.
        const PWT = 1 << 3;
        /// PCD: bit 1 of the PAT index.
        const PCD = 1 << 4;
        /// A: accessed.
        const ACCESSED = 1 << 5;
        /// D: dirty; leaves only.
        const DIRTY = 1 << 6;
        /// PS: this entry of a directory is a leaf.
        const SIZE = 1 << 7;
        /// PAT, bit 2 of the PAT index, in a 4 KiB leaf: the bit that is PS in a directory.
        const PAT_SMALL = 1 << 7;
        /// G: global; leaves only.
        const GLOBAL = 1 << 8;
        /// LOCK, in table entries: hardware ignores bits 11:9.
        const LOCK = 1 << 9;
        /// TWIN, in table entries.
        const TWIN = 1 << 10;
        /// Bits 11:9 of leaves: the user's.
        const SOFTWARE_LOW = 0b111 << 9;
        /// PAT in a huge leaf.
        const PAT_HUGE = 1 << 12;
        /// XD: not executable.
        const NO_EXECUTE = 1 << 63;
    }
}

/// The first of bits 11:9.
const SOFTWARE_LOW_SHIFT: u32 = 9;

/// Sorts an entry, given the bits that must be 0 in it if it is a leaf, and if it is a table's name.
#[inline]
pub(super) fn decode(
    level: Level,
    raw: u64,
    limits: &Limits,
    reserved: impl Fn(bool) -> u64,
    address: impl Fn(bool) -> PhysAddr,
) -> Entry {
    if raw & Bits::PRESENT.bits() == 0 {
        return if raw == 0 { Entry::Empty } else { Entry::NonPresent(raw) };
    }
    let leaf = level.height == 0 || (level.maps && raw & Bits::SIZE.bits() != 0);
    let too_large = leaf && level.span_lg2 > limits.largest_leaf_lg2;
    if too_large || raw & reserved(leaf) != 0 {
        Entry::Malformed(raw)
    } else if leaf {
        Entry::Leaf(address(true))
    } else {
        Entry::Table(address(false))
    }
}

/// How to know an ordinary entry, given the bits that must be 0 in it.
#[inline]
pub(super) const fn glance(level: Level, leaf: bool, reserved: u64) -> Glance {
    let present = Bits::PRESENT.bits();
    if leaf {
        let want = present | if level.height == 0 { 0 } else { Bits::SIZE.bits() };
        return Glance { mask: want | reserved, want };
    }
    let want = table(PhysAddr(0), false);
    let marks = Bits::LOCK.union(Bits::TWIN).union(Bits::SIZE).union(Bits::NO_EXECUTE).bits();
    Glance { mask: want | marks | reserved, want }
}

/// The bits of a leaf that are at the same place in all modes: all but the frame, bit 63, and what
/// long mode has above the address.
#[inline]
pub(super) fn leaf(level: Level, attrs: &Attrs) -> Result<u64, Feature> {
    if !attrs.rights.contains(Rights::READ) {
        return Err(Feature::NoRead);
    }
    let software = u64::from(attrs.software).wrapping_shl(SOFTWARE_LOW_SHIFT);
    let mut raw = Bits::PRESENT.bits() | (software & Bits::SOFTWARE_LOW.bits());
    let mut put = |on: bool, bits: Bits| raw |= if on { bits.bits() } else { 0 };
    put(attrs.rights.contains(Rights::WRITE), Bits::WRITE);
    put(attrs.rights.contains(Rights::USER), Bits::USER);
    put(attrs.memory.index() & 1 != 0, Bits::PWT);
    put(attrs.memory.index() & 2 != 0, Bits::PCD);
    put(attrs.memory.index() & 4 != 0, pat(level));
    put(attrs.accessed, Bits::ACCESSED);
    put(attrs.dirty, Bits::DIRTY);
    put(attrs.global, Bits::GLOBAL);
    put(level.height != 0, Bits::SIZE);
    Ok(raw)
}

/// What [`leaf`] put into a word.
#[inline]
pub(super) fn attrs(level: Level, raw: u64) -> Attrs {
    let has = |bits: Bits| raw & bits.bits() != 0;
    let index = u8::from(has(Bits::PWT))
        | (u8::from(has(Bits::PCD)) << 1)
        | (u8::from(has(pat(level))) << 2);
    let software = (raw & Bits::SOFTWARE_LOW.bits()).wrapping_shr(SOFTWARE_LOW_SHIFT);
    Attrs::new(rights(grants(raw)))
        .with_memory(MemoryType::new(index).unwrap_or(Attrs::DATA.memory))
        .with_global(has(Bits::GLOBAL))
        .with_used(has(Bits::ACCESSED), has(Bits::DIRTY))
        .with_software(u16::try_from(software).unwrap_or_default())
}

/// The bits that hold these fields, NX included.
#[inline]
pub(super) fn mask(level: Level, fields: Fields) -> u64 {
    let rights = Bits::WRITE | Bits::USER | Bits::NO_EXECUTE;
    let places = [
        (Fields::RIGHTS, rights),
        (Fields::MEMORY, Bits::PWT | Bits::PCD | pat(level)),
        (Fields::GLOBAL, Bits::GLOBAL),
        (Fields::SOFTWARE, Bits::SOFTWARE_LOW),
        (Fields::ACCESSED, Bits::ACCESSED),
        (Fields::DIRTY, Bits::DIRTY),
    ];
    let chosen = places.iter().filter(|place| fields.contains(place.0));
    chosen.fold(0, |mask, place| mask | place.1.bits())
}

/// Where the third bit of the PAT index is (Intel SDM volume 3A, section 4.9.2). Taking bit 12 of a
/// huge leaf for an address bit moves the page by 4 KiB.
#[inline]
pub(super) const fn pat(level: Level) -> Bits {
    if level.height == 0 { Bits::PAT_SMALL } else { Bits::PAT_HUGE }
}

/// The word that names a table: present, writable, write-back, executable.
#[inline]
pub(super) const fn table(table: PhysAddr, user: bool) -> u64 {
    let bits = Bits::PRESENT.union(Bits::WRITE);
    table.0 | if user { bits.union(Bits::USER) } else { bits }.bits()
}

/// Every right as a bit that is set where it is granted.
#[inline]
pub(super) const fn grants(raw: u64) -> u64 {
    raw ^ Bits::NO_EXECUTE.bits()
}

/// The rights in the AND of what a path's words grant.
#[inline]
pub(super) fn rights(grants: u64) -> Rights {
    let when = |bits: Bits, right: Rights| {
        if grants & bits.bits() != 0 { right } else { Rights::empty() }
    };
    Rights::READ
        | when(Bits::WRITE, Rights::WRITE)
        | when(Bits::USER, Rights::USER)
        | when(Bits::NO_EXECUTE, Rights::EXECUTE)
}

/// What a table entry must lose and gain to grant these rights.
#[inline]
pub(super) fn widening(rights: Rights) -> (u64, u64) {
    let when = |right: Rights, bits: Bits| {
        if rights.contains(right) { bits.bits() } else { 0 }
    };
    let set = when(Rights::WRITE, Bits::WRITE) | when(Rights::USER, Bits::USER);
    (when(Rights::EXECUTE, Bits::NO_EXECUTE), set)
}

/// The bits from `from` up to, but not including, `to`; none if that is the wrong way round.
#[inline]
pub(super) const fn bits_between(from: u8, to: u8) -> u64 {
    low_bits(to) & !low_bits(from)
}

/// Entries of 64 bits have room for addresses of so many bits (Intel SDM volume 3A, section 4.1.4).
#[cfg(target_has_atomic = "64")]
pub(super) const MAX_PHYS_BITS: u8 = 52;

/// The address in an entry of 64 bits.
#[cfg(target_has_atomic = "64")]
#[inline]
pub(super) const fn address(level: Level, leaf: bool, raw: u64) -> PhysAddr {
    let from = if leaf { level.span_lg2 } else { 12 };
    PhysAddr(raw & bits_between(from, MAX_PHYS_BITS))
}

/// The address bits of a huge leaf that must be 0: those below its own size, but for the PAT bit.
#[inline]
pub(super) const fn below_huge(level: Level) -> u64 {
    bits_between(13, level.span_lg2)
}

static_assertions::const_assert_eq!(Bits::LOCK.bits() & Bits::TWIN.bits(), 0);
static_assertions::const_assert!(
    Bits::SOFTWARE_LOW.contains(Bits::LOCK) && Bits::SOFTWARE_LOW.contains(Bits::TWIN)
);
