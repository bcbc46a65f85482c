//! Memory that will be part of the image.

use pgtable::{Host, PhysAddr, Request, Roots, Stale};
use std::cell::RefCell;
use std::ptr::NonNull;

const FRAME: usize = 4096;

/// Frames from an address on, in the order in which they were asked for.
pub struct Memory {
    first: u64,
    frames: RefCell<Vec<NonNull<u8>>>,
    root: RefCell<One>,
}

impl Memory {
    pub fn new(first: u64) -> Self {
        Self { first, frames: RefCell::default(), root: RefCell::new(One(None)) }
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &frame in &*self.frames.borrow() {
            // SAFETY: a frame was leaked by `allocate`, and nobody writes to it now.
            bytes.extend_from_slice(unsafe { frame.cast::<[u8; FRAME]>().as_ref() });
        }
        bytes
    }
}

// SAFETY: every frame is handed out once, and is never moved or freed; no CPU uses the tables yet.
unsafe impl Host for Memory {
    fn allocate(&self, _: &Request) -> Option<PhysAddr> {
        let mut frames = self.frames.borrow_mut();
        let table = PhysAddr(self.first + frames.len() as u64 * FRAME as u64);
        // Aligned for 64-bit entries.
        let words: &'static mut [u64; FRAME / 8] = Box::leak(Box::new([0; FRAME / 8]));
        frames.push(NonNull::from(words).cast());
        Some(table)
    }

    unsafe fn free(&self, _: PhysAddr, _: u8, _: u8) {}

    fn reach(&self, table: PhysAddr, _: u8) -> Option<NonNull<u8>> {
        let frame = usize::try_from(table.0.checked_sub(self.first)?).ok()? / FRAME;
        self.frames.borrow().get(frame).copied()
    }

    fn shoot_down(&self, _: &Stale) {}

    unsafe fn roots(&self, edit: &mut dyn FnMut(&mut dyn Roots)) {
        edit(&mut *self.root.borrow_mut());
    }
}

/// The list of roots: there is one space.
struct One(Option<PhysAddr>);

impl Roots for One {
    fn insert(&mut self, root: PhysAddr) -> bool {
        self.0.replace(root).is_none()
    }

    fn remove(&mut self, root: PhysAddr) -> bool {
        self.0.take_if(|listed| *listed == root).is_some()
    }

    fn each(&self, show: &mut dyn FnMut(PhysAddr)) {
        self.0.into_iter().for_each(show);
    }
}
