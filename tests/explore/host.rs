//! The host of the space: frames and shootdowns are the explorer's.

use super::search::{step, with};
use super::world::{Event, TOLD, WRITTEN};
use pgtable::model::{Bus, Violation};
use pgtable::{Host, PhysAddr, Request, Stale};
use std::ptr::NonNull;

/// The host, on this thread's explorer.
pub(crate) struct Kernel {
    /// Frames that are freed are handed out again at once.
    pub(crate) reuse: bool,
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
