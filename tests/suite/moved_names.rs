//! Moving what every space has, and what names itself: tables of the kernel's half, roots on the list,
//! self-maps.

use crate::common::memory::Memory;
use crate::common::watch::Watch;
use crate::common::x86::{flushing, frame, page};
use crate::common::{oracle, plain, root_level, upper_half};
use pgtable::arch::x86::{X86_32, X86_64, X86_64La57, X86Pae};
use pgtable::{
    Arch, Error, Extent, Format, Frame, FrameRun, Host, Page, PhysAddr, Placement, RootCell, Setup,
    Size4MiB, Space, Span, TableAt, Used, View, VirtAddr,
};
use std::cell::Cell;

fn anywhere(_: &TableAt) -> Placement {
    Placement::Anywhere
}

fn ok<T>(result: Result<T, (impl Sized, Error)>) -> T {
    result.map_err(|(_, error)| error).unwrap()
}

/// The kernel's own space, and one that shares its half; each has a page of its own.
fn pair<'r, A: Arch, H: Host + Copy>(
    host: H,
    cells: &'r [RootCell; 2],
) -> (Space<'r, A, H>, Space<'r, A, H>) {
    let own = Setup::new().kernel(upper_half::<A>());
    let mut kernel = Space::new(host, &cells[0], own).unwrap();
    let sharing = Setup::new().sharing(kernel.kernel_half().unwrap());
    let mut guest = Space::new(host, &cells[1], sharing).unwrap();
    kernel.map_range(kernels_page::<A>(), PhysAddr(0x1000), plain()).unwrap();
    guest.map_range(low_page::<A>(), PhysAddr(0x2000), plain()).unwrap();
    (kernel, guest)
}

fn kernels_page<A: Arch>() -> Span {
    Span::new(upper_half::<A>().first(), 1 << <A::Format as Format>::PAGE_LG2).unwrap()
}

fn low_page<A: Arch>() -> Span {
    Span::new(VirtAddr(0), 1 << <A::Format as Format>::PAGE_LG2).unwrap()
}

/// A table of the kernel's half has a name in every root on the list: all of them change in one move,
/// and every space is flushed, with global translations. Nobody but the kernel's own space moves it.
fn tables_of_the_kernels_half<A: Arch>() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let (mut kernel, mut guest) = pair::<A, _>(&host, &cells);
    let at = upper_half::<A>().first();
    let refused = guest.enter().migrate_table(at, 0, anywhere);
    assert_eq!(refused, Err(Error::Shared { at }));
    let mut session = guest.enter();
    session.migrate_range(upper_half::<A>(), anywhere).unwrap();
    assert_eq!(session.leave().tables(), 0);
    let height = root_level::<A>().height - 1;
    let wanted = kernel.delimbo(at, height).unwrap();
    let elsewhere = guest.enter().migrate_frame(wanted, anywhere);
    assert_eq!(elsewhere, Err(Error::NoTable(wanted)));

    let told = host.stale().len();
    let mut session = kernel.enter();
    let moved = session.migrate_table(at, height, anywhere).unwrap().unwrap();
    let index = root_level::<A>().index(at) as u64;
    let bytes_lg2 = if A::NAME == "x86-32" { 2 } else { 3 };
    let word = |root: PhysAddr| host.read(root.0 + (index << bytes_lg2), bytes_lg2);
    let root = session.root();
    assert_eq!(word(root), word(guest.root()));
    assert_eq!(guest.translate(at).unwrap().frame, PhysAddr(0x1000));
    // A space that begins while the table is in limbo has the new name, and loses TWIN with the rest.
    let late = RootCell::new();
    let sharing = Setup::new().sharing(session.kernel_half().unwrap());
    let late =
        Space::<A, _>::new(&host, &late, sharing).map(|late| (late.root(), late.tear_down()));
    let (_, torn) = late.unwrap();
    ok(torn);
    let twin = <A::Format as Format>::TWIN;
    assert!([word(root), word(guest.root())].iter().all(|word| word & twin != 0));
    let _ = session.leave();
    assert!([word(root), word(guest.root())].iter().all(|word| word & twin == 0));
    let last = host.stale().split_off(told).pop().unwrap();
    assert_eq!((last.space(), last.global()), (None, true));
    assert!(last.extent() >= Extent::Everything);
    assert!(!host.in_use().contains_key(&moved.from.0));
    // Everything at once.
    let mut session = kernel.enter();
    session.migrate_space(anywhere).unwrap();
    assert_eq!(session.leave().shared, 0);
    let mut session = guest.enter();
    session.migrate_space(anywhere).unwrap();
    let done = session.leave();
    assert_eq!(done.tables(), u64::from(root_level::<A>().height) + 1, "its own, not the kernel's");
    assert_eq!(guest.translate(at).unwrap().frame, PhysAddr(0x1000));
    assert_eq!(guest.translate(VirtAddr(0)).unwrap().frame, PhysAddr(0x2000));
    assert_eq!(host.listed(), [kernel.root().0, guest.root().0]);
    ok(guest.tear_down());
    ok(kernel.tear_down());
    assert_eq!(host.tables_in_use(), 0);
}
each_arch!(tables_of_the_kernels_half);

/// A root that moves is on the list before the cell names it, and off it after the shootdown; what the
/// kernel changes in between goes to both.
#[test]
fn a_moved_root_misses_nothing() {
    let (memory, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let host = Watch::new(&memory);
    let (mut kernel, mut guest) = pair::<X86_32, _>(&host, &cells);
    let old = guest.root().0;
    let mut session = guest.enter();
    let new = session.migrate_root(anywhere).unwrap().unwrap().to.0;
    assert_eq!(memory.listed(), [kernel.root().0, old, new]);
    // The kernel changes root entries of its half: a leaf, and a table.
    let huge = Page::<Size4MiB>::new(VirtAddr(0xc000_0000)).unwrap();
    kernel.map(huge, Frame::new(PhysAddr(0x40_0000)).unwrap(), plain()).unwrap();
    kernel.map(page(0xd000_0000), frame(0x7000), plain()).unwrap();
    for root in [old, new] {
        for (va, to) in [(0xc000_0123, 0x40_0123), (0xd000_0000, 0x7000)] {
            let hit = oracle::translate::<X86_32>(&memory, root, va).unwrap();
            assert_eq!(hit.phys, to, "through {root:#x}");
        }
    }
    // A CPU that still has the old root writes to the kernel's page: the kernel finds it.
    oracle::touch::<X86_32>(&memory, old, 0xc000_0000, true).unwrap();
    assert!(kernel.translate(huge.start()).unwrap().attrs.dirty);
    let cpu = &memory;
    host.at_shoot_down(move |_| {
        assert!(cpu.listed().contains(&old) && cpu.listed().contains(&new));
        oracle::touch::<X86_32>(cpu, old, 0xc000_0000, true).unwrap();
    });
    let _ = session.leave();
    assert_eq!(memory.listed(), [kernel.root().0, new]);
    host.at_shoot_down(|_| {});
    let mut found = Vec::new();
    flushing(&mut kernel, |kernel, gather| {
        kernel.test_and_clear(huge.span(), Used::DIRTY, gather, |page| found.push(page)).unwrap();
    });
    assert_eq!(found.len(), 1);
    ok(guest.tear_down());
    ok(kernel.tear_down());
    assert_eq!(memory.tables_in_use(), 0);
}

/// A root that is made while the kernel maps has all of that in the end, whether it has copied a part of it
/// or nothing.
#[test]
fn a_root_made_during_a_map_has_all_of_it() {
    for pages in [1, 2, 3] {
        let (host, cells) = (&Memory::new(), [const { RootCell::new() }; 2]);
        let (mut kernel, mut guest) = pair::<X86_32, _>(host, &cells);
        let at = Span::new(VirtAddr(0xd000_0000), pages * 0x40_0000).unwrap();
        let (mut runs, mut moved) = (0, None);
        let map = |_, _| {
            runs += 1;
            if runs == 2.min(pages) {
                moved = guest.enter().migrate_root(anywhere).unwrap();
            }
            let start = PhysAddr(runs * 0x40_0000);
            Some(FrameRun { start, bytes: 0x40_0000 })
        };
        kernel.map_frames(at, plain(), map).unwrap();
        assert_eq!(guest.root(), moved.unwrap().to);
        let word = |root: PhysAddr, page| host.read(root.0 + 4 * (0x340 + page), 2);
        for page in 0..pages {
            let expected = ((page + 1) * 0x40_0000) | 0x83;
            assert_eq!([word(kernel.root(), page), word(guest.root(), page)], [expected; 2]);
        }
        ok(guest.tear_down());
        ok(kernel.tear_down());
    }
}

/// A new root is on the list and filled when the list is given free: a change of the kernel's half that
/// comes next is not in what is copied after it, nor missing in what was copied before.
#[test]
fn a_new_root_is_filled_under_the_lists_lock() {
    let (memory, cells, filled) = (&Memory::new(), [const { RootCell::new() }; 2], &Cell::new(0));
    let host = Watch::new(memory);
    let (kernel, mut guest) = pair::<X86_64, _>(&host, &cells);
    let old = guest.root();
    host.at_roots(move |listed| {
        let new = listed.last().unwrap().0;
        if new != old.0 {
            let words = |root| (0..512).map(move |word| memory.read(root + word * 8, 3));
            assert!(words(old.0).eq(words(new)), "listed, and not filled");
            filled.set(filled.get() + 1);
        }
    });
    let mut session = guest.enter();
    session.migrate_root(anywhere).unwrap().unwrap();
    assert_eq!(filled.get(), 1);
    host.at_roots(|_| {});
    let _ = session.leave();
    ok(guest.tear_down());
    ok(kernel.tear_down());
}

/// The kernel's own root moves under its guests, and new guests come.
fn the_kernels_own_root<A: Arch>() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let (mut kernel, guest) = pair::<A, _>(&host, &cells);
    let mut session = kernel.enter();
    session.migrate_root(anywhere).unwrap();
    let at = Span::new(VirtAddr(upper_half::<A>().last().0 & !0xffff), 0x1000).unwrap();
    session.map_range(at, PhysAddr(0x5000), plain()).unwrap();
    let third = RootCell::new();
    let sharing = Setup::new().sharing(session.kernel_half().unwrap());
    let third = Space::<A, _>::new(&host, &third, sharing);
    assert_eq!(third.unwrap().tear_down().map_err(|(_, error)| error), Ok(()));
    drop(session);
    assert_eq!(guest.translate(at.first()).unwrap().frame, PhysAddr(0x5000));
    assert_eq!(host.listed(), [guest.root().0, kernel.root().0]);
    ok(guest.tear_down());
    ok(kernel.tear_down());
    assert_eq!(host.tables_in_use(), 0);
}
each_arch!(the_kernels_own_root);

/// A list without room refuses the new root before anything has changed.
#[test]
fn a_root_that_cannot_be_listed_stays() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let (_kernel, mut guest) = pair::<X86_64, _>(&host, &cells);
    let picture = host.picture();
    host.set_list_full(true);
    let mut session = guest.enter();
    let result = session.migrate_root(anywhere);
    assert!(matches!(result, Err(Error::RootList(_))), "{result:?}");
    drop(session);
    assert_eq!(host.picture(), picture);
}

/// The slot that names the root says the new one, in both copies, and keeps its other bits.
fn a_self_map_follows<A: Arch>() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let index = root_level::<A>().entries() - 2;
    let mut space = Space::<A, _>::new(&host, &cell, Setup::new().self_map(index)).unwrap();
    space.map_range(low_page::<A>(), PhysAddr(0x1000), plain()).unwrap();
    let lg2 = if A::NAME == "x86-32" { 2 } else { 3 };
    let slot = |root: PhysAddr| host.read(root.0 + ((index as u64) << lg2), lg2);
    let mut session = space.enter();
    session.migrate_space(anywhere).unwrap();
    let moved = session.migrate_root(anywhere).unwrap().unwrap(); // again: the batch ends between
    let expected = <A::Format as Format>::table(root_level::<A>(), moved.to, false);
    assert_eq!([slot(moved.from), slot(moved.to)].map(|word| word & !0x60), [expected; 2]);
    drop(session);
    assert_eq!(slot(space.root()) & !0x60, expected);
    ok(space.tear_down());
    assert_eq!(host.tables_in_use(), 0);
}

#[test]
fn self_maps_follow_the_root() {
    a_self_map_follows::<X86_32>();
    a_self_map_follows::<X86_64>();
    a_self_map_follows::<X86_64La57>();
}

/// Memory is to be taken out: which space has a table there?
#[test]
fn a_frame_is_found_over_all_roots() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let (mut kernel, mut guest) = pair::<X86Pae, _>(&host, &cells);
    let find = |frame: u64| {
        unsafe { View::<X86Pae, _>::find_frame(&&host, PhysAddr(frame), X86Pae::LIMITS) }.unwrap()
    };
    let half = upper_half::<X86Pae>();
    for (frame, (height, size_lg2)) in host.in_use() {
        let (root, table) = find(frame).unwrap();
        assert_eq!((table.height, table.size_lg2, table.frame.0), (height, size_lg2, frame));
        let kernels = root == kernel.root() || half.contains(table.at);
        let space = if kernels { &mut kernel } else { &mut guest };
        let moved = space.enter().migrate_frame(PhysAddr(frame), anywhere).unwrap().unwrap();
        assert_eq!(moved.from.0, frame);
    }
    assert_eq!(find(0x66_6000), None);
    assert_eq!(kernel.translate(half.first()).unwrap().frame, PhysAddr(0x1000));
    assert_eq!(guest.translate(half.first()).unwrap().frame, PhysAddr(0x1000));
}
