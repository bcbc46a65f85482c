//! Several CPUs, and a shootdown that waits for all of them.

use super::{Choices, Cpu};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::yield_now;
use std::vec::Vec;

/// CPUs that run on threads of their own.
#[derive(Debug)]
pub struct Machine<C> {
    cpus: Vec<Mutex<Cpu<C>>>,
    /// Interrupts that have not been answered by every CPU.
    interrupts: AtomicUsize,
}

impl<C: Choices> Machine<C> {
    /// These CPUs.
    #[must_use]
    pub fn new(cpus: impl IntoIterator<Item = Cpu<C>>) -> Self {
        Self { cpus: cpus.into_iter().map(Mutex::new).collect(), interrupts: AtomicUsize::new(0) }
    }

    fn cpu(&self, number: usize) -> MutexGuard<'_, Cpu<C>> {
        self.cpus[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a CPU do something between two interrupts.
    pub fn run<R>(&self, number: usize, work: impl FnOnce(&mut Cpu<C>) -> R) -> R {
        // A CPU with interrupts on answers soon.
        while self.interrupts.load(Ordering::SeqCst) != 0 {
            yield_now();
        }
        work(&mut self.cpu(number))
    }

    /// Interrupts every CPU. When it returns, all have answered: each has done `work` between two
    /// accesses of its own.
    pub fn interrupt(&self, mut work: impl FnMut(usize, &mut Cpu<C>)) {
        self.interrupts.fetch_add(1, Ordering::SeqCst);
        (0..self.cpus.len()).for_each(|number| work(number, &mut self.cpu(number)));
        self.interrupts.fetch_sub(1, Ordering::SeqCst);
    }
}
