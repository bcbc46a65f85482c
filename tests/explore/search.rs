//! The search: all worlds at once, and a fork wherever the crate can read more than one value.

use super::sabotage::{Sabotage, Spoil};
use super::stage::{Complaint, Frame, Stage, TABLES};
use super::world::{Event, World};
use pgtable::{RootCell, Steps, Word, WordAccess};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

/// Between two verbs. All that the crate has read by then and still knows is in tables, in its limbo and in
/// the root cell, so ways that have led to the same of these go on as one, with the worlds of them all.
#[derive(Default)]
pub(crate) struct Rest {
    /// What the crate has read on one of the ways that led here.
    read: Vec<u64>,
    worlds: BTreeSet<Rc<World>>,
}

impl Rest {
    /// Before anything was done.
    pub(crate) fn start() -> Self {
        Self { read: Vec::new(), worlds: BTreeSet::from([Rc::new(World::NOTHING)]) }
    }
}

/// Rests after one verb, by what the crate knows then.
pub(crate) type Rests = BTreeMap<String, Rest>;

/// A point at which the crate can go on in different ways, since it may read different values.
struct Fork {
    options: Vec<(u64, Vec<Rc<World>>)>,
    chosen: usize,
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Ways that the crate's own code has gone, from one rest to the next.
    pub(crate) ways: u64,
    /// Atomic steps of the crate, in all ways, each of them met by all worlds.
    pub(crate) steps: u64,
    /// States of memory and CPUs between two such steps.
    pub(crate) states: u64,
    /// Steps of CPUs.
    pub(crate) transitions: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.ways += more.ways;
        self.steps += more.steps;
        self.states += more.states;
        self.transitions += more.transitions;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ways, steps, states, transitions } = self;
        write!(f, "{steps} steps in {ways} ways, {states} states, {transitions} CPU steps")
    }
}

pub(crate) struct Explorer {
    pub(crate) stage: Stage,
    pub(crate) raw: Vec<AtomicU64>,
    pub(crate) worlds: Vec<Rc<World>>,
    /// CPUs have done all that they may since the last step of the crate.
    pub(crate) closed: bool,
    /// The root at that time.
    pub(crate) root: Option<u64>,
    /// What the crate has read before the verb that is explored: it only comes by again.
    replayed: Vec<u64>,
    forks: Vec<Fork>,
    /// What the crate has read in this run.
    read: Vec<u64>,
    /// What CPUs do during each verb, if it is not everything.
    pub(crate) schedules: Option<Vec<Vec<u8>>>,
    /// What is left of it for this verb.
    pub(crate) steps: VecDeque<u8>,
    pub(crate) complaint: Option<Complaint>,
    pub(crate) counts: Counts,
    pub(crate) spoil: Spoil,
    pub(crate) traced: bool,
    pub(crate) events: Vec<(usize, Event)>,
}

thread_local! {
    static NOW: RefCell<Option<Explorer>> = const { RefCell::new(None) };
}

/// Does something with this thread's explorer.
pub(crate) fn with<R>(work: impl FnOnce(&mut Explorer) -> R) -> R {
    NOW.with_borrow_mut(|now| work(now.as_mut().unwrap()))
}

/// Does what the crate has asked for. Once something is wrong, the crate does not go on.
pub(crate) fn step<R>(work: impl FnOnce(&mut Explorer) -> R) -> R {
    let (done, wrong) = with(|explorer| (work(explorer), explorer.complaint.is_some()));
    if wrong && !std::thread::panicking() {
        std::panic::resume_unwind(Box::new("something is wrong"));
    }
    done
}

pub(crate) fn install(explorer: Explorer) {
    NOW.with_borrow_mut(|now| *now = Some(explorer));
}

/// The crate's accesses come here.
pub(crate) enum Explore {}

impl Steps for Explore {
    fn perform<W: Word>(at: &W::Atomic, access: WordAccess) -> u64 {
        let place = std::ptr::from_ref(at).addr();
        let done = step(|explorer| explorer.access(place, access));
        done.unwrap_or_else(|| access.perform::<W>(at))
    }
}

impl Explorer {
    pub(crate) fn new(stage: Stage, sabotage: Option<Sabotage>, traced: bool) -> Self {
        Self {
            stage,
            raw: Self::memory(),
            worlds: Vec::new(),
            closed: true,
            root: None,
            replayed: Vec::new(),
            forks: Vec::new(),
            read: Vec::new(),
            schedules: None,
            steps: VecDeque::new(),
            complaint: None,
            counts: Counts::default(),
            spoil: Spoil::new(sabotage),
            traced,
            events: Vec::new(),
        }
    }

    /// Explores what comes after this rest.
    pub(crate) fn resume(&mut self, rest: Rest) {
        self.replayed = rest.read;
        let worlds = rest.worlds.into_iter().collect();
        self.forks = vec![Fork { options: vec![(0, worlds)], chosen: 0 }];
    }

    /// Begins a run, from the very beginning: the crate comes to the rest again.
    pub(crate) fn begin(&mut self, cell: Rc<RootCell>) {
        self.stage.begin(cell);
        self.worlds.clear();
        self.read.clear();
        self.closed = true;
        self.counts.ways += 1;
        self.spoil.begin();
    }

    /// The crate is at the rest now. If a fork comes after it, it goes on alone up to that.
    pub(crate) fn explore_from_here(&mut self) {
        assert_eq!(self.read, self.replayed, "a run that is made again goes another way");
        if let [start] = &mut self.forks[..] {
            (self.worlds, self.closed) = (std::mem::take(&mut start.options[0].1), false);
        }
    }

    /// The crate has come to the next rest.
    pub(crate) fn arrive(&mut self, known: String, rests: &mut Rests) {
        self.close();
        let rest = rests.entry(known).or_default();
        if rest.worlds.is_empty() {
            rest.read.clone_from(&self.read);
        }
        rest.worlds.extend(self.worlds.drain(..));
    }

    /// Goes back to the last fork that has another option. `false`: there is none.
    pub(crate) fn next_run(&mut self) -> bool {
        while let Some(fork) = self.forks.last_mut() {
            fork.chosen += 1;
            if fork.chosen < fork.options.len() {
                return true;
            }
            self.forks.pop();
        }
        false
    }

    fn access(&mut self, place: usize, access: WordAccess) -> Option<u64> {
        let at = TABLES + (place - self.raw.as_ptr().addr()) as u64;
        let state = self.stage.state(at);
        if !matches!(state, Some(Frame::Spare | Frame::Table(_))) {
            self.complain(Complaint::new(format!("the kernel touches {at:#x}: {state:?}")));
            return Some(0);
        }
        let slot = self.stage.slot(at)?;
        self.counts.steps += u64::from(!self.worlds.is_empty());
        Some(self.spoiled(slot, at, access))
    }

    /// One atomic step of the crate, in all worlds.
    pub(crate) fn step(&mut self, slot: usize, access: WordAccess) -> u64 {
        let found = match access {
            WordAccess::Store(_) => {
                self.close();
                0
            }
            _ => self.read(slot),
        };
        self.apply(slot, access, found);
        found
    }

    /// What the crate reads there, after all that CPUs may do before it: each value that is there in
    /// some world is tried, one by one.
    pub(crate) fn read(&mut self, slot: usize) -> u64 {
        if self.complaint.is_some() {
            return self.worlds.first().map_or(0, |world| world.words[slot]);
        }
        let value = match self.replayed.get(self.read.len()) {
            Some(&value) => value,
            None => self.choose(slot),
        };
        self.read.push(value);
        value
    }

    fn choose(&mut self, slot: usize) -> u64 {
        // The first of the forks is the rest itself.
        let depth = self.read.len() - self.replayed.len() + 1;
        if depth == self.forks.len() {
            self.fork(slot);
        }
        if self.complaint.is_some() {
            return self.worlds.first().map_or(0, |world| world.words[slot]);
        }
        let last = depth + 1 == self.forks.len();
        let fork = &mut self.forks[depth];
        let (value, worlds) = &mut fork.options[fork.chosen];
        let value = *value;
        if last {
            // CPUs go on from here, and what they do next leads to other values.
            (self.worlds, self.closed) = (std::mem::take(worlds), false);
        }
        value
    }

    fn fork(&mut self, slot: usize) {
        self.close();
        if self.complaint.is_some() {
            return;
        }
        let mut options = BTreeMap::<u64, Vec<Rc<World>>>::new();
        for world in std::mem::take(&mut self.worlds) {
            options.entry(world.words[slot]).or_default().push(world);
        }
        self.forks.push(Fork { options: options.into_iter().collect(), chosen: 0 });
    }

    /// A write, in all worlds, at once.
    pub(crate) fn apply(&mut self, slot: usize, access: WordAccess, found: u64) {
        if access == WordAccess::Load {
            return;
        }
        let (at, closed) = (self.stage.place(slot), self.closed);
        let event = Event::Kernel { at, access, found };
        self.each(&event, |_, world| world.words[slot] = access.after(world.words[slot]));
        // No CPU can come to a frame that is private.
        self.closed = closed && self.stage.state(at) == Some(Frame::Spare);
    }

    /// The same happens in all worlds.
    pub(crate) fn each(&mut self, event: &Event, mut work: impl FnMut(&Stage, &mut World)) {
        for world in &mut self.worlds {
            let world = Rc::make_mut(world);
            work(&self.stage, world);
            if self.traced {
                self.events.push((world.trace, event.clone()));
                world.trace = self.events.len() - 1;
            }
        }
        self.closed = false;
    }

    /// Notes the first thing that is wrong. After it, nothing is explored any more.
    pub(crate) fn complain(&mut self, complaint: Complaint) {
        self.worlds.truncate(1);
        self.complaint.get_or_insert(complaint);
    }

    /// Looks at every world.
    pub(crate) fn judge_all(&mut self, judge: impl Fn(&Stage, &World) -> Result<(), Complaint>) {
        self.close();
        if self.complaint.is_some() {
            return;
        }
        let wrong = self.worlds.iter().find_map(|world| judge(&self.stage, world).err());
        wrong.into_iter().for_each(|wrong| self.complain(wrong));
    }

    /// The complaint in words, with the way that led there if it was traced.
    pub(crate) fn told(&self) -> Option<String> {
        let Complaint { what, place } = self.complaint.as_ref()?;
        let (mut trace, last) = place.clone().unwrap_or((usize::MAX, None));
        let mut lines: Vec<String> = last.iter().map(ToString::to_string).collect();
        while let Some((before, event)) = self.events.get(trace) {
            lines.push(event.to_string());
            trace = *before;
        }
        lines.reverse();
        Some(format!("{what}\n{}", lines.join("\n")))
    }
}
