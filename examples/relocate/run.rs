//! One core: loaded, moved, judged.

use crate::Sabotage;
use crate::cpus::{Play, Pulse};
use crate::host::Kernel;
use crate::kernel::{Moves, Timed, move_all};
use crate::load::{Found, Loaded, Page, Pages, load, mode_of, model_mode};
use crate::support::elf::Core;
use crate::support::mode::{ForMode, Mode, level_name};
use pgtable::model::{Access, Cpu, Fault, KeepNothing, Machine, Memory, Random, Violation};
use pgtable::{
    Config, Error, Names, PhysAddr, RootCell, Setup, Space, Span, Statistics, VirtAddr, levels,
};
use std::collections::{BTreeMap, BTreeSet};

/// The tables at one moment: by frame, with their node.
pub(crate) type Tables = BTreeMap<u64, (Found, u32)>;

/// How many accesses each CPU does during the moves, at least.
const ENOUGH: u64 = 1000;

/// What came of a core.
pub(crate) struct Outcome {
    pub(crate) mode: &'static str,
    /// The aliases of its levels, by height.
    pub(crate) aliases: Vec<&'static str>,
    pub(crate) spaces: usize,
    pub(crate) before: Tables,
    pub(crate) after: Tables,
    pub(crate) statistics: Statistics,
    pub(crate) timed: Timed,
    pub(crate) shootdowns: u64,
    pub(crate) shootdown_nanoseconds: u64,
    /// Of each CPU: accesses during the moves, different ones, faults.
    pub(crate) accesses: Vec<[u64; 3]>,
    pub(crate) compared: u64,
    pub(crate) different: u64,
    pub(crate) written: u64,
    pub(crate) lost: u64,
    pub(crate) left: usize,
    pub(crate) leaked: usize,
    pub(crate) violations: Vec<Violation>,
    pub(crate) stopped: Option<Error>,
}

impl Outcome {
    /// Whether nothing is wrong.
    pub(crate) fn is_sound(&self) -> bool {
        let quiet = self.accesses.iter().all(|&[accesses, different, faults]| {
            accesses >= ENOUGH && different == 0 && faults == 0
        });
        let zeroes = [self.different, self.lost, self.left as u64, self.leaked as u64];
        quiet && zeroes == [0; 4] && self.violations.is_empty() && self.stopped.is_none()
    }
}

/// Runs in the mode of the core.
struct Run<'a>(&'a Core, Mode, Option<Sabotage>);

pub(crate) fn run(core: &Core, sabotage: Option<Sabotage>) -> Result<Outcome, String> {
    let mode = mode_of(core)?;
    mode.run(Run(core, mode, sabotage))
}

impl ForMode for Run<'_> {
    type Output = Result<Outcome, String>;

    fn run<C: Config>(self) -> Result<Outcome, String> {
        let Self(core, mode, sabotage) = self;
        let loaded = load::<C>(core, mode)?;
        let pages: Vec<Vec<Page>> =
            loaded.roots.iter().map(|&root| mode.run(Pages(&loaded, root))).collect();
        if let Some(root) = loaded.roots.iter().zip(&pages).find(|(_, pages)| pages.is_empty()) {
            return Err(format!("the tables at {} map nothing", root.0));
        }
        let cells: Vec<RootCell> = loaded.roots.iter().map(|_| RootCell::new()).collect();
        let cpus = (1..).zip(&loaded.roots).map(|(seed, root)| {
            let mut cpu = Cpu::new(model_mode(mode), Random::new(seed));
            cpu.load_root(&loaded.memory, root.0).map(|()| cpu)
        });
        let cpus: Result<Vec<_>, Fault> = cpus.collect();
        let machine = Machine::new(cpus.map_err(|_| "a root entry has reserved bits")?);
        let word = model_mode(mode).word;
        let pulse = Pulse::new(pages.len());
        let kernel =
            Kernel::new(&loaded.memory, (&machine, &pulse), cells.iter().collect(), word, sabotage);
        let spaces = adopt::<C>(&kernel, &cells, &loaded)?;
        Ok(play(&loaded, &kernel, spaces, &pages))
    }
}

/// The kernel's half of the address space.
fn kernel_span(mode: Mode) -> Span {
    let (start, bytes_lg2) = match mode {
        Mode::Legacy | Mode::Pae => (0xc000_0000, 30),
        Mode::Long => (0xffff_8000_0000_0000, 47),
        Mode::LongLa57 => (0xff00_0000_0000_0000, 56),
    };
    Span::around(VirtAddr(start), bytes_lg2)
}

type Of<'a, C> = Space<'a, C, &'a Kernel<'a>>;

/// The first space owns the kernel half, the others share it.
fn adopt<'a, C: Config>(
    kernel: &'a Kernel<'a>,
    cells: &'a [RootCell],
    loaded: &Loaded,
) -> Result<Vec<Of<'a, C>>, String> {
    let mut spaces: Vec<Of<'a, C>> = Vec::new();
    for (cell, &root) in cells.iter().zip(&loaded.roots) {
        let setup = Setup::new().names(Names::Aliased);
        let setup = match spaces.first().and_then(Space::kernel_half) {
            Some(half) => setup.sharing(half),
            None => setup.kernel(kernel_span(loaded.mode)),
        };
        // SAFETY: the memory is this program's own, every table in it was surveyed, and nobody but
        // the spaces changes them; CPUs of the model set A and D.
        let space = unsafe { Space::adopt(kernel, cell, root, setup) };
        spaces.push(space.map_err(|error| format!("the tables at {root}: {error}"))?);
    }
    Ok(spaces)
}

fn play<'a, C: Config>(
    loaded: &Loaded,
    kernel: &Kernel<'a>,
    mut spaces: Vec<Of<'a, C>>,
    pages: &[Vec<Page>],
) -> Outcome {
    let memory = &loaded.memory;
    let before = tables(loaded, memory, &loaded.tables);
    let in_use = memory.in_use().len();
    let mut different = compare(loaded, &loaded.roots, pages);
    let play =
        Play::new(memory, kernel.machine, kernel.pulse, pages.iter().map(Vec::as_slice).collect());
    // As many before and after each move, and at least one table in each space moves: its root.
    let accesses = (ENOUGH / before.len().max(1) as u64).max(24);
    let (mut moves, mut stopped) = (Vec::new(), None);
    let written: Vec<BTreeSet<usize>> = std::thread::scope(|scope| {
        let play = &play;
        let cpu = |number| scope.spawn(move || play.run(number));
        let cpus: Vec<_> = (0..pages.len()).map(cpu).collect();
        for (number, space) in spaces.iter_mut().enumerate() {
            match move_all(space, kernel, play, (number, accesses)) {
                Ok(done) => moves.push(done),
                Err(error) => stopped = Some(error),
            }
        }
        play.stop();
        cpus.into_iter().map(|cpu| cpu.join().unwrap_or_default()).collect()
    });
    let roots: Vec<PhysAddr> = spaces.iter().map(Space::root).collect();
    different += compare(loaded, &roots, pages);
    let lost = spaces.iter().zip(pages).zip(&written).map(|((space, pages), written)| {
        let clean = |&&index: &&usize| !is_dirty(space, pages[index].at);
        written.iter().filter(clean).count() as u64
    });
    let scratch: u64 = moves.iter().map(|moves| moves.scratch_lost).sum();
    let after = resurvey::<C>(loaded, &spaces);
    Outcome {
        mode: loaded.mode.name(),
        aliases: levels::<C::Arch>().rev().map(|level| level_name::<C>(level.height)).collect(),
        spaces: spaces.len(),
        left: after.values().filter(|(_, node)| *node == 0).count(),
        leaked: memory.in_use().len().abs_diff(in_use),
        before,
        after,
        statistics: sum(&moves),
        timed: timed(&moves),
        shootdowns: kernel.shootdowns.load(std::sync::atomic::Ordering::Relaxed),
        shootdown_nanoseconds: kernel.nanoseconds.load(std::sync::atomic::Ordering::Relaxed),
        accesses: play.results(),
        compared: pages.iter().map(|pages| pages.len() as u64).sum(),
        different,
        written: written.iter().map(|written| written.len() as u64).sum(),
        lost: lost.sum::<u64>() + scratch,
        violations: memory.violations(),
        stopped,
    }
}

fn is_dirty<C: Config>(space: &Of<'_, C>, at: u64) -> bool {
    space.translate(VirtAddr(at)).is_ok_and(|found| found.attrs.dirty)
}

/// How many pages a CPU that knows nothing finds elsewhere.
fn compare(loaded: &Loaded, roots: &[PhysAddr], pages: &[Vec<Page>]) -> u64 {
    let mut different = 0;
    for (root, pages) in roots.iter().zip(pages) {
        let mut cpu = Cpu::new(model_mode(loaded.mode), KeepNothing);
        let loads = cpu.load_root(&loaded.memory, root.0).is_ok();
        let same = |page: &&Page| {
            let found = cpu.access(&loaded.memory, page.at, Access::READ);
            loads
                && found.is_ok_and(|found| {
                    found.physical == page.physical && found.size_lg2 == page.size_lg2.into()
                })
        };
        different += (pages.len() - pages.iter().filter(same).count()) as u64;
    }
    different
}

fn tables(loaded: &Loaded, memory: &Memory, found: &BTreeMap<u64, Found>) -> Tables {
    let node = |frame| memory.node(frame).unwrap_or(u32::MAX);
    let _ = loaded;
    found.iter().map(|(&frame, table)| (frame, (table.clone(), node(frame)))).collect()
}

/// The tables as the spaces have them now.
fn resurvey<C: Config>(loaded: &Loaded, spaces: &[Of<'_, C>]) -> Tables {
    let mut found: BTreeMap<u64, Found> = BTreeMap::new();
    for space in spaces {
        let visit = |seen: &pgtable::Visited| {
            let size_lg2 = crate::support::mode::table_lg2::<C>(seen.level);
            let fresh = || Found { height: seen.level.height, size_lg2, below: Vec::new() };
            let table = found.entry(seen.table.0).or_insert_with(fresh);
            match seen.entry {
                pgtable::Entry::Table(below) if !table.below.contains(&below.0) => {
                    table.below.push(below.0);
                    pgtable::Step::Into
                }
                _ => pgtable::Step::Over,
            }
        };
        // A table that is not reached is missing in the picture, and was complained of before.
        let _ = space.view().visit(Span::ALL, visit);
    }
    tables(loaded, &loaded.memory, &found)
}

fn timed(moves: &[Moves]) -> Timed {
    let mut all = Timed::default();
    for moves in moves {
        for (all, timed) in all.iter_mut().zip(&moves.timed) {
            all.extend(timed);
        }
    }
    all
}

fn sum(moves: &[Moves]) -> Statistics {
    let mut sum = Statistics::default();
    for Moves { statistics, .. } in moves {
        let both = |to: &mut [u64], from: &[u64]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        };
        both(&mut sum.moved, &statistics.moved);
        both(&mut sum.freed, &statistics.freed);
        sum.bytes += statistics.bytes;
        sum.kept += statistics.kept;
        sum.shared += statistics.shared;
        sum.forbidden += statistics.forbidden;
        sum.shootdowns += statistics.shootdowns;
    }
    sum
}
