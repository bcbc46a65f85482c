//! The host of the space: frames and shootdowns are the explorer's.

use super::search::{Explore, step, with};
use super::world::{Event, TOLD, WRITTEN};
use pgtable::model::{Bus, Violation};
use pgtable::{CopyTable, Host, PhysAddr, Request, Stale, Steps, Word, WordAccess};
use std::ptr::NonNull;

/// The host, on this thread's explorer.
pub(crate) struct Kernel {
    /// Frames that are freed are handed out again at once.
    pub(crate) reuse: bool,
    /// What copies tables, if it is not the crate.
    pub(crate) copies: Option<CopyTable>,
}

/// Copies the last word first, each in a step of its own.
pub(crate) unsafe fn copy_table<W: Word>(from: NonNull<u8>, to: NonNull<u8>, size_lg2: u8) {
    for offset in (0..1 << size_lg2).step_by(1 << W::BYTES_LG2).rev() {
        let (from, to) = (from.as_ptr().wrapping_add(offset), to.as_ptr().wrapping_add(offset));
        let raw = Explore::perform::<W>(unsafe { &*from.cast::<W::Atomic>() }, WordAccess::Load);
        unsafe { to.cast::<W>().write(W::from_raw(raw)) };
    }
}

unsafe impl Host for Kernel {
    fn allocate(&self, _: &Request) -> Option<PhysAddr> {
        Some(PhysAddr(step(|explorer| explorer.allocate(self.reuse))))
    }

    unsafe fn free(&self, table: PhysAddr, _: u8, _: u8) {
        step(|explorer| {
            explorer.pay_before_free();
            explorer.free(table.0);
        });
    }

    fn reach(&self, table: PhysAddr, _: u8) -> Option<NonNull<u8>> {
        with(|explorer| explorer.pointer(table.0))
    }

    fn shoot_down(&self, stale: &Stale) {
        step(|explorer| {
            explorer.shoot_down(stale);
            explorer.each(&Event::Acknowledged, |_, world| {
                for noted in world.noted.iter_mut().filter(|noted| **noted & TOLD != 0) {
                    *noted &= !(TOLD | WRITTEN);
                }
            });
        });
    }

    fn copy_table(&self) -> Option<CopyTable> {
        self.copies
    }

    fn table_made(&self, table: PhysAddr, height: u8) {
        step(|explorer| explorer.import(table.0, height));
    }

    fn table_gone(&self, table: PhysAddr, height: u8) {
        // Those above are not read again.
        if height == 0 {
            step(|explorer| explorer.export(table.0));
        }
    }
}

/// For a CPU that reads nothing yet.
pub(crate) struct NoMemory;
impl Bus for NoMemory {
    fn load(&self, _: u64) -> Option<u64> {
        None
    }
    fn replace(&self, _: u64, _: u64, _: u64) -> bool {
        false
    }
    fn is_table(&self, _: u64) -> bool {
        false
    }
    fn is_forbidden(&self, _: u64) -> bool {
        false
    }
    fn complain(&self, _: Violation) {}
}
