//! PAE paging (Intel SDM volume 3A, section 4.4).

use super::bits::{self, Bits, MAX_PHYS_BITS, below_huge, bits_between};
use crate::addr::PhysAddr;
use crate::level::{
    Above, Arch, Attrs, Entry, Feature, Fields, Format, Glance, Last, Level, Limits,
    PageTableLevel, Reload, Rights,
};

/// The 64-bit entries of PAE, those of the 32-byte root among them.
///
/// Bits 62:52 are reserved. A root entry has no rights, no A and no NX: all but P, PWT, PCD, the
/// address and the ignored bits 11:9 must be 0, or loading CR3 faults (table 4-8).
#[derive(Clone, Copy, Debug)]
pub enum PaeWord {}

/// Page tables: 512 entries of 4 KiB.
pub type PaePte = Last<PaeWord, 9>;
/// Page directories: 512 entries of 2 MiB.
pub type PaePmd = Above<PaePte, 9, true>;
/// The page-directory-pointer table: 4 entries of 1 GiB, 32 bytes.
pub type PaeRoot = Above<PaePmd, 2, false>;

/// x86 with PAE: three levels, 32-bit virtual addresses, NX.
#[derive(Clone, Copy, Debug)]
pub enum X86Pae {}

impl Arch for X86Pae {
    type Format = PaeWord;
    type Root = PaeRoot;
    const NAME: &'static str = "x86-pae";
    const SIGN_EXTENDED: bool = false;
    const LIMITS: Limits = Limits {
        phys_bits: MAX_PHYS_BITS,
        largest_leaf_lg2: 21,
        no_execute: true,
        global: true,
        keys: false,
    };

    fn reload(level: Level) -> Reload {
        // The CPU holds the four root entries in registers, and fills these when CR3 is loaded
        // (section 4.4.1): also an entry that was not present is not looked for again.
        if level.height == ROOT_HEIGHT { Reload::Root } else { Reload::Entry }
    }

    fn root_phys_bits(limits: &Limits) -> u8 {
        limits.phys_bits.min(32)
    }
}

const ROOT_HEIGHT: u8 = PaeRoot::LEVEL.height;
/// Bits 2:1 and 8:6 of a root entry, and by the manual bit 5 as well. But an emulator that walks root
/// entries like all others sets A there, so a live root may have it. It is read as nothing, and never
/// written.
const ROOT_RESERVED: u64 = bits_between(1, 3) | bits_between(6, 9);

impl PaeWord {
    fn reserved(level: Level, leaf: bool, limits: &Limits) -> u64 {
        let above = bits_between(limits.phys_bits.clamp(12, MAX_PHYS_BITS), 63);
        let no_execute = Bits::NO_EXECUTE.bits();
        if level.height == ROOT_HEIGHT {
            above | no_execute | ROOT_RESERVED
        } else {
            let huge = if leaf && level.height != 0 { below_huge(level) } else { 0 };
            above | huge | if limits.no_execute { 0 } else { no_execute }
        }
    }
}

// SAFETY: `bits::decode` finds a table only where P is set and the level is a directory, and PS is
// clear where that would make it a leaf; its address is all that `table` put there, which is aligned
// to 4 KiB, as every table that an entry names is. (`tests/suite/levels.rs` asks it of every level.)
unsafe impl Format for PaeWord {
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
        let reserved = Self::reserved(level, leaf, limits);
        if level.height == ROOT_HEIGHT {
            let want = Self::PRESENT;
            return Glance { mask: want | Self::LOCK | Self::TWIN | reserved, want };
        }
        bits::glance(level, leaf, reserved)
    }

    #[inline]
    fn address(level: Level, leaf: bool, raw: u64) -> PhysAddr {
        bits::address(level, leaf, raw)
    }

    #[inline]
    fn leaf(level: Level, frame: PhysAddr, attrs: &Attrs) -> Result<u64, Feature> {
        if attrs.key != 0 {
            return Err(Feature::Key(attrs.key));
        }
        if attrs.software > 0b111 {
            return Err(Feature::Software(attrs.software));
        }
        let executable = attrs.rights.contains(Rights::EXECUTE);
        let no_execute = if executable { 0 } else { Bits::NO_EXECUTE.bits() };
        Ok(bits::leaf(level, attrs)? | frame.0 | no_execute)
    }

    #[inline]
    fn step(level: Level) -> Option<u64> {
        Some(1 << level.span_lg2)
    }

    #[inline]
    fn attrs(level: Level, raw: u64) -> Attrs {
        bits::attrs(level, raw)
    }

    #[inline]
    fn mask(level: Level, fields: Fields) -> u64 {
        bits::mask(level, fields)
    }

    #[inline]
    fn table(level: Level, table: PhysAddr, user: bool) -> u64 {
        if level.height == ROOT_HEIGHT {
            table.0 | Bits::PRESENT.bits()
        } else {
            bits::table(table, user)
        }
    }

    #[inline]
    fn grants(level: Level, raw: u64) -> u64 {
        if level.height == ROOT_HEIGHT { u64::MAX } else { bits::grants(raw) }
    }

    #[inline]
    fn rights(grants: u64) -> Rights {
        bits::rights(grants)
    }

    #[inline]
    fn widening(level: Level, rights: Rights) -> (u64, u64) {
        if level.height == ROOT_HEIGHT { (0, 0) } else { bits::widening(rights) }
    }

    #[inline]
    fn copied(level: Level, raw: u64) -> u64 {
        let root = level.height == ROOT_HEIGHT && raw & Self::PRESENT != 0;
        if root { raw & !Bits::ACCESSED.bits() } else { raw }
    }

    #[inline]
    fn phys_bits(_: Level, _: bool, limits: &Limits) -> u8 {
        limits.phys_bits.min(MAX_PHYS_BITS)
    }
}

static_assertions::const_assert_eq!(PaePmd::LEVEL.span_lg2, 21);
static_assertions::const_assert_eq!(PaeRoot::LEVEL.span_lg2, 30);
static_assertions::const_assert_eq!(PaeRoot::LEVEL.reach_lg2(), 32);
static_assertions::const_assert_eq!(PaeRoot::LEVEL.table_lg2::<PaeWord>(), 5);
static_assertions::const_assert_eq!(PaePmd::LEVEL.table_lg2::<PaeWord>(), 12);
static_assertions::const_assert_eq!(ROOT_RESERVED & (PaeWord::LOCK | PaeWord::TWIN), 0);
static_assertions::const_assert_eq!(ROOT_RESERVED | Bits::ACCESSED.bits(), 0x1e6);
