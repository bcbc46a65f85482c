//! `x86_64`'s `MappedPageTable`.

use crate::arena;
use crate::row::{Row, Run};
use crate::subject::{Mode, Subject, Sum};
use x86_64::structures::paging::mapper::{CleanUp, MappedPageTable, PageTableFrameMapping};
use x86_64::structures::paging::{
    FrameAllocator, FrameDeallocator, Mapper, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB,
    Translate,
};
use x86_64::{PhysAddr, VirtAddr};

/// It has no ranges, and nothing that takes a whole tree down.
pub fn does(row: Row) -> bool {
    matches!(
        row,
        Row::MapPage
            | Row::MapRandom
            | Row::TranslateRandom
            | Row::UnmapPage
            | Row::UnmapPageFreed
            | Row::MapUnmap
    )
}

struct Frames;

// SAFETY: the arena hands out each frame once.
unsafe impl FrameAllocator<Size4KiB> for Frames {
    #[inline]
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        arena::take().map(|frame| PhysFrame::containing_address(PhysAddr::new(frame)))
    }
}

impl FrameDeallocator<Size4KiB> for Frames {
    #[inline]
    unsafe fn deallocate_frame(&mut self, frame: PhysFrame) {
        arena::give(frame.start_address().as_u64());
    }
}

struct Identity;

// SAFETY: on the arena, physical equals virtual.
unsafe impl PageTableFrameMapping for Identity {
    #[inline]
    fn frame_to_pointer(&self, frame: PhysFrame) -> *mut PageTable {
        arena::reach(frame.start_address().as_u64()).cast()
    }
}

pub struct Mapped {
    root: u64,
    table: MappedPageTable<'static, Identity>,
}

const DATA: PageTableFlags =
    PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE).union(PageTableFlags::NO_EXECUTE);

fn page(at: u64) -> Page {
    Page::containing_address(VirtAddr::new_truncate(at))
}

impl Mapped {
    #[inline(always)]
    fn map(&mut self, at: u64, to: u64) {
        let frame = PhysFrame::containing_address(PhysAddr::new_truncate(to));
        // SAFETY: no CPU uses these tables.
        unsafe { self.table.map_to(page(at), frame, DATA, &mut Frames) }.unwrap().ignore();
    }

    #[inline(always)]
    fn unmap(&mut self, at: u64) -> u64 {
        let (frame, flush) = self.table.unmap(page(at)).unwrap();
        flush.ignore();
        frame.start_address().as_u64()
    }
}

impl Subject for Mapped {
    const MODE: Mode = Mode::Long;

    fn new() -> Self {
        let root = arena::take().unwrap();
        let table = arena::reach(root).cast::<PageTable>();
        // SAFETY: the frame is as large as a table, and ours.
        unsafe { table.write(PageTable::new()) };
        // SAFETY: as above.
        let table = unsafe { &mut *table };
        // SAFETY: the table is empty, and physical equals virtual.
        Self { root, table: unsafe { MappedPageTable::new(table, Identity) } }
    }

    fn root(&self) -> u64 {
        self.root
    }

    fn map_pages(&mut self, run: Run) {
        for (at, to) in run.base_pages() {
            self.map(at, to);
        }
    }

    fn map_range(&mut self, _: Run) {
        unreachable!("not asked for");
    }

    fn map_list(&mut self, list: &[(u64, u64)]) {
        for &(at, to) in list {
            self.map(at, to);
        }
    }

    fn translate_list(&self, list: &[(u64, u64)]) -> Sum {
        let mut sum = Sum::default();
        for &(at, _) in list {
            sum.add(self.table.translate_addr(VirtAddr::new_truncate(at)).unwrap().as_u64());
        }
        sum
    }

    fn unmap_pages(&mut self, run: Run) -> Option<Sum> {
        let mut sum = Sum::default();
        for (at, _) in run.base_pages() {
            sum.add(self.unmap(at));
        }
        Some(sum)
    }

    /// Unmap keeps the tables; `clean_up_addr_range` looks for empty ones.
    fn unmap_pages_freed(&mut self, run: Run) -> Option<Sum> {
        let mut sum = Sum::default();
        for (at, _) in run.base_pages() {
            sum.add(self.unmap(at));
            let range = Page::range_inclusive(page(at), page(at));
            // SAFETY: nobody else has a table of this tree.
            unsafe { self.table.clean_up_addr_range(range, &mut Frames) };
        }
        Some(sum)
    }

    fn map_unmap(&mut self, run: Run, turns: u64) -> Option<Sum> {
        let mut sum = Sum::default();
        for turn in 0..turns {
            self.map(run.at, run.frame + turn % 2 * 4096);
            sum.add(self.unmap(run.at));
        }
        Some(sum)
    }
}
