//! Sessions: how a batch ends, whatever happens.

use crate::common::memory::Memory;
use crate::common::watch::Watch;
use crate::common::x86::{flushing, frame, page, space};
use crate::common::{plain, setup};
use pgtable::arch::x86::X86_64;
use pgtable::{
    Attrs, Error, Extent, Gather, Host, PhysAddr, Placement, RootCell, Space, Span, TableAt, View,
    VirtAddr,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

type Of<'r, H> = Space<'r, X86_64, H>;

fn anywhere(_: &TableAt) -> Placement {
    Placement::Anywhere
}

/// A space with this many tables of height 0.
fn with_tables<H: Host>(host: H, cell: &RootCell, tables: u64) -> Of<'_, H> {
    let mut space = space::<X86_64, _>(host, cell);
    for table in 0..tables {
        space.map(page(table << 21), frame(0x1000 + (table << 12)), plain()).unwrap();
    }
    space
}

#[test]
fn a_session_that_moves_nothing_asks_nothing_of_the_cpus() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = with_tables(&host, &cell, 3);
    let mut session = space.enter();
    session.migrate_space(|_| Placement::Keep).unwrap();
    assert_eq!((session.leave().kept, host.stale().len()), (6, 0));
}

/// Also where it fails before it has looked at a single table.
#[test]
fn a_move_of_what_is_not_there_ends_the_batch() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = with_tables(&host, &cell, 1);
    for nowhere in [true, false] {
        let mut session = space.enter();
        let moved = session.migrate_root(anywhere).unwrap().unwrap();
        assert!(session.in_limbo(moved.from));
        if nowhere {
            let nobody = PhysAddr(0x7777_7000);
            assert_eq!(session.migrate_frame(nobody, anywhere), Err(Error::NoTable(nobody)));
        } else {
            let refused = session.migrate_table(VirtAddr(0), 4, anywhere);
            assert_eq!(refused, Err(Error::Refused { height: 4 }));
        }
        assert!(!session.in_limbo(moved.from) && !host.in_use().contains_key(&moved.from.0));
    }
}

#[test]
fn entering_again_is_counted_and_leaving_ends_the_batch() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = with_tables(&host, &cell, 3);
    let mut outer = space.enter();
    let first = outer.migrate_table(VirtAddr(0), 0, anywhere).unwrap().unwrap();
    let mut inner = outer.enter();
    assert_eq!(inner.depth(), 2);
    let second = inner.migrate_table(VirtAddr(1 << 21), 0, anywhere).unwrap().unwrap();
    let done = inner.leave();
    // Nobody waits for the last one: the outer session's table is free, too.
    assert_eq!((done.tables(), done.tables_freed(), done.shootdowns), (1, 2, 1));
    assert!(![first.from, second.from].iter().any(|&old| outer.in_limbo(old)));
    assert_eq!((outer.depth(), host.stale().len()), (1, 1));
    outer.migrate_table(VirtAddr(2 << 21), 0, anywhere).unwrap();
    let done = outer.leave();
    assert_eq!((done.tables(), done.tables_freed(), done.shootdowns), (3, 3, 2));
    assert_eq!(done.bytes, 3 << 12);
}

#[test]
fn dropping_is_leaving() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = with_tables(&host, &cell, 3);
    let tables = host.tables_in_use();
    let old = space.root();
    {
        let mut outer = space.enter();
        let mut inner = outer.enter();
        inner.migrate_root(anywhere).unwrap();
        assert_eq!(host.tables_in_use(), tables + 1);
        drop(inner);
        assert_eq!((host.tables_in_use(), outer.statistics().tables_freed()), (tables, 1));
    }
    assert!(space.root() != old && host.stale().len() == 1);
}

#[test]
fn a_suspended_batch_is_ended_by_the_next_session() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = with_tables(&host, &cell, 3);
    let tables = host.tables_in_use();
    let mut outer = space.enter();
    let mut inner = outer.enter();
    let root = inner.migrate_root(anywhere).unwrap().unwrap();
    let done = inner.suspend();
    assert_eq!((done.tables(), done.shootdowns, done.tables_freed()), (1, 0, 0));
    assert_eq!(outer.statistics().tables(), 1, "what the inner one has done counts");
    outer.suspend();
    assert_eq!((host.tables_in_use(), host.stale().len()), (tables + 1, 0));
    // Verbs in between go into both copies: whoever still walks the old root finds the page.
    space.map(page(1 << 39), frame(0x9000), plain()).unwrap();
    // SAFETY: the old root is in limbo, and so it is there.
    let old = unsafe { View::<X86_64, _>::new(&host, root.from, *space.limits()) }.unwrap();
    assert_eq!(old.translate(VirtAddr(1 << 39)).unwrap().frame, PhysAddr(0x9000));
    let done = space.enter().leave();
    assert_eq!((done.shootdowns, done.tables_freed()), (1, 1));
    assert!(!space.in_limbo(root.from));
}

#[test]
fn a_full_limbo_ends_the_batch_and_the_sweep_goes_on() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let tables = 2 * Of::<&Memory>::MAX_LIMBO as u64 + 5;
    let mut space = with_tables(&host, &cell, tables);
    let (before, mut asked) = (host.in_use(), Vec::new());
    let mut session = space.enter();
    session
        .migrate_space(|table| {
            asked.push(table.frame);
            Placement::Anywhere
        })
        .unwrap();
    let done = session.leave();
    assert_eq!((done.tables(), done.tables_freed()), (tables + 3, tables + 3));
    assert_eq!((done.shootdowns, host.stale().len()), (3, 3));
    assert_eq!(asked.len() as u64, tables + 3, "each table is asked about once");
    assert!(before.keys().all(|&old| asked.iter().filter(|frame| frame.0 == old).count() == 1));
    for table in 0..tables {
        assert_eq!(space.translate(VirtAddr(table << 21)).unwrap().frame.0, 0x1000 + (table << 12));
    }
}

/// The same table twice in one batch: the first copy must go before the second can come.
#[test]
fn a_table_that_is_in_limbo_moves_again_after_the_batch_has_ended() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let host = Watch::new(&memory);
    let mut space = with_tables(&host, &cell, 1);
    let mut session = space.enter();
    let first = session.migrate_table(VirtAddr(0), 0, anywhere).unwrap().unwrap();
    // A CPU writes through the first copy before it acknowledges, and no CPU does any more after.
    let cpu = &memory;
    host.at_shoot_down(move |_| {
        cpu.set_bits(first.from.0, 3, 0x60);
    });
    let second = session.migrate_table(VirtAddr(0), 0, anywhere).unwrap().unwrap();
    assert_eq!((second.from, memory.stale().len()), (first.to, 1));
    host.at_shoot_down(|_| {});
    assert!(session.translate(VirtAddr(0)).unwrap().attrs.dirty);
    assert_eq!(session.leave().tables_freed(), 2);
    assert!(space.translate(VirtAddr(0)).unwrap().attrs.dirty);
}

/// A sweep back, in the session that swept forth.
#[test]
fn what_was_moved_in_this_batch_can_be_moved_back() {
    let (host, cell) = (crate::common::nodes::Nodes::new(false), RootCell::new());
    let mut space = with_tables(&host, &cell, 5);
    let mut session = space.enter();
    session.migrate_space(|table| Placement::onto(1, table)).unwrap();
    session.migrate_space(|table| Placement::onto(0, table)).unwrap();
    assert_eq!(session.leave().tables(), 2 * 8);
    assert_eq!(host.tables(), [8, 0]);
}

#[test]
fn a_forgotten_session_loses_nothing() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = with_tables(&host, &cell, 4);
    let tables = host.tables_in_use();
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    std::mem::forget(session);
    assert_eq!((host.tables_in_use(), host.stale().len()), (2 * tables, 0));
    let done = space.enter().leave();
    assert_eq!((done.tables(), done.tables_freed(), done.shootdowns), (0, tables as u64, 1));
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    std::mem::forget(session);
    space.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.tables_in_use(), 0);
}

/// Who takes the tree over finds nothing of the crate's own in it.
#[test]
fn a_released_tree_has_nothing_in_limbo() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = with_tables(&host, &cell, 4);
    let tables = host.tables_in_use();
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    std::mem::forget(session);
    let root = space.release().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.tables_in_use(), tables);
    // SAFETY: the tree is whole, and nobody's.
    let again = unsafe { Of::adopt(&host, &cell, root, setup()) }.unwrap();
    assert_eq!(again.mappings(Span::ALL).count(), 4);
}

/// Tables are freed when every CPU has dropped them, and not before; until then the crate knows that
/// they are in limbo.
#[test]
fn nothing_is_freed_before_the_shootdown_has_come_back() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let host = Watch::new(&memory);
    let mut space = with_tables(&host, &cell, 4);
    let old = memory.in_use();
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    let (cpu, tables) = (&memory, old.clone());
    host.at_shoot_down(move |_| {
        let now = cpu.in_use();
        assert!(tables.keys().all(|frame| now.contains_key(frame)), "freed too early");
    });
    assert_eq!(session.leave().shootdowns, 1);
    assert!(old.keys().all(|frame| !memory.in_use().contains_key(frame)));
}

/// A shootdown that panics acknowledges nothing: nothing is freed, and the next session tries again.
#[test]
fn a_panicking_shootdown_leaves_everything_in_limbo() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let host = Watch::new(&memory);
    let mut space = with_tables(&host, &cell, 4);
    let old = memory.in_use();
    let calls = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = calls.clone();
    host.at_shoot_down(move |_| {
        count.set(count.get() + 1);
        panic!("no answer");
    });
    let moves = AssertUnwindSafe(|| {
        let mut outer = space.enter();
        let mut inner = outer.enter();
        inner.migrate_space(anywhere).unwrap();
        let _ = inner.leave();
    });
    assert!(catch_unwind(moves).is_err());
    assert_eq!(calls.get(), 1, "it is not tried again while that unwinds");
    assert!(old.keys().all(|frame| memory.in_use().contains_key(frame)));
    host.at_shoot_down(|_| {});
    assert!(old.keys().all(|&frame| space.in_limbo(PhysAddr(frame))));
    space.map(page(0x5000), frame(0x7000), plain()).unwrap();
    let done = space.enter().leave();
    assert_eq!((done.tables_freed() as usize, done.shootdowns), (old.len(), 1));
    // It says all that the first one did: the root has moved.
    let told: Vec<_> = memory.stale().iter().map(|stale| stale.extent()).collect();
    assert_eq!(told, [Extent::Root]);
}

/// Whoever writes down what a space is, finds what is in limbo there.
#[test]
fn what_is_in_limbo_is_written_down() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = with_tables(&host, &cell, 1);
    assert!(format!("{space:?}").contains("records: []"));
    let mut session = space.enter();
    let moved = session.migrate_table(VirtAddr(0), 0, anywhere).unwrap().unwrap();
    session.suspend();
    let written = format!("{space:?}");
    for frame in [moved.from, moved.to] {
        assert!(written.contains(&format!("{frame:?}")), "{written}");
    }
}

/// A table that the host does not reach when the batch ends, against its word: its copy cannot be merged,
/// and is kept until it can.
#[test]
fn a_copy_that_cannot_be_merged_is_not_freed() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let host = Watch::new(&memory);
    let mut space = with_tables(&host, &cell, 1);
    let mut session = space.enter();
    let moved = session.migrate_table(VirtAddr(0), 0, anywhere).unwrap().unwrap();
    memory.set_bits(moved.from.0, 3, 0x60);
    host.lost.set(Some(moved.to));
    assert_eq!(session.leave().tables_freed(), 0);
    assert!(memory.in_use().contains_key(&moved.from.0) && space.in_limbo(moved.from));
    host.lost.set(None);
    assert_eq!(space.enter().leave().tables_freed(), 1);
    assert!(space.translate(VirtAddr(0)).unwrap().attrs.dirty);
}

/// A table that is unmapped while its copy is in limbo: the copy waits for the end of the batch.
#[test]
fn a_table_that_is_given_back_leaves_its_copy_in_limbo() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = with_tables(&host, &cell, 1);
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    flushing(&mut session, |space, gather| space.unmap(page(0), gather).map(|_| ())).unwrap();
    assert_eq!(host.tables_in_use(), 1 + 4, "the root, and what is in limbo");
    // Its frame, reused for another table, is not taken for the one that was moved.
    session.map(page(0), frame(0x9000), Attrs::DATA).unwrap();
    session.map(page(1 << 30), frame(0xa000), Attrs::DATA).unwrap();
    assert_eq!(session.leave().tables_freed(), 4);
    assert_eq!(space.translate(VirtAddr(0)).unwrap().frame.0, 0x9000);
    space.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.tables_in_use(), 0);
}

/// A frame that unmap hands back while the table is in limbo is reached through neither copy.
#[test]
fn an_unmapped_page_is_gone_from_both_copies() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = with_tables(&host, &cell, 1);
    space.map(page(0x1000), frame(0x8000), plain()).unwrap();
    let mut session = space.enter();
    let moved = session.migrate_table(VirtAddr(0), 0, anywhere).unwrap().unwrap();
    host.set_bits(moved.from.0, 3, 0x60); // a CPU writes through the old copy
    let unmapped = Gather::scope(|mut gather| {
        let gone = session.unmap(page(0), &mut gather)?.page().unwrap();
        assert!(gone.attrs.accessed && gone.attrs.dirty, "what the old copy had is in the answer");
        assert_eq!([host.read(moved.from.0, 3), host.read(moved.to.0, 3)], [0, 0]);
        let flushed = session.finish(gather)?;
        Ok::<_, Error>(gone.open(&flushed))
    });
    assert_eq!(unmapped.unwrap().0, 0x1000);
}

/// From not present to present nobody is told, limbo or not: the old copy has it, too.
#[test]
fn mapping_needs_no_shootdown_in_limbo() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = with_tables(&host, &cell, 1);
    let mut session = space.enter();
    let moved = session.migrate_table(VirtAddr(0), 0, anywhere).unwrap().unwrap();
    session.map(page(0x3000), frame(0x8000), plain()).unwrap();
    assert_eq!(host.read(moved.from.0 + 24, 3), host.read(moved.to.0 + 24, 3));
    assert_ne!(host.read(moved.from.0 + 24, 3), 0);
    assert_eq!(host.stale().len(), 0);
}
