//! What CPUs see, and what they may see: what is mapped now, and whatever was since they were last told
//! to drop it.

use crate::common::model::{Is, Model, Slot};
use crate::common::{canonical, virt_bits};
use pgtable::model::{Access, Choices, Control, Cpu, Decision, Fault, KeepNothing, Memory, Random};
use pgtable::{Arch, Extent, Rights, RootCell, Span, Stale};
use std::rc::Rc;

/// What the manual leaves to a CPU.
#[derive(Clone, Debug)]
pub enum Whims {
    /// It caches nothing and never walks ahead.
    None,
    Any(Random),
}

impl Choices for Whims {
    fn choose(&mut self, among: u32) -> u32 {
        match self {
            Self::None => KeepNothing.choose(among),
            Self::Any(random) => random.choose(among),
        }
    }

    fn decide(&mut self, what: Decision, among: u32) -> u32 {
        match self {
            Self::None => KeepNothing.decide(what, among),
            Self::Any(random) => random.decide(what, among),
        }
    }
}

/// Something that CPUs may not know of yet.
enum Event<A> {
    /// This was mapped before.
    Was(Model<A>),
    Flushed(Stale),
}

/// An answer of unmap, or of a scan: the addresses, the frame, and whether they were dirty.
#[derive(Clone, Copy)]
pub struct Answer {
    pub first: u64,
    pub last: u64,
    pub frame: u64,
    pub dirty: bool,
}

/// CPUs, and what they may see.
pub struct World<A: Arch> {
    pub cpus: Vec<Cpu<Whims>>,
    pub now: Model<A>,
    events: Vec<Event<A>>,
    /// Whether CPUs run by themselves.
    lively: bool,
    random: Random,
    cell: Rc<RootCell>,
    /// Addresses of the latest calls.
    hot: [u64; 8],
    turn: usize,
    self_map: Option<Span>,
    /// Writes since the last look: the offset, and where they went.
    pub writes: Vec<(u64, u64)>,
    /// Pages that may be dirty, or not.
    pub maybe: Vec<(u64, u64)>,
    /// Pages whose dirty bits a scan has answered, and of which CPUs have not dropped what they had.
    pub scanned: Vec<(u64, u64)>,
    /// Pages that unmap has answered, and that CPUs may still use.
    pub gone: Vec<Answer>,
}

impl<A: Arch> World<A> {
    pub fn new(cpus: Vec<Cpu<Whims>>, cell: Rc<RootCell>, seed: u64, lively: bool) -> Self {
        Self {
            cpus,
            now: Model::new(),
            events: Vec::new(),
            lively,
            random: Random::new(seed),
            cell,
            hot: [0; 8],
            turn: 0,
            self_map: None,
            writes: Vec::new(),
            maybe: Vec::new(),
            scanned: Vec::new(),
            gone: Vec::new(),
        }
    }

    pub fn root(&self) -> Option<u64> {
        self.cell.root().map(|root| root.0)
    }

    pub fn set_self_map(&mut self, span: Option<Span>) {
        self.self_map = span;
    }

    pub fn is_lively(&self) -> bool {
        self.lively
    }

    /// An address is of interest.
    pub fn heat(&mut self, offset: u64) {
        self.turn = (self.turn + 1) % self.hot.len();
        self.hot[self.turn] = offset;
    }

    /// From now on this is mapped.
    pub fn becomes(&mut self, next: Model<A>) {
        let was = std::mem::replace(&mut self.now, next);
        if self.lively {
            self.events.push(Event::Was(was));
        }
    }

    /// The last change did not happen.
    pub fn is_as_before(&mut self, before: Model<A>) {
        self.now = before;
    }

    /// Every CPU has dropped this.
    pub fn flushed(&mut self, stale: &Stale) {
        if !self.lively {
            return;
        }
        match stale.extent() {
            Extent::Nothing => {}
            Extent::Spans => {
                let kept = |first: u64| !covers::<A>(stale, first);
                self.scanned.retain(|page| kept(page.0));
                self.gone.retain(|page| kept(page.first));
                self.events.push(Event::Flushed(stale.clone()));
            }
            Extent::Everything | Extent::Root => {
                self.events.clear();
                self.scanned.clear();
                self.gone.clear();
            }
        }
    }

    /// All that may be seen at an offset.
    fn states(&self, offset: u64) -> Vec<Option<(u64, Slot)>> {
        let mut states = vec![self.now.at(offset)];
        for event in self.events.iter().rev() {
            match event {
                Event::Was(model) => states.push(model.at(offset)),
                Event::Flushed(stale) if covers::<A>(stale, offset) => break,
                Event::Flushed(_) => {}
            }
        }
        states
    }

    /// CPUs do something, if they are of that kind.
    pub fn bustle(&mut self, memory: &Memory) {
        if !self.lively || self.root().is_none() {
            return;
        }
        for _ in 0..self.random.choose(4) {
            let cpu = self.random.choose(8) as usize % self.cpus.len();
            let near = self.hot[self.random.choose(8) as usize];
            let page = u64::from(self.random.choose(4)) << 12;
            let offset = near.wrapping_add(page) & ((1 << (virt_bits::<A>() - 1)) * 2 - 1);
            let kind = self.random.choose(16) as u8;
            self.use_page(memory, cpu, offset, kind);
        }
    }

    /// A CPU uses a page; whether it could.
    pub fn use_page(&mut self, memory: &Memory, cpu: usize, offset: u64, kind: u8) -> bool {
        let at = canonical::<A>(offset);
        if self.self_map.is_some_and(|span| span.contains(at)) {
            return false;
        }
        let access = match kind % 6 {
            0 | 1 => Access::WRITE,
            2 => Access::READ,
            3 => Access::FETCH,
            4 => Access::WRITE.user(),
            _ => Access::READ.user(),
        };
        let number = cpu % self.cpus.len();
        let cpu = &mut self.cpus[number];
        let protect = cpu.control().contains(Control::WRITE_PROTECT);
        let result = cpu.use_page(memory, at.0, access);
        let states = self.states(offset);
        let permits = |state: &Option<(u64, Slot)>| match *state {
            Some((first, (lg2, Is::Page { frame, attrs }))) => {
                let rights = attrs.rights;
                let supervisor = !access.user && !protect;
                let write = !access.write || rights.contains(Rights::WRITE) || supervisor;
                let user = !access.user || rights.contains(Rights::USER);
                let fetch = !access.fetch || rights.contains(Rights::EXECUTE);
                (write && user && fetch).then_some((frame + (offset - first), u32::from(lg2)))
            }
            _ => None,
        };
        match result {
            Ok(found) => {
                let seen = (found.physical, found.size_lg2);
                let right = states.iter().any(|state| permits(state) == Some(seen));
                assert!(right, "CPU {number} at {at} went to {seen:x?}, not to {states:x?}");
                if access.write {
                    self.written(offset, found.physical, &states);
                }
            }
            Err(fault) => {
                let right = states.iter().any(|state| permits(state).is_none());
                assert!(right, "CPU {number} at {at} had {fault:?}, not {states:x?}");
                assert_ne!(fault, Fault::Reserved);
                assert_ne!(fault, Fault::NotCanonical);
            }
        }
        if !self.lively && result.is_ok() {
            self.now.touch(offset, access.write);
        }
        result.is_ok()
    }

    /// A write that must not be lost.
    fn written(&mut self, offset: u64, physical: u64, states: &[Option<(u64, Slot)>]) {
        if !self.lively {
            return;
        }
        let leads = |state: &Option<(u64, Slot)>| match *state {
            Some((first, (_, Is::Page { frame, .. }))) => frame + (offset - first) == physical,
            _ => false,
        };
        self.writes.push((offset, physical));
        let range = |state: &Option<(u64, Slot)>| {
            state.map(|(first, (lg2, _))| (first, first + ((1u64 << lg2) - 1)))
        };
        self.maybe.extend(states.iter().filter(|state| leads(state)).filter_map(range));
        let scanned = within(&self.scanned, offset);
        if states.iter().all(leads) && !scanned {
            self.now.touch(offset, true);
        } else if !leads(&states[0]) && !scanned {
            let answer = |gone: &&Answer| {
                gone.first <= offset
                    && offset <= gone.last
                    && gone.frame + (offset - gone.first) == physical
            };
            let mut answers = self.gone.iter().filter(answer).peekable();
            assert!(
                answers.peek().is_none() || answers.any(|answer| answer.dirty),
                "{offset:#x} was written, and unmap said that it was clean"
            );
        }
    }

    /// What is sure of a page that was in these places: whether it was written since the last look.
    pub fn was_written(&self, first: u64, last: u64, frame: u64) -> bool {
        let here = |&&(offset, physical): &&(u64, u64)| {
            first <= offset && offset <= last && frame + (offset - first) == physical
        };
        self.writes.iter().filter(here).any(|&(offset, _)| !within(&self.scanned, offset))
    }
}

/// Whether one of these ranges has an offset.
pub fn within(ranges: &[(u64, u64)], offset: u64) -> bool {
    ranges.iter().any(|&(first, last)| first <= offset && offset <= last)
}

fn covers<A: Arch>(stale: &Stale, offset: u64) -> bool {
    let at = canonical::<A>(offset);
    stale.extent() > Extent::Spans || stale.spans().iter().any(|span| span.contains(at))
}
