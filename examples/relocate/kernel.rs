//! What the kernel does: all tables of a space go to node 1.

use crate::Sabotage;
use crate::cpus::Play;
use crate::host::Kernel;
use pgtable::{
    Arch, Attrs, Config, Entry, Error, Frame, Gather, Page, PageTableLevel, PhysAddr, Placement,
    Rights, Session, Size4KiB, Space, Span, Statistics, Step, TableAt, VirtAddr, Visited, levels,
};
use std::time::Instant;

/// How many nanoseconds each move of a table took, by height.
pub(crate) type Timed = [Vec<u64>; MAX_HEIGHTS];
/// No mode of x86 has more levels.
const MAX_HEIGHTS: usize = 5;

/// What came of one space.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    pub(crate) statistics: Statistics,
    pub(crate) timed: Timed,
    /// A page that came and went while the root was in limbo: written, and not reported dirty.
    pub(crate) scratch_lost: u64,
    pub(crate) scratch_writes: u64,
}

/// Moves tables, and takes the time between two questions to the policy.
struct Clock<'a, 'm> {
    play: &'a Play<'a>,
    kernel: &'a Kernel<'m>,
    /// How many accesses of each CPU there are before a move, and after it.
    accesses: u64,
    timed: Timed,
    since: Option<(usize, Instant, u64)>,
}

impl Clock<'_, '_> {
    /// What is not the move itself: shootdowns are counted by themselves, and the wait for CPUs that
    /// write between copy and name is not the crate's.
    fn other_time(&self) -> u64 {
        let shootdowns = self.kernel.nanoseconds.load(std::sync::atomic::Ordering::Relaxed);
        shootdowns + self.kernel.pulse.nanoseconds()
    }

    fn stop(&mut self) {
        let Some((height, began, before)) = self.since.take() else { return };
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let took = took.saturating_sub(self.other_time() - before);
        if let Some(timed) = self.timed.get_mut(height) {
            timed.push(took);
        }
        self.play.pace(self.accesses);
    }

    /// The policy: onto node 1, after CPUs have used what this table serves.
    fn place<C: Config>(&mut self, table: &TableAt) -> Placement {
        self.stop();
        let to = Placement::onto(1, table);
        if to != Placement::Keep {
            let level = levels::<C::Arch>().find(|level| level.height == table.height);
            let (reach, span) = level.map_or((12, 12), |level| (level.reach_lg2(), level.span_lg2));
            self.play.heat(Span::around(table.at, reach.min(63)), span);
            self.play.pace(self.accesses);
            self.kernel.leaves(table.frame, table.size_lg2);
            self.since = Some((table.height.into(), Instant::now(), self.other_time()));
        }
        to
    }
}

/// Moves every table of a space, the root first: what happens below it goes into both copies.
pub(crate) fn move_all<C: Config>(
    space: &mut Space<'_, C, &Kernel<'_>>,
    kernel: &Kernel<'_>,
    play: &Play<'_>,
    (cpu, accesses): (usize, u64),
) -> Result<Moves, Error> {
    let mut clock = Clock { play, kernel, accesses, timed: Default::default(), since: None };
    let mut moves = Moves::default();
    let mut session = space.enter();
    session.migrate_root(|table| clock.place::<C>(table))?;
    clock.stop();
    if let Some(at) = hole::<C>(&session) {
        if <C::Arch as Arch>::reload(<C::Arch as Arch>::Root::LEVEL) == pgtable::Reload::Root {
            // The root is in registers: the table below it takes the root's part.
            let height = <C::Arch as Arch>::Root::LEVEL.height - 1;
            session.migrate_table(at, height, |table| clock.place::<C>(table))?;
            clock.stop();
        }
        scratch(&mut session, kernel, play, (cpu, at), &mut moves)?;
    }
    session.migrate_space(|table| clock.place::<C>(table))?;
    clock.stop();
    moves.statistics = session.leave();
    moves.timed = clock.timed;
    Ok(moves)
}

/// A page that a table entry has to be made for, in a table that was moved: a root, or, where root
/// entries are in registers, the table below.
fn hole<C: Config>(session: &Session<'_, '_, C, &Kernel<'_>>) -> Option<VirtAddr> {
    let root = <C::Arch as Arch>::Root::LEVEL;
    let registers = <C::Arch as Arch>::reload(root) == pgtable::Reload::Root;
    let height = if registers { root.height - 1 } else { root.height };
    let mut found = None;
    let lower = Span::new(VirtAddr(0), 1 << (root.reach_lg2() - 1))?;
    let visit = |seen: &Visited| {
        let empty = seen.level.height == height && seen.entry == Entry::Empty && seen.at.0 != 0;
        if empty && found.is_none() {
            found = Some(seen.at);
        }
        if seen.level.height > height && found.is_none() { Step::Into } else { Step::Over }
    };
    session.view().visit(lower, visit).ok()?;
    found
}

/// Maps a page, lets a CPU write to it, and unmaps it, all while tables above it are in limbo.
fn scratch<C: Config>(
    session: &mut Session<'_, '_, C, &Kernel<'_>>,
    kernel: &Kernel<'_>,
    play: &Play<'_>,
    (cpu, at): (usize, VirtAddr),
    moves: &mut Moves,
) -> Result<(), Error> {
    let page = Page::<Size4KiB>::containing(at);
    let Some(physical) = kernel.memory.allocate(12, 0xffff_ffff, Some(1)) else { return Ok(()) };
    let Some(frame) = Frame::new(PhysAddr(physical)) else { return Ok(()) };
    session.map(page, frame, Attrs::new(Rights::READ | Rights::WRITE | Rights::EXECUTE))?;
    if kernel.sabotage == Some(Sabotage::NoMirror) {
        kernel.undo_mirror();
    }
    let before = play.scratch_writes(cpu);
    play.set_scratch(cpu, at.0, physical);
    play.pace(64);
    play.set_scratch(cpu, 0, 0);
    moves.scratch_writes = play.scratch_writes(cpu) - before;
    let dirty = Gather::scope(|mut gather| {
        let gone = session.unmap(page, &mut gather)?.page();
        let dirty = gone.as_ref().is_some_and(|page| page.attrs.dirty);
        let flushed = session.finish(gather)?;
        let frame = gone.map(|page| page.open(&flushed));
        frame.into_iter().for_each(|frame| kernel.memory.forbid(frame.0, 12));
        Ok::<_, Error>(dirty)
    })?;
    moves.scratch_lost = u64::from(moves.scratch_writes > 0 && !dirty);
    kernel.memory.free(physical, 12);
    Ok(())
}
