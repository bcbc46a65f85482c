//! The kernel: it does verbs one after the other, and is asked again until all of it is explored.

use super::arches::{Shape, Size8KiB, Wholesale, spans, top};
use super::host::{Kernel, NoMemory, copy_table};
use super::sabotage::{Phase, Sabotage};
use super::scenario::{Do, Pages, Scenario};
use super::search::{Counts, Explorer, Rest, Rests, install, step, with};
use super::stage::{Frame, Stage, data, data_frame};
use super::world::{ACCESSED, DIRTY, DUE_SHIFT, Event, TOLD, World};
use pgtable::model::{Control, Cpu, KeepAll};
use pgtable::{
    Attrs, Error, Gather, Gone, Page, PhysAddr, Placement, Rights, RootCell, Setup, Size4KiB,
    Space, Span, Strategy, Used, VirtAddr,
};
use std::mem::ManuallyDrop;
use std::rc::Rc;

/// One run of the kernel.
struct Run<'r, A: Shape> {
    space: Space<'r, Wholesale<A>, Kernel>,
    pages: Pages,
    /// The frame of the page whose entry is exchanged, before that.
    was: u64,
    /// Verbs that do not apply are left out.
    any: bool,
}

/// What the crate gives the entries of pages that can be written.
const PRESENT_WRITABLE: u64 = 3;
/// An entry of the kernel's own, in which nothing means what it would in a page's.
const SWAPPED_OUT: u64 = 0xfe;

fn at(page: u64) -> VirtAddr {
    VirtAddr(page << 12)
}

fn page(page: u64) -> Page<Size4KiB> {
    Page::new(at(page)).unwrap()
}

fn span(first: u64, pages: u64) -> Span {
    Span::new(at(first), pages << 12).unwrap()
}

/// Explores a scenario in a mode, to its end; what went wrong, if something did.
pub(crate) fn explore<A: Shape>(scenario: &Scenario) -> Result<Counts, String> {
    // The way to a mistake is kept only once it is known that there is one.
    explore_once::<A>(scenario, false)
        .map_err(|short| explore_once::<A>(scenario, true).err().unwrap_or(short))
}

fn stage<A: Shape>(scenario: &Scenario) -> Stage {
    Stage {
        addresses: scenario.pages.iter().map(|&(page, write)| (page << 12, write)).collect(),
        pages: A::PAGES,
        entries: A::ENTRIES,
        word: A::WORD,
        spans: spans::<A>(),
        tags: A::TAGS,
        registers: A::REGISTERS,
        ..Stage::default()
    }
}

fn explore_once<A: Shape>(scenario: &Scenario, traced: bool) -> Result<Counts, String> {
    install(Explorer::new(stage::<A>(scenario), scenario.sabotage, traced));
    let mut rests = Rests::from([(String::new(), Rest::start())]);
    // First the CPUs come on, last the space is torn down.
    for part in 0..scenario.then.len() + 4 {
        let mut next = Rests::new();
        for rest in rests.into_values() {
            with(|explorer| explorer.resume(rest));
            loop {
                let known = watched(|| run::<A>(scenario, part))?;
                with(|explorer| explorer.arrive(known, &mut next));
                with(|explorer| explorer.told()).map_or(Ok(()), Err)?;
                if !with(Explorer::next_run) {
                    break;
                }
            }
        }
        rests = next;
    }
    Ok(with(|explorer| explorer.counts))
}

/// CPUs do what schedules say, one for each verb, and nothing else: for trees of any size, and verbs
/// of which some may not apply.
pub(crate) fn follow<A: Shape>(scenario: &Scenario, schedules: Vec<Vec<u8>>) -> Result<(), String> {
    let mut explorer = Explorer::new(stage::<A>(scenario), scenario.sabotage, true);
    explorer.schedules = Some(schedules);
    explorer.resume(Rest::start());
    install(explorer);
    watched(|| run::<A>(scenario, scenario.then.len() + 3)).map(drop)
}

/// What work answers; or what the explorer has found, or a panic in words.
fn watched(work: impl FnOnce() -> String) -> Result<String, String> {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    if let Some(told) = with(|explorer| explorer.told()) {
        return Err(told);
    }
    result.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or(panic.downcast_ref().cloned()).unwrap_or_else(|| "a panic".to_owned())
    })
}

/// Goes through a scenario up to one of its parts, which is the one that is explored. What the crate
/// knows after it.
fn run<A: Shape>(scenario: &Scenario, last: usize) -> String {
    let cell = Rc::new(RootCell::new());
    let schedules = with(|explorer| {
        explorer.begin(cell.clone());
        if last == 0 || explorer.schedules.is_some() {
            explorer.explore_from_here();
        }
        explorer.schedules.clone()
    });
    let mut run = Run::<A>::set_up(scenario, &cell, schedules.is_some());
    let ends = [Do::EndBatch, Do::Scan, Do::TearDown];
    for (part, &verb) in (1..).zip(scenario.then.iter().chain(&ends)).take(last) {
        with(|explorer| match &schedules {
            Some(all) => explorer.steps = all.get(part - 1).cloned().unwrap_or_default().into(),
            None if part == last => explorer.explore_from_here(),
            None => {}
        });
        if verb == Do::TearDown {
            run.tear_down();
            return String::new();
        }
        // The end is without mistakes: those before it shall be found by then.
        let sound = part > scenario.then.len() + 1;
        run.verb(verb, if sound { Phase::Sound } else { Phase::of(verb) });
    }
    let known = run.known();
    // It is not torn down here, since that is explored by itself.
    std::mem::forget(run);
    known
}

impl<'r, A: Shape> Run<'r, A> {
    fn set_up(scenario: &Scenario, cell: &'r RootCell, any: bool) -> Self {
        let copy = if A::WORD == 4 { copy_table::<u32> } else { copy_table::<u64> };
        let host = Kernel { reuse: scenario.reuse, copies: scenario.copies.then_some(copy) };
        let space = Space::new(host, cell, Setup::new()).unwrap();
        let mut run = Self { space, pages: Pages::default(), was: 0, any };
        with(|explorer| run.allow(&mut explorer.stage, true));
        for &verb in &scenario.before {
            run.verb(verb, Phase::Sound);
        }
        let mut cpu = Cpu::new(A::MODE, KeepAll);
        if A::TAGS {
            cpu.set_control(&NoMemory, cpu.control() | Control::TAGS).unwrap();
        }
        cpu.keeps_unrelated = scenario.keeps_unrelated;
        cpu.rereads_registers = scenario.rereads;
        with(|explorer| explorer.power_on(&vec![cpu; scenario.cpus]));
        run
    }

    /// All that decides what the crate does next, but for the words of tables.
    fn known(&self) -> String {
        with(|explorer| {
            let Stage { frames, forbidden, allowed, .. } = &explorer.stage;
            let (space, spoil) = (&self.space, &explorer.spoil);
            format!("{space:?} {frames:?} {forbidden:?} {allowed:?} {spoil:?}")
        })
    }

    fn verb(&mut self, verb: Do, phase: Phase) {
        let wants_huge = matches!(verb, Do::MapHuge(..) | Do::Split(_) | Do::Promote(_));
        let applies = self.pages.allow(verb, |frame| data(frame, A::WORD));
        if self.any && !(applies && (A::HUGE || !wants_huge)) {
            return;
        }
        if let Do::Exchange(page, _) | Do::SwapOut(page) = verb {
            self.was = self.pages.known[&page].0;
        }
        self.pages.plan(verb, |frame| data(frame, A::WORD));
        let breaks = A::STRATEGY == Strategy::BreakBeforeMake;
        let window = breaks && matches!(verb, Do::Move(..) | Do::MoveAll);
        with(|explorer| {
            explorer.pay();
            explorer.each(&Event::Verb(verb), |_, world| {
                if verb == Do::Scan {
                    world.noted.iter_mut().for_each(|noted| *noted |= (*noted & 3) << DUE_SHIFT);
                }
            });
            (explorer.spoil.phase, explorer.spoil.told) = (phase, 0);
            explorer.stage.may_fault = window || matches!(verb, Do::Replace(..));
            self.allow(&mut explorer.stage, false);
        });
        let gone = Gather::scope(|mut gather| {
            let gone = self.work(verb, &mut gather);
            let _ = self.space.finish(gather).unwrap();
            gone
        });
        step(|explorer| {
            explorer.close();
            explorer.stage.may_fault = false;
            self.allow(&mut explorer.stage, true);
            explorer.stage.forbidden.extend(gone);
            explorer.judge_all(Stage::judge_at_rest);
            if verb == Do::EndBatch {
                explorer.judge_all(Stage::judge_marks);
            }
        });
    }

    /// CPUs may find what pages are now, and, until they were told, what they were.
    fn allow(&self, stage: &mut Stage, only: bool) {
        for &(at, _) in &stage.addresses {
            let is = self.pages.known.get(&(at >> 12)).copied();
            let allowed = stage.allowed.entry(at).or_default();
            if only {
                allowed.clear();
            }
            allowed.insert(is);
        }
        // A page that is there again is no frame that was handed back.
        let used: Vec<u64> = self.pages.known.values().map(|page| page.0).collect();
        stage.forbidden.retain(|frame| !used.contains(frame));
    }

    fn work(&mut self, verb: Do, gather: &mut Gather<'_>) -> Vec<u64> {
        let data = |frame| PhysAddr(data(frame, A::WORD));
        let read_only = Attrs::new(Rights::READ | Rights::EXECUTE);
        let space = &mut self.space;
        match verb {
            Do::Map(at, to) => space.map_range(span(at, 1), data(to), Attrs::ALL).unwrap(),
            Do::MapReadOnly(at, to) => space.map_range(span(at, 1), data(to), read_only).unwrap(),
            Do::MapHuge(at, to) => space.map_range(span(at, 2), data(to), Attrs::ALL).unwrap(),
            Do::Unmap(at) => return gone(space.unmap(page(at), gather).unwrap()),
            Do::UnmapRange(at, pages) => return self.unmap_range(span(at, pages), gather),
            Do::Replace(at, new, to) => {
                let frames = gone(space.unmap(page(at), gather).unwrap());
                space.map_range(span(new, 1), data(to), Attrs::ALL).unwrap();
                return frames;
            }
            Do::Exchange(at, to) => {
                return self.exchange(at, data(to).0 | PRESENT_WRITABLE, gather);
            }
            Do::SwapOut(at) => return self.exchange(at, SWAPPED_OUT, gather),
            Do::ReadOnly(at) => space.protect(page(at), read_only.rights, gather).unwrap(),
            Do::Writable(at) => space.protect(page(at), Attrs::ALL.rights, gather).unwrap(),
            Do::Scan => {
                space.test_and_clear(span(0, A::PAGES), Used::all(), gather, reported).unwrap();
            }
            Do::Split(page) => space.split(at(page), gather).unwrap(),
            Do::Promote(page) => {
                space.promote(Page::<Size8KiB>::new(at(page & !1)).unwrap()).unwrap();
            }
            Do::EndBatch => {
                // A panic within it is one too many for its drop.
                let mut session = ManuallyDrop::new(space.enter());
                session.end_batch();
            }
            Do::Move(..) | Do::MoveRoot | Do::MoveAll => self.moves(verb),
            Do::TearDown => {}
        }
        Vec::new()
    }

    fn unmap_range(&mut self, span: Span, gather: &mut Gather<'_>) -> Vec<u64> {
        let mut frames = Vec::new();
        let report = |one: Gone<'_>| frames.extend(gone(one));
        self.space.unmap_range(span, gather, report).unwrap();
        frames
    }

    /// Until nothing has changed between the look and the exchange: hardware can set A and D once. What
    /// it had noted is in the old entry, and is gone with it.
    fn exchange(&mut self, at: u64, new: u64, gather: &mut Gather<'_>) -> Vec<u64> {
        let old = self.was;
        let mut was = old | PRESENT_WRITABLE;
        for _ in 0..4 {
            match self.space.exchange(page(at), was, new, gather) {
                Ok(found) => {
                    told(old, found & 0x20 != 0, found & 0x40 != 0);
                    return vec![early(old)];
                }
                Err(Error::Changed { raw, .. }) => was = raw,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("an entry that nobody else changes has changed four times");
    }

    fn moves(&mut self, verb: Do) {
        let mut session = ManuallyDrop::new(self.space.enter());
        let mut moved = Vec::new();
        let anywhere = |_: &pgtable::TableAt| Placement::Anywhere;
        match verb {
            Do::Move(page, height) if height < top::<A>() => {
                match session.migrate_table(at(page), height, anywhere) {
                    // There is no table; the batch has ended.
                    Err(_) if self.any => {}
                    done => moved.extend(done.unwrap()),
                }
            }
            Do::MoveAll => session.migrate_space(anywhere).unwrap(),
            _ => moved.extend(session.migrate_root(anywhere).unwrap()),
        }
        with(|explorer| {
            explorer.spoil.limbo.extend(moved.iter().map(|moved| moved.from.0));
        });
        ManuallyDrop::into_inner(session).suspend();
    }

    fn tear_down(self) {
        with(|explorer| {
            explorer.pay();
            explorer.each(&Event::Verb(Do::TearDown), |_, _| {});
            explorer.spoil.phase = Phase::Sound;
            explorer.stage.allowed.clear();
        });
        self.space.tear_down().map_err(|(_, error)| error).unwrap();
        with(|explorer| {
            explorer.close();
            let used = explorer.stage.frames.iter().filter(|frame| **frame != Frame::Freed);
            let left = used.count();
            assert!(left == 0 || explorer.complaint.is_some(), "{left} tables are lost");
        });
    }
}

/// The kernel is told what hardware has noted of a page.
fn told(frame: u64, accessed: bool, dirty: bool) {
    let Some(frame) = data_frame(frame) else { return };
    with(|explorer| {
        explorer.each(&Event::KernelTold { frame }, |_, world: &mut World| {
            let noted = &mut world.noted[frame];
            if accessed {
                *noted &= !(ACCESSED | ACCESSED << DUE_SHIFT);
            }
            if dirty {
                *noted = *noted & !(DIRTY | DIRTY << DUE_SHIFT) | TOLD;
            }
        });
    });
}

fn told_of_all(first: u64, size_lg2: u8, attrs: &Attrs) -> Vec<u64> {
    let frames = (0..1u64 << (size_lg2 - 12)).map(|part| first + (part << 12)).collect::<Vec<_>>();
    frames.iter().for_each(|&frame| told(frame, attrs.accessed, attrs.dirty));
    frames
}

fn reported(page: pgtable::UsedPage) {
    told_of_all(page.frame.0, page.size_lg2, &page.attrs);
}

/// An unmapped page: its frames, which open only when the gather is finished.
fn gone(gone: Gone<'_>) -> Vec<u64> {
    let Some(page) = gone.page() else { return Vec::new() };
    let frames = told_of_all(page.peek().0, page.size_lg2, &page.attrs);
    frames.into_iter().map(early).collect()
}

/// A kernel that opens frames before the gather is finished makes a mistake.
fn early(frame: u64) -> u64 {
    with(|explorer| {
        if explorer.spoil.is(Sabotage::FrameEarly) {
            explorer.stage.forbidden.insert(frame);
            explorer.judge_all(Stage::judge);
        }
    });
    frame
}
