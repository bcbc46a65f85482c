//! Paging modes, as data.

/// One level of tables, from the manual's figures.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// Where the index stands in an address.
    pub(super) shift: u32,
    /// How many bits it has.
    pub(super) bits: u32,
    /// Whether bit 7 of an entry makes it a page.
    pub(super) huge: bool,
}

impl Level {
    /// A level whose index has so many bits from bit `shift` of an address on; where `huge` says so,
    /// bit 7 of an entry makes it a page.
    #[must_use]
    pub const fn new(shift: u32, bits: u32, huge: bool) -> Self {
        Self { shift, bits, huge }
    }
}

/// A paging mode of x86, with all that a processor of today can have in it.
#[derive(Debug)]
pub struct Mode {
    /// Its name.
    pub name: &'static str,
    /// An entry has so many bytes.
    pub word: u8,
    /// From the root down.
    pub(super) levels: &'static [Level],
    /// So many bits of an address are translated.
    pub(super) virt_bits: u32,
    /// Root entries are held in registers that are loaded with CR3 (section 4.4.1).
    pub(super) registers: bool,
    /// Bits that must be zero in any present entry.
    pub(super) reserved: u64,
}

impl Mode {
    /// 32-bit paging (section 4.3): two levels; bits 20:13 of a 4 MiB page's entry are bits 39:32 of
    /// its address, and bit 21 is reserved (PSE-36).
    pub const X86_32: Self = Self {
        name: "x86-32",
        word: 4,
        levels: &[Level::new(22, 10, true), Level::new(12, 10, false)],
        virt_bits: 32,
        registers: false,
        reserved: 0,
    };

    /// PAE paging (section 4.4): four root entries in registers, of which bits 2:1, 8:5 and 63:52 are
    /// reserved, and then two levels, where 62:52 are.
    pub const X86_PAE: Self = Self {
        name: "x86-pae",
        word: 8,
        levels: &[Level::new(30, 2, false), Level::new(21, 9, true), Level::new(12, 9, false)],
        virt_bits: 32,
        registers: true,
        reserved: 0x7ff << 52,
    };

    /// 4-level paging (section 4.5).
    pub const X86_64: Self = Self {
        name: "x86-64",
        word: 8,
        levels: &[
            Level::new(39, 9, false),
            Level::new(30, 9, true),
            Level::new(21, 9, true),
            Level::new(12, 9, false),
        ],
        virt_bits: 48,
        registers: false,
        reserved: 0,
    };

    /// 5-level paging (section 4.5).
    pub const X86_64_LA57: Self = Self {
        name: "x86-64-la57",
        word: 8,
        levels: &[
            Level::new(48, 9, false),
            Level::new(39, 9, false),
            Level::new(30, 9, true),
            Level::new(21, 9, true),
            Level::new(12, 9, false),
        ],
        virt_bits: 57,
        registers: false,
        reserved: 0,
    };

    /// All of them.
    pub const ALL: [&'static Self; 4] =
        [&Self::X86_32, &Self::X86_PAE, &Self::X86_64, &Self::X86_64_LA57];

    /// A mode that no processor has: entries of 64 bits as in 4-level paging, tables of any size (each
    /// on a page of its own), and `levels` of at most five, from the root down. For tests that want
    /// small trees.
    ///
    /// ```
    /// use pgtable::model::{Level, Mode};
    ///
    /// /// Two levels, two entries in each table: four pages, or two of twice the size.
    /// static TINY: Mode = Mode::made_up("tiny", &[Level::new(13, 1, true), Level::new(12, 1, false)]);
    /// assert!(TINY.is_address(0x3fff) && !TINY.is_address(0x4000));
    /// ```
    #[must_use]
    pub const fn made_up(name: &'static str, levels: &'static [Level]) -> Self {
        let virt_bits = levels[0].shift + levels[0].bits;
        Self { name, word: 8, levels, virt_bits, registers: false, reserved: 0 }
    }

    /// Bits of a root entry of PAE that make loading CR3 fault (section 4.4.1, table 4-8).
    pub(super) const PDPTE_RESERVED: u64 = 0xfff0_0000_0000_01e6;

    /// Whether it is an address of this mode: bits above those translated repeat the highest one in
    /// 64-bit modes (section 4.5.1), and are zero in the others.
    #[must_use]
    pub const fn is_address(&self, at: u64) -> bool {
        if self.virt_bits <= 32 {
            return at >> self.virt_bits == 0;
        }
        let high = at >> (self.virt_bits - 1);
        high == 0 || high == u64::MAX >> (self.virt_bits - 1)
    }

    /// Whether it is one of the 64-bit modes, where translations can be tagged (section 4.10.1).
    pub(super) const fn has_tags(&self) -> bool {
        self.word == 8 && !self.registers
    }

    /// Base pages have 2 to this many bytes.
    pub(super) const fn page_lg2(&self) -> u32 {
        self.levels[self.levels.len() - 1].shift
    }

    /// The address that an entry which names a table has.
    pub(super) const fn table(&self, entry: u64) -> u64 {
        if self.word == 4 { entry & 0xffff_f000 } else { entry & 0x000f_ffff_ffff_f000 }
    }

    /// The address of the page of 2 to the `shift` bytes that an entry maps, and bits that must have
    /// been zero.
    pub(super) const fn page(&self, entry: u64, shift: u32) -> (u64, u64) {
        let inside = (1u64 << shift) - 1;
        if self.word == 4 && shift == 22 {
            let high = ((entry >> 13) & 0xff) << 32;
            return ((entry & 0xffc0_0000) | high, entry & (1 << 21));
        }
        let base = self.table(entry) & !inside;
        // Bit 12 of a large page's entry is its PAT bit (section 4.5.4, table 4-16).
        (base, self.table(entry) & inside & !0x1fff)
    }
}
