//! What must never happen, continued: answers that are not exact, and input that is cut to fit.

use crate::common::memory::Memory;
use crate::common::watch::Watch;
use crate::common::x86::{USER, flushing, frame, huge, page, space};
use crate::common::{mapping_levels, oracle, plain};
use pgtable::arch::x86::{X86_32, X86_64, X86_64La57, X86Pae};
use pgtable::{
    Arch, Attrs, Change, Error, Extent, Feature, Found, Frame, Limits, MemoryType, Page, PhysAddr,
    Rights, RootCell, Setup, Size1GiB, Size4MiB, Space, Span, Used, View, VirtAddr,
};

#[test]
fn errors_tell_what_is_there() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x5000), frame(0x9000), Attrs::DATA).unwrap();
    let at = VirtAddr(0x5000);
    let found = Found::Leaf { frame: PhysAddr(0x9000), size_lg2: 12 };
    assert_eq!(
        space.map(page(0x5000), frame(0xb000), Attrs::DATA),
        Err(Error::Occupied { at, found })
    );
    let range = Span::new(VirtAddr(0x1000), 0x10_0000).unwrap();
    assert_eq!(
        space.map_range(range, PhysAddr(0x100_0000), Attrs::DATA),
        Err(Error::Occupied { at, found })
    );
    let error = space.map(huge(0), Frame::new(PhysAddr(0)).unwrap(), Attrs::DATA);
    assert!(matches!(error, Err(Error::Occupied { found: Found::Table { height: 0, .. }, .. })));
    flushing(&mut space, |space, gather| {
        let missing = space.unmap(page(0x7000), gather).map(|_| ());
        assert_eq!(missing, Err(Error::NotMapped { at: VirtAddr(0x7000), size_lg2: 12 }));
        let far = space.unmap(page(0x4000_0000), gather).map(|_| ());
        assert_eq!(far, Err(Error::NotMapped { at: VirtAddr(0x4000_0000), size_lg2: 30 }));
        let large = space.unmap(huge(0), gather).map(|_| ());
        assert!(matches!(large, Err(Error::Occupied { found: Found::Table { .. }, .. })));
        space.exchange(page(0x8000), 0, 0x2468, gather).unwrap();
        let own = Found::NonPresent { raw: 0x2468 };
        let at = VirtAddr(0x8000);
        let error = space.map(page(0x8000), frame(0xb000), Attrs::DATA);
        assert_eq!(error, Err(Error::Occupied { at, found: own }));
        let error = space.protect(page(0x8000), Rights::READ, gather);
        assert_eq!(error, Err(Error::NonPresent { at, raw: 0x2468 }));
        let error = space.exchange(page(0x8000), 1, 0, gather);
        assert_eq!(error, Err(Error::Changed { at, raw: 0x2468 }));
    });
}

#[test]
fn a_piece_of_a_huge_page_is_a_piece() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    let gib = Page::<Size1GiB>::new(VirtAddr(0x4000_0000)).unwrap();
    let attrs = Attrs::new(USER).with_memory(MemoryType::new(5).unwrap()).with_key(9);
    space.map(gib, Frame::new(PhysAddr(0x8000_0000)).unwrap(), attrs).unwrap();
    let size = flushing(&mut space, |space, gather| {
        let page = space.unmap(page(0x4020_3000), gather).unwrap().page().unwrap();
        assert_eq!(gather.stale().spans(), [gib.span()], "the large translation is stale");
        page.size_lg2
    });
    assert_eq!(size, 12);
    let mappings: Vec<_> = space.mappings(Span::ALL).map(|m| m.unwrap().span()).collect();
    assert_eq!(mappings.len(), 511 + 511);
    for (at, size_lg2) in [(0x4020_2000, 12), (0x4020_4000, 12), (0x4040_0000, 21)] {
        let found = space.translate(VirtAddr(at)).unwrap();
        assert_eq!((found.frame.0, found.size_lg2), (at + 0x4000_0000, size_lg2));
        assert_eq!(found.attrs, attrs);
    }
}

#[test]
fn a_span_that_is_no_address_is_refused() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    let hole = VirtAddr(0x0000_8000_0000_0000);
    let result = space.map(page(hole.0), frame(0), Attrs::DATA);
    assert_eq!(result, Err(Error::NoSuchAddress(hole)));
    let across = Span::inclusive(VirtAddr(0), VirtAddr(u64::MAX)).unwrap();
    let result = space.map_range(across, PhysAddr(0), Attrs::DATA);
    assert_eq!(result, Err(Error::BadSpan(across)));
    let (host32, cell32) = (Memory::new(), RootCell::new());
    let mut small = Space::<X86_32, _>::new(&host32, &cell32, Setup::new()).unwrap();
    let result = small.map(page(1 << 32), frame(0), plain());
    assert_eq!(result, Err(Error::NoSuchAddress(VirtAddr(1 << 32))));
    // Physical addresses are not cut down, either.
    let result = small.map(page(0), frame(1 << 32), plain());
    assert_eq!(result, Err(Error::TooWide { frame: PhysAddr(1 << 32), bits: 32 }));
    let four = Page::<Size4MiB>::new(VirtAddr(0)).unwrap();
    let result = small.map(four, Frame::new(PhysAddr(1 << 40)).unwrap(), plain());
    assert_eq!(result, Err(Error::TooWide { frame: PhysAddr(1 << 40), bits: 40 }));
    small.map(four, Frame::new(PhysAddr(0xff_ffc0_0000)).unwrap(), plain()).unwrap();
    let hit = oracle::translate::<X86_32>(&host32, small.root().0, 0x12_3456).unwrap();
    assert_eq!(hit.phys, 0xff_ffd2_3456);
    // It cannot be split: smaller pages do not reach there. Nothing changes.
    let before = host32.picture();
    let result = flushing(&mut small, |small, gather| small.split(VirtAddr(0), gather));
    assert!(matches!(result, Err(Error::TooWide { bits: 32, .. })));
    let result = flushing(&mut small, |small, gather| small.unmap(page(0), gather).map(|_| ()));
    assert!(matches!(result, Err(Error::TooWide { bits: 32, .. })));
    assert_eq!(before, host32.picture());
}

#[test]
fn the_pat_bit_of_a_huge_leaf_is_no_address_bit() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    for index in 0..8 {
        let attrs = Attrs::DATA.with_memory(MemoryType::new(index).unwrap());
        let (at, to) = (u64::from(index) << 21, PhysAddr(0x4000_0000));
        space.map(huge(at), Frame::new(to).unwrap(), attrs).unwrap();
        let found = space.translate(VirtAddr(at)).unwrap();
        assert_eq!((found.frame, found.attrs), (to, attrs));
        assert_eq!(found.raw >> 12 & 1, u64::from(index >> 2));
        flushing(&mut space, |space, gather| space.split(VirtAddr(at), gather)).unwrap();
        let found = space.translate(VirtAddr(at + 0x1000)).unwrap();
        assert_eq!((found.frame, found.attrs), (PhysAddr(0x4000_1000), attrs));
        assert_eq!(found.raw >> 7 & 1, u64::from(index >> 2));
        space.promote(huge(at)).unwrap();
        assert_eq!(space.translate(VirtAddr(at)).unwrap().attrs, attrs);
    }
}

#[test]
fn a_range_that_ends_with_the_address_space() {
    fn top<A: Arch>(last: u64) {
        let (host, cell) = (Memory::new(), RootCell::new());
        let mut space = Space::<A, _>::new(&host, &cell, Setup::new()).unwrap();
        let span = Span::inclusive(VirtAddr(last - 0x2fff), VirtAddr(last)).unwrap();
        space.map_range(span, PhysAddr(0x3000), plain()).unwrap();
        assert_eq!(space.translate(VirtAddr(last)).unwrap().frame, PhysAddr(0x5000));
        assert_eq!(space.mappings(span).count(), 3);
        flushing(&mut space, |space, gather| {
            space.protect_range(span, Rights::READ | Rights::EXECUTE, gather).unwrap();
            let mut gone = 0;
            space.unmap_range(span, gather, |_| gone += 1).unwrap();
            assert_eq!(gone, 3);
        });
        let mut cursor = space.cursor(VirtAddr(last));
        cursor.map(PhysAddr(0), plain()).unwrap();
        assert_eq!(cursor.at().map(|at| at.0), last.checked_add(1));
        assert!(matches!(cursor.map(PhysAddr(0), plain()), Err(Error::NoSuchAddress(_))));
    }
    top::<X86_32>(0xffff_ffff);
    top::<X86Pae>(0xffff_ffff);
    top::<X86_64>(u64::MAX);
    top::<X86_64>(0x7fff_ffff_ffff);
    top::<X86_64La57>(u64::MAX);
}

/// Every verb that takes a span refuses this one, and changes nothing.
fn refused_everywhere(span: Span, error: Error) {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    for at in [0x5000, 0x7fff_ffff_f000, 0xffff_8000_0000_0000] {
        space.map(page(at), frame(0x9000), Attrs::DATA.with_used(true, true)).unwrap();
    }
    let before = host.picture();
    flushing(&mut space, |space, gather| {
        assert_eq!(space.map_range(span, PhysAddr(0), Attrs::DATA), Err(error));
        assert_eq!(space.map_frames(span, Attrs::DATA, |_, _| None), Err(error));
        assert_eq!(space.unmap_range(span, gather, |_| {}), Err(error));
        assert_eq!(space.protect_range(span, Rights::READ, gather), Err(error));
        assert_eq!(space.test_and_clear(span, Used::all(), gather, |_| {}), Err(error));
        assert_eq!(gather.stale().extent(), Extent::Nothing);
    });
    assert_eq!(before, host.picture());
}

#[test]
fn both_ends_of_a_span_are_looked_at() {
    let (half, end) = (0x0000_8000_0000_0000, 0xffff_8000_0000_0000);
    let span = |from, to| Span::inclusive(VirtAddr(from), VirtAddr(to)).unwrap();
    refused_everywhere(
        span(half - 0x1000, half + 0xfff),
        Error::NoSuchAddress(VirtAddr(half + 0xfff)),
    );
    refused_everywhere(
        span(end - 0x1000, end + 0xfff),
        Error::NoSuchAddress(VirtAddr(end - 0x1000)),
    );
    for (from, to) in [(0x5001, 0x5fff), (0x5000, 0x5ffe), (0x5800, 0x67ff)] {
        refused_everywhere(span(from, to), Error::BadSpan(span(from, to)));
    }
}

#[test]
fn a_piece_of_a_huge_page_is_protected_alone() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map_range(huge(0x20_0000).span(), PhysAddr(0x4000_0000), plain()).unwrap();
    flushing(&mut space, |space, gather| {
        space.protect(page(0x20_3000), Rights::READ, gather).unwrap();
        assert_eq!(gather.stale().spans(), [huge(0x20_0000).span()]);
        let two = Span::new(VirtAddr(0x20_5000), 0x2000).unwrap();
        space.protect_range(two, Rights::READ, gather).unwrap();
    });
    for number in 0..512 {
        let found = space.translate(VirtAddr(0x20_0000 + number * 0x1000)).unwrap();
        let expected = if [3, 5, 6].contains(&number) { Rights::READ } else { plain().rights };
        assert_eq!((found.effective, found.size_lg2), (expected, 12));
        assert_eq!(found.frame, PhysAddr(0x4000_0000 + number * 0x1000));
    }
}

/// What a CPU notes in a huge leaf after that was read, and before the smaller pages replace it.
#[test]
fn split_keeps_what_is_noted_meanwhile() {
    for (bits, used) in [(0x20, (true, false)), (0x40, (false, true)), (0x60, (true, true))] {
        let (memory, cell) = (&Memory::new(), RootCell::new());
        let host = Watch::new(memory);
        let mut space = space::<X86_64, _>(&host, &cell);
        space.map_range(huge(0x20_0000).span(), PhysAddr(0x4000_0000), plain()).unwrap();
        let leaf = oracle::translate::<X86_64>(memory, space.root().0, 0x20_0000).unwrap().leaf_at;
        host.at_table_made(move |_, _| {
            memory.set_bits(leaf, 3, bits);
        });
        flushing(&mut space, |space, gather| space.split(VirtAddr(0x20_0000), gather)).unwrap();
        for at in [0x20_0000, 0x20_7000, 0x3f_f000] {
            let attrs = space.translate(VirtAddr(at)).unwrap().attrs;
            assert_eq!((attrs.accessed, attrs.dirty), used);
        }
    }
}

#[test]
fn promote_keeps_a_dirty_bit_set_meanwhile() {
    let (memory, cell) = (&Memory::new(), RootCell::new());
    let host = Watch::new(memory);
    let mut space = space::<X86_64, _>(&host, &cell);
    let span = huge(0x20_0000).span();
    // By small pages, since a huge frame would make a huge page at once.
    let mut cursor = space.cursor(span.first());
    for number in 0..512 {
        cursor.map(PhysAddr(0x4000_0000 + number * 0x1000), Attrs::DATA).unwrap();
    }
    let leaf = oracle::translate::<X86_64>(memory, space.root().0, 0x20_7000).unwrap().leaf_at;
    // A CPU that still has the pointer to the old table sets D there, until it is told.
    host.at_shoot_down(move |_| {
        memory.set_bits(leaf, 3, 0x60);
    });
    space.promote(huge(0x20_0000)).unwrap();
    let found = space.translate(VirtAddr(0x20_0000)).unwrap();
    assert_eq!((found.size_lg2, found.attrs.accessed, found.attrs.dirty), (21, true, true));
    assert_eq!(memory.tables_in_use(), 3);
}

#[test]
fn promote_gives_no_rights_that_the_table_took_away() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    let span = huge(0x20_0000).span();
    space.map_range(span, PhysAddr(0x4000_0000), Attrs::new(USER)).unwrap();
    flushing(&mut space, |space, gather| space.split(span.first(), gather)).unwrap();
    // As an adopted tree may have it: the entry above forbids writing.
    let pmd = oracle::translate::<X86_64>(&host, space.root().0, 0x20_0000).unwrap();
    let above = host.in_use().into_iter().find(|&(_, (height, _))| height == 1).unwrap().0 + 8;
    assert_ne!(pmd.leaf_at, above);
    let was = host.clear_bits(above, 2);
    assert_ne!(was & 2, 0);
    let effective = space.translate(span.first()).unwrap().effective;
    assert_eq!(effective, Rights::READ | Rights::USER);
    space.promote(huge(0x20_0000)).unwrap();
    assert_eq!(space.translate(span.first()).unwrap().effective, effective);
}

#[test]
fn what_a_cpu_lacks_is_refused() {
    let limits = Limits {
        phys_bits: 36,
        largest_leaf_lg2: 21,
        no_execute: false,
        global: false,
        keys: false,
    };
    let (host, cell) = (Memory::new(), RootCell::new());
    let setup = Setup::new().limits(limits);
    let mut space = Space::<X86_64, _>::new(&host, &cell, setup).unwrap();
    let refused = [
        (Attrs::DATA, Feature::NoExecute),
        (plain().with_global(true), Feature::Global),
        (plain().with_key(3), Feature::Key(3)),
        (Attrs::new(Rights::EXECUTE), Feature::NoRead),
        (plain().with_software(1024), Feature::Software(1024)),
    ];
    for (attrs, feature) in refused {
        let result = space.map(page(0), frame(0), attrs);
        assert_eq!(result, Err(Error::Unsupported(feature)));
    }
    let gib = Page::<Size1GiB>::new(VirtAddr(0)).unwrap();
    let result = space.map(gib, Frame::new(PhysAddr(0)).unwrap(), plain());
    assert_eq!(result, Err(Error::Unsupported(Feature::PageSize(30))));
    flushing(&mut space, |space, gather| {
        let result = space.unmap(gib, gather).map(|_| ());
        assert_eq!(result, Err(Error::Unsupported(Feature::PageSize(30))));
    });
    let result = space.map(page(0), frame(1 << 36), plain());
    assert_eq!(result, Err(Error::TooWide { frame: PhysAddr(1 << 36), bits: 36 }));
    assert_eq!(host.tables_in_use(), 1);
    // A range takes the largest pages that there are.
    space.map_range(gib.span(), PhysAddr(0), plain()).unwrap();
    assert_eq!(space.translate(VirtAddr(0)).unwrap().size_lg2, 21);
    let result = flushing(&mut space, |space, gather| {
        space.protect(huge(0), Change::rights(Rights::READ), gather)
    });
    assert_eq!(result, Err(Error::Unsupported(Feature::NoExecute)));
}

/// A size between two that there are.
#[test]
fn a_page_size_of_another_mode_is_refused() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    let page = Page::<Size4MiB>::new(VirtAddr(0)).unwrap();
    flushing(&mut space, |space, gather| {
        let result = space.unmap(page, gather).map(|_| ());
        assert_eq!(result, Err(Error::Unsupported(Feature::PageSize(22))));
    });
}

/// A leaf of a size that the CPU does not have is none.
fn a_leaf_that_a_cpu_lacks<A: Arch>() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<A, _>(&host, &cell);
    let sizes = mapping_levels::<A>().into_iter().map(|level| level.span_lg2);
    for lg2 in sizes.clone() {
        let span = Span::new(VirtAddr(1 << lg2), 1 << lg2).unwrap();
        space.map_range(span, PhysAddr(1 << lg2), plain()).unwrap();
    }
    for largest_leaf_lg2 in sizes.clone() {
        let limits = Limits { largest_leaf_lg2, ..A::LIMITS };
        // SAFETY: it is the root of a tree that is not changed meanwhile.
        let view = unsafe { View::<A, _>::new(&host, space.root(), limits) }.unwrap();
        for lg2 in sizes.clone() {
            let found = view.translate(VirtAddr(1 << lg2)).map(|mapped| mapped.size_lg2);
            assert_eq!(found.ok(), (lg2 <= largest_leaf_lg2).then_some(lg2));
        }
    }
}
each_arch!(a_leaf_that_a_cpu_lacks);

/// An entry of the user's own goes as a whole, or not at all.
#[test]
fn a_piece_of_ones_own_entry_is_not_unmapped() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    flushing(&mut space, |space, gather| {
        space.exchange(huge(0x20_0000), 0, 0x2468, gather).unwrap();
        let refused = Err(Error::NonPresent { at: VirtAddr(0x20_1000), raw: 0x2468 });
        assert_eq!(space.unmap(page(0x20_1000), gather).map(|_| ()), refused);
        assert_eq!(space.unmap_range(page(0x20_1000).span(), gather, drop), refused);
        space.exchange(huge(0x20_0000), 0x2468, 0, gather).unwrap();
    });
}

/// Frames in a row of which the last ones are out of reach: the first of them is the one that is told.
#[test]
fn a_range_that_leaves_the_reach_of_entries() {
    let mut limits = X86_64::LIMITS;
    limits.phys_bits = 40;
    for (lg2, size) in [(12, 1 << 12), (21, 1 << 21)] {
        let (host, cell) = (Memory::new(), RootCell::new());
        let setup = Setup::new().limits(limits);
        let mut space = Space::<X86_64, _>::new(&host, &cell, setup).unwrap();
        let before = host.tables_in_use();
        for inside in [1, 7, 200] {
            let (start, first) = ((1 << 40) - inside * size, 1 << 30);
            let span = Span::new(VirtAddr(first), (inside + 1) * size).unwrap();
            let error = space.map_range(span, PhysAddr(start), plain());
            assert_eq!(error, Err(Error::TooWide { frame: PhysAddr(1 << 40), bits: 40 }), "{lg2}");
            assert_eq!(host.tables_in_use(), before);
            let span = Span::new(VirtAddr(first), inside * size).unwrap();
            space.map_range(span, PhysAddr(start), plain()).unwrap();
            let last = space.translate(VirtAddr(first + (inside - 1) * size)).unwrap();
            assert_eq!((last.size_lg2, last.frame), (lg2, PhysAddr((1 << 40) - size)));
            flushing(&mut space, |space, gather| space.unmap_range(span, gather, drop).unwrap());
        }
    }
}

/// A range that begins in a large page and ends in an entry of the user's own: neither is changed.
#[test]
fn a_range_that_ends_in_ones_own_entry_changes_nothing() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map_range(huge(0x20_0000).span(), PhysAddr(0x20_0000), plain()).unwrap();
    flushing(&mut space, |space, gather| {
        space.exchange(huge(0x40_0000), 0, 0x2468, gather).unwrap();
        let before = host.picture();
        let part = Span::new(VirtAddr(0x30_0000), 0x20_0000).unwrap();
        let refused = Err(Error::NonPresent { at: VirtAddr(0x4f_f000), raw: 0x2468 });
        assert_eq!(space.protect_range(part, Rights::READ, gather), refused);
        assert_eq!(host.picture(), before);
    });
}
