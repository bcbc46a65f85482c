//! The kernel as `pgtable` sees it: all that the crate asks for.

use crate::lock::Lock;
use crate::{cpus, frames, memory, shootdown};
use core::ptr::NonNull;
use pgtable::arch::native;
use pgtable::{CopyTable, Host, PhysAddr, Request, Roots, Stale};

/// The kernel.
pub struct Kernel;

/// The roots that share the kernel's half; there are never more than two spaces, and a moved root.
struct List([Option<PhysAddr>; 4]);

static ROOTS: Lock<List> = Lock::new(List([None; 4]));

// SAFETY: frames come from the allocator, which hands none out twice; what it hands out for tables is
// mapped for good, and nobody else touches it; every CPU answers the interrupt, whatever it runs, and
// `shoot_down` waits for it; while interrupts are off, a CPU does not acknowledge.
unsafe impl Host for Kernel {
    fn allocate(&self, request: &Request) -> Option<PhysAddr> {
        frames::take(request.size_lg2, request.highest, request.node)
    }

    unsafe fn free(&self, table: PhysAddr, height: u8, size_lg2: u8) {
        frames::give_table(table, height, size_lg2);
    }

    fn reach(&self, table: PhysAddr, _: u8) -> Option<NonNull<u8>> {
        memory::reach(table.0)
    }

    fn copy_table(&self) -> Option<CopyTable> {
        Some(native::copy_table)
    }

    fn shoot_down(&self, stale: &Stale) {
        shootdown::everywhere(stale);
    }

    fn node(&self, frame: PhysAddr) -> Option<u32> {
        frames::node(frame)
    }

    unsafe fn roots(&self, edit: &mut dyn FnMut(&mut dyn Roots)) {
        edit(&mut *ROOTS.lock());
    }

    fn read(&self, look: &mut dyn FnMut()) {
        cpus::without_interrupts(look);
    }
}

impl Roots for List {
    fn insert(&mut self, root: PhysAddr) -> bool {
        let free = self.0.iter_mut().find(|place| place.is_none());
        free.map(|place| *place = Some(root)).is_some()
    }

    fn remove(&mut self, root: PhysAddr) -> bool {
        let place = self.0.iter_mut().find(|place| **place == Some(root));
        place.map(|place| *place = None).is_some()
    }

    fn each(&self, show: &mut dyn FnMut(PhysAddr)) {
        self.0.iter().flatten().copied().for_each(show);
    }
}
