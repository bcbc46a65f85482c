//! 4-level and 5-level paging (Intel SDM volume 3A, section 4.5).

use super::bits::{self, Bits, MAX_PHYS_BITS, below_huge, bits_between};
use crate::addr::PhysAddr;
use crate::level::{
    Above, Arch, Attrs, Entry, Feature, Fields, Format, Glance, Last, Level, Limits,
    PageTableLevel, Rights,
};

/// The entries of x86-64, with 4 levels and with 5.
///
/// Leaves have software bits 58:52 besides 11:9, and the protection key in bits 62:59. Entries that
/// name tables ignore all of 62:52.
#[derive(Clone, Copy, Debug)]
pub enum X86Long {}

/// Page tables: 512 entries of 4 KiB.
pub type LongPte = Last<X86Long, 9>;
/// Page directories: 512 entries of 2 MiB.
pub type LongPmd = Above<LongPte, 9, true>;
/// Page-directory-pointer tables: 512 entries of 1 GiB.
pub type LongPud = Above<LongPmd, 9, true>;
/// PML4: 512 entries of 512 GiB. The root with 4 levels, one below it with 5.
pub type LongP4d = Above<LongPud, 9, false>;
/// PML5: 512 entries of 256 TiB.
pub type LongPgd5 = Above<LongP4d, 9, false>;

/// x86-64 with 4 levels: 48-bit virtual addresses.
#[derive(Clone, Copy, Debug)]
pub enum X86_64 {}

/// x86-64 with 5 levels (CR4.LA57): 57-bit virtual addresses.
#[derive(Clone, Copy, Debug)]
pub enum X86_64La57 {}

/// What every x86-64 CPU has at most, with 4 levels or with 5.
const LONG_LIMITS: Limits = Limits {
    phys_bits: MAX_PHYS_BITS,
    largest_leaf_lg2: 30,
    no_execute: true,
    global: true,
    keys: true,
};

impl Arch for X86_64 {
    type Format = X86Long;
    type Root = LongP4d;
    const NAME: &'static str = "x86-64";
    const SIGN_EXTENDED: bool = true;
    const LIMITS: Limits = LONG_LIMITS;
}

impl Arch for X86_64La57 {
    type Format = X86Long;
    type Root = LongPgd5;
    const NAME: &'static str = "x86-64-la57";
    const SIGN_EXTENDED: bool = true;
    const LIMITS: Limits = LONG_LIMITS;
}

/// Where the software bits 58:52 of a leaf start, and how many of those in 11:9 come before them.
const SOFTWARE_HIGH_FROM: u8 = 52;
const SOFTWARE_LOW_BITS: u32 = 3;
const SOFTWARE_HIGH: u64 = bits_between(SOFTWARE_HIGH_FROM, 59);
const SOFTWARE_MOST: u16 = 0x3ff;
const KEY_SHIFT: u32 = 59;
const KEY: u64 = bits_between(59, 63);
const KEY_MOST: u8 = 15;

impl X86Long {
    fn reserved(level: Level, leaf: bool, limits: &Limits) -> u64 {
        let above = bits_between(limits.phys_bits.max(12), MAX_PHYS_BITS);
        let no_execute = if limits.no_execute { 0 } else { Bits::NO_EXECUTE.bits() };
        let size = if level.maps { 0 } else { Bits::SIZE.bits() };
        let huge = if leaf && level.height != 0 { below_huge(level) } else { 0 };
        above | no_execute | size | huge
    }
}

// SAFETY: `bits::decode` finds a table only where P is set and the level is a directory, and PS is
// clear where that would make it a leaf; its address is all that `table` put there, which is aligned
// to 4 KiB, as every table that an entry names is. (`tests/suite/levels.rs` asks it of every level.)
unsafe impl Format for X86Long {
    type Word = u64;
    const PAGE_LG2: u8 = 12;
    const PRESENT: u64 = Bits::PRESENT.bits();
    const LOCK: u64 = Bits::LOCK.bits();
    const TWIN: u64 = Bits::TWIN.bits();

    #[inline]
    fn decode(level: Level, raw: u64, limits: &Limits) -> Entry {
        let reserved = |leaf| Self::reserved(level, leaf, limits);
        bits::decode(level, raw, limits, reserved, |leaf| Self::address(level, leaf, raw))
    }

    #[inline]
    fn glance(level: Level, leaf: bool, limits: &Limits) -> Glance {
        bits::glance(level, leaf, Self::reserved(level, leaf, limits))
    }

    #[inline]
    fn address(level: Level, leaf: bool, raw: u64) -> PhysAddr {
        bits::address(level, leaf, raw)
    }

    #[inline]
    fn leaf(level: Level, frame: PhysAddr, attrs: &Attrs) -> Result<u64, Feature> {
        if attrs.key > KEY_MOST {
            return Err(Feature::Key(attrs.key));
        }
        if attrs.software > SOFTWARE_MOST {
            return Err(Feature::Software(attrs.software));
        }
        let executable = attrs.rights.contains(Rights::EXECUTE);
        let no_execute = if executable { 0 } else { Bits::NO_EXECUTE.bits() };
        let software = u64::from(attrs.software)
            .wrapping_shr(SOFTWARE_LOW_BITS)
            .wrapping_shl(SOFTWARE_HIGH_FROM.into());
        let key = u64::from(attrs.key).wrapping_shl(KEY_SHIFT);
        Ok(bits::leaf(level, attrs)? | frame.0 | no_execute | software | key)
    }

    #[inline]
    fn step(level: Level) -> Option<u64> {
        Some(1 << level.span_lg2)
    }

    #[inline]
    fn attrs(level: Level, raw: u64) -> Attrs {
        let low = bits::attrs(level, raw);
        let high = (raw & SOFTWARE_HIGH)
            .wrapping_shr(SOFTWARE_HIGH_FROM.into())
            .wrapping_shl(SOFTWARE_LOW_BITS);
        let key = (raw & KEY).wrapping_shr(KEY_SHIFT);
        low.with_software(low.software | u16::try_from(high).unwrap_or_default())
            .with_key(u8::try_from(key).unwrap_or_default())
    }

    #[inline]
    fn mask(level: Level, fields: Fields) -> u64 {
        let when = |field: Fields, bits: u64| if fields.contains(field) { bits } else { 0 };
        bits::mask(level, fields) | when(Fields::SOFTWARE, SOFTWARE_HIGH) | when(Fields::KEY, KEY)
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
        bits::widening(rights)
    }

    #[inline]
    fn phys_bits(_: Level, _: bool, limits: &Limits) -> u8 {
        limits.phys_bits.min(MAX_PHYS_BITS)
    }
}

static_assertions::const_assert_eq!(LongPmd::LEVEL.span_lg2, 21);
static_assertions::const_assert_eq!(LongPud::LEVEL.span_lg2, 30);
static_assertions::const_assert_eq!(LongP4d::LEVEL.reach_lg2(), 48);
static_assertions::const_assert_eq!(LongPgd5::LEVEL.reach_lg2(), 57);
static_assertions::const_assert_eq!(LongPgd5::LEVEL.table_lg2::<X86Long>(), 12);
static_assertions::const_assert_eq!(KEY & (SOFTWARE_HIGH | Bits::NO_EXECUTE.bits()), 0);
