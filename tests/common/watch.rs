//! A host that lets a test look, or interfere, at the moments when the crate calls it.

use super::memory::Memory;
use pgtable::{CopyTable, Host, PhysAddr, Request, Roots, Stale};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU16;

type OnStale<'a> = Box<dyn FnMut(&Stale) + 'a>;
type OnMade<'a> = Box<dyn FnMut(PhysAddr, u8) + 'a>;
type OnRoots<'a> = Box<dyn FnMut(&[PhysAddr]) + 'a>;

/// Memory, and what to do when CPUs are told, when a table is about to be
/// linked, and when the list of roots was edited.
pub struct Watch<'a> {
    pub memory: &'a Memory,
    pub on_shoot_down: RefCell<OnStale<'a>>,
    pub on_table_made: RefCell<OnMade<'a>>,
    pub on_roots: RefCell<OnRoots<'a>>,
    /// What copies tables, if it is not the crate.
    pub copies: Cell<Option<CopyTable>>,
    /// How many reader sections there have been.
    pub sections: Cell<usize>,
    /// How often a table was reached.
    pub reached: Cell<usize>,
    /// A table that is not reached, as if its memory were gone.
    pub lost: Cell<Option<PhysAddr>>,
    /// Tables below this address have no counter.
    pub counted_from: Cell<PhysAddr>,
}

impl<'a> Watch<'a> {
    pub fn new(memory: &'a Memory) -> Self {
        Self {
            memory,
            on_shoot_down: RefCell::new(Box::new(|_| {})),
            on_table_made: RefCell::new(Box::new(|_, _| {})),
            on_roots: RefCell::new(Box::new(|_| {})),
            copies: Cell::new(None),
            sections: Cell::new(0),
            reached: Cell::new(0),
            lost: Cell::new(None),
            counted_from: Cell::new(PhysAddr(0)),
        }
    }

    pub fn at_shoot_down(&self, work: impl FnMut(&Stale) + 'a) {
        *self.on_shoot_down.borrow_mut() = Box::new(work);
    }

    pub fn at_table_made(&self, work: impl FnMut(PhysAddr, u8) + 'a) {
        *self.on_table_made.borrow_mut() = Box::new(work);
    }

    /// What to do with the list of roots before its lock is given up.
    pub fn at_roots(&self, work: impl FnMut(&[PhysAddr]) + 'a) {
        *self.on_roots.borrow_mut() = Box::new(work);
    }
}

unsafe impl Host for Watch<'_> {
    fn allocate(&self, request: &Request) -> Option<PhysAddr> {
        self.memory.allocate(request)
    }
    unsafe fn free(&self, table: PhysAddr, height: u8, size_lg2: u8) {
        unsafe { self.memory.free(table, height, size_lg2) };
    }
    fn reach(&self, table: PhysAddr, size_lg2: u8) -> Option<NonNull<u8>> {
        self.reached.set(self.reached.get() + 1);
        let lost = self.lost.get() == Some(table);
        if lost { None } else { self.memory.reach(table, size_lg2) }
    }
    fn shoot_down(&self, stale: &Stale) {
        (self.on_shoot_down.borrow_mut())(stale);
        self.memory.shoot_down(stale);
    }
    fn count(&self, table: PhysAddr) -> Option<&AtomicU16> {
        if table < self.counted_from.get() { None } else { self.memory.count(table) }
    }
    fn copy_table(&self) -> Option<CopyTable> {
        self.copies.get()
    }
    unsafe fn roots(&self, edit: &mut dyn FnMut(&mut dyn Roots)) {
        let mut edited = |list: &mut dyn Roots| {
            edit(list);
            let mut listed = Vec::new();
            list.each(&mut |root| listed.push(root));
            (self.on_roots.borrow_mut())(&listed);
        };
        unsafe { self.memory.roots(&mut edited) };
    }
    fn read(&self, look: &mut dyn FnMut()) {
        self.sections.set(self.sections.get() + 1);
        look();
    }
    fn table_made(&self, table: PhysAddr, height: u8) {
        (self.on_table_made.borrow_mut())(table, height);
        self.memory.table_made(table, height);
    }
    fn table_gone(&self, table: PhysAddr, height: u8) {
        self.memory.table_gone(table, height);
    }
}
