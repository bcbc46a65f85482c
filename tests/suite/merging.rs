//! What hardware has noted in old copies, when the batch ends.

use crate::common::memory::Memory;
use crate::common::odd::Odd;
use crate::common::x86::{flushing, frame, page, space};
use crate::common::{plain, setup};
use pgtable::arch::x86::X86_64;
use pgtable::{Gather, PhysAddr, Placement, RootCell, Space, Span, TableAt, Used, VirtAddr};

type Of<'r, H> = Space<'r, X86_64, H>;

fn anywhere(_: &TableAt) -> Placement {
    Placement::Anywhere
}

/// A page at address 0.
fn one_page<'r>(host: &'r Memory, cell: &'r RootCell) -> Of<'r, &'r Memory> {
    let mut space = space::<X86_64, _>(host, cell);
    space.map(page(0), frame(0x1000), plain()).unwrap();
    space
}

/// Software takes as much away from the words of an old copy as hardware sets in them: what was set is
/// found all the same.
#[test]
fn what_is_noted_is_found_where_as_much_was_cleared() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = one_page(&host, &cell);
    space.map(page(0x1000), frame(0x8000), plain()).unwrap();
    space.map(page(0x2000), frame(0x9000), plain().with_used(true, false)).unwrap();
    let mut session = space.enter();
    let moved = session.migrate_table(VirtAddr(0), 0, anywhere).unwrap().unwrap();
    host.set_bits(moved.from.0 + 8, 3, 0x20);
    let span = Span::new(VirtAddr(0x2000), 0x1000).unwrap();
    let clear = |space: &mut Of<'_, _>, gather: &mut Gather<'_>| {
        space.test_and_clear(span, Used::ACCESSED, gather, |_| ())
    };
    flushing(&mut session, clear).unwrap();
    session.leave();
    let accessed = |at| space.translate(VirtAddr(at)).unwrap().attrs.accessed;
    assert_eq!([0, 0x1000, 0x2000].map(accessed), [false, true, false]);
}

/// Bits so high that two of them make nothing in a sum of words.
#[test]
fn what_is_noted_is_found_in_the_uppermost_bit() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = Space::<Odd, _>::new(&host, &cell, setup()).unwrap();
    space.map_range(Span::new(VirtAddr(0), 0x800).unwrap(), PhysAddr(0x400), plain()).unwrap();
    let mut session = space.enter();
    let moved = session.migrate_table(VirtAddr(0), 0, anywhere).unwrap().unwrap();
    host.set_bits(moved.from.0, 3, 1 << 63);
    host.set_bits(moved.from.0 + 8, 3, 1 << 63);
    session.leave();
    for at in [0, 0x400] {
        assert!(space.translate(VirtAddr(at)).unwrap().attrs.dirty);
    }
}

/// What hardware has noted is of a page. An entry of the old copy that names another one, which is
/// nobody's doing that keeps to the rules, has nothing to say of this one.
#[test]
fn nothing_is_merged_onto_another_page() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = one_page(&host, &cell);
    space.map(page(0x1000), frame(0x8000), plain()).unwrap();
    let mut session = space.enter();
    let moved = session.migrate_table(VirtAddr(0), 0, anywhere).unwrap().unwrap();
    host.set_bits(moved.from.0, 3, 0x4060); // frame 0x1000 is 0x5000 now
    host.set_bits(moved.from.0 + 8, 3, 0x60);
    let dirty = [0, 0x1000].map(|at| session.translate(VirtAddr(at)).unwrap().attrs.dirty);
    assert_eq!(dirty, [false, true]);
    session.leave();
    let attrs = |at| space.translate(VirtAddr(at)).unwrap().attrs;
    assert_eq!([attrs(0).dirty, attrs(0x1000).dirty], [false, true]);
    assert_eq!(host.read(moved.to.0, 3) & 0xff000, 0x1000);
}

/// A table is settled before the one above it, and loses TWIN there: so much less is in the words of the
/// old copy, in which hardware has noted as much.
#[test]
fn what_is_noted_is_found_where_a_name_has_lost_its_twin() {
    const NOTED: u64 = 16; // as many D bits are one TWIN
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = one_page(&host, &cell);
    let huge = Span::new(VirtAddr(2 << 20), NOTED << 21).unwrap();
    space.map_range(huge, PhysAddr(1 << 30), plain().with_used(true, false)).unwrap();
    let apart = [1 << 30, (1 << 30) + (2 << 20)];
    apart.iter().for_each(|&at| space.map(page(at), frame(0x5000), plain()).unwrap());
    let mut session = space.enter();
    let moves = [(apart[0], 0), (0, 0), (0, 1)];
    let [.., directory] = moves.map(|(at, height)| {
        session.migrate_table(VirtAddr(at), height, anywhere).unwrap().unwrap().from.0
    });
    // The first record is not needed any more, and the last one takes its place.
    flushing(&mut session, |space, gather| space.unmap(page(apart[0]), gather).map(|_| ()))
        .unwrap();
    for entry in 1..=NOTED {
        host.set_bits(directory + entry * 8, 3, 0x40);
    }
    session.leave();
    let dirty = |entry: &u64| space.translate(VirtAddr(entry << 21)).unwrap().attrs.dirty;
    assert_eq!((1..=NOTED).filter(dirty).count() as u64, NOTED);
}

/// Somebody has taken away the name of a table that was moved, against the rules: the batch ends all the
/// same, and there is nothing to merge.
#[test]
fn a_table_that_nothing_names_any_more_is_let_go() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = one_page(&host, &cell);
    let directory = space.delimbo(VirtAddr(0), 1).unwrap();
    let mut session = space.enter();
    let moved = session.migrate_table(VirtAddr(0), 0, anywhere).unwrap().unwrap();
    host.clear_bits(directory.0, u64::MAX);
    assert_eq!(session.leave().tables_freed(), 1);
    assert!(!space.in_limbo(moved.from) && space.translate(VirtAddr(0)).is_err());
}
