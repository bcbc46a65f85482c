//! Entries as the manual has them (Intel SDM volume 3A, tables 4-4 to 4-6, 4-8 to 4-12, 4-15 to
//! 4-20), in plain numbers: what the crate's formats are judged by, of which this knows nothing.

use pgtable::Limits;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Nothing,
    NotPresent,
    Reserved,
    Table(u64),
    Page(u64),
}

/// Bits `from..to`.
pub fn bits(from: u32, to: u32) -> u64 {
    (from..to.min(64)).fold(0, |mask, bit| mask | 1 << bit)
}

/// A mode, by its name: entries have `wide` or 32 bits, a PAE root is like no other table.
#[derive(Clone, Copy)]
pub struct Manual {
    pub wide: bool,
    pub pae: bool,
    pub levels: u8,
}

impl Manual {
    pub fn of(name: &str) -> Self {
        match name {
            "x86-32" => Self { wide: false, pae: false, levels: 2 },
            "x86-pae" => Self { wide: true, pae: true, levels: 3 },
            "x86-64" => Self { wide: true, pae: false, levels: 4 },
            "x86-64-la57" => Self { wide: true, pae: false, levels: 5 },
            other => panic!("no manual for {other}"),
        }
    }

    pub fn is_long(self) -> bool {
        self.wide && !self.pae
    }

    /// The words that an entry can have.
    pub fn word(self, raw: u64) -> u64 {
        if self.wide { raw } else { raw & 0xffff_ffff }
    }

    /// What an entry of this height stands for: 2 to so many bytes.
    pub fn span_lg2(self, height: u8) -> u32 {
        12 + u32::from(height) * if self.wide { 9 } else { 10 }
    }

    fn is_register(self, height: u8) -> bool {
        self.pae && height == 2
    }

    /// Whether entries of this height can be pages, on a CPU that has them.
    pub fn has_pages(self, height: u8) -> bool {
        match height {
            0 | 1 => true,
            2 => self.is_long(),
            _ => false,
        }
    }

    /// How wide the address of a page, or of a table, can be.
    pub fn width(self, height: u8, page: bool, limits: &Limits) -> u32 {
        let most = match (self.wide, page && height == 1) {
            (true, _) => 52,
            (false, true) => 40,
            (false, false) => 32,
        };
        most.min(limits.phys_bits.into())
    }

    fn is_page(self, height: u8, raw: u64, limits: &Limits) -> bool {
        if !self.wide && limits.largest_leaf_lg2 < 22 {
            // Without CR4.PSE, bit 7 of a directory's entry is ignored.
            return height == 0;
        }
        height == 0 || self.has_pages(height) && raw & 1 << 7 != 0
    }

    /// Bits that must be zero in a present entry.
    pub fn reserved(self, height: u8, page: bool, limits: &Limits) -> u64 {
        let width = u32::from(limits.phys_bits);
        let no_nx = if limits.no_execute { 0 } else { 1 << 63 };
        let large = page && height > 0;
        if !self.wide {
            // A 4 MiB page has address bits 39:32 in 20:13.
            let high = bits(13, 21) & !bits(13, 13 + width.clamp(32, 40) - 32);
            return if large { 1 << 21 | high } else { bits(width.max(12), 32) };
        }
        let below = if large { bits(13, self.span_lg2(height)) } else { 0 };
        if self.is_register(height) {
            // Bit 5, too, by the manual; an emulator sets it, and the crate reads it as nothing.
            return bits(width.max(12), 64) | bits(1, 3) | bits(6, 9);
        }
        if self.pae {
            return below | bits(width.max(12), 63) | no_nx;
        }
        let size = if height > 2 { 1 << 7 } else { 0 };
        below | bits(width.max(12), 52) | no_nx | size
    }

    /// What an entry of this height says, on a CPU with these limits.
    pub fn says(self, height: u8, raw: u64, limits: &Limits) -> Says {
        if raw == 0 {
            return Says::Nothing;
        }
        if raw & 1 == 0 {
            return Says::NotPresent;
        }
        let page = self.is_page(height, raw, limits);
        let too_large = page && self.span_lg2(height) > limits.largest_leaf_lg2.into();
        if too_large || raw & self.reserved(height, page, limits) != 0 {
            return Says::Reserved;
        }
        if page { Says::Page(self.page(height, raw)) } else { Says::Table(raw & bits(12, 52)) }
    }

    /// The page that an entry maps.
    pub fn page(self, height: u8, raw: u64) -> u64 {
        let base = raw & bits(self.span_lg2(height), if self.wide { 52 } else { 32 });
        let high = if !self.wide && height == 1 { (raw >> 13 & 0xff) << 32 } else { 0 };
        base | high
    }

    /// The fields of a page's entry.
    pub fn fields(self, height: u8, raw: u64) -> Said {
        let has = |bit: u32| raw >> bit & 1 != 0;
        let pat = if height == 0 { 7 } else { 12 };
        let high = if self.is_long() { (raw >> 52 & 0x7f) as u16 } else { 0 };
        Said {
            write: has(1),
            user: has(2),
            execute: !(self.wide && has(63)),
            memory: u8::from(has(3)) | u8::from(has(4)) << 1 | u8::from(has(pat)) << 2,
            accessed: has(5),
            dirty: has(6),
            global: has(8),
            software: (raw >> 9 & 7) as u16 | high << 3,
            key: if self.is_long() { (raw >> 59 & 15) as u8 } else { 0 },
        }
    }
}

/// What an entry says of its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub write: bool,
    pub user: bool,
    pub execute: bool,
    pub memory: u8,
    pub accessed: bool,
    pub dirty: bool,
    pub global: bool,
    pub software: u16,
    pub key: u8,
}
