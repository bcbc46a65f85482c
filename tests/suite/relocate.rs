//! Moving tables, in every mode: what moves, what is refused, and what a failure leaves behind.

use crate::common::memory::Memory;
use crate::common::nodes::Nodes;
use crate::common::watch::Watch;
use crate::common::{canonical, mapping_levels, plain, root_level, setup, span_at, virt_bits};
use pgtable::arch::x86::X86Pae;
use pgtable::{
    Arch, Config, Error, Extent, Format, Found, Host, Mapped, PhysAddr, Placement, RootCell, Setup,
    Space, Span, Statistics, TableAt, VirtAddr, levels,
};

const fn page<A: Arch>() -> u64 {
    1 << <A::Format as Format>::PAGE_LG2
}

/// Pages of every size, in both halves, and an entry of the user's own.
fn filled<C: Config, H: Host>(host: H, cell: &RootCell) -> Space<'_, C, H> {
    let mut space = Space::<C, _>::new(host, cell, Setup::new()).unwrap();
    for (nth, level) in mapping_levels::<C::Arch>().into_iter().enumerate() {
        let (half, size) = (1 << (virt_bits::<C::Arch>() - 1), 1u64 << level.span_lg2);
        for start in [half / 2, half] {
            let at = canonical::<C::Arch>(start + (nth as u64) * (size << 2));
            space.map_range(Span::new(at, 2 * size).unwrap(), PhysAddr(size), plain()).unwrap();
        }
    }
    space
}

fn everything<C: Config, H: Host>(space: &Space<'_, C, H>) -> Vec<Mapped> {
    space.mappings(Span::ALL).map(Result::unwrap).collect()
}

fn anywhere(_: &TableAt) -> Placement {
    Placement::Anywhere
}

/// How many levels the mode has.
fn heights<A: Arch>() -> u8 {
    levels::<A>().count() as u8
}

/// Every table of every height, one at a time, then all of them in one go: what was mapped stays
/// mapped, what was on node 0 is on node 1, and nothing is left behind.
fn every_table_moves<A: Arch>() {
    for counting in [false, true] {
        let (host, cell) = (Nodes::new(counting), RootCell::new());
        let mut space = filled::<A, _>(&host, &cell);
        let (before, tables) = (everything(&space), host.tables()[0]);
        let at = canonical::<A>(1 << (virt_bits::<A>() - 2));
        for height in 0..heights::<A>() {
            let mut session = space.enter();
            let moved = session.migrate_table(at, height, |table| {
                assert_eq!((table.height, table.node), (height, Some(0)));
                Placement::onto(1, table)
            });
            let moved = moved.unwrap().unwrap();
            assert_eq!(host.node(moved.to), Some(1));
            assert_eq!(session.delimbo(at, height), Ok(moved.to));
            let done = session.leave();
            assert_eq!((done.tables(), done.moved[usize::from(height)]), (1, 1));
            assert_eq!((done.shootdowns, done.tables_freed()), (1, 1));
            assert_eq!(everything(&space), before);
        }
        assert_eq!(host.tables(), [tables - usize::from(heights::<A>()), heights::<A>().into()]);
        let mut session = space.enter();
        session.migrate_space(|table| Placement::onto(1, table)).unwrap();
        let done = session.leave();
        assert_eq!(done.tables() as usize, tables - usize::from(heights::<A>()));
        assert_eq!(done.kept, u64::from(heights::<A>()));
        assert_eq!((host.tables(), everything(&space)), ([0, tables], before));
        space.tear_down().map_err(|(_, error)| error).unwrap();
        assert_eq!(host.tables(), [0, 0]);
    }
}
each_arch!(every_table_moves);

/// The allocation fails at the first, second, ... request: the tables before it have moved, it and
/// those after it have not, the batch has ended, and nothing is lost or leaked.
fn a_failing_allocation_ends_the_batch<A: Arch>() {
    let (mut good, mut all) = (0, false);
    while !all {
        let (host, cell) = (Nodes::new(true), RootCell::new());
        let mut space = filled::<A, _>(&host, &cell);
        let (before, tables) = (everything(&space), host.tables()[0]);
        host.0[1].fail_after(Some(good));
        let mut session = space.enter();
        let result = session.migrate_space(|table| Placement::onto(1, table));
        let done = *session.statistics();
        assert_eq!(done.tables() as usize, good, "what failed moved nothing");
        if good == tables {
            result.unwrap();
            all = true;
        } else {
            assert!(matches!(result, Err(Error::OutOfMemory(_))), "{result:?}");
            assert_eq!(done.tables_freed() as usize, good, "the batch has ended");
            assert_eq!(done.shootdowns, u64::from(good != 0));
        }
        let _ = session.leave();
        assert_eq!(host.tables(), [tables - good, good]);
        assert_eq!(everything(&space), before);
        space.tear_down().map_err(|(_, error)| error).unwrap();
        assert_eq!(host.tables(), [0, 0]);
        good += 1;
    }
}
each_arch!(a_failing_allocation_ends_the_batch);

/// A frame of the wrong node, too high, not aligned, or nowhere goes back, and nothing has moved.
fn a_frame_that_was_not_asked_for_goes_back<A: Arch>() {
    for height in 0..heights::<A>() {
        let (host, cell) = (Nodes::new(false), RootCell::new());
        let mut space = filled::<A, _>(&host, &cell);
        let (before, tables) = (everything(&space), host.tables());
        let at = canonical::<A>(1 << (virt_bits::<A>() - 2));
        let level = levels::<A>().find(|level| level.height == height).unwrap();
        let half = 1 << (level.table_lg2::<A::Format>() - 1);
        for frame in [None, Some(1 << 60), Some(0x4010_0000 + half)] {
            match frame {
                Some(frame) => host.0[1].answer_next(frame),
                None => host.1.store(true, std::sync::atomic::Ordering::Relaxed),
            }
            let mut session = space.enter();
            let result = session.migrate_table(at, height, |_| Placement::Node(1));
            host.1.store(false, std::sync::atomic::Ordering::Relaxed);
            assert!(matches!(result, Err(Error::BadTable { .. })), "{frame:x?}: {result:?}");
            assert_eq!(session.leave(), Statistics::default());
            assert_eq!((host.tables(), everything(&space)), (tables, before.clone()));
        }
    }
}
each_arch!(a_frame_that_was_not_asked_for_goes_back);

/// A huge page is no table, and a hole is none; both are said, and nothing is touched.
fn what_is_no_table_is_told<A: Arch>() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = filled::<A, _>(&host, &cell);
    let (picture, shootdowns) = (host.picture(), host.stale().len());
    let largest = *mapping_levels::<A>().last().unwrap();
    let nth = mapping_levels::<A>().len() as u64 - 1;
    let huge = (1 << (virt_bits::<A>() - 2)) + nth * (4 << largest.span_lg2);
    let frame = PhysAddr(1 << largest.span_lg2);
    let found = Found::Leaf { frame, size_lg2: largest.span_lg2 };
    for height in 0..largest.height {
        let at = canonical::<A>(huge);
        let result = space.enter().migrate_table(at, height, anywhere);
        assert_eq!(result, Err(Error::Occupied { at, found }));
        let hole = canonical::<A>(3 << (virt_bits::<A>() - 3));
        let result = space.enter().migrate_table(hole, height, anywhere);
        assert!(matches!(result, Err(Error::NotMapped { .. })), "{result:?}");
    }
    let height = heights::<A>();
    let result = space.enter().migrate_table(VirtAddr(0), height, anywhere);
    assert_eq!(result, Err(Error::Refused { height }));
    assert_eq!((host.picture(), host.stale().len()), (picture, shootdowns));
}
each_arch!(what_is_no_table_is_told);

/// One shootdown for the batch: of all translations and table pointers of this space alone, and with
/// a reload of the root if the root, or an entry that is read with it, has changed.
fn one_shootdown_says_what_is_stale<A: Arch>() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = filled::<A, _>(&host, &cell);
    let at = canonical::<A>(1 << (virt_bits::<A>() - 2));
    for height in 0..heights::<A>() {
        let before = host.stale().len();
        let mut session = space.enter();
        session.migrate_table(at, height, anywhere).unwrap();
        assert_eq!(host.stale().len(), before, "not before the batch ends");
        let _ = session.leave();
        let stale = host.stale().split_off(before);
        let named_by = levels::<A>().find(|level| level.height == height + 1);
        let pae = A::NAME == "x86-pae" && height == 1;
        let reload = named_by.is_none() || pae;
        assert_eq!(stale.len(), 1);
        assert_eq!(stale[0].extent(), if reload { Extent::Root } else { Extent::Everything });
        assert_eq!((stale[0].space(), stale[0].global()), (Some(space.id()), false));
    }
}
each_arch!(one_shootdown_says_what_is_stale);

/// What a CPU notes in the old copies, up to the moment when it acknowledges, is found: entry by
/// entry, not in the first one only.
fn what_cpus_note_in_the_old_tables_is_found<A: Arch>() {
    if A::NAME == "made-up" {
        return;
    }
    let (memory, cell) = (Memory::new(), RootCell::new());
    let pages = std::cell::RefCell::new((0, Vec::new()));
    let host = Watch::new(&memory);
    let mut space = filled::<A, _>(&host, &cell);
    let at = |mapped: &Mapped| mapped.span().first();
    *pages.borrow_mut() = (space.root().0, everything(&space).iter().map(at).collect());
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    host.at_shoot_down(|_| {
        let (old_root, pages) = &*pages.borrow();
        for (nth, va) in pages.iter().enumerate().filter(|(nth, _)| nth % 2 == 1) {
            crate::common::oracle::touch::<A>(&memory, *old_root, va.0, nth % 4 == 1).unwrap();
        }
    });
    let _ = session.leave();
    for (nth, &va) in pages.borrow().1.iter().enumerate() {
        let attrs = space.translate(va).unwrap().attrs;
        assert_eq!((attrs.accessed, attrs.dirty), (nth % 2 == 1, nth % 4 == 1), "{va}");
    }
}
each_arch!(what_cpus_note_in_the_old_tables_is_found);

/// What CPUs have noted before moves along.
fn what_was_noted_moves_along<A: Arch>() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = Space::<A, _>::new(&host, &cell, Setup::new()).unwrap();
    for level in mapping_levels::<A>() {
        let span = Span::new(VirtAddr(1 << level.span_lg2), 1 << level.span_lg2).unwrap();
        space.map_range(span, PhysAddr(0), plain().with_used(true, true)).unwrap();
    }
    let before = everything(&space);
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    session.leave();
    assert_eq!(everything(&space), before);
}
each_arch!(what_was_noted_moves_along);

/// Each flag stands for the height of the table that is moved; a sweep passes over what it forbids.
struct Fixed<const HEIGHT: u8>;
impl<const HEIGHT: u8> Config for Fixed<HEIGHT> {
    type Arch = pgtable::arch::x86::X86_64La57;
    const MIGRATE_PAGETABLE_PGD: bool = HEIGHT != 4;
    const MIGRATE_PAGETABLE_P4D: bool = HEIGHT != 3;
    const MIGRATE_PAGETABLE_PUD: bool = HEIGHT != 2;
    const MIGRATE_PAGETABLE_PMD: bool = HEIGHT != 1;
    const MIGRATE_PAGETABLE_PTE: bool = HEIGHT != 0;
}

fn one_flag<const HEIGHT: u8>() {
    let (host, cell) = (Nodes::new(false), RootCell::new());
    let mut space = filled::<Fixed<HEIGHT>, _>(&host, &cell);
    let of_height = || host.0[0].in_use().values().filter(|used| used.0 == HEIGHT).count();
    let fixed = of_height();
    let at = canonical::<<Fixed<HEIGHT> as Config>::Arch>(1 << 55);
    let mut session = space.enter();
    let refused = Err(Error::Refused { height: HEIGHT });
    assert_eq!(session.migrate_table(at, HEIGHT, anywhere), refused);
    let frame = session.delimbo(at, HEIGHT).unwrap();
    assert_eq!(session.migrate_frame(frame, anywhere), refused);
    let by_face = match HEIGHT {
        0 => session.migrate_pmd_entry(at, anywhere),
        1 => session.migrate_pud_entry(at, anywhere),
        2 => session.migrate_p4d_entry(at, anywhere),
        3 => session.migrate_pgd_entry(at, anywhere),
        _ => session.migrate_root(anywhere),
    };
    assert_eq!(by_face, refused);
    session.migrate_space(|table| Placement::onto(1, table)).unwrap();
    assert_eq!(session.leave().forbidden as usize, fixed);
    assert_eq!((host.tables()[0], of_height()), (fixed, fixed));
}

#[test]
fn a_flag_keeps_the_tables_of_its_height() {
    one_flag::<0>();
    one_flag::<1>();
    one_flag::<2>();
    one_flag::<3>();
    one_flag::<4>();
}

struct Still;
impl Config for Still {
    type Arch = pgtable::arch::x86::X86_64;
    const RELOCATABLE: bool = false;
}

#[test]
fn a_space_that_is_not_relocatable_refuses_everything() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = filled::<Still, _>(&host, &cell);
    let picture = host.picture();
    let frame = space.root();
    assert_eq!(space.delimbo(VirtAddr(0), 3), Err(Error::Refused { height: 3 }));
    assert!(!space.in_limbo(frame));
    let mut session = space.enter();
    let refused = |height| Error::Refused { height };
    assert_eq!(session.migrate_space(anywhere), Err(refused(3)));
    assert_eq!(session.migrate_range(Span::ALL, anywhere), Err(refused(3)));
    let refused = |height| Err(refused(height));
    assert_eq!(session.migrate_root(anywhere), refused(3));
    assert_eq!(session.migrate_frame(frame, anywhere), refused(3));
    assert_eq!(session.migrate_table(VirtAddr(0), 0, anywhere), refused(0));
    assert_eq!(session.leave(), Statistics::default());
    assert_eq!((host.picture(), host.stale().len()), (picture, 0));
}

/// The faces: each moves what an entry of its level names.
#[test]
fn each_face_moves_what_its_entry_names() {
    type La57 = pgtable::arch::x86::X86_64La57;
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = filled::<La57, _>(&host, &cell);
    let at = canonical::<La57>(1 << 55);
    let mut session = space.enter();
    let four = [
        session.migrate_pmd_entry(at, anywhere),
        session.migrate_pud_entry(at, anywhere),
        session.migrate_p4d_entry(at, anywhere),
        session.migrate_pgd_entry(at, anywhere),
    ];
    for (height, moved) in four.into_iter().enumerate() {
        let moved = moved.unwrap().unwrap();
        assert_eq!(session.delimbo(at, height as u8), Ok(moved.to));
        assert_eq!(host.in_use()[&moved.from.0].0, height as u8);
    }
    assert_eq!(session.migrate_root(|_| Placement::Keep), Ok(None));
    assert_eq!(session.leave().moved[..5], [1, 1, 1, 1, 0]);
}

/// A range is every table that serves a byte of it, but the root, and no other.
#[test]
fn a_range_is_what_serves_a_byte_of_it() {
    type A = pgtable::arch::x86::X86_64;
    let (host, cell) = (Nodes::new(false), RootCell::new());
    let mut space = Space::<A, _>::new(&host, &cell, setup()).unwrap();
    for at in [0, 0x20_0000, 0x40_0000, 1 << 40] {
        space.map_range(span_at::<A>(at, page::<A>()), PhysAddr(0x1000), plain()).unwrap();
    }
    let mut session = space.enter();
    let span = span_at::<A>(0x20_0000 - 1, 2); // the last byte of one table, the first of the next
    session.migrate_range(span, |table| Placement::onto(1, table)).unwrap();
    assert_eq!(session.leave().moved[..4], [2, 1, 1, 0]);
    let of = |at, height| space.delimbo(VirtAddr(at), height).map(|frame| host.node(frame));
    assert_eq!([of(0, 0), of(0x20_0000, 0)], [Ok(Some(1)); 2]);
    assert_eq!([of(0x40_0000, 0), of(1 << 40, 0), of(1 << 40, 2)], [Ok(Some(0)); 3]);
}

/// Only of what is present does a copy of PAE's root take a bit away.
#[test]
fn what_is_not_present_in_a_root_of_pae_moves_along() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let space = Space::<X86Pae, _>::new(&host, &cells[0], Setup::new()).unwrap();
    let root = space.release().map_err(|(_, error)| error).unwrap();
    host.set_bits(root.0 + 8, 3, 0x1020);
    let mut space =
        unsafe { Space::<X86Pae, _>::adopt(&host, &cells[1], root, Setup::new()) }.unwrap();
    space.enter().migrate_root(anywhere).unwrap().unwrap();
    assert_eq!(host.read(space.root().0 + 8, 3), 0x1020);
}

/// PAE's root: 32 bytes, below 4 GiB, two of them in one page; its entries get no reserved bit.
#[test]
fn the_root_of_pae_moves() {
    type A = X86Pae;
    let (host, cells) = (Memory::new(), [RootCell::new(), RootCell::new()]);
    let mut spaces = cells.each_ref().map(|cell| filled::<A, _>(&host, cell));
    assert_ne!(host.set_bits(spaces[0].root().0 + 8, 3, 0x20), 0); // as some emulators do
    // While both old ones are in limbo, the host puts the new ones side by side.
    let mut sessions = spaces.each_mut().map(Space::enter);
    let moved = sessions.each_mut().map(|session| {
        session.migrate_root(|table| {
            let root = root_level::<A>().height;
            assert_eq!((table.size_lg2, table.height, table.at), (5, root, VirtAddr(0)));
            Placement::Anywhere
        })
    });
    drop(sessions);
    let [one, two] = moved.map(|moved| moved.unwrap().unwrap().to.0);
    assert_eq!(one & !0xfff, two & !0xfff, "two roots in one page");
    assert!(one != two && one % 32 == 0 && two % 32 == 0);
    for word in (0..4).map(|entry| host.read(one + 8 * entry, 3)) {
        assert_eq!(word & 0x1e6, 0, "bits 1, 2 and 5 to 8 of a root entry");
    }
    host.answer_next(0x1_0000_0000);
    let result = spaces[0].enter().migrate_root(anywhere);
    let Err(Error::BadTable { request, .. }) = result else { panic!("{result:?}") };
    assert_eq!((request.size_lg2, request.highest), (5, PhysAddr(0xffff_ffff)));
}
