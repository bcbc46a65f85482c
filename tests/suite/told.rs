//! What the host is told, and when: what is stale and for whom, tables that go, reader sections.

use crate::common::memory::Memory;
use crate::common::watch::Watch;
use crate::common::x86::{flushing, frame, huge, page, space};
use crate::common::{plain, upper_half};
use pgtable::arch::x86::{X86_32, X86_64, X86Pae};
use pgtable::{
    Attrs, Extent, Gather, PhysAddr, Placement, Rights, RootCell, Setup, Space, Span, Stale,
    VirtAddr,
};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A kernel whose shootdown panics has not been told: nothing is freed, and what is stale stays so.
#[test]
fn a_shootdown_that_panics_is_not_done() {
    let (memory, cell) = (&Memory::new(), RootCell::new());
    let host = Watch::new(memory);
    let mut space = space::<X86_64, _>(&host, &cell);
    let pages: Vec<_> = (0..Gather::MAX_TABLES as u64).map(|number| page(number << 21)).collect();
    for &page in &pages {
        space.map(page, frame(0x9000), Attrs::DATA).unwrap();
    }
    let tables = memory.tables_in_use();
    Gather::scope(|mut gather| {
        host.at_shoot_down(|_| panic!("no CPU answers"));
        let unmap_all = || pages.iter().for_each(|&page| drop(space.unmap(page, &mut gather)));
        catch_unwind(AssertUnwindSafe(unmap_all)).unwrap_err();
        assert_ne!(gather.stale().extent(), Extent::Nothing);
        assert!(gather.stale().tables());
        assert_eq!((gather.tables(), memory.tables_in_use()), (Gather::MAX_TABLES, tables));
        host.at_shoot_down(|_| {});
        let _ = space.finish(gather).unwrap();
    });
    assert_eq!(memory.tables_in_use(), tables - Gather::MAX_TABLES);
}

/// Only the kernel's tables can go while another space reads them.
#[test]
fn kernel_tables_are_read_in_a_reader_section() {
    let (memory, cells) = (&Memory::new(), [const { RootCell::new() }; 2]);
    let host = Watch::new(memory);
    let own = Setup::new().kernel(upper_half::<X86_64>());
    let mut kernel = Space::<X86_64, _>::new(&host, &cells[0], own).unwrap();
    let top = page(0xffff_8000_0000_5000);
    kernel.map(top, frame(0x9000), plain()).unwrap();
    let half = kernel.kernel_half().unwrap();
    let mut guest = Space::<X86_64, _>::new(&host, &cells[1], Setup::new().sharing(half)).unwrap();
    guest.map(page(0x5000), frame(0x9000), plain()).unwrap();
    let sections = |look: &mut dyn FnMut() -> bool| {
        let before = host.sections.get();
        assert!(look());
        host.sections.get() - before
    };
    assert_eq!(sections(&mut || guest.translate(top.start()).is_ok()), 1);
    assert_eq!(sections(&mut || guest.cursor(top.start()).translate().is_ok()), 1);
    assert_ne!(sections(&mut || guest.mappings(half.span()).count() == 1), 0);
    assert_eq!(sections(&mut || guest.translate(VirtAddr(0x5000)).is_ok()), 0);
    assert_eq!(sections(&mut || kernel.translate(top.start()).is_ok()), 0);
}

/// A kernel's tree that was adopted with its half empty: a page directory that comes into use there
/// is put into every root, and CPUs of every space have to load their roots again.
#[test]
fn a_page_directory_that_all_spaces_get() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let root = space::<X86Pae, _>(&host, &cells[0]).release().map_err(|(_, error)| error).unwrap();
    let own = Setup::new().kernel(upper_half::<X86Pae>());
    // SAFETY: the tree was made for this host, and given up.
    let kernel = unsafe { Space::<X86Pae, _>::adopt(&host, &cells[0], root, own) };
    let mut kernel = kernel.unwrap();
    let half = Setup::new().sharing(kernel.kernel_half().unwrap());
    let guest = Space::<X86Pae, _>::new(&host, &cells[1], half).unwrap();
    let top = page(0xc000_5000);
    kernel.map(top, frame(0x9000), plain()).unwrap();
    assert!(guest.translate(top.start()).is_ok());
    let told = host.stale();
    assert_eq!((told.len(), told[0].extent(), told[0].space()), (1, Extent::Root, None));
    // It stays when it is empty: no root has to follow again.
    flushing(&mut kernel, |kernel, gather| kernel.unmap(top, gather).map(drop)).unwrap();
    let entries = [&kernel, &guest].map(|space| host.read(space.root().0 + 3 * 8, 3));
    assert!(entries[0] == entries[1] && entries[0] & 1 == 1);
    assert_eq!(host.stale()[1].extent(), Extent::Spans);
    let _ = (guest.tear_down().map_err(|(_, error)| error), kernel.tear_down());
    assert_eq!(host.tables_in_use(), 0);
}

/// What one space and every space must drop, together, every space must: in whichever order.
#[test]
fn two_scopes_are_the_wider_one() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let own = Setup::new().kernel(upper_half::<X86_64>());
    let mut kernel = Space::<X86_64, _>::new(&host, &cell, own).unwrap();
    let (low, top) = (page(0x5000), page(0xffff_8000_0000_5000));
    for order in [[low, top], [top, low], [low, low]] {
        flushing(&mut kernel, |kernel, gather| {
            for page in order {
                let _ = kernel.exchange(page, 0, 0x9003, gather);
                let _ = kernel.unmap(page, gather).unwrap();
            }
        });
        let stale = host.stale().pop().unwrap();
        let every = order.contains(&top);
        let expected = if every { None } else { Some(kernel.id()) };
        assert_eq!((stale.space(), stale.global()), (expected, every));
    }
}

/// Past what it can hold, everything is stale, and no span says that only that is.
#[test]
fn too_many_spans_are_everything() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    let pages: Vec<_> = (0..=Stale::MAX_SPANS as u64).map(|number| page(number << 13)).collect();
    for &page in &pages {
        space.map(page, frame(0x9000), plain()).unwrap();
    }
    flushing(&mut space, |space, gather| {
        for (count, &page) in pages.iter().enumerate() {
            assert_eq!(gather.stale().spans().len(), count);
            space.protect(page, Rights::READ | Rights::EXECUTE, gather).unwrap();
        }
        assert_eq!(gather.stale().extent(), Extent::Everything);
        assert!(gather.stale().spans().is_empty());
        space.protect(pages[0], plain().rights, gather).unwrap();
        assert_eq!(gather.stale().extent(), Extent::Everything);
        assert!(gather.stale().spans().is_empty());
    });
    assert_eq!(host.stale().pop().unwrap().extent(), Extent::Everything);
}

/// What a CPU holds of a global page outlives a flush of its space, in any table that has moved.
#[test]
fn a_table_of_global_pages_moves() {
    for global in [false, true] {
        let (memory, cell) = (Memory::new(), RootCell::new());
        let mut space = space::<X86_64, _>(&memory, &cell);
        space.map(page(0x5000), frame(0x9000), plain()).unwrap();
        space.map(page(0x6000), frame(0xa000), plain().with_global(global)).unwrap();
        let mut session = space.enter();
        session.migrate_table(VirtAddr(0), 0, |_| Placement::Anywhere).unwrap().unwrap();
        session.leave();
        let expected = if global { None } else { Some(space.id()) };
        let told: Vec<_> = memory.stale().iter().map(|s| (s.space(), s.global())).collect();
        assert_eq!(told, [(expected, global)]);
    }
}

/// Global pages elsewhere in the space do not count.
#[test]
fn a_table_beside_global_pages_moves() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&memory, &cell);
    space.map(page(0x5000), frame(0x9000), plain()).unwrap();
    space.map(page(2 << 20), frame(0xa000), plain().with_global(true)).unwrap();
    let mut session = space.enter();
    session.migrate_table(VirtAddr(0), 0, |_| Placement::Anywhere).unwrap().unwrap();
    session.leave();
    let told: Vec<_> = memory.stale().iter().map(|s| (s.space(), s.global())).collect();
    assert_eq!(told, [(Some(space.id()), false)]);
}

/// Where roots have leaves, one that shares the kernel's half has, or gets before the batch ends, global
/// ones that its own space is not told of.
#[test]
fn a_root_that_may_have_the_kernels_global_pages_moves() {
    for early in [false, true] {
        let (memory, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
        let half = upper_half::<X86_32>();
        let own = Setup::new().kernel(half);
        let mut kernel = Space::<X86_32, _>::new(&memory, &cells[0], own).unwrap();
        let sharing = Setup::new().sharing(kernel.kernel_half().unwrap());
        let mut guest = Space::<X86_32, _>::new(&memory, &cells[1], sharing).unwrap();
        let span = Span::new(half.first(), 4 << 20).unwrap();
        let mut map = || kernel.map_range(span, PhysAddr(0), plain().with_global(true)).unwrap();
        if early {
            map();
        }
        let mut session = guest.enter();
        session.migrate_root(|_| Placement::Anywhere).unwrap().unwrap();
        if !early {
            map();
        }
        session.leave();
        let told: Vec<_> = memory.stale().iter().map(|s| (s.space(), s.global())).collect();
        assert_eq!(told, [(None, true)]);
    }
}

/// A global page that is mapped while a copy of its table is in limbo is in the copy, too.
#[test]
fn a_global_page_is_mapped_before_a_batch_ends() {
    for (global, size_lg2) in [(false, 12), (true, 12), (true, 21)] {
        let (memory, cell) = (Memory::new(), RootCell::new());
        let mut space = space::<X86_64, _>(&memory, &cell);
        space.map(page(0x5000), frame(0x9000), plain()).unwrap();
        let mut session = space.enter();
        let height = u8::from(size_lg2 != 12);
        session.migrate_table(VirtAddr(0), height, |_| Placement::Anywhere).unwrap().unwrap();
        let attrs = plain().with_global(global);
        match size_lg2 {
            12 => session.map(page(0x6000), frame(0xa000), attrs).unwrap(),
            _ => session
                .map(huge(2 << 20), pgtable::Frame::new(PhysAddr(0)).unwrap(), attrs)
                .unwrap(),
        }
        session.leave();
        let told: Vec<_> = memory.stale().iter().map(|s| s.global()).collect();
        assert_eq!(told, [global]);
    }
}

/// Promote makes a shootdown of its own, and says for which space.
#[test]
fn promote_tells_of_its_space() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map_range(huge(0).span(), PhysAddr(0x20_0000), plain()).unwrap();
    flushing(&mut space, |space, gather| space.split(VirtAddr(0), gather).unwrap());
    let before = host.stale().len();
    space.promote(huge(0)).unwrap();
    let told = host.stale().split_off(before);
    assert!(!told.is_empty() && told.iter().all(|stale| stale.space() == Some(space.id())));
}

/// A cursor does not keep a table that went while the host panicked.
#[test]
fn a_cursor_forgets_what_went_in_a_panic() {
    let (memory, cell) = (&Memory::new(), RootCell::new());
    let host = Watch::new(memory);
    let mut space = space::<X86_64, _>(&host, &cell);
    let pages = Gather::MAX_TABLES as u64;
    for number in 0..pages {
        space.map(page(number << 21), frame(0x9000), Attrs::DATA).unwrap();
    }
    space.map(page(0x1000), frame(0x9000), Attrs::DATA).unwrap();
    Gather::scope(|mut gather| {
        for number in 1..pages {
            let _ = space.unmap(page(number << 21), &mut gather).unwrap();
        }
        let mut cursor = space.cursor(VirtAddr(0));
        // From here on it has the table.
        let _ = cursor.unmap(&mut gather).unwrap();
        host.at_shoot_down(|_| panic!("no CPU answers"));
        let unmap = || drop(cursor.unmap(&mut gather));
        catch_unwind(AssertUnwindSafe(unmap)).unwrap_err();
        host.at_shoot_down(|_| {});
        cursor.map(PhysAddr(0x7000), Attrs::DATA).unwrap();
        let _ = space.finish(gather).unwrap();
    });
    assert_eq!(space.translate(VirtAddr(0x1000)).unwrap().frame, PhysAddr(0x7000));
}

/// The last page there is and the first one are two, in whichever order they go.
#[test]
fn pages_at_both_ends() {
    let ends = [!0xfff, 0, 0x1000];
    for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]] {
        let (host, cell) = (Memory::new(), RootCell::new());
        let mut space = space::<X86_64, _>(&host, &cell);
        for at in ends {
            space.map(page(at), frame(0x9000), plain()).unwrap();
        }
        flushing(&mut space, |space, gather| {
            for at in order.map(|nth: usize| ends[nth]) {
                let _ = space.unmap(page(at), gather).unwrap();
                assert!(gather.stale().spans().iter().any(|span| span.contains(VirtAddr(at))));
            }
        });
        let told = host.stale().pop().unwrap();
        let has = |at| told.spans().iter().any(|span| span.contains(VirtAddr(at)));
        assert!(ends.into_iter().all(has) && !has(0x2000) && !has(!0xfff - 1), "{told:?}");
    }
}

proptest! {
    /// What goes page by page is stale, all of it and (while there is room) nothing else, whatever
    /// the order, and whatever was stale before.
    #[test]
    fn each_page_that_goes_is_stale(
        order in prop::collection::vec((0..24u64, any::<bool>(), 0..4u8), 1..24),
    ) {
        let (host, cell) = (Memory::with(0x10_0000, 1 << 20, false), RootCell::new());
        let mut space = space::<X86_64, _>(&host, &cell);
        let (mut gone, mut any_global) = (std::collections::BTreeSet::new(), false);
        flushing(&mut space, |space, gather| {
            for (number, global, verb) in order {
                let at = number << 12;
                let attrs = plain().with_global(global && verb == 3);
                let _ = space.map(page(at), frame(0x9000), attrs);
                any_global |= space.translate(VirtAddr(at)).unwrap().attrs.global;
                match verb {
                    0 => space.protect(page(at), plain().rights, gather).unwrap(),
                    1 => space.unmap_range(page(at).span(), gather, drop).unwrap(),
                    2 => {
                        // A few pages that end with this one.
                        let first = VirtAddr(number.saturating_sub(3) << 12);
                        for number in first.0 >> 12..number {
                            let _ = space.map(page(number << 12), frame(0x9000), plain());
                            gone.insert(number << 12);
                        }
                        let few = Span::inclusive(first, VirtAddr(at + 0xfff)).unwrap();
                        space.protect_range(few, plain().rights, gather).unwrap();
                    }
                    _ => drop(space.unmap(page(at), gather).unwrap()),
                }
                gone.insert(at);
                let stale = gather.stale();
                assert_eq!(stale.extent(), Extent::Spans);
                for number in 0..25 {
                    let has = stale.spans().iter().any(|span| span.contains(VirtAddr(number << 12)));
                    assert_eq!(has, gone.contains(&(number << 12)), "{number} {stale:?}");
                }
                assert_eq!(stale.global(), any_global);
            }
        });
    }
}

/// A span that ends where the last one did, and begins before it.
#[test]
fn a_span_around_the_last_one_is_told() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    let span = Span::new(VirtAddr(0x5000), 0x3000).unwrap();
    space.map_range(span, PhysAddr(0x9000), plain()).unwrap();
    flushing(&mut space, |space, gather| {
        space.protect(page(0x7000), Rights::READ, gather).unwrap();
        space.protect_range(span, Rights::READ, gather).unwrap();
    });
    let stale = host.stale().pop().unwrap();
    assert!(stale.spans().iter().any(|stale| stale.covers(span)));
}

/// Pages one after the other, from the table that is at hand.
#[test]
fn pages_that_follow_each_other_are_told() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    let span = Span::new(VirtAddr(0x5000), 0x3000).unwrap();
    space.map_range(span, PhysAddr(0x9000), plain()).unwrap();
    space.map(page(0x8000), frame(0x8000), plain()).unwrap();
    flushing(&mut space, |space, gather| {
        for at in [0x5000, 0x6000, 0x7000] {
            let _ = space.unmap(page(at), gather).unwrap();
        }
    });
    let stale = host.stale().pop().unwrap();
    assert!(stale.spans().iter().any(|stale| stale.covers(span)));
}
