//! `patina_paging`'s `X64PageTable`, never installed: outside UEFI it executes no privileged
//! instruction.

use crate::arena;
use crate::row::{Row, Run};
use crate::subject::{Mode, Subject, Sum};
use patina_paging::page_allocator::PageAllocator;
use patina_paging::x64::X64PageTable;
use patina_paging::{MemoryAttributes, PageTable, PagingType, PtError};

/// Every call is one for a range. It says no frames, never frees a table, and does not look at what it
/// maps over.
pub fn does(row: Row) -> bool {
    !matches!(row, Row::MapCursor | Row::TranslateRandom | Row::UnmapPageFreed | Row::TearDown)
}

struct Pages;

impl PageAllocator for Pages {
    #[inline]
    fn allocate_page(&mut self, _: u64, _: u64, _: bool) -> Result<u64, PtError> {
        arena::take().ok_or(PtError::OutOfResources)
    }
}

pub struct Patina {
    root: u64,
    table: X64PageTable<Pages>,
}

const DATA: MemoryAttributes = MemoryAttributes::ExecuteProtect.union(MemoryAttributes::Writeback);
const READ: MemoryAttributes = DATA.union(MemoryAttributes::ReadOnly);

impl Patina {
    #[inline(always)]
    fn set(&mut self, at: u64, to: u64, bytes: u64, what: MemoryAttributes) {
        self.table.map_aliased_memory_region(at, to, bytes, what).unwrap();
    }
}

impl Subject for Patina {
    const MODE: Mode = Mode::Long;
    const KEEPS_USED: bool = false;

    fn new() -> Self {
        // Its root is the first frame that it takes, and it does not say where that is.
        let root = arena::next();
        Self { root, table: X64PageTable::new(Pages, PagingType::Paging4Level).unwrap() }
    }

    fn root(&self) -> u64 {
        self.root
    }

    fn map_pages(&mut self, run: Run) {
        for (at, to) in run.base_pages() {
            self.set(at, to, 4096, DATA);
        }
    }

    fn map_range(&mut self, run: Run) {
        self.set(run.at, run.frame, run.bytes(), DATA);
    }

    fn map_list(&mut self, list: &[(u64, u64)]) {
        for &(at, to) in list {
            self.set(at, to, 4096, DATA);
        }
    }

    fn unmap_pages(&mut self, run: Run) -> Option<Sum> {
        for (at, _) in run.base_pages() {
            self.table.unmap_memory_region(at, 4096).unwrap();
        }
        None
    }

    fn unmap_range(&mut self, run: Run) -> Option<Sum> {
        self.table.unmap_memory_region(run.at, run.bytes()).unwrap();
        None
    }

    /// It has no other call for it than mapping again.
    fn protect_range(&mut self, run: Run) {
        self.set(run.at, run.frame, run.bytes(), READ);
    }

    fn map_unmap(&mut self, run: Run, turns: u64) -> Option<Sum> {
        for turn in 0..turns {
            self.set(run.at, run.frame + turn % 2 * 4096, 4096, DATA);
            self.table.unmap_memory_region(run.at, 4096).unwrap();
        }
        None
    }
}
