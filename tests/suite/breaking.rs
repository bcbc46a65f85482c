//! Break before make: where one table cannot take another's place under a CPU.

use crate::common::memory::Memory;
use crate::common::plain;
use crate::common::watch::Watch;
use crate::common::x86::{frame, page, space};
use pgtable::arch::x86::{X86_64, X86Long};
use pgtable::{
    Arch, Entry, Error, Extent, Format, Limits, Names, PageTableLevel, PhysAddr, Placement,
    RootCell, Setup, Space, Strategy, TableAt, VirtAddr,
};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// x86-64, were it as strict as Arm.
enum Strict {}
impl Arch for Strict {
    type Format = X86Long;
    type Root = <X86_64 as Arch>::Root;
    const NAME: &'static str = "strict";
    const SIGN_EXTENDED: bool = true;
    const LIMITS: Limits = X86_64::LIMITS;
    const STRATEGY: Strategy = Strategy::BreakBeforeMake;
}

fn anywhere(_: &TableAt) -> Placement {
    Placement::Anywhere
}

/// The words on the way to the first page, from the root's down.
fn way(memory: &Memory, root: u64) -> [u64; 4] {
    let mut table = root;
    [(); 4].map(|()| {
        let word = memory.read(table, 3);
        table = word & 0x000f_ffff_ffff_f000;
        word
    })
}

/// At the shootdown the entry is not present, and says that it is held; the table is freed before the
/// move returns, and what CPUs noted until they were told is in the copy.
#[test]
fn the_name_is_broken_then_made() {
    for height in 0..3 {
        let (memory, cell) = (Memory::new(), RootCell::new());
        let host = Watch::new(&memory);
        let mut space = space::<Strict, _>(&host, &cell);
        space.map(page(0), frame(0x5000), plain()).unwrap();
        let root = space.root().0;
        let before = way(&memory, root);
        let name = 2 - usize::from(height);
        let (seen, cpu) = (std::rc::Rc::new(RefCell::new(Vec::new())), &memory);
        let told = seen.clone();
        host.at_shoot_down(move |stale| {
            let holder = if name == 0 { root } else { before[name - 1] & !0xfff };
            let word = cpu.read(holder, 3);
            told.borrow_mut().push((word, stale.extent(), stale.global()));
            cpu.set_bits(before[2] & !0xfff, 3, 0x60); // late, through the old copy
        });
        let mut session = space.enter();
        let moved = session.migrate_table(VirtAddr(0), height, anywhere).unwrap().unwrap();
        assert!(!session.in_limbo(moved.from) && !memory.in_use().contains_key(&moved.from.0));
        let done = *session.statistics();
        assert_eq!((done.tables(), done.tables_freed(), done.shootdowns), (1, 1, 1));
        assert_eq!(session.leave().shootdowns, 1, "nothing is left for the end");
        let [(word, extent, global)] = seen.borrow()[..] else { panic!("one shootdown") };
        assert_eq!(word & (X86Long::PRESENT | X86Long::LOCK), X86Long::LOCK);
        assert_eq!((extent, global), (Extent::Everything, true));
        let after = way(&memory, root);
        assert_eq!(after[name] & !0xfff, moved.to.0);
        assert_eq!(after[name] & 0xfff, before[name] & 0xfff, "present again, and not held");
        let attrs = space.translate(VirtAddr(0)).unwrap().attrs;
        assert!(attrs.accessed && attrs.dirty);
        space.tear_down().map_err(|(_, error)| error).unwrap();
        assert_eq!(memory.tables_in_use(), 0);
    }
}

/// Each CPU loads the root register for itself: a root is swapped, and waits in limbo. Moves below it
/// in the same batch reach both copies.
#[test]
fn a_root_is_swapped() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<Strict, _>(&host, &cell);
    space.map(page(0), frame(0x5000), plain()).unwrap();
    let mut session = space.enter();
    let root = session.migrate_root(anywhere).unwrap().unwrap();
    assert!(session.in_limbo(root.from));
    let below = session.migrate_pgd_entry(VirtAddr(0), anywhere).unwrap().unwrap();
    for root in [root.from, root.to] {
        let limits = Strict::LIMITS;
        let level = <Strict as Arch>::Root::LEVEL;
        assert_eq!(X86Long::decode(level, host.read(root.0, 3), &limits), Entry::Table(below.to));
    }
    let done = session.leave();
    assert_eq!((done.tables(), done.tables_freed(), done.shootdowns), (2, 2, 2));
}

/// A sweep moves all, with one shootdown for each.
#[test]
fn a_sweep_breaks_one_after_the_other() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<Strict, _>(&host, &cell);
    for table in 0..100 {
        space.map(page(table << 21), frame(0x5000 + (table << 12)), plain()).unwrap();
    }
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    let done = session.leave();
    assert_eq!((done.tables(), done.tables_freed(), done.shootdowns), (103, 103, 103));
    for table in 0..100 {
        assert_eq!(space.translate(VirtAddr(table << 21)).unwrap().frame.0, 0x5000 + (table << 12));
    }
}

/// A failure comes before the name is broken.
#[test]
fn what_fails_has_broken_nothing() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<Strict, _>(&host, &cell);
    space.map(page(0), frame(0x5000), plain()).unwrap();
    let picture = host.picture();
    host.fail_after(Some(0));
    let result = space.enter().migrate_pmd_entry(VirtAddr(0), anywhere);
    assert!(matches!(result, Err(Error::OutOfMemory(_))));
    assert_eq!((host.picture(), host.stale().len()), (picture, 0));
}

/// A table with several names would have some of them broken and others not.
#[test]
fn aliases_are_refused() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<Strict, _>(&host, &cell);
    space.map(page(0), frame(0x5000), plain()).unwrap();
    let root = space.release().map_err(|(_, error)| error).unwrap();
    let pmd = way(&host, root.0)[1] & !0xfff;
    host.set_bits(pmd + 8 * 9, 3, host.read(pmd, 3));
    let setup = Setup::new().names(Names::Aliased);
    let mut space = unsafe { Space::<Strict, _>::adopt(&host, &cell, root, setup) }.unwrap();
    let picture = host.picture();
    let result = space.enter().migrate_pmd_entry(VirtAddr(0), anywhere);
    assert!(matches!(result, Err(Error::Shared { .. })), "{result:?}");
    assert_eq!(host.picture(), picture);
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    let done = session.leave();
    assert_eq!((done.tables(), done.shared), (3, 1));
    assert_eq!(space.translate(VirtAddr(9 << 21)).unwrap().frame, PhysAddr(0x5000));
}

/// A shootdown that panics acknowledges nothing; the table is named again, and stays where it is.
#[test]
fn a_panicking_shootdown_leaves_no_name_broken() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let host = Watch::new(&memory);
    let mut space = space::<Strict, _>(&host, &cell);
    space.map(page(0), frame(0x5000), plain()).unwrap();
    let picture = memory.picture();
    host.at_shoot_down(|_| panic!("no answer"));
    let result = catch_unwind(AssertUnwindSafe(|| {
        space.enter().migrate_pmd_entry(VirtAddr(0), anywhere).map(|_| ())
    }));
    assert!(result.is_err());
    assert_eq!(memory.picture(), picture);
    host.at_shoot_down(|_| {});
    assert!(space.enter().migrate_pmd_entry(VirtAddr(0), anywhere).unwrap().is_some());
    assert_eq!(space.translate(VirtAddr(0)).unwrap().frame, PhysAddr(0x5000));
}
