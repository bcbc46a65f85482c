//! The address spaces: the kernel's own, and that of a process.

use crate::cpus;
use crate::host::Kernel;
use crate::lock::{Guard, Lock};
use crate::mode::Mode;
use core::ops::{Deref, DerefMut};
use pgtable::{RootCell, Space};

/// A space of this kernel.
pub type Here = Space<'static, Mode, Kernel>;

/// A space, and where context switches find its root.
pub struct Slot {
    pub cell: RootCell,
    space: Lock<Option<Here>>,
    tag: usize,
}

/// The kernel's own.
pub static KERNEL: Slot = Slot::new(0);
/// A process's.
pub static PROCESS: Slot = Slot::new(1);

impl Slot {
    const fn new(tag: usize) -> Self {
        Self { cell: RootCell::new(), space: Lock::new(None), tag }
    }

    pub fn all() -> [&'static Self; 2] {
        [&KERNEL, &PROCESS]
    }

    /// Its PCID, if this CPU has such; else 0.
    pub fn tag(&self) -> usize {
        if cpus::tagged() { self.tag } else { 0 }
    }

    /// Waits for the space.
    pub fn lock(&self) -> Locked<'_> {
        Locked(self.space.lock())
    }

    /// Puts a space there.
    pub fn fill(&self, space: Here) {
        *self.space.lock() = Some(space);
    }

    /// Takes it away.
    pub fn take(&self) -> Option<Here> {
        self.space.lock().take()
    }
}

/// A space that is locked, and there.
pub struct Locked<'l>(Guard<'l, Option<Here>>);

impl Deref for Locked<'_> {
    type Target = Here;
    fn deref(&self) -> &Here {
        self.0.as_ref().expect("nobody locks a space that is not there")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Here {
        self.0.as_mut().expect("nobody locks a space that is not there")
    }
}
