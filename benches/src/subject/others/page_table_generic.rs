//! `page-table-generic`'s `PageTable`. It has no entry format for x86-64: the one here is as simple as
//! can be.

use crate::arena;
use crate::row::{Row, Run};
use crate::subject::{Mode, Subject, Sum};
use page_table_generic::{
    FrameAllocator, MapConfig, PageTable, PageTableEntry, PhysAddr, TableMeta, VirtAddr,
};

/// Its unmap frees empty tables, always, and it has no cursor.
pub fn does(row: Row) -> bool {
    !matches!(row, Row::MapCursor | Row::UnmapPage)
}

#[derive(Clone, Copy)]
struct Frames;

impl FrameAllocator for Frames {
    #[inline]
    fn alloc_frame(&self) -> Option<PhysAddr> {
        arena::take().map(phys)
    }
    #[inline]
    fn dealloc_frame(&self, frame: PhysAddr) {
        arena::give(frame.as_usize() as u64);
    }
    #[inline]
    fn phys_to_virt(&self, at: PhysAddr) -> *mut u8 {
        arena::reach(at.as_usize() as u64)
    }
}

#[derive(Clone, Copy)]
struct X86;

impl TableMeta for X86 {
    type P = Entry;
    const PAGE_SIZE: usize = 4096;
    const LEVEL_BITS: &[usize] = &[9, 9, 9, 9];
    const MAX_BLOCK_LEVEL: usize = 3;
    #[inline]
    fn flush(_: Option<VirtAddr>) {}
}

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const HUGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What a page is mapped with: the bits themselves.
type Bits = u64;

const READ: Bits = PRESENT | NO_EXECUTE;
const DATA: Bits = READ | WRITABLE;

#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Entry(u64);

impl PageTableEntry for Entry {
    type PteConfig = Bits;

    #[inline]
    fn new_page(at: PhysAddr, bits: Bits, huge: bool) -> Self {
        Self(at.as_usize() as u64 | bits | if huge { HUGE } else { 0 })
    }
    #[inline]
    fn new_table(at: PhysAddr) -> Self {
        Self(at.as_usize() as u64 | PRESENT | WRITABLE)
    }
    #[inline]
    fn paddr(&self, _: bool) -> PhysAddr {
        phys(self.0 & ADDRESS)
    }
    #[inline]
    fn config(&self, _: bool) -> Bits {
        self.0 & !(ADDRESS | HUGE)
    }
    #[inline]
    fn present(&self) -> bool {
        self.0 & PRESENT != 0
    }
    #[inline]
    fn huge(&self, directory: bool) -> bool {
        directory && self.0 & HUGE != 0
    }
    #[inline]
    fn unused(&self) -> bool {
        self.0 == 0
    }
    #[inline]
    fn clear(&mut self) {
        self.0 = 0;
    }
}

pub struct Generic(PageTable<X86, Frames>);

#[inline(always)]
fn virt(at: u64) -> VirtAddr {
    VirtAddr::from_usize(at as usize)
}

#[inline(always)]
fn phys(at: u64) -> PhysAddr {
    PhysAddr::from_usize(at as usize)
}

impl Subject for Generic {
    const MODE: Mode = Mode::Long;
    const KEEPS_USED: bool = false;

    fn new() -> Self {
        Self(PageTable::new(Frames).unwrap())
    }

    fn root(&self) -> u64 {
        self.0.root_paddr().as_usize() as u64
    }

    fn map_pages(&mut self, run: Run) {
        for (at, to) in run.base_pages() {
            self.0.map_page(virt(at), phys(to), 4096, DATA).unwrap();
        }
    }

    fn map_range(&mut self, run: Run) {
        let (vaddr, paddr, size) = (virt(run.at), phys(run.frame), run.bytes() as usize);
        let config = MapConfig { vaddr, paddr, size, pte: DATA, allow_huge: true, flush: false };
        self.0.map(&config).unwrap();
    }

    fn map_list(&mut self, list: &[(u64, u64)]) {
        for &(at, to) in list {
            self.0.map_page(virt(at), phys(to), 4096, DATA).unwrap();
        }
    }

    fn translate_list(&self, list: &[(u64, u64)]) -> Sum {
        let mut sum = Sum::default();
        for &(at, _) in list {
            sum.add(self.0.translate_phys(virt(at)).unwrap().as_usize() as u64);
        }
        sum
    }

    fn unmap_pages_freed(&mut self, run: Run) -> Option<Sum> {
        let mut sum = Sum::default();
        for (at, _) in run.base_pages() {
            let (frame, _, _) = self.0.unmap_page(virt(at)).unwrap();
            sum.add(frame.as_usize() as u64);
        }
        Some(sum)
    }

    fn unmap_range(&mut self, run: Run) -> Option<Sum> {
        self.0.unmap(virt(run.at), run.bytes() as usize).unwrap();
        None
    }

    fn protect_range(&mut self, run: Run) {
        self.0.protect_region(virt(run.at), run.bytes() as usize, READ).unwrap();
    }

    fn map_unmap(&mut self, run: Run, turns: u64) -> Option<Sum> {
        let mut sum = Sum::default();
        for turn in 0..turns {
            let to = phys(run.frame + turn % 2 * 4096);
            self.0.map_page(virt(run.at), to, 4096, DATA).unwrap();
            let (frame, _, _) = self.0.unmap_page(virt(run.at)).unwrap();
            sum.add(frame.as_usize() as u64);
        }
        Some(sum)
    }

    fn tear_down(self) {
        // SAFETY: no CPU uses these tables.
        unsafe { self.0.destroy() };
    }
}
