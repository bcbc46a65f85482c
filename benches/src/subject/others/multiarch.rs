//! `page_table_multiarch`'s `X64PageTable`.

use crate::arena;
use crate::row::{Row, Run};
use crate::subject::{Mode, Subject, Sum};
use page_table_entry::MappingFlags;
use page_table_multiarch::x86_64::X64PageTable;
use page_table_multiarch::{PageSize, PagingHandler};

type PhysAddr = memory_addr::PhysAddr;
type VirtAddr = memory_addr::VirtAddr;

/// It never frees a table before all.
pub fn does(row: Row) -> bool {
    row != Row::UnmapPageFreed
}

struct Frames;

impl PagingHandler for Frames {
    #[inline]
    fn alloc_frames(num: usize, _: usize) -> Option<PhysAddr> {
        if num == 1 { arena::take().map(|frame| PhysAddr::from(frame as usize)) } else { None }
    }
    #[inline]
    fn dealloc_frames(at: PhysAddr, _: usize) {
        arena::give(at.as_usize() as u64);
    }
    #[inline]
    fn phys_to_virt(at: PhysAddr) -> VirtAddr {
        VirtAddr::from(at.as_usize())
    }
}

pub struct Multiarch(X64PageTable<Frames>);

const DATA: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

#[inline(always)]
fn virt(at: u64) -> VirtAddr {
    VirtAddr::from(at as usize)
}

#[inline(always)]
fn phys(at: u64) -> PhysAddr {
    PhysAddr::from(at as usize)
}

impl Subject for Multiarch {
    const MODE: Mode = Mode::Long;
    const KEEPS_USED: bool = false;

    fn new() -> Self {
        Self(X64PageTable::try_new().unwrap())
    }

    fn root(&self) -> u64 {
        self.0.root_paddr().as_usize() as u64
    }

    fn map_pages(&mut self, run: Run) {
        for (at, to) in run.base_pages() {
            self.0.cursor().map(virt(at), phys(to), PageSize::Size4K, DATA).unwrap();
        }
    }

    fn map_cursor(&mut self, run: Run) {
        let mut cursor = self.0.cursor();
        for (at, to) in run.base_pages() {
            cursor.map(virt(at), phys(to), PageSize::Size4K, DATA).unwrap();
        }
    }

    fn map_range(&mut self, run: Run) {
        let to = |at: VirtAddr| phys(at.as_usize() as u64 - run.at + run.frame);
        self.0.cursor().map_region(virt(run.at), to, run.bytes() as usize, DATA, true).unwrap();
    }

    fn map_list(&mut self, list: &[(u64, u64)]) {
        for &(at, to) in list {
            self.0.cursor().map(virt(at), phys(to), PageSize::Size4K, DATA).unwrap();
        }
    }

    fn translate_list(&self, list: &[(u64, u64)]) -> Sum {
        let mut sum = Sum::default();
        for &(at, _) in list {
            let (to, _, _) = self.0.query(virt(at)).unwrap();
            sum.add(to.as_usize() as u64);
        }
        sum
    }

    fn unmap_pages(&mut self, run: Run) -> Option<Sum> {
        let mut sum = Sum::default();
        for (at, _) in run.base_pages() {
            let (frame, _, _) = self.0.cursor().unmap(virt(at)).unwrap();
            sum.add(frame.as_usize() as u64);
        }
        Some(sum)
    }

    fn unmap_range(&mut self, run: Run) -> Option<Sum> {
        self.0.cursor().unmap_region(virt(run.at), run.bytes() as usize).unwrap();
        None
    }

    fn protect_range(&mut self, run: Run) {
        let (at, bytes) = (virt(run.at), run.bytes() as usize);
        self.0.cursor().protect_region(at, bytes, MappingFlags::READ).unwrap();
    }

    fn map_unmap(&mut self, run: Run, turns: u64) -> Option<Sum> {
        let mut sum = Sum::default();
        for turn in 0..turns {
            let to = phys(run.frame + turn % 2 * 4096);
            self.0.cursor().map(virt(run.at), to, PageSize::Size4K, DATA).unwrap();
            let (frame, _, _) = self.0.cursor().unmap(virt(run.at)).unwrap();
            sum.add(frame.as_usize() as u64);
        }
        Some(sum)
    }

    fn tear_down(self) {
        drop(self);
    }
}
