//! The counts that a host keeps for tables are those of used entries, whatever was done; and with the
//! last of them a table goes.

use crate::common::memory::Memory;
use crate::common::x86::{flushing, frame, page, space};
use crate::common::{mapping_levels, plain};
use pgtable::arch::x86::X86_64;
use pgtable::{
    Arch, Attrs, Format, Host, PhysAddr, Placement, RootCell, Setup, Space, Span, VirtAddr, Word,
};
use std::sync::atomic::Ordering;

fn counting() -> Memory {
    Memory::with(0x10_0000, 4 << 20, true)
}

/// Compares each count with the table.
fn check<A: Arch>(memory: &Memory) {
    let word_lg2 = <A::Format as Format>::Word::BYTES_LG2;
    let in_use = memory.in_use();
    for &table in memory.hooked().keys() {
        let words = (0..1u64 << (in_use[&table].1 - word_lg2)).map(|index| index << word_lg2);
        let used = words.filter(|offset| memory.read(table + offset, word_lg2) != 0).count();
        let count = memory.count(PhysAddr(table)).unwrap().load(Ordering::Relaxed);
        assert_eq!(usize::from(count), used, "{table:#x}");
    }
}

fn at<A: Arch>(number: u64) -> VirtAddr {
    VirtAddr(number << <A::Format as Format>::PAGE_LG2)
}

fn pages<A: Arch>(number: u64, count: u64) -> Span {
    Span::new(at::<A>(number), at::<A>(count).0).unwrap()
}

/// The second page of the largest size.
fn largest<A: Arch>() -> Span {
    let size = 1 << mapping_levels::<A>().last().unwrap().span_lg2;
    Span::new(VirtAddr(size), size).unwrap()
}

fn counts_are_those_of_used_entries<A: Arch>() {
    let (host, cell) = (counting(), RootCell::new());
    let mut space = Space::<A, _>::new(&host, &cell, Setup::new()).unwrap();
    let steps: [fn(&mut Space<'_, A, &Memory>); 10] = [
        |space| space.map_range(pages::<A>(0, 3), PhysAddr(0), plain()).unwrap(),
        |space| space.cursor(at::<A>(3)).map(PhysAddr(0), plain()).unwrap(),
        |space| {
            flushing(space, |space, gather| {
                let _ = space.cursor(at::<A>(1)).unmap(gather).unwrap();
            });
        },
        |space| {
            flushing(space, |space, gather| {
                space.unmap_range(pages::<A>(0, 1), gather, drop).unwrap();
            });
        },
        |space| space.map_range(largest::<A>(), PhysAddr(0), plain()).unwrap(),
        |space| {
            flushing(space, |space, gather| space.split(largest::<A>().first(), gather).unwrap());
        },
        |space| {
            let mut session = space.enter();
            session.migrate_space(|_| Placement::Anywhere).unwrap();
            session.leave();
        },
        |space| {
            flushing(space, |space, gather| {
                let _ = space.cursor(at::<A>(2)).unmap(gather).unwrap();
            });
        },
        |space| {
            flushing(space, |space, gather| {
                space.unmap_range(largest::<A>(), gather, drop).unwrap();
            });
        },
        |space| {
            flushing(space, |space, gather| {
                let _ = space.cursor(at::<A>(3)).unmap(gather).unwrap();
            });
        },
    ];
    for step in steps {
        step(&mut space);
        check::<A>(&host);
    }
    assert_eq!(host.tables_in_use(), 1, "the root");
}
each_arch!(counts_are_those_of_used_entries);

/// The same where the table is at hand.
#[test]
fn a_table_at_hand_goes_with_its_last_page() {
    let (host, cell) = (counting(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    for number in 1..4 {
        space.map(page(number << 12), frame(number << 12), Attrs::DATA).unwrap();
        check::<X86_64>(&host);
    }
    for number in 1..4 {
        assert_eq!(host.tables_in_use(), 4);
        flushing(&mut space, |space, gather| {
            let _ = space.unmap(page(number << 12), gather).unwrap();
        });
        check::<X86_64>(&host);
    }
    assert_eq!(host.tables_in_use(), 1);
}

/// The same for entries of the user's own.
#[test]
fn exchanged_entries_are_counted() {
    let (host, cell) = (counting(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x1000), frame(0x1000), Attrs::DATA).unwrap();
    for (was, raw) in [(0, 0x2468), (0x2468, 0x246a), (0x246a, 0)] {
        flushing(&mut space, |space, gather| {
            space.exchange(page(0x2000), was, raw, gather).unwrap();
        });
        check::<X86_64>(&host);
    }
}

/// Adopted tables are counted anew.
#[test]
fn adopted_tables_are_counted() {
    let (host, cells) = (counting(), [const { RootCell::new() }; 2]);
    let mut space = space::<X86_64, _>(&host, &cells[0]);
    space.map_range(pages::<X86_64>(1, 3), PhysAddr(0), Attrs::DATA).unwrap();
    let root = space.release().map_err(|(_, error)| error).unwrap();
    for &table in host.hooked().keys() {
        host.count(PhysAddr(table)).unwrap().store(77, Ordering::Relaxed);
    }
    // SAFETY: it is a tree that its space gave up.
    let _space =
        unsafe { Space::<X86_64, _>::adopt(&host, &cells[1], root, Setup::new()) }.unwrap();
    check::<X86_64>(&host);
}
