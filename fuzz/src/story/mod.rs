//! One space and what is done to it, side by side with a model that has no tables.

use crate::common::model::{Answer, Is, Model, Slot, keep_used};
use crate::common::{canonical, page_lg2, root_level};
use crate::host::Kernel;
use crate::input::{Call, Raw, Says, Step, Story, Supply};
use crate::manual::{Manual, Says as Word};
use crate::rules::{self, Rules};
use crate::world::{Answer as Told, Whims, World, within};
use pgtable::model::{Control, Cpu, Memory, Mode, Random};
use pgtable::{
    Arch, Attrs, Change, Entry, Error, Flushed, Format, Frame, Gather, Gone, Names, Page, PageSize,
    PhysAddr, Placement, RootCell, Setup, Space, Span, Used, VirtAddr, Visited, levels,
};
use std::rc::Rc;

/// A page size as the input has it.
struct Lg2<const LG2: u8>;
impl<const LG2: u8> Clone for Lg2<LG2> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<const LG2: u8> Copy for Lg2<LG2> {}
impl<const LG2: u8> PageSize for Lg2<LG2> {
    const SIZE_LG2: u8 = LG2;
}

/// Calls a verb that is typed by page size with a size known only now.
macro_rules! sized {
    ($lg2:expr, |$size:ident| $call:expr) => {
        sized!(@ $lg2, $size, $call, 0 12 21 22 30 39)
    };
    (@ $lg2:expr, $size:ident, $call:expr, $($known:literal)*) => {
        match $lg2 {
            $($known => {
                type $size = Lg2<$known>;
                $call
            })*
            other => panic!("no size {other}"),
        }
    };
}

mod change;
mod compare;
mod map;
mod moves;
mod take;

use compare::open;
use moves::Asked;

/// What became of a call, compared with what the model says.
type Done<T> = Result<T, Error>;

pub struct Both<'c, A: Arch> {
    host: &'c Kernel<A>,
    cell: &'c RootCell,
    space: Option<Space<'c, A, &'c Kernel<A>>>,
    rules: Rules,
    names: Names,
    self_map: Option<usize>,
}

/// Plays a story in one mode. `lively` CPUs run whenever the crate calls its host, and keep what they
/// may; the other kind runs when the story says so, and keeps nothing, so that everything is known to
/// the bit.
pub fn play<A: Arch>(story: &Story, lively: bool) {
    let mode = Mode::ALL.into_iter().find(|mode| mode.name == A::NAME).expect("a mode of x86");
    let cell = Rc::new(RootCell::new());
    let cpus = (0..if lively { 2 } else { 1 }).map(|number| {
        let random = Random::new(story.whims ^ number);
        let mut cpu = Cpu::new(mode, if lively { Whims::Any(random) } else { Whims::None });
        let flag = |bit: u64| story.cpus >> (bit + 4 * number) & 1 != 0;
        let mut control = cpu.control();
        control.set(Control::WRITE_PROTECT, !flag(0));
        control.set(Control::GLOBAL_PAGES, !flag(1));
        // It has no root yet: there is nothing for it to read.
        cpu.set_control(&Memory::new(mode.word, &[]), control).expect("bits that every mode has");
        cpu.rereads_registers = flag(2);
        cpu.keeps_unrelated = flag(3);
        cpu
    });
    let world = World::new(cpus.collect(), Rc::clone(&cell), story.whims.rotate_left(7), lively);
    let host = Kernel::<A>::new(mode.word, story.kind & 1 != 0, world);
    let self_map = (story.kind & 4 != 0).then(|| usize::from(story.self_map) << 1);
    let limits = A::LIMITS.narrowed(story.cpuid.limits());
    let names = if story.kind & 2 != 0 { Names::Aliased } else { Names::Unique };
    let setup = setup_of(story.cpuid.limits(), names, self_map);
    let Ok(space) = Space::<A, _>::new(&host, &cell, setup) else {
        assert!(host.tables().is_empty() && cell.root().is_none());
        return;
    };
    let map = self_map.map(|index| {
        let level = root_level::<A>();
        Span::around(canonical::<A>((index as u64) << level.span_lg2), level.span_lg2)
    });
    host.world.borrow_mut().set_self_map(map);
    host.world.borrow_mut().now.largest_lg2 = limits.largest_leaf_lg2;
    for number in 0..if lively { 2 } else { 1 } {
        let root = space.root().0;
        host.world.borrow_mut().cpus[number].load_root(&host.memory, root).expect("it loads");
    }
    let rules = Rules::new::<A>(limits, map);
    let both = Both { host: &host, cell: &cell, space: Some(space), rules, names, self_map };
    both.tell(&story.steps);
}

fn setup_of<'k, A: Arch>(
    limits: pgtable::Limits,
    names: Names,
    map: Option<usize>,
) -> Setup<'k, A> {
    let setup = Setup::new().limits(limits).names(names);
    match map {
        Some(index) => setup.self_map(index),
        None => setup,
    }
}

impl<'c, A: Arch> Both<'c, A> {
    fn tell(mut self, steps: &[Step]) {
        let mut rest = steps.iter().take(64).peekable();
        let mut more = true;
        while more {
            Gather::scope(|mut gather| {
                let mut gone = Vec::new();
                loop {
                    let Some(step) = rest.next() else {
                        more = false;
                        break;
                    };
                    self.step(step, &mut gather, &mut gone);
                    self.compare(gather.tables());
                    // A gather is that of the space before, and not of the one that takes its tree over.
                    let last = rest.peek().is_some_and(|next| matches!(next.call, Call::Readopt));
                    if step.finish || last {
                        break;
                    }
                }
                let flushed = self.space().finish(gather).expect("its own gather");
                open(gone, &flushed);
            });
            self.compare(0);
        }
        self.end();
    }

    fn space(&mut self) -> &mut Space<'c, A, &'c Kernel<A>> {
        self.space.as_mut().expect("there is one between calls")
    }

    fn look(&self) -> &Space<'c, A, &'c Kernel<A>> {
        self.space.as_ref().expect("there is one between calls")
    }

    fn now(&self) -> Model<A> {
        self.host.world.borrow().now.clone()
    }

    /// Makes a call, and compares what came of it.
    fn step<'g>(&mut self, step: &Step, gather: &mut Gather<'g>, gone: &mut Vec<(Gone<'g>, u64)>) {
        self.host.set_supply(step.supply);
        match step.call {
            Call::Map { at, size, frame, attrs } => {
                let (at, lg2) = (rules::address::<A>(at), rules::size::<A>(size));
                self.map(at, lg2, rules::memory(frame, at), attrs.attrs());
            }
            Call::MapRange { at, length, frame, attrs } => {
                let at = rules::address::<A>(at);
                if let Some(span) = rules::span(at, length, true) {
                    self.map_range(span, rules::memory(frame, at), attrs.attrs());
                }
            }
            Call::MapFrames { at, length, frames, pages, attrs } => {
                let at = rules::address::<A>(at);
                let frames = frames.map(|frame| rules::memory(frame, at));
                if let Some(span) = rules::span(at, length, true) {
                    self.map_frames(span, frames, u64::from(pages) << 12, attrs.attrs());
                }
            }
            Call::MapCursor { at, steps, frame, attrs } => {
                let at = rules::address::<A>(at);
                self.map_cursor(at, steps % 16, rules::memory(frame, at), attrs.attrs());
            }
            Call::Unmap { at, size } => {
                self.unmap(rules::address::<A>(at), rules::size::<A>(size), gather, gone);
            }
            Call::UnmapRange { at, length } => {
                if let Some(span) = rules::span(rules::address::<A>(at), length, false) {
                    self.unmap_range(span, gather, gone);
                }
            }
            Call::UnmapCursor { at, steps } => {
                self.unmap_cursor(rules::address::<A>(at), steps % 16, gather, gone);
            }
            Call::Protect { at, size, attrs } => {
                let (at, lg2) = (rules::address::<A>(at), rules::size::<A>(size));
                self.protect(at, lg2, attrs.attrs(), gather);
            }
            Call::ProtectRange { at, length, attrs } => {
                if let Some(span) = rules::span(rules::address::<A>(at), length, false) {
                    self.protect_range(span, attrs.attrs(), gather);
                }
            }
            Call::ProtectCursor { at, steps, attrs } => {
                self.protect_cursor(rules::address::<A>(at), steps % 16, attrs, gather);
            }
            Call::Split { at } => self.split(rules::address::<A>(at), gather),
            Call::Promote { at, size } => {
                self.promote(rules::address::<A>(at), rules::size::<A>(size));
            }
            Call::Exchange { at, size, was, raw } => {
                let (at, lg2) = (rules::address::<A>(at), rules::size::<A>(size));
                self.exchange(at, lg2, (was, raw), gather);
            }
            Call::Scan { at, length, accessed, dirty } => {
                if let Some(span) = rules::span(rules::address::<A>(at), length, false) {
                    self.scan(span, accessed, dirty, gather);
                }
            }
            Call::Translate { at } => self.translate(rules::address::<A>(at)),
            Call::Use { at, by } => {
                let at = rules::address::<A>(at);
                if self.rules.has(at) {
                    let offset = self.rules.offset(at);
                    let mut world = self.host.world.borrow_mut();
                    world.heat(offset);
                    world.use_page(&self.host.memory, by.cpu.into(), offset, by.kind);
                }
            }
            Call::Move { at, length, what, height, keep, forget } => {
                let at = rules::address::<A>(at);
                let span = rules::span(at, length, false);
                self.relocate(Asked { at, span, what, height, keep, forget });
            }
            Call::Readopt => self.readopt(),
        }
        self.host.set_supply(Supply::Good);
    }

    /// Makes one call. `change` makes it in the model: what is refused changes nothing there.
    fn call<T: std::fmt::Debug, R>(
        &mut self,
        at: u64,
        change: impl FnOnce(&Rules, &mut Model<A>) -> Answer<R>,
        call: impl FnOnce(&mut Space<'c, A, &'c Kernel<A>>) -> Done<T>,
    ) -> Option<(T, R)> {
        let refused = || crate::common::model::Refused;
        let before = self.now();
        let mut next = before.clone();
        let expected = change(&self.rules, &mut next).and_then(|answer| {
            let sayable = |(_, slot): (&u64, &Slot)| match *slot {
                (lg2, Is::Page { frame, .. }) => self.rules.frame(frame, lg2),
                _ => true,
            };
            if next.slots.iter().all(sayable) { Ok(answer) } else { Err(refused()) }
        });
        let lively = self.host.world.borrow().is_lively();
        let but = if lively { 0x60 } else { 0 };
        let mayfail = expected.is_err() || !matches!(self.supply(), Supply::Good);
        let picture = mayfail.then(|| (self.host.picture(but), self.host.tables()));
        if self.rules.has(at) {
            self.host.world.borrow_mut().heat(self.rules.offset(at));
        }
        if expected.is_ok() {
            self.host.world.borrow_mut().becomes(next);
        }
        let refusals = self.host.refused();
        let result = call(self.space());
        let starved = self.host.refused() != refusals;
        match (result, expected) {
            (Ok(result), Ok(answer)) => return Some((result, answer)),
            (Err(Error::OutOfMemory(_) | Error::BadTable { .. }), Ok(_)) if starved => {
                self.host.world.borrow_mut().is_as_before(before);
            }
            (Err(_), Err(_)) => {}
            (result, expected) => {
                panic!("{result:?}, not {:?} at {at:#x}", expected.map(|_| "what was asked for"))
            }
        }
        if let Some(picture) = picture {
            assert!(
                picture == (self.host.picture(but), self.host.tables()),
                "what fails has changed nothing"
            );
        }
        None
    }

    fn supply(&self) -> Supply {
        self.host.supply()
    }

    /// The pages' offset, if the rules let a verb at it.
    fn page(rules: &Rules, at: u64, lg2: u8) -> Answer<u64> {
        let span = rules.span(Span::around(VirtAddr(at), lg2));
        let good = span.filter(|_| rules.size(lg2));
        good.map(|(first, _)| first).ok_or(crate::common::model::Refused)
    }

    fn check(good: bool) -> Answer<()> {
        if good { Ok(()) } else { Err(crate::common::model::Refused) }
    }
}
