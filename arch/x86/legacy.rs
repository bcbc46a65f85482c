//! 32-bit paging, without PAE (Intel SDM volume 3A, section 4.3).

use super::bits::{self, Bits, below_huge, bits_between};
use crate::addr::{PhysAddr, low_bits};
use crate::level::{
    Above, Arch, Attrs, Entry, Feature, Fields, Format, Glance, Last, Level, Limits,
    PageTableLevel, Rights,
};

/// The 32-bit entries of x86 without PAE.
///
/// A 4 MiB leaf holds a 40-bit address (PSE-36): bits 39:32 in bits 20:13 of the entry; everything
/// else holds 32 bits.
#[derive(Clone, Copy, Debug)]
pub enum X86Legacy {}

/// Page tables: 1024 entries of 4 KiB.
pub type LegacyPte = Last<X86Legacy, 10>;
/// Page directories: 1024 entries of 4 MiB.
pub type LegacyPgd = Above<LegacyPte, 10, true>;

/// x86 without PAE: two levels, 32-bit virtual addresses.
#[derive(Clone, Copy, Debug)]
pub enum X86_32 {}

impl Arch for X86_32 {
    type Format = X86Legacy;
    type Root = LegacyPgd;
    const NAME: &'static str = "x86-32";
    const SIGN_EXTENDED: bool = false;
    const LIMITS: Limits = Limits {
        phys_bits: 40,
        largest_leaf_lg2: 22,
        no_execute: false,
        global: true,
        keys: false,
    };

    fn root_phys_bits(limits: &Limits) -> u8 {
        limits.phys_bits.min(NARROW_BITS)
    }
}

/// Address bits of everything but a 4 MiB leaf.
const NARROW_BITS: u8 = 32;
/// Address bits 39:32 stand in bits 20:13 of a 4 MiB leaf: 19 places lower.
const HIGH_SHIFT: u32 = 19;
const HIGH: u64 = bits_between(13, 21);

impl X86Legacy {
    fn reserved(level: Level, leaf: bool, limits: &Limits) -> u64 {
        if leaf && level.height != 0 {
            // Bit 21, and of bits 20:13 what is above the CPU's address width (table 4-4).
            let fitting = low_bits(limits.phys_bits.max(NARROW_BITS)).wrapping_shr(HIGH_SHIFT);
            (1 << 21) | (HIGH & !fitting)
        } else {
            bits_between(limits.phys_bits.max(12), NARROW_BITS)
        }
    }
}

// SAFETY: `bits::decode` finds a table only where P is set and the level is a directory, and PS is
// clear where that would make it a leaf; its address is all that `table` put there, which is aligned
// to 4 KiB, as every table that an entry names is. (`tests/suite/levels.rs` asks it of every level.)
unsafe impl Format for X86Legacy {
    type Word = u32;
    const PAGE_LG2: u8 = 12;
    const PRESENT: u64 = Bits::PRESENT.bits();
    const LOCK: u64 = Bits::LOCK.bits();
    const TWIN: u64 = Bits::TWIN.bits();

    #[inline]
    fn decode(level: Level, raw: u64, limits: &Limits) -> Entry {
        // Without CR4.PSE, bit 7 of a directory's entry is ignored (table 4-5): it names a table.
        let level = Level { maps: level.span_lg2 <= limits.largest_leaf_lg2, ..level };
        let reserved = |leaf| Self::reserved(level, leaf, limits);
        bits::decode(level, raw, limits, reserved, |leaf| Self::address(level, leaf, raw))
    }

    #[inline]
    fn glance(level: Level, leaf: bool, limits: &Limits) -> Glance {
        bits::glance(level, leaf, Self::reserved(level, leaf, limits))
    }

    #[inline]
    fn address(level: Level, leaf: bool, raw: u64) -> PhysAddr {
        if leaf && level.height != 0 {
            let low = raw & bits_between(level.span_lg2, NARROW_BITS);
            PhysAddr(low | (raw & HIGH).wrapping_shl(HIGH_SHIFT))
        } else {
            PhysAddr(raw & bits_between(Self::PAGE_LG2, NARROW_BITS))
        }
    }

    #[inline]
    fn leaf(level: Level, frame: PhysAddr, attrs: &Attrs) -> Result<u64, Feature> {
        if !attrs.rights.contains(Rights::EXECUTE) {
            return Err(Feature::NoExecute);
        }
        if attrs.key != 0 {
            return Err(Feature::Key(attrs.key));
        }
        if attrs.software > 0b111 {
            return Err(Feature::Software(attrs.software));
        }
        let high = frame.0.wrapping_shr(HIGH_SHIFT) & HIGH;
        let low = frame.0 & low_bits(NARROW_BITS);
        let high = if level.height == 0 { 0 } else { high };
        Ok(bits::leaf(level, attrs)? | low | high)
    }

    #[inline]
    fn step(level: Level) -> Option<u64> {
        // PSE-36 has the upper bits of a 4 MiB frame below the others.
        if level.height == 0 { Some(1 << level.span_lg2) } else { None }
    }

    #[inline]
    fn attrs(level: Level, raw: u64) -> Attrs {
        bits::attrs(level, raw)
    }

    #[inline]
    fn mask(level: Level, fields: Fields) -> u64 {
        bits::mask(level, fields) & low_bits(NARROW_BITS)
    }

    #[inline]
    fn table(_: Level, table: PhysAddr, user: bool) -> u64 {
        bits::table(table, user)
    }

    #[inline]
    fn grants(_: Level, raw: u64) -> u64 {
        bits::grants(raw)
    }

    #[inline]
    fn rights(grants: u64) -> Rights {
        bits::rights(grants)
    }

    #[inline]
    fn widening(_: Level, rights: Rights) -> (u64, u64) {
        let (clear, set) = bits::widening(rights);
        (clear & low_bits(NARROW_BITS), set)
    }

    #[inline]
    fn phys_bits(level: Level, leaf: bool, limits: &Limits) -> u8 {
        let most = if leaf && level.height != 0 { 40 } else { NARROW_BITS };
        limits.phys_bits.min(most)
    }
}

static_assertions::const_assert_eq!(LegacyPgd::LEVEL.span_lg2, 22);
static_assertions::const_assert_eq!(LegacyPgd::LEVEL.reach_lg2(), 32);
static_assertions::const_assert_eq!(LegacyPgd::LEVEL.table_lg2::<X86Legacy>(), 12);
static_assertions::const_assert_eq!(LegacyPte::LEVEL.table_lg2::<X86Legacy>(), 12);
static_assertions::const_assert_eq!(below_huge(LegacyPgd::LEVEL), HIGH | (1 << 21));
