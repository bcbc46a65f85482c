//! What is shared: the kernel half between spaces, tables between names, the root with itself.

use crate::common::memory::Memory;
use crate::common::x86::flushing;
use crate::common::{oracle, plain, root_level, upper_half};
use pgtable::arch::x86::{X86_32, X86_64, X86_64La57, X86Pae};
use pgtable::{
    Arch, Attrs, Error, Extent, Feature, Format, Frame, Names, Page, PhysAddr, Rights, RootCell,
    Setup, Size2MiB, Size4KiB, Size4MiB, Space, Span, Used, VirtAddr,
};

type Of<'r, A> = Space<'r, A, &'r Memory>;

/// The kernel's own space, and one that shares its half.
fn pair<'r, A: Arch>(host: &'r Memory, cells: &'r [RootCell; 2]) -> (Of<'r, A>, Of<'r, A>) {
    let own = Setup::new().kernel(upper_half::<A>());
    let kernel = Space::new(host, &cells[0], own).unwrap();
    let half = kernel.kernel_half().unwrap();
    let guest = Space::new(host, &cells[1], Setup::new().sharing(half)).unwrap();
    (kernel, guest)
}

/// The kernel maps and unmaps in its half; every space has it at once, and only the kernel may.
fn the_kernels_half<A: Arch>() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let (mut kernel, mut guest) = pair::<A>(&host, &cells);
    assert_eq!(host.listed(), [kernel.root().0, guest.root().0]);
    let page = 1u64 << <A::Format as Format>::PAGE_LG2;
    let half = upper_half::<A>();
    let span = Span::new(half.first(), page).unwrap();
    let end = Span::inclusive(VirtAddr(half.last().0 - (page - 1)), half.last()).unwrap();
    for (count, span) in [span, end].into_iter().enumerate() {
        let frame = PhysAddr(page * (count as u64 + 3));
        kernel.map_range(span, frame, plain()).unwrap();
        assert_eq!(guest.translate(span.first()).unwrap().frame, frame);
        let refused = Err(Error::Shared { at: span.first() });
        assert_eq!(guest.map_range(span, PhysAddr(0), plain()), refused);
        flushing(&mut guest, |guest, gather| {
            assert_eq!(guest.unmap_range(span, gather, |_| {}), refused);
            assert_eq!(guest.protect_range(span, plain().rights, gather), refused);
            assert_eq!(guest.test_and_clear(span, Used::all(), gather, |_| {}), refused);
            assert_eq!(guest.split(span.first(), gather), refused);
        });
        assert_eq!(guest.cursor(span.first()).map(PhysAddr(0), plain()), refused);
    }
    // What the kernel takes away is stale in every space, global translations included.
    let told = host.stale().len();
    flushing(&mut kernel, |kernel, gather| {
        kernel.unmap_range(span, gather, |_| {}).unwrap();
        kernel.unmap_range(end, gather, |_| {}).unwrap();
    });
    let stale = &host.stale()[told];
    assert_eq!((stale.space(), stale.global()), (None, true));
    assert!(guest.translate(span.first()).is_err());
    // The other half is the guest's own, and is flushed for it alone.
    let low = Span::new(VirtAddr(0), page).unwrap();
    guest.map_range(low, PhysAddr(0), plain()).unwrap();
    assert!(kernel.translate(VirtAddr(0)).is_err());
    flushing(&mut guest, |guest, gather| guest.unmap_range(low, gather, |_| {})).unwrap();
    let stale = host.stale().pop().unwrap();
    assert_eq!((stale.space(), stale.global()), (Some(guest.id()), false));
    refuse_to_leave_guests_behind(kernel, guest, &host);
}

fn refuse_to_leave_guests_behind<A: Arch>(kernel: Of<'_, A>, guest: Of<'_, A>, host: &Memory) {
    let before = host.picture();
    let (kernel, error) = kernel.tear_down().unwrap_err();
    assert_eq!(error, Error::Shared { at: upper_half::<A>().first() });
    assert_eq!(before, host.picture());
    guest.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.listed(), [kernel.root().0]);
    kernel.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!((host.tables_in_use(), host.listed().len()), (0, 0));
}

each_arch!(the_kernels_half);

#[test]
fn a_list_without_room() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let own = Setup::<X86_64>::new().kernel(upper_half::<X86_64>());
    host.set_list_full(true);
    let mapped = own.self_map(3);
    let result = Space::<X86_64, _>::new(&host, &cells[0], mapped).map(|_| ());
    assert!(matches!(result, Err(Error::RootList(_))));
    let result = Space::<X86_64, _>::new(&host, &cells[0], own).map(|_| ());
    assert!(matches!(result, Err(Error::RootList(_))));
    assert_eq!((host.tables_in_use(), cells[0].root()), (0, None));
    host.set_list_full(false);
    let kernel = Space::<X86_64, _>::new(&host, &cells[0], own).unwrap();
    let before = host.picture();
    host.set_list_full(true);
    let guest = Setup::new().sharing(kernel.kernel_half().unwrap());
    let result = Space::<X86_64, _>::new(&host, &cells[1], guest).map(|_| ());
    assert!(matches!(result, Err(Error::RootList(_))));
    assert_eq!((before, None), (host.picture(), cells[1].root()));
}

#[test]
fn halves_are_made_of_root_entries() {
    let (host, cell) = (Memory::new(), RootCell::new());
    for (from, bytes) in [(1 << 38, 1 << 39), (0, 1 << 38), (1 << 47, 1 << 47)] {
        let span = Span::new(VirtAddr(from), bytes).unwrap();
        let result = Space::<X86_64, _>::new(&host, &cell, Setup::new().kernel(span)).map(|_| ());
        assert_eq!(result, Err(Error::BadSpan(span)));
    }
}

/// In x86 without PAE the roots themselves have the kernel's 4 MiB leaves: all roots follow.
#[test]
fn leaves_in_every_root() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let (mut kernel, guest) = pair::<X86_32>(&host, &cells);
    let page = Page::<Size4MiB>::new(VirtAddr(0xc000_0000)).unwrap();
    let at = page.start().0;
    let word = |root: PhysAddr| host.read(root.0 + 0x300 * 4, 2);
    kernel.map(page, Frame::new(PhysAddr(0x40_0000)).unwrap(), plain()).unwrap();
    assert_eq!(word(kernel.root()), word(guest.root()));
    // A CPU in the guest writes: the bit is in the guest's root alone, and counts.
    oracle::touch::<X86_32>(&host, guest.root().0, at, true).unwrap();
    assert_ne!(word(kernel.root()), word(guest.root()));
    let attrs = kernel.translate(page.start()).unwrap().attrs;
    assert!(attrs.accessed && attrs.dirty);
    let mut found = Vec::new();
    flushing(&mut kernel, |kernel, gather| {
        kernel.test_and_clear(page.span(), Used::DIRTY, gather, |page| found.push(page)).unwrap();
    });
    assert!(found.len() == 1 && found[0].attrs.dirty);
    assert!(!guest.translate(page.start()).unwrap().attrs.dirty);
    // Protect, exchange, split, promote: the same in both, and D goes along.
    flushing(&mut kernel, |kernel, gather| {
        kernel.protect(page, Rights::READ | Rights::EXECUTE, gather).unwrap();
        oracle::touch::<X86_32>(&host, guest.root().0, at, true).unwrap();
        let raw = kernel.translate(page.start()).unwrap().raw;
        assert_eq!(kernel.exchange(page, raw, raw & !0x40, gather), Ok(raw));
        assert_eq!((word(kernel.root()), word(guest.root())), (raw & !0x40, raw & !0x40));
        oracle::touch::<X86_32>(&host, guest.root().0, at, true).unwrap();
        kernel.split(page.start(), gather).unwrap();
    });
    assert_eq!(word(kernel.root()), word(guest.root()));
    let piece = guest.translate(VirtAddr(at + 0x5000)).unwrap();
    assert_eq!((piece.size_lg2, piece.frame, piece.attrs.dirty), (12, PhysAddr(0x40_5000), true));
    kernel.promote(page).unwrap();
    assert_eq!(word(kernel.root()), word(guest.root()));
    oracle::touch::<X86_32>(&host, guest.root().0, at, true).unwrap();
    flushing(&mut kernel, |kernel, gather| {
        let gone = kernel.unmap(page, gather).unwrap().page().unwrap();
        assert!(gone.attrs.dirty);
    });
    assert_eq!((word(kernel.root()), word(guest.root())), (0, 0));
    // A table that comes and goes is linked in both, and freed once.
    let small = Page::<Size4KiB>::new(VirtAddr(0xd000_0000)).unwrap();
    kernel.map(small, Frame::new(PhysAddr(0x7000)).unwrap(), plain()).unwrap();
    assert_eq!(guest.translate(small.start()).unwrap().frame, PhysAddr(0x7000));
    flushing(&mut kernel, |kernel, gather| {
        let _ = kernel.unmap(small, gather).unwrap();
    });
    assert_eq!(host.tables_in_use(), 2);
    guest.tear_down().map_err(|(_, error)| error).unwrap();
    kernel.tear_down().map_err(|(_, error)| error).unwrap();
}

/// A self-map is made, skipped by every walk, refused by every verb, and freed with the root.
fn self_map<A: Arch>() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let index = root_level::<A>().entries() - 2;
    let setup = Setup::new().self_map(index);
    let mut space = Space::<A, _>::new(&host, &cell, setup).unwrap();
    let lg2 = root_level::<A>().span_lg2;
    let at = crate::common::canonical::<A>((index as u64) << lg2);
    assert_eq!(space.translate(at), Err(Error::SelfMap { at }));
    assert_eq!(space.mappings(Span::ALL).count(), 0);
    let page = Page::<Size4KiB>::containing(at);
    let refused = Err(Error::SelfMap { at });
    assert_eq!(space.map(page, Frame::new(PhysAddr(0)).unwrap(), plain()), refused);
    flushing(&mut space, |space, gather| {
        assert_eq!(space.unmap_range(page.span(), gather, |_| {}), refused);
        // One that reaches into it from below.
        let before = VirtAddr(at.0 - 0x1000);
        let span = Span::new(before, 0x2000).unwrap();
        assert_eq!(space.unmap_range(span, gather, |_| {}), refused);
    });
    // The MMU sees the root as a page of the self-map.
    let shift = (0..u64::from(root_level::<A>().height)).map(|_| root_level::<A>().index_lg2);
    let below = u32::from(shift.sum::<u8>());
    let window =
        crate::common::canonical::<A>(((index as u64) << lg2) | ((index as u64) << lg2 >> below));
    assert!(window.0 >= at.0);
    space.map_range(Span::new(VirtAddr(0), 0x1000).unwrap(), PhysAddr(0), plain()).unwrap();
    space.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.tables_in_use(), 0);
}

#[test]
fn self_maps() {
    self_map::<X86_32>();
    self_map::<X86_64>();
    self_map::<X86_64La57>();
    let (host, cell) = (Memory::new(), RootCell::new());
    let result = Space::<X86Pae, _>::new(&host, &cell, Setup::new().self_map(1)).map(|_| ());
    assert_eq!(result, Err(Error::Unsupported(Feature::SelfMap)));
    let result = Space::<X86_64, _>::new(&host, &cell, Setup::new().self_map(512)).map(|_| ());
    assert_eq!(result, Err(Error::Unsupported(Feature::SelfMap)));
    let both = Setup::new().kernel(upper_half::<X86_64>()).self_map(300);
    let result = Space::<X86_64, _>::new(&host, &cell, both).map(|_| ());
    assert!(matches!(result, Err(Error::SelfMap { .. })));
    assert_eq!(host.tables_in_use(), 0);
}

/// A tree with one page, given up by its space: for adopting.
fn left_behind(host: &Memory) -> PhysAddr {
    let cell = RootCell::new();
    let mut space = Space::<X86_64, _>::new(host, &cell, Setup::new()).unwrap();
    space.map_range(Span::new(VirtAddr(0x5000), 0x2000).unwrap(), PhysAddr(0), plain()).unwrap();
    space.release().map_err(|(_, error)| error).unwrap()
}

#[test]
fn what_adopt_refuses() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let root = left_behind(&host);
    let refuse = |setup: Setup<'static, X86_64>, expected: fn(&Error) -> bool| {
        let before = host.picture();
        let adopted = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, setup) };
        let error = adopted.map(|_| ()).unwrap_err();
        assert!(expected(&error), "{error}");
        assert_eq!((before, cell.root()), (host.picture(), None));
    };
    for bit in [9, 10] {
        host.set_bits(root.0, 3, 1 << bit);
        refuse(Setup::new(), |error| matches!(error, Error::SoftwareBits { .. }));
        host.clear_bits(root.0, 1 << bit);
    }
    // A self-map that was not declared, and one further down.
    host.set_bits(root.0 + 8 * 510, 3, root.0 | 3);
    refuse(Setup::new(), |error| matches!(error, Error::Cycle { .. }));
    let declared = Setup::new().self_map(510);
    let space = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, declared) }.unwrap();
    assert_eq!(space.release().map_err(|(_, error)| error), Ok(root));
    host.clear_bits(root.0 + 8 * 510, u64::MAX);
    refuse(Setup::new().self_map(510), |error| matches!(error, Error::SelfMap { .. }));
    let below = host.read(root.0, 3) & !0xfff;
    host.set_bits(below + 8 * 7, 3, below | 3);
    refuse(Setup::new(), |error| matches!(error, Error::Cycle { .. }));
    host.clear_bits(below + 8 * 7, u64::MAX);
    host.set_bits(below + 8 * 7, 3, 0x7000_0000_0003);
    refuse(Setup::new(), |error| matches!(error, Error::Unreachable { .. }));
    host.clear_bits(below + 8 * 7, u64::MAX);
    for bad in [0, root.0 + 32, 1 << 52] {
        let result =
            unsafe { Space::<X86_64, _>::adopt(&host, &cell, PhysAddr(bad), Setup::new()) };
        assert_eq!(result.map(|_| ()), Err(Error::BadRoot(PhysAddr(bad))));
    }
}

#[test]
fn an_adopted_tree_is_like_any_other() {
    for counting in [false, true] {
        let (host, cell) = (Memory::with(0x10_0000, 1 << 20, counting), RootCell::new());
        let root = left_behind(&host);
        let adopted = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, Setup::new()) };
        let mut space = adopted.unwrap();
        assert_eq!(space.translate(VirtAddr(0x6000)).unwrap().frame, PhysAddr(0x1000));
        flushing(&mut space, |space, gather| {
            space.unmap_range(Span::new(VirtAddr(0), 1 << 30).unwrap(), gather, |_| {}).unwrap();
        });
        assert_eq!(host.tables_in_use(), 1, "tables that were adopted are given back when empty");
        space.tear_down().map_err(|(_, error)| error).unwrap();
    }
}

/// One leaf table under two entries of a directory, and that directory under two entries of its own.
fn aliased(host: &Memory) -> PhysAddr {
    let root = left_behind(host);
    let pud = host.read(root.0, 3) & !0xfff;
    let pmd = host.read(pud, 3) & !0xfff;
    host.set_bits(pud + 8 * 3, 3, host.read(pud, 3));
    host.set_bits(pmd + 8 * 9, 3, host.read(pmd, 3));
    root
}

#[test]
fn a_table_goes_with_its_last_name() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let root = aliased(&host);
    let setup = Setup::new().names(Names::Aliased);
    let mut space = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, setup) }.unwrap();
    assert_eq!((space.mappings(Span::ALL).count(), host.tables_in_use()), (8, 4));
    flushing(&mut space, |space, gather| {
        let low = Span::new(VirtAddr(0), 1 << 21).unwrap();
        let mut gone = 0;
        space.unmap_range(low, gather, |_| gone += 1).unwrap();
        assert_eq!(gone, 2);
        // The pages are gone under all names, and any of them may be stale.
        assert_eq!(gather.stale().extent(), Extent::Everything);
        assert_eq!(gather.tables(), 0);
    });
    assert_eq!((space.mappings(Span::ALL).count(), host.tables_in_use()), (0, 4));
    space.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.tables_in_use(), 0);
}

#[test]
fn aliased_trees_are_freed_once() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let root = aliased(&host);
    let setup = Setup::new().names(Names::Aliased);
    let space = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, setup) }.unwrap();
    let mut pages = 0;
    space.tear_down_with(|_, _| pages += 1).map_err(|(_, error)| error).unwrap();
    assert_eq!((host.tables_in_use(), pages), (0, 2), "each page of each table once");
}

#[test]
fn an_aliased_table_survives_promotion_of_one_name() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let root = left_behind(&host);
    let pmd = host.read(host.read(root.0, 3) & !0xfff, 3) & !0xfff;
    let huge = Page::<Size2MiB>::new(VirtAddr(0x20_0000)).unwrap();
    {
        let cell = RootCell::new();
        let mut space =
            unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, Setup::new()) }.unwrap();
        space.map_range(huge.span(), PhysAddr(0x40_0000), Attrs::DATA).unwrap();
        flushing(&mut space, |space, gather| space.split(huge.start(), gather)).unwrap();
    }
    host.set_bits(pmd + 8 * 5, 3, host.read(pmd + 8, 3));
    let setup = Setup::new().names(Names::Aliased);
    let mut space = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, setup) }.unwrap();
    let tables = host.tables_in_use();
    space.promote(huge).unwrap();
    assert_eq!(space.translate(VirtAddr(0x20_3000)).unwrap().size_lg2, 21);
    assert_eq!(space.translate(VirtAddr(0xa0_3000)).unwrap().size_lg2, 12);
    assert_eq!(host.tables_in_use(), tables);
    space.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.tables_in_use(), 0);
}

#[test]
fn malformed_entries_are_reported_and_left() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let root = left_behind(&host);
    let leaf = oracle::translate::<X86_64>(&host, root.0, 0x5000).unwrap().leaf_at;
    let limits = pgtable::Limits { phys_bits: 40, ..X86_64::LIMITS };
    let setup = Setup::new().limits(limits);
    let mut space = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, setup) }.unwrap();
    host.set_bits(leaf, 3, 1 << 45);
    let (raw, at) = (host.read(leaf, 3), VirtAddr(0x5000));
    let page = Page::<Size4KiB>::new(at).unwrap();
    let malformed = Error::Malformed { at, height: 0, raw };
    assert_eq!(space.translate(at), Err(malformed));
    assert_eq!(space.map(page, Frame::new(PhysAddr(0)).unwrap(), plain()), Err(malformed));
    flushing(&mut space, |space, gather| {
        assert_eq!(space.protect(page, Rights::READ, gather), Err(malformed));
        assert_eq!(space.unmap(page, gather).map(|_| ()), Err(malformed));
        let mut seen = Vec::new();
        let all = Span::new(VirtAddr(0), 1 << 21).unwrap();
        space.protect_range(all, Rights::READ, gather).unwrap();
        space.unmap_range(all, gather, |gone| seen.push(format!("{gone:?}"))).unwrap();
        assert!(seen.len() == 2 && seen[0].contains("Malformed"), "{seen:?}");
        assert_eq!(host.read(leaf, 3), raw);
        assert_eq!(space.exchange(page, raw, 0, gather), Ok(raw));
    });
    assert_eq!(host.tables_in_use(), 1);
}

#[test]
fn raw_words_that_are_refused() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = Space::<X86_64, _>::new(&host, &cell, Setup::new()).unwrap();
    space.map_range(Span::new(VirtAddr(0x1000), 0x1000).unwrap(), PhysAddr(0), plain()).unwrap();
    let before = host.picture();
    flushing(&mut space, |space, gather| {
        let huge = Page::<Size2MiB>::new(VirtAddr(0x60_0000)).unwrap();
        // A table, and a huge leaf with an address bit that is none.
        for raw in [0x10_0003, 0x20_2083] {
            assert_eq!(space.exchange(huge, 0, raw, gather), Err(Error::BadRaw(raw)));
            let far = Page::<Size2MiB>::new(VirtAddr(1 << 40)).unwrap();
            assert_eq!(space.exchange(far, 0, raw, gather), Err(Error::BadRaw(raw)));
        }
    });
    assert_eq!(before, host.picture());
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = Space::<X86_32, _>::new(&host, &cell, Setup::new()).unwrap();
    let page = Page::<Size4MiB>::new(VirtAddr(0)).unwrap();
    let wide = 0x1_0000_0002;
    flushing(&mut space, |space, gather| {
        assert_eq!(space.exchange(page, 0, wide, gather), Err(Error::BadRaw(wide)));
        assert_eq!(
            space.exchange(page, wide, 0, gather),
            Err(Error::Changed { at: VirtAddr(0), raw: 0 })
        );
    });
}
