//! The verbs on one kind of space, for a host that lives elsewhere.
#![no_std]

use core::ptr::NonNull;
use pgtable::arch::x86::X86_64;
use pgtable::{
    Attrs, Config, Frame, Gather, Host, Page, PhysAddr, Placement, Request, Rights, Size4KiB, Space,
    Stale, Used, VirtAddr,
};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

pub enum Kind {}
impl Config for Kind {
    type Arch = X86_64;
    const RELOCATABLE: bool = cfg!(feature = "moving");
    const MIGRATE_PAGETABLE_PGD: bool = !cfg!(feature = "only-pte");
    const MIGRATE_PAGETABLE_PUD: bool = !cfg!(feature = "only-pte");
    const MIGRATE_PAGETABLE_PMD: bool = !cfg!(feature = "only-pte");
}

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

type Here<'r> = Space<'r, Kind, Outside>;

fn page(at: u64) -> Page<Size4KiB> {
    Page::containing(VirtAddr(at))
}

#[unsafe(no_mangle)]
pub fn verb_map(space: &mut Here<'_>, at: u64, frame: Frame<Size4KiB>) -> bool {
    space.map(page(at), frame, Attrs::DATA).is_ok()
}

#[unsafe(no_mangle)]
pub fn verb_unmap(space: &mut Here<'_>, at: u64, gather: &mut Gather<'_>) -> bool {
    space.unmap(page(at), gather).is_ok()
}

#[unsafe(no_mangle)]
pub fn verb_protect(space: &mut Here<'_>, at: u64, gather: &mut Gather<'_>) -> bool {
    space.protect(page(at), Rights::READ, gather).is_ok()
}

#[unsafe(no_mangle)]
pub fn verb_scan(space: &mut Here<'_>, at: u64, gather: &mut Gather<'_>) -> u64 {
    let mut found = 0;
    let _ = space.test_and_clear(page(at).span(), Used::all(), gather, |_| found += 1);
    found
}

#[unsafe(no_mangle)]
pub fn verb_split(space: &mut Here<'_>, at: u64, gather: &mut Gather<'_>) -> bool {
    space.split(VirtAddr(at), gather).is_ok()
}

#[unsafe(no_mangle)]
pub fn verb_translate(space: &Here<'_>, at: u64) -> u64 {
    space.translate(VirtAddr(at)).map_or(0, |found| found.frame.0)
}

#[unsafe(no_mangle)]
pub fn move_all(space: &mut Here<'_>) -> u64 {
    let mut session = space.enter();
    let _ = session.migrate_space(|_| Placement::Anywhere);
    session.leave().tables()
}

#[unsafe(no_mangle)]
pub fn move_one(space: &mut Here<'_>, at: u64) -> bool {
    space.enter().migrate_pmd_entry(VirtAddr(at), |_| Placement::Node(1)).is_ok()
}
