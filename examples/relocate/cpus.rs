//! CPUs at work: each reads and writes random pages, and notes what is not as it was.

use crate::load::Page;
use pgtable::model::{Access, Choices, Machine, Memory, Random};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::yield_now;

const ORDER: Ordering = Ordering::SeqCst;

/// What one CPU has done.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Accesses, those during the moves only.
    accesses: AtomicU64,
    /// Accesses that went elsewhere than before.
    different: AtomicU64,
    /// Accesses that faulted, twice.
    faults: AtomicU64,
    scratch_writes: AtomicU64,
}

/// What all CPUs share.
pub(crate) struct Play<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) machine: &'a Machine<Random>,
    /// What each CPU has mapped, in order.
    pub(crate) pages: Vec<&'a [Page]>,
    pub(crate) works: Vec<Work>,
    stop: AtomicBool,
    /// The addresses whose table moves at this moment.
    hot: [AtomicU64; 2],
    /// It has moved, and is in limbo: now its shy pages are written.
    moved: AtomicBool,
    /// A page that comes and goes: its address (0: none), its frame, and whose it is.
    scratch: [AtomicU64; 3],
}

impl<'a> Play<'a> {
    pub(crate) fn new(
        memory: &'a Memory,
        machine: &'a Machine<Random>,
        pages: Vec<&'a [Page]>,
    ) -> Self {
        let works = pages.iter().map(|_| Work::default()).collect();
        let zero = |_| AtomicU64::new(0);
        let (hot, scratch) = ([0; 2].map(zero), [0; 3].map(zero));
        let (stop, moved) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { memory, machine, pages, works, stop, hot, moved, scratch }
    }

    /// The table that serves these addresses is about to move: half of the accesses go there.
    pub(crate) fn heat(&self, first: u64, last: u64) {
        self.moved.store(false, ORDER);
        self.hot[0].store(first, ORDER);
        self.hot[1].store(last, ORDER);
    }

    /// The table has moved.
    pub(crate) fn cool(&self) {
        self.moved.store(true, ORDER);
    }

    /// Lets every CPU do so many accesses.
    pub(crate) fn pace(&self, accesses: u64) {
        let count = |work: &Work| work.accesses.load(ORDER);
        let goals: Vec<u64> = self.works.iter().map(|work| count(work) + accesses).collect();
        while self.works.iter().zip(&goals).any(|(work, &goal)| count(work) < goal) {
            yield_now();
        }
    }

    /// There is a page at `at` for one CPU; 0 takes it away, and returns when it is not in use.
    pub(crate) fn set_scratch(&self, cpu: usize, at: u64, physical: u64) {
        self.scratch[2].store(cpu as u64, ORDER);
        self.scratch[1].store(physical, ORDER);
        self.scratch[0].store(at, ORDER);
        self.machine.interrupt(|_, _| {});
    }

    /// How often a CPU has written to the page that comes and goes.
    pub(crate) fn scratch_writes(&self, cpu: usize) -> u64 {
        self.works[cpu].scratch_writes.load(ORDER)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, ORDER);
    }

    /// Accesses, different ones, and faults, of each CPU.
    pub(crate) fn results(&self) -> Vec<[u64; 3]> {
        let counts = |work: &Work| {
            [&work.accesses, &work.different, &work.faults].map(|count| count.load(ORDER))
        };
        self.works.iter().map(counts).collect()
    }

    /// What CPU `number` does until it is stopped; the pages that it has written to.
    pub(crate) fn run(&self, number: usize) -> BTreeSet<usize> {
        let (mut random, mut written) = (Random::new(number as u64 + 7), BTreeSet::new());
        while !self.stop.load(ORDER) {
            if random.one_in(4) {
                self.use_scratch(number);
            }
            let Some(index) = self.pick(number, &mut random) else { return written };
            if self.use_page(number, index, &mut random) {
                written.insert(index);
            }
        }
        written
    }

    /// A page: any, or one of those that are hot.
    fn pick(&self, number: usize, random: &mut Random) -> Option<usize> {
        let pages = self.pages[number];
        let (first, last) = (self.hot[0].load(ORDER), self.hot[1].load(ORDER));
        let from = pages.partition_point(|page| page.at < first);
        let to = pages.partition_point(|page| page.at <= last);
        let (from, to) = if from < to && !random.one_in(4) { (from, to) } else { (0, pages.len()) };
        let among = (to - from) as u64;
        (among > 0).then(|| from + (random.number() % among) as usize)
    }

    /// Whether the page was written to.
    fn use_page(&self, number: usize, index: usize, random: &mut Random) -> bool {
        let (page, work) = (self.pages[number][index], &self.works[number]);
        let offset = random.number() & ((1 << page.size_lg2) - 1);
        let write = page.writable && random.one_in(2) && (index % 4 != 0 || self.is_due(page));
        let access = if write { Access::WRITE } else { Access::READ };
        let result =
            self.machine.run(number, |cpu| cpu.use_page(self.memory, page.at | offset, access));
        match result {
            Ok(found) if found.physical == page.physical | offset => {}
            Ok(_) => count(&work.different),
            Err(_) => count(&work.faults),
        }
        work.accesses.fetch_add(1, ORDER);
        write && result.is_ok()
    }

    /// A page in four is shy: it is written only while its table is in limbo, and never again. Nobody
    /// can make up for a bit of it that is lost.
    fn is_due(&self, page: Page) -> bool {
        let [first, last] = self.hot.each_ref().map(|word| word.load(ORDER));
        self.moved.load(ORDER) && (first..=last).contains(&page.at)
    }

    fn use_scratch(&self, number: usize) {
        let work = &self.works[number];
        self.machine.run(number, |cpu| {
            let [at, physical, user] = self.scratch.each_ref().map(|word| word.load(ORDER));
            if at == 0 || user != number as u64 {
                return;
            }
            match cpu.use_page(self.memory, at, Access::WRITE) {
                Ok(found) if found.physical == physical => {
                    work.scratch_writes.fetch_add(1, ORDER);
                }
                Ok(_) => count(&work.different),
                Err(_) => count(&work.faults),
            }
        });
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, ORDER);
}
