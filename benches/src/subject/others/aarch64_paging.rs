//! `aarch64-paging`'s `Mapping`, never active: tables of another MMU, and as much work.

use crate::arena;
use crate::row::{Row, Run};
use crate::subject::{Mode, Subject, Sum};
use aarch64_paging::Mapping;
use aarch64_paging::descriptor::{El1Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El1And0, MemoryRegion, PageTable, Translation, VaRange};
use std::ptr::NonNull;

/// Every call is one for a range. It has none that unmaps, but mapping with nothing valid; that keeps
/// the tables. It translates by walking a region.
pub fn does(row: Row) -> bool {
    !matches!(row, Row::MapCursor | Row::UnmapPageFreed)
}

struct Tables;

impl Translation<El1Attributes> for Tables {
    #[inline]
    fn allocate_table(&mut self) -> (NonNull<PageTable<El1Attributes>>, PhysicalAddress) {
        let frame = arena::take().unwrap();
        // SAFETY: the frame is ours, and as large.
        unsafe { arena::reach(frame).write_bytes(0, arena::FRAME) };
        (NonNull::new(arena::reach(frame)).unwrap().cast(), PhysicalAddress(frame as usize))
    }
    #[inline]
    unsafe fn deallocate_table(&mut self, table: NonNull<PageTable<El1Attributes>>) {
        arena::give(table.addr().get() as u64);
    }
    #[inline]
    fn physical_to_virtual(&self, at: PhysicalAddress) -> NonNull<PageTable<El1Attributes>> {
        NonNull::new(arena::reach(at.0 as u64)).unwrap().cast()
    }
}

const DATA: El1Attributes = El1Attributes::VALID
    .union(El1Attributes::ACCESSED)
    .union(El1Attributes::INNER_SHAREABLE)
    .union(El1Attributes::ATTRIBUTE_INDEX_1)
    .union(El1Attributes::PXN)
    .union(El1Attributes::UXN);

pub struct Aarch64(Mapping<Tables, El1And0>);

fn region(at: u64, bytes: u64) -> MemoryRegion {
    MemoryRegion::new(at as usize, (at + bytes) as usize)
}

impl Aarch64 {
    #[inline(always)]
    fn set(&mut self, at: u64, to: u64, bytes: u64, flags: El1Attributes) {
        let to = PhysicalAddress(to as usize);
        self.0.map_range(&region(at, bytes), to, flags, Constraints::empty()).unwrap();
    }
}

impl Subject for Aarch64 {
    const MODE: Mode = Mode::Aarch64;
    const KEEPS_USED: bool = false;

    fn new() -> Self {
        Self(Mapping::with_asid_and_va_range(Tables, 1, 0, El1And0, VaRange::Lower))
    }

    fn root(&self) -> u64 {
        self.0.root_address().0 as u64
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

    fn translate_list(&self, list: &[(u64, u64)]) -> Sum {
        let mut sum = Sum::default();
        for &(at, _) in list {
            let walked = self.0.walk_range(&region(at, 4096), &mut |_, found, _| {
                sum.add(found.output_address().0 as u64);
                Ok(())
            });
            walked.unwrap();
        }
        sum
    }

    fn unmap_pages(&mut self, run: Run) -> Option<Sum> {
        for (at, _) in run.base_pages() {
            self.set(at, 0, 4096, El1Attributes::empty());
        }
        None
    }

    fn unmap_range(&mut self, run: Run) -> Option<Sum> {
        self.set(run.at, 0, run.bytes(), El1Attributes::empty());
        None
    }

    fn protect_range(&mut self, run: Run) {
        let (read, nothing) = (El1Attributes::READ_ONLY, El1Attributes::empty());
        let region = region(run.at, run.bytes());
        self.0.modify_range(&region, &|_, found| found.modify_flags(read, nothing)).unwrap();
    }

    fn map_unmap(&mut self, run: Run, turns: u64) -> Option<Sum> {
        for turn in 0..turns {
            self.set(run.at, run.frame + turn % 2 * 4096, 4096, DATA);
            self.set(run.at, 0, 4096, El1Attributes::empty());
        }
        None
    }

    fn tear_down(self) {
        drop(self);
    }
}
