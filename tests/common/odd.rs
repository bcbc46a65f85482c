//! A made-up MMU: pages of 1 KiB, tables of 256, 64 and 1024 bytes, a level without leaves between
//! two that have them, and bits in unusual places, some of them of inverted sense. Whatever has 4096
//! or 512 built in fails on it.

use pgtable::{
    Above, Arch, Attrs, Entry, Feature, Fields, Format, Glance, Last, Level, Limits, MemoryType,
    PhysAddr, Rights,
};

#[derive(Debug)]
pub enum OddFormat {}
#[derive(Debug)]
pub enum Odd {}

pub type OddPte = Last<OddFormat, 5>;
pub type OddPmd = Above<OddPte, 3, false>;
pub type OddRoot = Above<OddPmd, 7, true>;

const VALID: u64 = 1 << 5;
const READ_ONLY: u64 = 1 << 41;
const NO_EXECUTE: u64 = 1 << 42;
const USER: u64 = 1 << 43;
const LEAF: u64 = 1 << 44;
const ACCESSED: u64 = 1 << 45;
const DIRTY: u64 = 1 << 63;
const GLOBAL: u64 = 1 << 47;
const SOFTWARE: u64 = 0xf << 48;
const MEMORY: u64 = 7 << 53;
const ADDRESS: u64 = (1 << 40) - (1 << 10);
const TABLE_ADDRESS: u64 = (1 << 40) - (1 << 6);
const PERMISSIONS: u64 = READ_ONLY | NO_EXECUTE | USER;
const LEAF_BITS: u64 =
    VALID | PERMISSIONS | LEAF | ACCESSED | DIRTY | GLOBAL | SOFTWARE | MEMORY | ADDRESS;

unsafe impl Format for OddFormat {
    type Word = u64;
    const PAGE_LG2: u8 = 10;
    const TABLE_LG2: u8 = 6;
    const PRESENT: u64 = VALID;
    const LOCK: u64 = 1 << 60;
    const TWIN: u64 = 1 << 61;

    fn decode(level: Level, raw: u64, limits: &Limits) -> Entry {
        if raw & VALID == 0 {
            return if raw == 0 { Entry::Empty } else { Entry::NonPresent(raw) };
        }
        let above = ADDRESS & !((1u64 << limits.phys_bits) - 1);
        if raw & LEAF != 0 {
            let low = ADDRESS & ((1 << level.span_lg2) - 1);
            let bad = !level.maps || level.span_lg2 > limits.largest_leaf_lg2;
            return if bad || raw & (above | low | !LEAF_BITS) != 0 {
                Entry::Malformed(raw)
            } else {
                Entry::Leaf(PhysAddr(raw & ADDRESS))
            };
        }
        let allowed = VALID | PERMISSIONS | Self::LOCK | Self::TWIN | TABLE_ADDRESS;
        // Tables of 64 bytes need address bits that are page offset: bit 5 alone is VALID's.
        if level.height == 0 || raw & (above | !allowed) != 0 {
            return Entry::Malformed(raw);
        }
        Entry::Table(PhysAddr(raw & TABLE_ADDRESS))
    }

    fn glance(level: Level, leaf: bool, limits: &Limits) -> Glance {
        let above = ADDRESS & !((1u64 << limits.phys_bits) - 1);
        if leaf {
            let low = ADDRESS & ((1 << level.span_lg2) - 1);
            let want = VALID | LEAF;
            return Glance { mask: want | above | low | !LEAF_BITS, want };
        }
        let free = USER | (TABLE_ADDRESS & !above);
        Glance { mask: !free, want: VALID }
    }

    fn address(_: Level, leaf: bool, raw: u64) -> PhysAddr {
        PhysAddr(raw & if leaf { ADDRESS } else { TABLE_ADDRESS })
    }

    fn leaf(_: Level, frame: PhysAddr, attrs: &Attrs) -> Result<u64, Feature> {
        if !attrs.rights.contains(Rights::READ) {
            return Err(Feature::NoRead);
        }
        if attrs.key != 0 {
            return Err(Feature::Key(attrs.key));
        }
        if attrs.software > 15 {
            return Err(Feature::Software(attrs.software));
        }
        let when = |on: bool, bit: u64| if on { bit } else { 0 };
        Ok(frame.0
            | VALID
            | LEAF
            | when(!attrs.rights.contains(Rights::WRITE), READ_ONLY)
            | when(!attrs.rights.contains(Rights::EXECUTE), NO_EXECUTE)
            | when(attrs.rights.contains(Rights::USER), USER)
            | when(attrs.accessed, ACCESSED)
            | when(attrs.dirty, DIRTY)
            | when(attrs.global, GLOBAL)
            | u64::from(attrs.software) << 48
            | u64::from(attrs.memory.index()) << 53)
    }

    fn attrs(_: Level, raw: u64) -> Attrs {
        Attrs::new(Self::rights(Self::grants_of(raw)))
            .with_memory(MemoryType::new((raw >> 53 & 7) as u8).unwrap())
            .with_global(raw & GLOBAL != 0)
            .with_used(raw & ACCESSED != 0, raw & DIRTY != 0)
            .with_software((raw >> 48 & 15) as u16)
    }

    fn mask(_: Level, fields: Fields) -> u64 {
        let when = |field: Fields, bits: u64| if fields.contains(field) { bits } else { 0 };
        when(Fields::RIGHTS, PERMISSIONS)
            | when(Fields::MEMORY, MEMORY)
            | when(Fields::GLOBAL, GLOBAL)
            | when(Fields::SOFTWARE, SOFTWARE)
            | when(Fields::ACCESSED, ACCESSED)
            | when(Fields::DIRTY, DIRTY)
    }

    fn table(_: Level, table: PhysAddr, user: bool) -> u64 {
        table.0 | VALID | if user { USER } else { 0 }
    }

    fn grants(_: Level, raw: u64) -> u64 {
        Self::grants_of(raw)
    }

    fn rights(grants: u64) -> Rights {
        let when = |bit: u64, right| if grants & bit != 0 { right } else { Rights::empty() };
        Rights::READ
            | when(READ_ONLY, Rights::WRITE)
            | when(NO_EXECUTE, Rights::EXECUTE)
            | when(USER, Rights::USER)
    }

    fn widening(_: Level, rights: Rights) -> (u64, u64) {
        let when = |right, bit| if rights.contains(right) { bit } else { 0 };
        let clear = when(Rights::WRITE, READ_ONLY) | when(Rights::EXECUTE, NO_EXECUTE);
        (clear, when(Rights::USER, USER))
    }

    fn phys_bits(_: Level, _: bool, limits: &Limits) -> u8 {
        limits.phys_bits.min(40)
    }
}

impl OddFormat {
    fn grants_of(raw: u64) -> u64 {
        raw ^ (READ_ONLY | NO_EXECUTE)
    }
}

impl Arch for Odd {
    type Format = OddFormat;
    type Root = OddRoot;
    const NAME: &'static str = "made-up";
    const SIGN_EXTENDED: bool = false;
    const LIMITS: Limits =
        Limits { phys_bits: 40, largest_leaf_lg2: 18, no_execute: true, global: true, keys: false };
}
