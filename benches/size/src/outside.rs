//! A host that lives elsewhere.

use core::ptr::NonNull;
use pgtable::{Host, PhysAddr, Request, Stale};

unsafe extern "C" {
    fn outside_allocate(size_lg2: u8, highest: u64) -> u64;
    fn outside_free(table: u64);
    fn outside_reach(table: u64) -> *mut u8;
    fn outside_shoot_down(everything: bool);
}

pub struct Outside;

// SAFETY: nothing runs this.
unsafe impl Host for Outside {
    fn allocate(&self, request: &Request) -> Option<PhysAddr> {
        Some(PhysAddr(unsafe { outside_allocate(request.size_lg2, request.highest.0) }))
    }
    unsafe fn free(&self, table: PhysAddr, _: u8, _: u8) {
        unsafe { outside_free(table.0) }
    }
    fn reach(&self, table: PhysAddr, _: u8) -> Option<NonNull<u8>> {
        NonNull::new(unsafe { outside_reach(table.0) })
    }
    fn shoot_down(&self, stale: &Stale) {
        unsafe { outside_shoot_down(stale.spans().is_empty()) }
    }
}
