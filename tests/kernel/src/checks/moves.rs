//! The main thing: CPU 0 moves every table, back and forth between the nodes, while CPU 1 works on
//! pages that they map.

use super::{Stop, bad, flushing, good};
use crate::io::say;
use crate::mode::{Huge, PAGE, ROOT, data, shared};
use crate::spaces::{Here, KERNEL, PROCESS, Slot};
use crate::work::{ALL, COUNTS, HUGE, PAGES, WINDOWS};
use crate::{cpus, frames, shootdown, work};
use core::sync::atomic::{AtomicUsize, Ordering};
use pgtable::{
    Error, Frame, Gather, Page, PageSize, Placement, Span, Statistics, TableAt, Used, VirtAddr,
};

const ROUNDS: usize = if cfg!(feature = "short") { 24 } else { 160 };
/// Dirty bits are compared each so many rounds.
const COMPARED: usize = 4;

/// CPU 1 works in the kernel's own space: both CPUs run the tables that move.
pub fn of_the_kernel() -> Result<(), Stop> {
    moves(&KERNEL)
}

/// CPU 1 works in a process, which has the kernel's half; the tables of both move.
pub fn of_a_process() -> Result<(), Stop> {
    moves(&PROCESS)
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

fn moves(slot: &'static Slot) -> Result<(), Stop> {
    work::reset();
    map_all(slot)?;
    cpus::elsewhere(|| cpus::activate(slot));
    let shootdowns = shootdown::COUNT.load(Ordering::Relaxed);
    cpus::start(&work::run);
    let moved = rounds(slot);
    work::stop();
    cpus::wait();
    cpus::elsewhere(work::check_all);
    scan(slot)?;
    let left = owners(slot).map(left_behind).sum::<Result<u32, _>>()?;
    unmap_all(slot)?;
    tell(&moved?, left, shootdown::COUNT.load(Ordering::Relaxed) - shootdowns);
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
    u32::from(round % 2 == 0)
}

fn rounds(slot: &'static Slot) -> Result<Statistics, Error> {
    let mut sums = Statistics::default();
    for round in 0..ROUNDS {
        let node = node_of(round);
        for owner in owners(slot) {
            one_by_one(owner, slot, node, &mut sums)?;
            map_ahead(round, slot);
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
        if round % (ROUNDS / 4) == 0 {
            say!("     round {round}");
        }
        work::allow_releases();
    }
    Ok(sums)
}

/// Moves the tables of the windows and the root one by one, with the space unlocked in between, so
/// that faults are served while tables are in limbo.
fn one_by_one(
    owner: &'static Slot,
    slot: &'static Slot,
    node: u32,
    sums: &mut Statistics,
) -> Result<(), Error> {
    let onto = |table: &TableAt| Placement::onto(node, table);
    let windows = spans(slot).filter(|(of, span)| core::ptr::eq(*of, owner) && !is_huge(*span));
    for (_, span) in windows {
        for height in (0..ROOT.height).rev() {
            let mut space = owner.lock();
            let mut session = space.enter();
            session.migrate_table(span.first(), height, onto)?;
            sums.add(&session.suspend());
        }
    }
    let mut space = owner.lock();
    let mut session = space.enter();
    session.migrate_root(onto)?;
    sums.add(&session.suspend());
    Ok(())
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
fn left_behind(slot: &'static Slot) -> Result<u32, Error> {
    let mut left = 0;
    let mut space = slot.lock();
    let mut session = space.enter();
    session.migrate_space(|table| {
        left += u32::from(table.node != Some(node_of(ROUNDS - 1)));
        Placement::Keep
    })?;
    Ok(left)
}

fn tell(sums: &Statistics, left: u32, shootdowns: u64) {
    let get = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    let [wrong, lost] = [&COUNTS.wrong, &COUNTS.lost].map(get);
    let [accesses, compared] = [&COUNTS.accesses, &COUNTS.compared].map(get);
    let [served, retried, released] = [&COUNTS.served, &COUNTS.retried, &COUNTS.released].map(get);
    let moved = &sums.moved[..=usize::from(ROOT.height)];
    let busy = moved.iter().all(|&moved| moved >= ROUNDS as u64) && served > 0 && accesses > ALL;
    let freed = sums.tables_freed() == sums.tables();
    if busy && freed && (wrong, lost, left) == (0, 0, 0) {
        good(format_args!("{} tables in {ROUNDS} rounds, by height {moved:?}", sums.tables()));
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
