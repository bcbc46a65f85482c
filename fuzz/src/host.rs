//! The kernel around a space: frames of the model's memory, and CPUs of the model, which run whenever
//! the crate calls.

use crate::input::Supply;
use crate::world::World;
use pgtable::model::Memory;
use pgtable::{Arch, Extent, Host, PhysAddr, Request, Stale};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU16;

/// Where memory begins, and how much there is.
const BASE: u64 = 0x10_0000;
const BYTES: u64 = 3 << 20;
/// The smallest table.
const UNIT: u64 = 32;
/// So many pages are invalidated one by one.
const FEW: u64 = 64;

/// A host on one space.
pub struct Kernel<A: Arch> {
    pub memory: Memory,
    pub world: RefCell<World<A>>,
    counts: Option<Vec<AtomicU16>>,
    /// Tables as the hooks have it.
    hooked: RefCell<BTreeMap<u64, u8>>,
    /// Frames in use, with their height.
    heights: RefCell<BTreeMap<u64, u8>>,
    /// Frames that were no answer to what was asked for.
    bad: RefCell<BTreeSet<u64>>,
    supply: Cell<Supply>,
    requests: Cell<u8>,
    /// How many requests had no good answer.
    refused: Cell<u64>,
    pub shootdowns: Cell<u64>,
}

impl<A: Arch> Kernel<A> {
    pub fn new(word: u8, counting: bool, world: World<A>) -> Self {
        let count = usize::try_from(BYTES / UNIT).expect("small");
        Self {
            memory: Memory::new(word, &[(BASE, BYTES, 0)]),
            world: RefCell::new(world),
            counts: counting.then(|| (0..count).map(|_| AtomicU16::new(0)).collect()),
            hooked: RefCell::default(),
            heights: RefCell::default(),
            bad: RefCell::default(),
            supply: Cell::new(Supply::Good),
            requests: Cell::new(0),
            refused: Cell::new(0),
            shootdowns: Cell::new(0),
        }
    }

    /// From now on requests are answered like this.
    pub fn set_supply(&self, supply: Supply) {
        self.supply.set(supply);
        self.requests.set(0);
    }

    pub fn supply(&self) -> Supply {
        self.supply.get()
    }

    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Frames in use.
    pub fn tables(&self) -> BTreeSet<u64> {
        let used: BTreeSet<u64> = self.memory.in_use().into_keys().collect();
        let hooked: BTreeSet<u64> = self.hooked.borrow().keys().copied().collect();
        assert_eq!(used, hooked, "what is in use is what the hooks were told of");
        assert!(self.bad.borrow().is_empty(), "bad frames go back");
        used
    }

    /// All words of all tables; with CPUs at work, but for what these set.
    pub fn picture(&self, but: u64) -> Vec<(u64, u64)> {
        let mut words = Vec::new();
        for (table, lg2) in self.memory.in_use() {
            for at in (table..table + (1 << lg2)).step_by(4) {
                let word = self.memory.load(at).unwrap_or(0);
                let kept = if word & 1 == 0 { word } else { word & !but };
                if kept != 0 {
                    words.push((at, kept));
                }
            }
        }
        words
    }

    fn drop_stale(&self, number: usize, stale: &Stale) {
        let mut world = self.world.borrow_mut();
        let root = world.root();
        let cpu = &mut world.cpus[number];
        let pages = |span: &pgtable::Span| span.bytes_less_one() >> 12;
        let many = stale.spans().iter().map(pages).fold(0, u64::saturating_add) > FEW;
        match stale.extent() {
            Extent::Nothing => panic!("a shootdown of nothing"),
            Extent::Spans if !many => {
                let page = |span: &pgtable::Span| {
                    (span.first().0 >> 12..=span.last().0 >> 12).map(|page| page << 12)
                };
                stale.spans().iter().flat_map(page).for_each(|at| cpu.invalidate_page(at));
                return;
            }
            _ => match root {
                Some(root) => cpu.load_root(&self.memory, root).expect("a root that loads"),
                None => cpu.flush(),
            },
        }
        if stale.global() {
            cpu.flush_everything();
        }
    }
}

// SAFETY: frames come from the memory's allocator, which hands none out twice; a frame that is no good
// answer is never reached. All memory is reached, by atomic words, for as long as the host lives. Every
// CPU drops what is stale before a shootdown returns.
unsafe impl<A: Arch> Host for Kernel<A> {
    fn allocate(&self, request: &Request) -> Option<PhysAddr> {
        self.world.borrow_mut().bustle(&self.memory);
        let number = self.requests.get();
        self.requests.set(number.saturating_add(1));
        match self.supply.get() {
            Supply::Ends(good) if number >= good => {
                self.refused.set(self.refused.get() + 1);
                return None;
            }
            Supply::Bad(good, how) if number == good => {
                let size = 1u64 << request.size_lg2;
                let bad = match how % 4 {
                    0 => BASE + size / 2,
                    1 => 0,
                    2 => request.highest.0.wrapping_add(1) & !(size - 1),
                    _ => u64::MAX & !(size - 1),
                };
                let good = bad % size == 0
                    && bad != 0
                    && bad.checked_add(size - 1).is_some_and(|last| last <= request.highest.0);
                if !good {
                    self.refused.set(self.refused.get() + 1);
                    assert!(self.bad.borrow_mut().insert(bad));
                    return Some(PhysAddr(bad));
                }
            }
            _ => {}
        }
        let frame = self.memory.allocate(request.size_lg2, request.highest.0, None);
        let Some(frame) = frame else {
            self.refused.set(self.refused.get() + 1);
            return None;
        };
        self.heights.borrow_mut().insert(frame, request.height);
        if let Some(count) = self.count(PhysAddr(frame)) {
            count.store(0, std::sync::atomic::Ordering::SeqCst);
        }
        Some(PhysAddr(frame))
    }

    unsafe fn free(&self, table: PhysAddr, height: u8, size_lg2: u8) {
        if self.bad.borrow_mut().remove(&table.0) {
            return;
        }
        assert!(!self.hooked.borrow().contains_key(&table.0), "{table} freed while a table");
        let was = self.heights.borrow_mut().remove(&table.0);
        assert_eq!(was, Some(height), "{table} freed as of height {height}");
        self.memory.free(table.0, size_lg2);
        self.world.borrow_mut().bustle(&self.memory);
    }

    fn reach(&self, table: PhysAddr, size_lg2: u8) -> Option<NonNull<u8>> {
        self.memory.pointer(table.0, size_lg2)
    }

    fn shoot_down(&self, stale: &Stale) {
        self.shootdowns.set(self.shootdowns.get() + 1);
        let cpus = self.world.borrow().cpus.len();
        for number in 0..cpus {
            // Those that have not answered go on.
            self.world.borrow_mut().bustle(&self.memory);
            self.drop_stale(number, stale);
        }
        self.world.borrow_mut().flushed(stale);
        self.world.borrow_mut().bustle(&self.memory);
    }

    fn count(&self, table: PhysAddr) -> Option<&AtomicU16> {
        let place = usize::try_from((table.0 - BASE) / UNIT).expect("small");
        Some(&self.counts.as_ref()?[place])
    }

    fn table_made(&self, table: PhysAddr, height: u8) {
        let was = self.hooked.borrow_mut().insert(table.0, height);
        assert_eq!(was, None, "{table} made a table twice");
        self.world.borrow_mut().bustle(&self.memory);
    }

    fn table_gone(&self, table: PhysAddr, height: u8) {
        let was = self.hooked.borrow_mut().remove(&table.0);
        assert_eq!(was, Some(height), "{table} was no table of height {height}");
        self.world.borrow_mut().bustle(&self.memory);
    }
}
