//! The workloads.

use crate::subject::Mode;

/// One workload: a row of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Row {
    MapPage,
    MapCursor,
    MapRange,
    MapHuge,
    MapRandom,
    TranslateRandom,
    UnmapPage,
    UnmapPageFreed,
    UnmapRange,
    ProtectRange,
    MapUnmap,
    TearDown,
}

impl Row {
    /// All rows, in the order of the tables.
    pub const ALL: [Self; 12] = [
        Self::MapPage,
        Self::MapCursor,
        Self::MapRange,
        Self::MapHuge,
        Self::MapRandom,
        Self::TranslateRandom,
        Self::UnmapPage,
        Self::UnmapPageFreed,
        Self::UnmapRange,
        Self::ProtectRange,
        Self::MapUnmap,
        Self::TearDown,
    ];

    /// Its name, on the command line and in `limits.txt`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MapPage => "map-page",
            Self::MapCursor => "map-cursor",
            Self::MapRange => "map-range",
            Self::MapHuge => "map-huge",
            Self::MapRandom => "map-random",
            Self::TranslateRandom => "translate-random",
            Self::UnmapPage => "unmap-page",
            Self::UnmapPageFreed => "unmap-page-freed",
            Self::UnmapRange => "unmap-range",
            Self::ProtectRange => "protect-range",
            Self::MapUnmap => "map-unmap",
            Self::TearDown => "tear-down",
        }
    }

    /// What it does, for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::MapPage => "map, a call per page, contiguous",
            Self::MapCursor => "the same through one held cursor",
            Self::MapRange => "the same as one range call",
            Self::MapHuge => "1 GiB as huge pages, one range call",
            Self::MapRandom => "map, random pages",
            Self::TranslateRandom => "translate, random",
            Self::UnmapPage => "unmap, a call per page, tables kept",
            Self::UnmapPageFreed => "unmap, a call per page, empty tables freed",
            Self::UnmapRange => "unmap, one range call, all reported",
            Self::ProtectRange => "protect, one range call, A and D kept",
            Self::MapUnmap => "map and unmap of one page in turn",
            Self::TearDown => "tear down 1 GiB, leaves not reported",
        }
    }
}

/// Pages in a row, to frames in a row.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The first address.
    pub at: u64,
    /// The first frame.
    pub frame: u64,
    /// How many pages.
    pub pages: u64,
    /// Bytes of a page.
    pub size: u64,
}

impl Run {
    /// Page and frame, one after the other.
    pub fn each(self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.pages).map(move |page| (self.at + page * self.size, self.frame + page * self.size))
    }

    /// The same for base pages: the loop around what is timed.
    #[inline(always)]
    pub fn base_pages(self) -> impl Iterator<Item = (u64, u64)> {
        debug_assert_eq!(self.size, 4096);
        (0..self.pages).map(move |page| (self.at + page * 4096, self.frame + page * 4096))
    }

    /// Bytes of all pages.
    pub const fn bytes(self) -> u64 {
        self.pages * self.size
    }
}

/// What the rows work on, in one mode.
#[derive(Debug)]
pub struct Load {
    /// 1 GiB of base pages, to frames so that no larger page fits.
    pub base: Run,
    /// 1 GiB of pages of the next larger size, likewise.
    pub huge: Run,
    /// Distinct pages in no order, each with its frame.
    pub random: Vec<(u64, u64)>,
    /// How often the one page comes and goes.
    pub turns: u64,
}

impl Load {
    /// In how many spaces in a row huge pages are mapped.
    pub const HUGE_SPACES: u64 = 16;

    /// That of a mode.
    pub fn new(mode: Mode) -> Self {
        let wide = matches!(mode, Mode::Long | Mode::Aarch64);
        let at = if wide { 0x1000_0000_0000 } else { 0x4000_0000 };
        // Without PAE, base pages reach 4 GiB of memory, and 4 MiB pages more.
        let (frame, huge_frame, huge_size) = match mode {
            Mode::Legacy => (0x8000_1000, 0x8_0040_0000, 4 << 20),
            _ => (0x8_0000_1000, 0x8_0020_0000, 2 << 20),
        };
        let base = Run { at, frame, pages: 1 << 18, size: 4096 };
        let huge = Run { at, frame: huge_frame, pages: (1 << 30) / huge_size, size: huge_size };
        let pages = if wide { 1 << 26 } else { 1 << 19 };
        Self { base, huge, random: random(base, pages), turns: 100_000 }
    }

    /// How many operations a row is.
    pub fn operations(&self, row: Row) -> u64 {
        match row {
            Row::MapHuge => self.huge.pages * Self::HUGE_SPACES,
            Row::MapRandom | Row::TranslateRandom => self.random.len() as u64,
            Row::MapUnmap => self.turns,
            _ => self.base.pages,
        }
    }
}

/// 65536 distinct pages out of so many: always the same.
fn random(base: Run, out_of: u64) -> Vec<(u64, u64)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut taken = vec![false; out_of as usize];
    let mut pages = Vec::new();
    while pages.len() < 65536 {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let page = state % out_of;
        if !std::mem::replace(&mut taken[page as usize], true) {
            pages.push((base.at + page * 4096, base.frame + pages.len() as u64 * 4096));
        }
    }
    pages
}
