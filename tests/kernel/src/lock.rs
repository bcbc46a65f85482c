//! A lock for things that CPUs share.

use crate::shootdown;
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicUsize, Ordering};

/// First come, first served. Who waits goes on acknowledging shootdowns, since who holds the lock may
/// be waiting for that.
pub struct Lock<T> {
    next: AtomicUsize,
    served: AtomicUsize,
    value: UnsafeCell<T>,
}

// SAFETY: one at a time gets at the value.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub const fn new(value: T) -> Self {
        let (next, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { next, served, value: UnsafeCell::new(value) }
    }

    /// Waits for its turn. Interrupts stay as they are: what interrupts takes no locks.
    pub fn lock(&self) -> Guard<'_, T> {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        while self.served.load(Ordering::Acquire) != ticket {
            shootdown::answer();
            spin_loop();
        }
        Guard(self)
    }
}

/// It is locked.
pub struct Guard<'l, T>(&'l Lock<T>);

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.0.served.fetch_add(1, Ordering::Release);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: it is locked for this guard.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: it is locked for this guard, and the guard is borrowed.
        unsafe { &mut *self.0.value.get() }
    }
}
