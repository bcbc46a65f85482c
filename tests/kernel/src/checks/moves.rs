//! The main thing: CPU 0 moves every table, back and forth between the nodes, while CPU 1 works on
//! pages that they map.

use super::{Stop, bad, flushing, good};
use crate::io::say;
use crate::mode::{Huge, PAGE, ROOT, data, shared};
use crate::spaces::{Here, KERNEL, PROCESS, Slot};
use crate::work::{ALL, COUNTS, HUGE, PAGES, WINDOWS};
use crate::{Build, cpus, frames, shootdown, work};
use core::sync::atomic::{AtomicUsize, Ordering};
use pgtable::{
    Error, Frame, Gather, Page, PageSize, Placement, Span, Statistics, TableAt, Used, VirtAddr,
};

/// Each moves every table.
fn rounds_of(build: Build) -> usize {
    if build.short { 24 } else { 160 }
}

/// Dirty bits are compared each so many rounds.
const COMPARED: usize = 5;
/// So many accesses are made while everything is in limbo.
const ACCESSES: usize = 100;

/// CPU 1 works in the kernel's own space: both CPUs run the tables that move.
pub fn of_the_kernel(build: Build) -> Result<(), Stop> {
    moves(&KERNEL, rounds_of(build))
}

/// CPU 1 works in a process, which has the kernel's half; the tables of both move.
pub fn of_a_process(build: Build) -> Result<(), Stop> {
    moves(&PROCESS, rounds_of(build))
}

/// All the windows, with the space that each belongs to; the huge page is the last.
fn spans(slot: &'static Slot) -> impl Iterator<Item = (&'static Slot, Span)> {
    let window = |number| Span::new(VirtAddr(work::window(number)), PAGES as u64 * PAGE);
    let spans = (0..WINDOWS).filter_map(window);
    let own = move |span: Span| if shared().covers(span) { &KERNEL } else { slot };
    spans.chain([Span::around(VirtAddr(HUGE), Huge::SIZE_LG2)]).map(move |span| (own(span), span))
}

/// The spaces whose tables move: once, if the kernel's own is all.
fn owners(slot: &'static Slot) -> impl Iterator<Item = &'static Slot> {
    let only = core::ptr::eq(slot, &KERNEL);
    [slot, &KERNEL].into_iter().take(if only { 1 } else { 2 })
}

fn moves(slot: &'static Slot, rounds: usize) -> Result<(), Stop> {
    work::reset();
    map_all(slot)?;
    cpus::elsewhere(|| cpus::activate(slot));
    let shootdowns = shootdown::COUNT.load(Ordering::Relaxed);
    cpus::start(&work::run);
    let moved = move_all(slot, rounds);
    work::stop();
    cpus::wait();
    cpus::elsewhere(work::check_all);
    scan(slot)?;
    let left = owners(slot).map(|owner| left_behind(owner, rounds - 1)).sum::<Result<u32, _>>()?;
    unmap_all(slot)?;
    let shootdowns = shootdown::COUNT.load(Ordering::Relaxed) - shootdowns;
    tell(&moved?, rounds, left, shootdowns);
    Ok(())
}

fn map_all(slot: &'static Slot) -> Result<(), Stop> {
    for index in (0..ALL).filter(|&index| !work::is_on_demand(index)) {
        let at = VirtAddr(work::page_at(index));
        let owner = if shared().contains(at) { &KERNEL } else { slot };
        let frame = work::zeroed().map_err(|_| Stop::NoMemory)?;
        owner.lock().map(Page::containing(at), frame, data())?;
    }
    let huge = work::huge_memory().and_then(Frame::<Huge>::new).ok_or(Stop::NoMemory)?;
    slot.lock().map(Page::containing(VirtAddr(HUGE)), huge, data())?;
    Ok(())
}

/// Every frame goes back.
fn unmap_all(slot: &'static Slot) -> Result<(), Error> {
    for (owner, span) in spans(slot) {
        let mut space = owner.lock();
        for base in (0..=span.bytes_less_one() / PAGE).map(|page| span.first().0 + page * PAGE) {
            let mapped = space.translate(VirtAddr(base)).map(|found| found.size_lg2);
            match mapped {
                Ok(12) => drop(super::take_away(&mut space, base)?),
                Ok(_) => give_huge(&mut space)?,
                Err(_) => {}
            }
        }
    }
    Ok(())
}

fn give_huge(space: &mut Here) -> Result<(), Error> {
    Gather::scope(|mut gather| {
        let page = Page::<Huge>::containing(VirtAddr(HUGE));
        let gone = space.unmap(page, &mut gather)?.page();
        let flushed = space.finish(gather)?;
        gone.into_iter().for_each(|page| frames::give(page.open(&flushed), Huge::SIZE_LG2));
        Ok(())
    })
}

/// Where tables go in a round.
fn node_of(round: usize) -> u32 {
    u32::from(round.is_multiple_of(2))
}

fn move_all(slot: &'static Slot, rounds: usize) -> Result<Statistics, Error> {
    let mut sums = Statistics::default();
    for round in 0..rounds {
        let node = node_of(round);
        for owner in owners(slot) {
            one_by_one(owner, slot, round, &mut sums)?;
            map_ahead(round, slot);
            work::let_run(ACCESSES);
            if round % COMPARED == 0 {
                // In the middle of a batch: the bits are in two copies.
                compare(slot)?;
            }
            let mut space = owner.lock();
            let mut session = space.enter();
            session.migrate_space(|table| Placement::onto(node, table))?;
            sums.add(&session.leave());
            drop(space);
        }
        if round % (rounds / 4) == 0 {
            say!("     round {round}");
        }
        work::allow_releases();
    }
    Ok(sums)
}

/// Moves the tables of the windows and the root one by one, with the space unlocked in between, so
/// that faults are served while tables are in limbo. With the root first, CPUs walk from its old copy
/// to all that moves after it.
fn one_by_one(
    owner: &'static Slot,
    slot: &'static Slot,
    round: usize,
    sums: &mut Statistics,
) -> Result<(), Error> {
    let onto = |table: &TableAt| Placement::onto(node_of(round), table);
    let mut moved = |height, at| {
        let mut space = owner.lock();
        let mut session = space.enter();
        session.migrate_table(at, height, onto)?;
        sums.add(&session.suspend());
        Ok::<_, Error>(())
    };
    let root_first = (round / 2).is_multiple_of(2);
    if root_first {
        moved(ROOT.height, VirtAddr(0))?;
    }
    for (_, span) in spans(slot).filter(|(of, _)| core::ptr::eq(*of, owner)) {
        for height in (u8::from(is_huge(span))..ROOT.height).rev() {
            moved(height, span.first())?;
        }
    }
    if root_first { Ok(()) } else { moved(ROOT.height, VirtAddr(0)) }
}

fn is_huge(span: Span) -> bool {
    span.first().0 == HUGE
}

/// Maps a page that the other CPU may be about to fault on.
fn map_ahead(round: usize, slot: &'static Slot) {
    let index = (0..ALL).filter(|&index| work::is_on_demand(index)).cycle().nth(round * 7);
    let Some(at) = index.map(|index| VirtAddr(work::page_at(index))) else { return };
    let owner = if shared().contains(at) { &KERNEL } else { slot };
    let Ok(frame) = work::zeroed() else { return };
    if owner.lock().map(Page::containing(at), frame, data()).is_err() {
        frames::give(frame.start(), 12);
    }
}

/// Holds the other CPU, and compares the dirty bit of every page with what it has written.
fn compare(slot: &'static Slot) -> Result<(), Error> {
    let mut result = Ok(());
    work::paused(|| result = scan(slot));
    result
}

/// Compares the dirty bits of all pages, and clears them.
fn scan(slot: &'static Slot) -> Result<(), Error> {
    let mut dirty = [false; ALL + 1];
    for owner in owners(slot) {
        let own = spans(slot).filter(|(of, _)| core::ptr::eq(*of, owner));
        flushing(&mut owner.lock(), |space, gather| {
            own.map(|(_, span)| span).try_for_each(|span| {
                space.test_and_clear(span, Used::DIRTY, gather, |page| {
                    let unit = work::unit_of(page.at);
                    unit.into_iter().for_each(|unit| dirty[unit] = true);
                })
            })
        })?;
    }
    dirty.into_iter().enumerate().for_each(|(page, dirty)| work::compare(page, dirty));
    Ok(())
}

/// How many tables are not where the last round was to bring them.
fn left_behind(slot: &'static Slot, round: usize) -> Result<u32, Error> {
    let mut left = 0;
    let mut space = slot.lock();
    let mut session = space.enter();
    session.migrate_space(|table| {
        left += u32::from(table.node != Some(node_of(round)));
        Placement::Keep
    })?;
    Ok(left)
}

fn tell(sums: &Statistics, rounds: usize, left: u32, shootdowns: u64) {
    let get = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    let [wrong, lost] = [&COUNTS.wrong, &COUNTS.lost].map(get);
    let [accesses, compared] = [&COUNTS.accesses, &COUNTS.compared].map(get);
    let [served, retried, released] = [&COUNTS.served, &COUNTS.retried, &COUNTS.released].map(get);
    let moved = &sums.moved[..=usize::from(ROOT.height)];
    let busy = moved.iter().all(|&moved| moved >= rounds as u64) && served > 0 && accesses > ALL;
    let freed = sums.tables_freed() == sums.tables();
    if busy && freed && (wrong, lost, left) == (0, 0, 0) {
        good(format_args!("{} tables in {rounds} rounds, by height {moved:?}", sums.tables()));
    } else {
        bad(format_args!(
            "{wrong} wrong values, {lost} wrong dirty bits, {left} tables on the wrong node, \
             moved {moved:?}, freed {}",
            sums.tables_freed()
        ));
    }
    say!("     {accesses} accesses, {compared} dirty bits compared, {shootdowns} shootdowns");
    say!("     {served} faults served, {retried} tried again, {released} pages taken away again");
}
