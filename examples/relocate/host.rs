//! The kernel around the spaces: frames of the model's memory, and its CPUs.

use crate::Sabotage;
use crate::cpus::Pulse;
use pgtable::model::{Cpu, Machine, Memory, Random};
use pgtable::{Extent, Host, PhysAddr, Request, RootCell, Roots, Stale};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Tables that are only looked at.
pub(crate) struct Tables<'m>(pub(crate) &'m Memory);

// SAFETY: nothing is allocated, and nothing stale; the memory lives as long as the host.
unsafe impl Host for Tables<'_> {
    fn allocate(&self, _: &Request) -> Option<PhysAddr> {
        None
    }
    unsafe fn free(&self, _: PhysAddr, _: u8, _: u8) {}
    fn reach(&self, table: PhysAddr, size_lg2: u8) -> Option<NonNull<u8>> {
        self.0.pointer(table.0, size_lg2)
    }
    fn shoot_down(&self, _: &Stale) {}
}

/// The list of roots.
#[derive(Debug, Default)]
struct RootList(Vec<PhysAddr>);

impl Roots for RootList {
    fn insert(&mut self, root: PhysAddr) -> bool {
        self.0.push(root);
        true
    }
    fn remove(&mut self, root: PhysAddr) -> bool {
        let before = self.0.len();
        self.0.retain(|&listed| listed != root);
        self.0.len() != before
    }
    fn each(&self, show: &mut dyn FnMut(PhysAddr)) {
        self.0.iter().copied().for_each(show);
    }
}

/// A table that is about to move, as it was.
struct Leaving {
    size_lg2: u8,
    words: Vec<u64>,
}

/// A kernel: it owns the memory's allocator, and interrupts CPUs.
pub(crate) struct Kernel<'m> {
    pub(crate) memory: &'m Memory,
    pub(crate) machine: &'m Machine<Random>,
    /// Where the root of each CPU's space is.
    pub(crate) cells: Vec<&'m RootCell>,
    pub(crate) word: u8,
    pub(crate) sabotage: Option<Sabotage>,
    leaving: Mutex<BTreeMap<u64, Leaving>>,
    roots: Mutex<RootList>,
    pub(crate) pulse: &'m Pulse,
    /// How long shootdowns took, and how many there were.
    pub(crate) nanoseconds: AtomicU64,
    pub(crate) shootdowns: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'m> Kernel<'m> {
    pub(crate) fn new(
        memory: &'m Memory,
        (machine, pulse): (&'m Machine<Random>, &'m Pulse),
        cells: Vec<&'m RootCell>,
        word: u8,
        sabotage: Option<Sabotage>,
    ) -> Self {
        Self {
            memory,
            machine,
            cells,
            word,
            sabotage,
            leaving: Mutex::default(),
            roots: Mutex::default(),
            pulse,
            nanoseconds: AtomicU64::new(0),
            shootdowns: AtomicU64::new(0),
        }
    }

    fn entries(&self, table: u64, size_lg2: u8) -> impl Iterator<Item = u64> + use<> {
        (table..table + (1 << size_lg2)).step_by(self.word.into())
    }

    /// A table is about to move.
    pub(crate) fn leaves(&self, table: PhysAddr, size_lg2: u8) {
        if self.sabotage.is_some() {
            let words = self.entries(table.0, size_lg2);
            let words = words.map(|at| self.memory.load(at).unwrap_or(0)).collect();
            lock(&self.leaving).insert(table.0, Leaving { size_lg2, words });
        }
    }

    /// Sabotage: what was written into the old tables since they left is undone.
    pub(crate) fn undo_mirror(&self) {
        for (&table, leaving) in &*lock(&self.leaving) {
            for (at, &word) in self.entries(table, leaving.size_lg2).zip(&leaving.words) {
                self.memory.store(at, word);
            }
        }
    }

    /// Sabotage: tables go back before any CPU has dropped them. Freed memory is overwritten; when CPUs
    /// have had their time, the words are there again, for the spaces to find what they expect.
    fn free_early(&self) {
        let mut freed = Vec::new();
        for (&table, leaving) in &*lock(&self.leaving) {
            if self.memory.in_use().contains_key(&table) {
                let words = self.entries(table, leaving.size_lg2);
                freed.extend(words.map(|at| (at, self.memory.load(at).unwrap_or(0))));
                self.memory.free(table, leaving.size_lg2);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
        freed.into_iter().for_each(|(at, word)| self.memory.store(at, word));
    }

    fn wipe(&self) {
        for (&table, leaving) in &*lock(&self.leaving) {
            for at in self.entries(table, leaving.size_lg2) {
                let word = self.memory.load(at).unwrap_or(0);
                self.memory.store(at, word & !0x60);
            }
        }
    }

    fn drop_stale(&self, number: usize, cpu: &mut Cpu<Random>, stale: &Stale) {
        let Some(&cell) = self.cells.get(number) else { return };
        if stale.space().is_some_and(|space| space != cell.id()) {
            return;
        }
        match stale.extent() {
            Extent::Nothing => {}
            Extent::Spans => {
                let pages = stale
                    .spans()
                    .iter()
                    .flat_map(|span| (span.first().0..=span.last().0).step_by(1 << 12));
                pages.for_each(|at| cpu.invalidate_page(at));
            }
            Extent::Everything | Extent::Root => {
                // The old root stays if the new one faults: then the verdict shows it.
                let root = cell.root().unwrap_or_default();
                let _ = cpu.load_root(self.memory, root.0);
            }
        }
        if stale.global() {
            cpu.flush_everything();
        }
    }
}

// SAFETY: frames come from the memory's allocator, which hands none out twice; all of it is reached,
// by atomic words, for as long as the host lives; every CPU is interrupted between two accesses. With
// sabotage this is not so, on purpose: the memory itself stays, and who is misled are model CPUs.
unsafe impl Host for Kernel<'_> {
    fn allocate(&self, request: &Request) -> Option<PhysAddr> {
        let node = request.node.or(Some(1));
        self.memory.allocate(request.size_lg2, request.highest.0, node).map(PhysAddr)
    }

    unsafe fn free(&self, table: PhysAddr, _: u8, size_lg2: u8) {
        let early = self.sabotage == Some(Sabotage::EarlyFree);
        if !early || self.memory.in_use().contains_key(&table.0) {
            self.memory.free(table.0, size_lg2);
        }
    }

    fn reach(&self, table: PhysAddr, size_lg2: u8) -> Option<NonNull<u8>> {
        self.memory.pointer(table.0, size_lg2)
    }

    fn shoot_down(&self, stale: &Stale) {
        let began = Instant::now();
        if self.sabotage == Some(Sabotage::EarlyFree) {
            self.free_early();
        }
        if self.sabotage != Some(Sabotage::Acknowledge) {
            self.machine.interrupt(|number, cpu| self.drop_stale(number, cpu, stale));
        }
        if self.sabotage == Some(Sabotage::NoMerge) {
            self.wipe();
        }
        if stale.extent() > Extent::Spans {
            lock(&self.leaving).clear();
        }
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
        self.shootdowns.fetch_add(1, Ordering::Relaxed);
    }

    fn node(&self, frame: PhysAddr) -> Option<u32> {
        self.memory.node(frame.0)
    }

    unsafe fn roots(&self, edit: &mut dyn FnMut(&mut dyn Roots)) {
        edit(&mut *lock(&self.roots));
    }

    fn table_made(&self, _: PhysAddr, _: u8) {
        self.pulse.table_copied();
    }
}
