//! What must never happen, one test for each: every one fails when its guard is taken out. (Failing
//! allocations are in `failing.rs`, several names and the kernel half in `shared.rs`.)

use crate::common::memory::Memory;
use crate::common::watch::Watch;
use crate::common::x86::{USER, flushing, frame, huge, page, space};
use crate::common::{Done, oracle, plain};
use pgtable::arch::x86::{X86_32, X86_64, X86Pae};
use pgtable::{
    Arch, Attrs, Error, Extent, Format, Found, Frame, Gather, Host, PhysAddr, Rights, RootCell,
    Setup, Space, Span, Used, VirtAddr, Word,
};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[test]
fn a_huge_leaf_is_no_table() {
    // The frame of the leaf lies where tables are, and looks like one.
    let (host, cell) = (Memory::with(0x20_0000, 4 << 20, false), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(huge(0x4000_0000), Frame::new(PhysAddr(0x20_0000)).unwrap(), Attrs::DATA).unwrap();
    let leaf = Found::Leaf { frame: PhysAddr(0x20_0000), size_lg2: 21 };
    let at = VirtAddr(0x4000_3000);
    let error = space.map(page(at.0), frame(0x9000), Attrs::DATA);
    assert_eq!(error, Err(Error::Occupied { at, found: leaf }));
    assert_eq!(space.mappings(Span::ALL).count(), 1);
    space.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.tables_in_use(), 0);
}

/// A CPU writes to a page all the time, while it is mapped, protected, scanned and unmapped. Each
/// time that the CPU changed D from 0 to 1, some verb has reported a dirty page: no more, no less.
fn used_bits_survive<A: Arch>(table_lg2: u8) {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<A, _>(&host, &cell);
    let pages = Span::new(VirtAddr(1 << 30), 0x4000).unwrap();
    // Something that stays, so that the table does as well.
    let beside = Span::new(VirtAddr((1 << 30) + 0x8000), 0x1000).unwrap();
    space.map_range(beside, PhysAddr(0), plain()).unwrap();
    let leaf = oracle::translate::<A>(&host, space.root().0, beside.first().0).unwrap().leaf_at;
    let leaf = leaf - (8 << table_lg2);
    let (began, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (mut reported, read) = (0u64, Rights::READ | Rights::EXECUTE);
    let set = AtomicU64::new(0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                // As the MMU does: only where the entry is present, in one step.
                let was = host.set_bits_if_present(leaf, table_lg2, 0x60);
                let changed = was.is_some_and(|was| was & 0x40 == 0);
                set.fetch_add(changed.into(), Ordering::SeqCst);
                began.store(true, Ordering::SeqCst);
            }
        });
        let _end = Done(&done);
        while !began.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        let mut rounds = 0;
        while rounds < 3000 || set.load(Ordering::SeqCst) < 500 {
            rounds += 1;
            space.map_range(pages, PhysAddr(0), plain()).unwrap();
            flushing(&mut space, |space, gather| {
                for rights in [read, plain().rights, read, plain().rights] {
                    space.protect_range(pages, rights, gather).unwrap();
                    space.test_and_clear(pages, Used::DIRTY, gather, |_| reported += 1).unwrap();
                }
                let report = |gone: pgtable::Gone<'_>| {
                    reported += u64::from(gone.page().is_some_and(|page| page.attrs.dirty));
                };
                space.unmap_range(pages, gather, report).unwrap();
            });
        }
    });
    let set = set.into_inner();
    assert_eq!(set, reported, "dirty bits were lost, or made up");
}

#[test]
fn a_used_bit_set_in_between_is_not_lost() {
    used_bits_survive::<X86_64>(3);
    used_bits_survive::<X86_32>(2);
    used_bits_survive::<X86Pae>(3);
}

#[test]
fn nothing_is_freed_before_the_shootdown() {
    let (memory, cell, told) = (&Memory::new(), RootCell::new(), &Cell::new(0));
    let host = Watch::new(memory);
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x5000), frame(0x9000), Attrs::DATA).unwrap();
    let root = space.root();
    // At the shootdown the tables are unlinked, and still there.
    host.at_shoot_down(move |stale| {
        assert_eq!(memory.tables_in_use(), 4);
        assert_eq!(memory.read(root.0, 3), 0);
        assert_eq!((stale.extent(), stale.tables()), (Extent::Spans, true));
        assert_eq!(stale.spans(), [page(0x5000).span()]);
        told.set(told.get() + 1);
    });
    Gather::scope(|mut gather| {
        let gone = space.unmap(page(0x5000), &mut gather).unwrap().page().unwrap();
        assert_eq!((gather.tables(), told.get()), (3, 0));
        let flushed = space.finish(gather).unwrap();
        assert_eq!((told.get(), memory.tables_in_use()), (1, 1));
        assert_eq!(gone.open(&flushed), PhysAddr(0x9000));
    });
}

#[test]
fn a_gather_dropped_unfinished_frees_nothing() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x5000), frame(0x9000), Attrs::DATA).unwrap();
    Gather::scope(|mut gather| {
        let _ = space.unmap(page(0x5000), &mut gather).unwrap();
        drop(gather);
    });
    assert_eq!((host.tables_in_use(), host.stale().len()), (4, 0));
}

#[test]
fn a_full_gather_is_flushed_and_goes_on() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    let pages: Vec<_> = (0..150).map(|number| page(number << 21)).collect();
    for &page in &pages {
        space.map(page, frame(0x9000), Attrs::DATA).unwrap();
    }
    flushing(&mut space, |space, gather| {
        for &page in &pages {
            let _ = space.unmap(page, gather).unwrap();
        }
        assert_eq!(host.stale().len(), 150 / Gather::MAX_TABLES);
        // 150 spans apart from each other are too many to tell.
        assert_eq!(gather.stale().extent(), Extent::Spans);
    });
    assert_eq!(host.tables_in_use(), 1);
    let extents: Vec<_> = host.stale().iter().map(|stale| stale.extent()).collect();
    assert_eq!(extents, [Extent::Everything, Extent::Everything, Extent::Spans]);
}

#[test]
fn pae_roots_and_their_entries() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let other_cell = RootCell::new();
    let mut space = space::<X86Pae, _>(&host, &cell);
    let other = Space::<X86Pae, _>::new(&host, &other_cell, Setup::new()).unwrap();
    assert_eq!(space.root().0 >> 12, other.root().0 >> 12, "two roots in one page");
    assert_eq!((space.root().0 % 32, host.in_use()[&space.root().0]), (0, (2, 5)));

    space.map(page(0x5000), frame(0x9000), Attrs::new(USER)).unwrap();
    // An entry that was not present is not looked for until CR3 is loaded.
    let told = host.stale();
    assert_eq!((told.len(), told[0].extent()), (1, Extent::Root));
    space.map(page(0x6000), frame(0xa000), Attrs::new(USER)).unwrap();
    assert_eq!(host.stale().len(), 1, "not-present to present needs no flush elsewhere");
    let entry = host.read(space.root().0, 3);
    assert_eq!(entry & 0xfff0_0000_0000_01fe, 0, "reserved bits of {entry:#x}");
    flushing(&mut space, |space, gather| {
        space.unmap_range(Span::new(VirtAddr(0x5000), 0x2000).unwrap(), gather, |_| {}).unwrap();
    });
    assert_eq!(host.stale()[1].extent(), Extent::Root, "a page directory is gone");
    assert_eq!(host.read(space.root().0, 3), 0);
    drop(other);
}

#[test]
fn pae_roots_lie_below_4_gib() {
    struct High<'a>(&'a Memory, Cell<Option<pgtable::Request>>);
    // SAFETY: all but the first request go to a host that keeps the contract.
    unsafe impl Host for High<'_> {
        fn allocate(&self, request: &pgtable::Request) -> Option<PhysAddr> {
            self.1.set(Some(*request));
            self.0.allocate(request)
        }
        unsafe fn free(&self, table: PhysAddr, height: u8, size_lg2: u8) {
            // SAFETY: as promised by the caller.
            unsafe { self.0.free(table, height, size_lg2) };
        }
        fn reach(&self, table: PhysAddr, size_lg2: u8) -> Option<std::ptr::NonNull<u8>> {
            self.0.reach(table, size_lg2)
        }
        fn shoot_down(&self, _: &pgtable::Stale) {}
    }
    let memory = Memory::with(1 << 32, 1 << 20, false);
    let (host, cell) = (High(&memory, Cell::new(None)), RootCell::new());
    let result = Space::<X86Pae, _>::new(&host, &cell, Setup::new());
    let request = host.1.get().unwrap();
    assert_eq!((request.highest.0, request.size_lg2), (0xffff_ffff, 5));
    assert!(matches!(result, Err(Error::BadTable { table: PhysAddr(0x1_0000_0000), .. })));
    assert_eq!(memory.tables_in_use(), 0);
    // Without PAE, every table lies there.
    let result = Space::<X86_32, _>::new(&host, &cell, Setup::new());
    assert!(matches!(result, Err(Error::BadTable { .. })));
}

/// Words of 64 bits are written by one access, on 32-bit CPUs, too: this does not compile with two.
const fn at_once<W: Word<Atomic = AtomicU64>>() {}
const _: () = at_once::<<<X86Pae as Arch>::Format as Format>::Word>();
const _: () = at_once::<<<X86_64 as Arch>::Format as Format>::Word>();

#[test]
fn no_entry_is_ever_half_written() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86Pae, _>(&host, &cell);
    let low = Attrs::new(USER);
    let high = Attrs::new(USER | Rights::EXECUTE).with_used(true, true);
    space.map(page(0x5000), frame(0x9000), low).unwrap();
    let leaf = oracle::translate::<X86Pae>(&host, space.root().0, 0x5000).unwrap().leaf_at;
    let first = host.read(leaf, 3);
    let second = (first & 0xfff) | 0x60 | 0x000f_8765_4321_0000;
    assert_ne!(first >> 32, second >> 32);
    let (done, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let mut mixed = 0u64;
            while !done.load(Ordering::Relaxed) {
                let word = host.read(leaf, 3);
                seen.fetch_add(1, Ordering::Relaxed);
                mixed += u64::from(![0, first, second].contains(&word));
            }
            mixed
        });
        let end = Done(&done);
        flushing(&mut space, |space, gather| {
            // On a busy machine the reader may not be there for a while.
            while seen.load(Ordering::Relaxed) < 200_000 {
                for _ in 0..1000 {
                    space.exchange(page(0x5000), first, second, gather).unwrap();
                    space.exchange(page(0x5000), second, first, gather).unwrap();
                }
            }
        });
        drop(end);
        assert_eq!(reader.join().unwrap(), 0, "of {seen:?} reads");
    });
    assert!(high.dirty);
}

#[test]
fn tables_are_zeroed_before_they_are_linked() {
    let (memory, cell, made) = (&Memory::new(), RootCell::new(), &Cell::new(0));
    let host = Watch::new(memory);
    host.at_table_made(|table, _| {
        let words: Vec<_> = (0..512).map(|word| memory.read(table.0 + word * 8, 3)).collect();
        assert!(words.iter().all(|word| *word == 0 || word & 1 == 1), "garbage in {table}");
        made.set(made.get() + 1);
    });
    let mut space = space::<X86_64, _>(&host, &cell);
    let root = space.root();
    host.at_table_made(move |table, height| {
        assert_eq!(memory.read(root.0, 3) & 1, 0, "linked before the table at {table} was made");
        assert!(height < 3);
        let words: Vec<_> = (0..512).map(|word| memory.read(table.0 + word * 8, 3)).collect();
        assert_eq!(words.iter().filter(|word| **word != 0).count(), 1, "one entry each");
        made.set(made.get() + 1);
    });
    space.map(page(0x5000), frame(0x9000), Attrs::DATA).unwrap();
    assert_eq!(made.get(), 4);
}

#[test]
fn rights_above_are_widened_last() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x5000), frame(0x9000), Attrs::DATA).unwrap();
    let before = host.picture();
    // Occupied; and no memory for the second table of two.
    space.map(page(0x5000), frame(0xa000), Attrs::new(USER)).unwrap_err();
    assert_eq!(before, host.picture());
    host.fail_after(Some(1));
    space.map(page(1 << 30), frame(0xa000), Attrs::new(USER)).unwrap_err();
    // The same of ranges that begin in a table that is there.
    let attrs = Attrs::new(USER);
    let mut refused = |at, bytes| {
        let span = Span::new(VirtAddr(at), bytes).unwrap();
        space.map_range(span, PhysAddr(0xb000), attrs).unwrap_err();
        assert_eq!(before, host.picture());
    };
    host.fail_after(Some(0));
    refused(0x1f_f000, 0x2000);
    host.fail_after(None);
    refused(0x4000, 0x2000);
    assert_eq!(before, host.picture());
    // Then it works, and the tables let user mode through.
    space.map(page(0x6000), frame(0xa000), Attrs::new(USER)).unwrap();
    assert_eq!(space.translate(VirtAddr(0x6000)).unwrap().effective, USER);
    let kernels = space.translate(VirtAddr(0x5000)).unwrap();
    assert_eq!(kernels.effective, Rights::READ | Rights::WRITE, "the leaf itself says no");
    flushing(&mut space, |space, gather| {
        space.map(page(2 << 30), frame(0xa000), Attrs::DATA).unwrap();
        space.protect(page(2 << 30), USER, gather).unwrap();
    });
    assert_eq!(space.translate(VirtAddr(2 << 30)).unwrap().effective, USER);
}
