//! CPUs at work: each reads and writes random pages, and notes what is not as it was.

use crate::load::Page;
use pgtable::Span;
use pgtable::model::{Access, Choices, Machine, Memory, Random};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const ORDER: Ordering = Ordering::SeqCst;

/// How far the CPUs are, for the kernel to let them go on at the worst of times.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Accesses of each CPU, those during the moves only.
    accesses: Vec<AtomicU64>,
    /// CPUs are at work.
    running: AtomicBool,
    /// The table that moves has been copied, and is not named yet: now its shy pages are written.
    copied: AtomicBool,
    /// How long the kernel has waited for that.
    nanoseconds: AtomicU64,
}

impl Pulse {
    pub(crate) fn new(cpus: usize) -> Self {
        let accesses = (0..cpus).map(|_| AtomicU64::new(0)).collect();
        let (running, copied) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { accesses, running, copied, nanoseconds: AtomicU64::new(0) }
    }

    /// A table has been copied, and is not named yet: what is noted now is noted in the old one.
    pub(crate) fn table_copied(&self) {
        let began = Instant::now();
        self.copied.store(true, ORDER);
        self.pace(8);
        self.copied.store(false, ORDER);
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(took, ORDER);
    }

    /// How many nanoseconds the moves were held up, for CPUs to write.
    pub(crate) fn nanoseconds(&self) -> u64 {
        self.nanoseconds.load(ORDER)
    }

    /// Lets every CPU do so many accesses.
    pub(crate) fn pace(&self, accesses: u64) {
        let goals: Vec<u64> =
            self.accesses.iter().map(|count| count.load(ORDER) + accesses).collect();
        let behind =
            || self.accesses.iter().zip(&goals).any(|(count, &goal)| count.load(ORDER) < goal);
        while self.running.load(ORDER) && behind() {
            // Asleep, it leaves its processor to a CPU, and has one at once when it wakes.
            sleep(Duration::from_micros(20));
        }
    }
}

/// What one CPU has done.
#[derive(Debug, Default)]
pub(crate) struct Work {
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
    pulse: &'a Pulse,
    /// The addresses whose table moves at this moment, and how much of them one of its entries serves.
    hot: [AtomicU64; 3],
    /// A page that comes and goes: its address (0: none), its frame, and whose it is.
    scratch: [AtomicU64; 3],
}

impl<'a> Play<'a> {
    pub(crate) fn new(
        memory: &'a Memory,
        machine: &'a Machine<Random>,
        pulse: &'a Pulse,
        pages: Vec<&'a [Page]>,
    ) -> Self {
        let works = pages.iter().map(|_| Work::default()).collect();
        let zero = |_| AtomicU64::new(0);
        let (hot, scratch) = ([0; 3].map(zero), [0; 3].map(zero));
        pulse.running.store(true, ORDER);
        Self { memory, machine, pages, works, pulse, hot, scratch }
    }

    /// The table that serves these addresses is about to move: half of the accesses go there.
    pub(crate) fn heat(&self, served: Span, span_lg2: u8) {
        let hot = [served.first().0, served.last().0, span_lg2.into()];
        self.hot.iter().zip(hot).for_each(|(word, value)| word.store(value, ORDER));
    }

    /// Lets every CPU do so many accesses.
    pub(crate) fn pace(&self, accesses: u64) {
        self.pulse.pace(accesses);
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
        self.pulse.running.store(false, ORDER);
    }

    /// Accesses, different ones, and faults, of each CPU.
    pub(crate) fn results(&self) -> Vec<[u64; 3]> {
        let counts = |(work, accesses): (&Work, &AtomicU64)| {
            [accesses, &work.different, &work.faults].map(|count| count.load(ORDER))
        };
        self.works.iter().zip(&self.pulse.accesses).map(counts).collect()
    }

    /// What CPU `number` does until it is stopped; the pages that it has written to.
    pub(crate) fn run(&self, number: usize) -> BTreeSet<usize> {
        let (mut random, mut written) = (Random::new(number as u64 + 7), BTreeSet::new());
        while self.pulse.running.load(ORDER) {
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
        let any = || from + (random.number() % among) as usize;
        let index = (among > 0).then(any)?;
        // One that waits to be written, if there is one nearby.
        let waits = |&index: &usize| is_shy(pages[index]) && self.is_due(pages[index]);
        (index..to.min(index + 8)).find(waits).or(Some(index))
    }

    /// Whether the page was written to.
    fn use_page(&self, number: usize, index: usize, random: &mut Random) -> bool {
        let (page, work) = (self.pages[number][index], &self.works[number]);
        let offset = random.number() & ((1 << page.size_lg2) - 1);
        let may = if is_shy(page) { self.is_due(page) } else { random.one_in(2) };
        let write = page.writable && may;
        let access = if write { Access::WRITE } else { Access::READ };
        let result =
            self.machine.run(number, |cpu| cpu.use_page(self.memory, page.at | offset, access));
        match result {
            Ok(found) if found.physical == page.physical | offset => {}
            Ok(_) => count(&work.different),
            Err(_) => count(&work.faults),
        }
        count(&self.pulse.accesses[number]);
        write && result.is_ok()
    }

    /// Whether the table that maps a shy page has been copied, and not named yet.
    fn is_due(&self, page: Page) -> bool {
        let [first, last, span_lg2] = self.hot.each_ref().map(|word| word.load(ORDER));
        let maps = span_lg2 == page.size_lg2.into() && (first..=last).contains(&page.at);
        maps && self.pulse.copied.load(ORDER)
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

/// A page in four is shy: it is written only between the copy of its table and the new name, which is
/// noted in the old table alone. Nobody can make up for a bit of it that is lost. By its frame, it is so
/// for every CPU and by every name.
fn is_shy(page: Page) -> bool {
    page.writable && (page.physical >> page.size_lg2) % 4 == 0
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, ORDER);
}
