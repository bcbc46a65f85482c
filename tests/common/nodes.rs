//! A host whose memory lies on two nodes, and that copies tables by itself.

use super::copy::copy_table;
use super::memory::Memory;
use pgtable::{CopyTable, Host, PhysAddr, Request, Roots, Stale};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

/// Node 0 and node 1. Who does not ask for a node gets node 0; and whether requests are taken to the
/// wrong node.
pub struct Nodes(pub [Memory; 2], pub AtomicBool);

impl Nodes {
    const SPLIT: u64 = 0x4000_0000;

    pub fn new(counting: bool) -> Self {
        let memories = [0x10_0000, Self::SPLIT].map(|base| Memory::with(base, 4 << 20, counting));
        Self(memories, AtomicBool::new(false))
    }

    /// How many tables are on each node.
    pub fn tables(&self) -> [usize; 2] {
        self.0.each_ref().map(Memory::tables_in_use)
    }

    /// The memory that a frame is in.
    pub fn of(&self, frame: PhysAddr) -> &Memory {
        &self.0[usize::from(frame.0 >= Self::SPLIT)]
    }

    /// What was shot down so far.
    pub fn stale(&self) -> Vec<Stale> {
        self.0[0].stale()
    }
}

unsafe impl Host for Nodes {
    fn allocate(&self, request: &Request) -> Option<PhysAddr> {
        let wrong = self.1.load(Ordering::Relaxed);
        self.0[request.node.unwrap_or(0) as usize ^ usize::from(wrong)].allocate(request)
    }
    unsafe fn free(&self, table: PhysAddr, height: u8, size_lg2: u8) {
        unsafe { self.of(table).free(table, height, size_lg2) };
    }
    fn reach(&self, table: PhysAddr, size_lg2: u8) -> Option<NonNull<u8>> {
        self.of(table).reach(table, size_lg2)
    }
    fn shoot_down(&self, stale: &Stale) {
        self.0[0].shoot_down(stale);
    }
    fn count(&self, table: PhysAddr) -> Option<&AtomicU16> {
        self.of(table).count(table)
    }
    fn node(&self, frame: PhysAddr) -> Option<u32> {
        Some(u32::from(frame.0 >= Self::SPLIT))
    }
    fn copy_table(&self) -> Option<CopyTable> {
        Some(copy_table)
    }
    unsafe fn roots(&self, edit: &mut dyn FnMut(&mut dyn Roots)) {
        unsafe { self.0[0].roots(edit) };
    }
    fn table_made(&self, table: PhysAddr, height: u8) {
        self.of(table).table_made(table, height);
    }
    fn table_gone(&self, table: PhysAddr, height: u8) {
        self.of(table).table_gone(table, height);
    }
}
