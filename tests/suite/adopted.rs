//! Trees that somebody else has built: tables with several names, rights that tables take away, and
//! what is the kernel's in another space's tree.

use crate::common::memory::Memory;
use crate::common::watch::Watch;
use crate::common::x86::{USER, flushing, frame, page, space};
use crate::common::{plain, upper_half};
use pgtable::arch::x86::{X86_32, X86_64};
use pgtable::{
    Arch, Attrs, Error, Frame, Host, Mapped, Names, Page, PhysAddr, Rights, RootCell, Setup,
    Size4MiB, Space, Span, VirtAddr,
};

const GIB: u64 = 1 << 30;

/// A tree with pages at these addresses, given up by its space.
fn left_behind(host: &Memory, pages: &[u64]) -> PhysAddr {
    let cell = RootCell::new();
    let mut space = space::<X86_64, _>(host, &cell);
    for &at in pages {
        space.map(page(at), frame(0x9000), Attrs::new(USER)).unwrap();
    }
    space.release().map_err(|(_, error)| error).unwrap()
}

fn adopt<'r, H: Host>(host: H, cell: &'r RootCell, root: PhysAddr) -> Space<'r, X86_64, H> {
    let setup = Setup::new().names(Names::Aliased);
    unsafe { Space::<X86_64, _>::adopt(host, cell, root, setup) }.unwrap()
}

/// The table that an entry names.
fn below(host: &Memory, table: u64, index: u64) -> u64 {
    host.read(table + 8 * index, 3) & 0x000f_ffff_ffff_f000
}

/// Unmaps the page at 0x5000 of a tree in which some table on the way has one more name, far from
/// there: that table stays, and with it what is above it; what is below it goes.
fn far_names(second: u64, make: fn(&Memory, u64), freed: usize) {
    let (host, cell) = (Memory::new(), RootCell::new());
    let root = left_behind(&host, &[0x5000, second]);
    make(&host, root.0);
    let mut space = adopt(&host, &cell, root);
    let (before, mappings) = (host.tables_in_use(), space.mappings(Span::ALL).count());
    assert_eq!(mappings, 3);
    flushing(&mut space, |space, gather| space.unmap(page(0x5000), gather).map(drop)).unwrap();
    assert_eq!((host.tables_in_use(), space.mappings(Span::ALL).count()), (before - freed, 1));
    space.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.tables_in_use(), 0);
}

#[test]
fn names_in_other_tables_are_found() {
    // A leaf table, named from two page directories.
    let leaf_table = |host: &Memory, root| {
        let pud = below(host, root, 0);
        let (one, two) = (below(host, pud, 0), below(host, pud, 1));
        host.set_bits(two + 8 * 9, 3, host.read(one, 3));
    };
    far_names(GIB, leaf_table, 0);
    // A page directory, named from below two entries of the root.
    let directory = |host: &Memory, root| {
        let (one, two) = (below(host, root, 0), below(host, root, 1));
        host.set_bits(two + 8 * 9, 3, host.read(one, 3));
    };
    far_names(512 * GIB, directory, 1);
}

#[test]
fn a_search_that_cannot_look_everywhere_frees_nothing() {
    let (memory, cell) = (&Memory::new(), RootCell::new());
    let root = left_behind(memory, &[0x5000, 512 * GIB]);
    let host = Watch::new(memory);
    let mut space = adopt(&host, &cell, root);
    let before = memory.tables_in_use();
    host.lost.set(Some(PhysAddr(below(memory, root.0, 1))));
    flushing(&mut space, |space, gather| space.unmap(page(0x5000), gather).map(drop)).unwrap();
    assert_eq!(memory.tables_in_use(), before);
}

/// What a test does with a space.
type Verb<'a> = dyn Fn(&mut Space<'_, X86_64, &Memory>) + 'a;

/// Tables above a page get what the page needs, not-executable ones included.
#[test]
fn tables_that_forbid_are_widened() {
    const ALL: Rights = USER.union(Rights::EXECUTE);
    let forbid = |host: &Memory, root: PhysAddr| {
        let mut table = root.0;
        for _ in 0..3 {
            host.clear_bits(table, 0b110);
            host.set_bits(table, 3, 1 << 63);
            table = below(host, table, 0);
        }
    };
    let two = Span::new(VirtAddr(0x6000), 0x2000).unwrap();
    let verbs: [&Verb<'_>; 5] = [
        &|space| space.map(page(0x6000), frame(0), Attrs::new(ALL)).unwrap(),
        &|space| space.map_range(page(0x6000).span(), PhysAddr(0), Attrs::new(ALL)).unwrap(),
        &|space| space.map_range(two, PhysAddr(0), Attrs::new(ALL)).unwrap(),
        &|space| {
            flushing(space, |space, gather| space.exchange(page(0x6000), 0, 7, gather)).unwrap();
        },
        &|space| {
            space.map(page(0x6000), frame(0), Attrs::DATA).unwrap();
            flushing(space, |space, gather| space.protect(page(0x6000), ALL, gather)).unwrap();
        },
    ];
    for verb in verbs {
        let (host, cell) = (Memory::new(), RootCell::new());
        let root = left_behind(&host, &[0x5000]);
        forbid(&host, root);
        let mut space = adopt(&host, &cell, root);
        assert_eq!(space.translate(VirtAddr(0x5000)).unwrap().effective, Rights::READ);
        verb(&mut space);
        assert_eq!(space.translate(VirtAddr(0x6000)).unwrap().effective, ALL);
    }
}

/// Holes need no rights: the tables above them stay as they are.
#[test]
fn tables_above_holes_stay_as_they_are() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x5000), frame(0x9000), Attrs::DATA).unwrap();
    let before = host.picture();
    flushing(&mut space, |space, gather| {
        let holes = Span::new(VirtAddr(0x6000), 0x4000).unwrap();
        space.protect_range(holes, USER, gather).unwrap();
    });
    assert_eq!(before, host.picture());
}

/// A root with the words of another one's kernel half, as a kernel without this crate would make it.
fn root_like<A: Arch>(host: &Memory, kernel: PhysAddr, lg2: u8) -> PhysAddr {
    let cell = RootCell::new();
    let root = space::<A, _>(host, &cell).release().map_err(|(_, error)| error).unwrap();
    for offset in (0x800..0x1000).step_by(1 << lg2) {
        host.set_bits(root.0 + offset, lg2, host.read(kernel.0 + offset, lg2));
    }
    root
}

#[test]
fn what_cpus_note_in_shared_leaves_makes_no_difference() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let own = Setup::new().kernel(upper_half::<X86_32>());
    let mut kernel = Space::<X86_32, _>::new(&host, &cells[0], own).unwrap();
    let top = Page::<Size4MiB>::new(VirtAddr(0xc000_0000)).unwrap();
    kernel.map(top, Frame::new(PhysAddr(0)).unwrap(), plain()).unwrap();
    let root = root_like::<X86_32>(&host, kernel.root(), 2);
    let entry = root.0 + 4 * 0x300;
    let sharing = Setup::new().sharing(kernel.kernel_half().unwrap());
    let adopt = || unsafe { Space::<X86_32, _>::adopt(&host, &cells[1], root, sharing) };
    // Writable in one and not in the other is another leaf.
    host.clear_bits(entry, 2);
    assert_eq!(adopt().map(|_| ()), Err(Error::Shared { at: top.start() }));
    assert_eq!((host.listed().len(), cells[1].root()), (1, None));
    host.set_bits(entry, 2, 2);
    // Used in one and not in the other is the same one.
    host.set_bits(entry, 2, 0x60);
    let guest = adopt().unwrap();
    assert!(guest.translate(top.start()).unwrap().attrs.dirty);
    assert_eq!(host.listed(), [kernel.root().0, root.0]);
}

#[test]
fn the_kernels_half_is_not_looked_at() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let own = Setup::new().kernel(upper_half::<X86_64>());
    let mut kernel = Space::<X86_64, _>::new(&host, &cells[0], own).unwrap();
    let top = page(0xffff_8000_0000_5000);
    kernel.map(top, frame(0x9000), plain()).unwrap();
    let root = root_like::<X86_64>(&host, kernel.root(), 3);
    // The kernel is at work there: its words may say anything at this moment.
    let directory = below(&host, kernel.root().0, 256);
    host.set_bits(directory, 3, 0x200);
    let sharing = Setup::new().sharing(kernel.kernel_half().unwrap());
    let adopted = unsafe { Space::<X86_64, _>::adopt(&host, &cells[1], root, sharing) };
    assert_eq!(adopted.unwrap().root(), root);
}

/// What a table entry does not grant, no page below it has, however one asks.
#[test]
fn rights_that_a_table_takes_away() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let pages = [0x4020_3000, 0x4020_4000];
    let root = left_behind(&host, &pages);
    let (mut table, user) = (root.0, 1 << 2);
    for shift in [39, 30, 21] {
        let entry = table + 8 * (pages[0] >> shift & 0x1ff);
        host.clear_bits(entry, user);
        let adopted = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, Setup::new()) };
        let space = adopted.unwrap();
        let one_by_one = pages.map(|at| space.translate(VirtAddr(at)).unwrap());
        let in_order = space.mappings(Span::ALL).map(|mapped| match mapped.unwrap() {
            Mapped::Page(page) => page,
            other => panic!("{other:?}"),
        });
        assert_eq!(in_order.collect::<Vec<_>>(), one_by_one);
        for page in one_by_one {
            assert_eq!((page.attrs.rights, page.effective), (USER, USER - Rights::USER));
        }
        space.release().map_err(|(_, error)| error).unwrap();
        host.set_bits(entry, 3, user);
        table = host.read(entry, 3) & 0xf_ffff_f000;
    }
}
