//! What safe code must not be able to do with hosts that keep their promises.

use crate::common::memory::Memory;
use crate::common::watch::Watch;
use crate::common::x86::{flushing, frame, page, space};
use crate::common::{plain, upper_half};
use pgtable::arch::x86::{X86_32, X86_64};
use pgtable::{
    Arch, Error, Extent, Feature, Frame, FrameRun, Gather, Gone, Host, Limits, Names, Page,
    PhysAddr, Placement, RootCell, Setup, Size1GiB, Size4MiB, Space, Span, Stale, TableAt,
    VirtAddr,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn anywhere(_: &TableAt) -> Placement {
    Placement::Anywhere
}

fn ok<T>(result: Result<T, (impl Sized, Error)>) -> T {
    result.map_err(|(_, error)| error).unwrap()
}

/// A cell is used again, by a space of another host. What a gather of the space before it holds is
/// not given to that host, nor do frames open when its CPUs have flushed.
#[test]
fn a_gather_outlives_its_space() {
    let (first, second, cell) = (Memory::new(), Memory::new(), RootCell::new());
    Gather::scope(|mut gather| {
        let mut space = space::<X86_64, _>(&first, &cell);
        space.map(page(0x3000), frame(0x8000), plain()).unwrap();
        let gone = space.unmap(page(0x3000), &mut gather).unwrap();
        assert!(matches!(gone, Gone::Page(_)) && gather.tables() == 3);
        ok(space.tear_down());
        let other = crate::common::x86::space::<X86_64, _>(&second, &cell);
        assert!(matches!(other.finish(gather), Err(Error::OtherGather)));
        ok(other.tear_down());
    });
    assert_eq!((first.tables_in_use(), second.tables_in_use()), (3, 0));
}

/// The kernel half of another machine, whose root happens to have the same address.
#[test]
fn the_half_of_another_host() {
    let (hosts, cells) = ([Memory::new(), Memory::new()], [const { RootCell::new() }; 3]);
    let part = Span::new(VirtAddr(0xffff_c000_0000_0000), 1 << 46).unwrap();
    let [whole, part] = [upper_half::<X86_64>(), part].map(|span| Setup::new().kernel(span));
    let one = Space::<X86_64, _>::new(&hosts[0], &cells[0], whole).unwrap();
    let two = Space::<X86_64, _>::new(&hosts[1], &cells[1], part).unwrap();
    assert_eq!(one.root(), two.root());
    let wrong = Setup::new().sharing(one.kernel_half().unwrap());
    let before = hosts[1].picture();
    let guest = Space::<X86_64, _>::new(&hosts[1], &cells[2], wrong).map(|_| ());
    assert_eq!(guest, Err(Error::RootList(two.root())));
    assert_eq!((hosts[1].picture(), cells[2].root()), (before, None));
}

/// What is a leaf to the kernel must not be a table to a guest.
#[test]
fn limits_of_a_guest() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 3]);
    let own = Setup::new().kernel(upper_half::<X86_32>());
    let mut kernel = Space::<X86_32, _>::new(&host, &cells[0], own).unwrap();
    let huge = Page::<Size4MiB>::new(VirtAddr(0xc000_0000)).unwrap();
    kernel.map(huge, Frame::new(PhysAddr(0)).unwrap(), plain()).unwrap();
    let sharing = Setup::new().sharing(kernel.kernel_half().unwrap());
    let narrow = Limits { largest_leaf_lg2: 12, ..X86_32::LIMITS };
    let guest = Space::<X86_32, _>::new(&host, &cells[1], sharing.limits(narrow)).map(|_| ());
    assert_eq!(guest, Err(Error::Unsupported(Feature::PageSize(22))));
    let guest = Space::<X86_32, _>::new(&host, &cells[1], sharing).unwrap();
    assert_eq!(guest.translate(huge.start()).unwrap().size_lg2, 22);
    ok(guest.tear_down());
    ok(kernel.tear_down());
    // The kernel's limits are the guest's, where it has none of its own.
    let own = own.limits(narrow);
    let kernel = Space::<X86_32, _>::new(&host, &cells[2], own).unwrap();
    let sharing = Setup::new().sharing(kernel.kernel_half().unwrap());
    let guest = Space::<X86_32, _>::new(&host, &cells[1], sharing).unwrap();
    assert_eq!(*guest.limits(), narrow);
    ok(guest.tear_down());
    ok(kernel.tear_down());
    assert_eq!(host.tables_in_use(), 0);
}

/// A kernel's own tree in which a root entry of the lower half names what one of the shared half names,
/// as kernels have it while they boot: what changes by the lower name is stale in every space.
#[test]
fn a_lower_name_of_the_kernels_tables() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let at = upper_half::<X86_64>().first();
    let mut space = space::<X86_64, _>(&host, &cells[0]);
    for offset in [0, 0x1000] {
        let page = Page::new(VirtAddr(at.0 + offset)).unwrap();
        space.map(page, frame(0x8000 + offset), plain()).unwrap();
    }
    let root = ok(space.release());
    host.clear_bits(root.0, u64::MAX);
    host.set_bits(root.0, 3, host.read(root.0 + 8 * 256, 3));
    let own = Setup::new().kernel(upper_half::<X86_64>()).names(Names::Aliased);
    let mut kernel = unsafe { Space::<X86_64, _>::adopt(&host, &cells[0], root, own) }.unwrap();
    let sharing = Setup::new().sharing(kernel.kernel_half().unwrap());
    let guest = Space::<X86_64, _>::new(&host, &cells[1], sharing).unwrap();
    let everywhere = |stale: &Stale| {
        stale.space().is_none() && stale.global() && stale.extent() >= Extent::Everything
    };

    for height in 0..3 {
        let told = host.stale().len();
        kernel.enter().migrate_table(VirtAddr(0), height, anywhere).unwrap().unwrap();
        assert!(host.stale()[told..].iter().all(everywhere), "height {height}");
        assert!(host.stale().len() > told);
    }
    let told = host.stale().len();
    flushing(&mut kernel, |kernel, gather| {
        let _ = kernel.unmap(page(0), gather).unwrap();
    });
    assert!(host.stale()[told..].iter().all(everywhere));
    assert!(guest.translate(at).is_err());
    assert!(guest.translate(VirtAddr(at.0 + 0x1000)).is_ok());
    ok(guest.tear_down());
    ok(kernel.tear_down());
    assert_eq!(host.tables_in_use(), 0);
}

/// Both ends of a span lie in one 1 GiB leaf, which is there by two names: it is cut at both.
#[test]
fn one_leaf_is_both_ends() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    let huge = Page::<Size1GiB>::new(VirtAddr(0)).unwrap();
    space.map(huge, Frame::new(PhysAddr(1 << 30)).unwrap(), plain()).unwrap();
    let root = ok(space.release());
    host.set_bits(root.0 + 8, 3, host.read(root.0, 3));
    let setup = Setup::new().names(Names::Aliased);
    let mut space = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, setup) }.unwrap();
    let (first, last) = (VirtAddr(0x3000), VirtAddr((1 << 39) + 0x80_4fff));
    let mut gone = 0u64;
    flushing(&mut space, |space, gather| {
        let span = Span::inclusive(first, last).unwrap();
        space.unmap_range(span, gather, |page| gone += 1 << page.page().unwrap().size_lg2).unwrap();
    });
    // All but the first pages goes by the first name; these by the second one.
    assert_eq!(gone, 1 << 30);
    ok(space.tear_down());
    assert_eq!(host.tables_in_use(), 0);
}

/// A closure that panics leaves a span as it was: what was staged by then is taken back.
#[test]
fn a_closure_that_panics() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x1000), frame(0x8000), plain()).unwrap();
    let before = host.picture();
    let span = Span::new(VirtAddr(0x20_0000 - 0x2000), 0x4000).unwrap();
    let mut left = 3;
    let result = catch_unwind(AssertUnwindSafe(|| {
        space.map_frames(span, plain(), |_, _| {
            left -= 1;
            assert!(left > 0, "no frame: a bug of the kernel's");
            Some(FrameRun { start: PhysAddr(0x5000), bytes: 0x1000 })
        })
    }));
    assert!(result.is_err());
    assert_eq!(host.picture(), before);
    space.map_range(span, PhysAddr(0x5000), plain()).unwrap();
    ok(space.tear_down());
    assert_eq!(host.tables_in_use(), 0);
}

/// So does a policy that panics, but for what was moved before.
#[test]
fn a_policy_that_panics() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let host = Watch::new(&memory);
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x1000), frame(0x8000), plain()).unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| {
        space.enter().migrate_space(|table| {
            assert!(table.height == 0, "a bug of the kernel's");
            Placement::Anywhere
        })
    }));
    assert!(result.is_err());
    assert_eq!((memory.stale().len(), memory.tables_in_use()), (1, 4), "the batch has ended");
    assert_eq!(space.translate(VirtAddr(0x1000)).unwrap().frame, PhysAddr(0x8000));
    ok(space.tear_down());
    assert_eq!(memory.tables_in_use(), 0);
}

/// A table moves from where the host does not count to where it does: there, what it holds is counted,
/// so that it is not given back with pages in it.
#[test]
fn a_table_that_moves_to_where_tables_are_counted() {
    let (memory, cell) = (Memory::with(0x10_0000, 4 << 20, true), RootCell::new());
    let host = Watch::new(&memory);
    host.counted_from.set(PhysAddr(0x10_4000)); // past the root, and the first three tables
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x1000), frame(0x1000), plain()).unwrap();
    let mut session = space.enter();
    let moved = session.migrate_table(VirtAddr(0x1000), 0, anywhere).unwrap().unwrap();
    assert!(host.count(moved.from).is_none() && host.count(moved.to).is_some());
    session.leave();
    space.map(page(0x3000), frame(0x3000), plain()).unwrap();
    flushing(&mut space, |space, gather| space.unmap(page(0x3000), gather).map(|_| ())).unwrap();
    assert_eq!(space.translate(VirtAddr(0x1000)).map(|found| found.frame), Ok(PhysAddr(0x1000)));
}
