//! Moving tables that have several names in one tree.

use crate::common::memory::Memory;
use crate::common::plain;
use crate::common::watch::Watch;
use crate::common::x86::{flushing, frame, page};
use pgtable::arch::x86::X86_64;
use pgtable::{
    Error, Host, Names, PhysAddr, Placement, RootCell, Setup, Space, Span, TableAt, VirtAddr,
};

fn anywhere(_: &TableAt) -> Placement {
    Placement::Anywhere
}

fn ok<T>(result: Result<T, (impl Sized, Error)>) -> T {
    result.map_err(|(_, error)| error).unwrap()
}

/// One leaf table under the entries 0 and 9 of a directory, and that directory under 0 and 3 of its own.
fn aliased(host: &Memory) -> PhysAddr {
    aliased_at(host, &[3], &[9])
}

/// The same under other entries besides 0.
fn aliased_at(host: &Memory, directories: &[u64], leaf_tables: &[u64]) -> PhysAddr {
    let cell = RootCell::new();
    let mut space = Space::<X86_64, _>::new(host, &cell, Setup::new()).unwrap();
    space.map(page(0x3000), frame(0x8000), plain()).unwrap();
    let root = ok(space.release());
    let pud = host.read(root.0, 3) & !0xfff;
    let pmd = host.read(pud, 3) & !0xfff;
    for (table, others) in [(pud, directories), (pmd, leaf_tables)] {
        for index in others {
            host.set_bits(table + 8 * index, 3, host.read(table, 3));
        }
    }
    root
}

const WAYS: [u64; 4] =
    [0x3000, 0x3000 + (9 << 21), 0x3000 + (3 << 30), 0x3000 + (3 << 30) + (9 << 21)];

fn adopted<H: Host>(host: H, cell: &RootCell, root: PhysAddr) -> Space<'_, X86_64, H> {
    let setup = Setup::new().names(Names::Aliased);
    unsafe { Space::adopt(host, cell, root, setup) }.unwrap()
}

/// All names change in one move, whichever it starts from: one copy, one record, one merge.
#[test]
fn all_names_of_a_table_change() {
    for (height, at) in [(0, WAYS[0]), (0, WAYS[3]), (1, WAYS[1]), (1, WAYS[2])] {
        let (host, cell) = (Memory::new(), RootCell::new());
        let root = aliased(&host);
        let mut space = adopted(&host, &cell, root);
        let mut session = space.enter();
        let moved = session.migrate_table(VirtAddr(at), height, anywhere).unwrap().unwrap();
        for way in WAYS {
            assert_eq!(session.delimbo(VirtAddr(way), height), Ok(moved.to), "{way:#x}");
        }
        if height == 0 {
            host.set_bits(moved.from.0 + 3 * 8, 3, 0x60);
        }
        let done = session.leave();
        assert_eq!((done.tables(), done.tables_freed(), done.shootdowns), (1, 1, 1));
        for way in WAYS {
            assert_eq!(space.translate(VirtAddr(way)).unwrap().attrs.dirty, height == 0);
        }
        // No word of any table has TWIN, or the old address.
        let visit = |at: &pgtable::Visited| {
            assert!(at.raw & 0x400 == 0 && at.raw & !0xfff != moved.from.0, "{at:?}");
            pgtable::Step::Into
        };
        space.view().visit(Span::ALL, visit).unwrap();
        ok(space.tear_down());
        assert_eq!(host.tables_in_use(), 0);
    }
}

/// A sweep, too, moves each table once, though it meets it four times.
#[test]
fn a_sweep_moves_a_table_with_many_names_once() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let root = aliased(&host);
    let mut space = adopted(&host, &cell, root);
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    assert_eq!(session.leave().moved[..4], [1; 4]);
    // A range that has only the later names of a table has its first name there.
    let mut session = space.enter();
    session.migrate_range(Span::new(VirtAddr(3 << 30), 1 << 30).unwrap(), anywhere).unwrap();
    assert_eq!(session.leave().moved[..4], [1, 1, 1, 0]);
    assert!(WAYS.iter().all(|&way| space.translate(VirtAddr(way)).is_ok()));
    ok(space.tear_down());
    assert_eq!(host.tables_in_use(), 0);
}

/// The first name of a directory is in the range in part, and the second one whole, beside it or farther
/// away: a table that only the second leads to in there moves, too; and still each once.
#[test]
fn a_sweep_comes_by_later_names_to_what_it_has_not_seen() {
    for second in [1, 3] {
        let (host, cell) = (Memory::new(), RootCell::new());
        let root = aliased_at(&host, &[second], &[9]);
        let mut space = adopted(&host, &cell, root);
        // Another leaf table, which the directory's first name has in the range.
        space.map(page(20 << 21), frame(0x9000), plain()).unwrap();
        let leaves = [VirtAddr(0), VirtAddr(20 << 21)].map(|at| space.delimbo(at, 0).unwrap());
        let mut session = space.enter();
        let mut asked = Vec::new();
        let span = Span::inclusive(VirtAddr(10 << 21), VirtAddr((4 << 30) - 1)).unwrap();
        let policy = |table: &TableAt| {
            asked.push((table.height, table.at.0));
            Placement::Anywhere
        };
        session.migrate_range(span, policy).unwrap();
        assert_eq!(session.leave().moved[..4], [2, 1, 1, 0]);
        assert_eq!(asked, [(0, 20 << 21), (1, 0), (0, second << 30), (2, 0)]);
        for (at, was) in [VirtAddr(0), VirtAddr(20 << 21)].into_iter().zip(leaves) {
            assert_ne!(space.delimbo(at, 0), Ok(was));
        }
        ok(space.tear_down());
        assert_eq!(host.tables_in_use(), 0);
    }
}

/// Linux names one leaf table, of small stacks, by 512 entries in a row, and the table that has these by
/// four. Who looks for the names of a table goes down once for all of them.
#[test]
fn names_side_by_side_cost_no_walk_each() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let many: Vec<u64> = (1..64).collect();
    let root = aliased_at(&memory, &many, &many);
    let host = Watch::new(&memory);
    let mut space = adopted(&host, &cell, root);
    let mut session = space.enter();
    host.reached.set(0);
    session.migrate_space(anywhere).unwrap();
    assert_eq!(session.leave().moved[..4], [1; 4]);
    let reached = host.reached.get();
    assert!(reached < 4 * 2 * 64, "{reached}: each name is met, and changed, and no more");
    for way in [0, 1, 63, 512, 512 * 63, 512 * 63 + 63] {
        let found = space.translate(VirtAddr(0x3000 + (way << 21)));
        assert_eq!(found.unwrap().frame, PhysAddr(0x8000), "{way}");
    }
    host.reached.set(0);
    ok(space.tear_down());
    let reached = host.reached.get();
    assert!(reached < 32, "{reached}: the next name of each table is looked for");
    assert_eq!(memory.tables_in_use(), 0);
}

/// While it is in limbo, a table loses one name, and later the last one.
#[test]
fn names_go_while_a_table_is_in_limbo() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let root = aliased(&host);
    let pmd = host.read(host.read(root.0, 3) & !0xfff, 3) & !0xfff;
    let mut space = adopted(&host, &cell, root);
    let mut session = space.enter();
    session.migrate_table(VirtAddr(0), 0, anywhere).unwrap();
    assert_eq!(host.read(pmd, 3), host.read(pmd + 8 * 9, 3));
    flushing(&mut session, |space, gather| {
        space.unmap_range(Span::new(VirtAddr(0), 1 << 21).unwrap(), gather, |_| {}).unwrap();
    });
    session.map(page(0x5000), frame(0xb000), plain()).unwrap();
    for way in WAYS {
        assert_eq!(session.translate(VirtAddr(way + 0x2000)).unwrap().frame, PhysAddr(0xb000));
    }
    assert_eq!(session.leave().tables_freed(), 1);
    ok(space.tear_down());
    assert_eq!(host.tables_in_use(), 0);
}

/// A table that is named as one of another height as well cannot be moved: it would be half moved.
#[test]
fn a_table_of_two_heights_is_refused() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let root = aliased(&host);
    let pud = host.read(root.0, 3) & !0xfff;
    let pmd = host.read(pud, 3) & !0xfff;
    let pte = host.read(pmd, 3);
    // The leaf table, named as a directory: its one leaf is then a table entry.
    host.set_bits(pud + 8 * 7, 3, pte);
    let leaf = (pte & !0xfff) + 8 * 3;
    host.clear_bits(leaf, u64::MAX);
    let mut space = adopted(&host, &cell, root);
    let picture = host.picture();
    let mut session = space.enter();
    let result = session.migrate_table(VirtAddr(0), 0, anywhere);
    assert!(matches!(result, Err(Error::Shared { .. })), "{result:?}");
    drop(session);
    assert_eq!(host.picture(), picture);
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    let done = session.leave();
    assert_eq!((done.shared, done.moved[0], done.tables()), (1, 0, 3));
}
