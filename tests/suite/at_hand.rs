//! A space keeps the table that the last verb for a base page came to. It does what one that keeps
//! nothing would, whatever happens to that table in between.

use crate::common::memory::Memory;
use crate::common::oracle::{self, Hit};
use crate::common::x86::{USER, flushing, frame, huge, page, space};
use crate::common::{plain, upper_half};
use pgtable::arch::x86::{X86_32, X86_64};
use pgtable::{
    Arch, Attrs, Change, Error, Frame, Gather, MemoryType, Names, PhysAddr, Placement, Rights,
    RootCell, Setup, Space, Span, VirtAddr,
};

type Of<'r, 'm> = Space<'r, X86_64, &'m Memory>;

const AT: u64 = 0x4000_5000;

/// What the MMU finds.
fn hit(memory: &Memory, space: &Of<'_, '_>, at: u64) -> Option<Hit> {
    oracle::translate::<X86_64>(memory, space.root().0, at)
}

/// A space whose last verb came to the table for `AT`.
fn near<'r, 'm>(memory: &'m Memory, cell: &'r RootCell) -> Of<'r, 'm> {
    let mut space = space::<X86_64, _>(memory, cell);
    // The first one makes the table, the second one comes to it.
    space.map(page(AT), frame(0x9000), Attrs::DATA).unwrap();
    space.map(page(AT + 0x1000), frame(0xa000), Attrs::DATA).unwrap();
    space
}

/// All that takes the table away, or puts another one in its place: then the next page that is mapped
/// there is one that the MMU finds.
#[test]
fn a_table_that_went_is_not_written_to() {
    let table = Span::new(VirtAddr(AT & !0x1f_ffff), 0x20_0000).unwrap();
    let ways: [fn(&mut Of<'_, '_>, Span); 6] = [
        |space, table| {
            flushing(space, |space, gather| space.unmap_range(table, gather, drop).unwrap());
        },
        |space, _| {
            flushing(space, |space, gather| {
                let _ = space.unmap(page(AT), gather).unwrap();
                let _ = space.unmap(page(AT + 0x1000), gather).unwrap();
            });
        },
        |space, _| {
            flushing(space, |space, gather| {
                let mut cursor = space.cursor(VirtAddr(AT));
                let _ = (cursor.unmap(gather).unwrap(), cursor.unmap(gather).unwrap());
            });
        },
        |space, _| {
            flushing(space, |space, gather| {
                space.exchange(page(AT), 0x8000_0000_0000_9003, 0, gather).unwrap();
                space.exchange(page(AT + 0x1000), 0x8000_0000_0000_a003, 0, gather).unwrap();
            });
        },
        |space, _| {
            let mut session = space.enter();
            session.migrate_pmd_entry(VirtAddr(AT), |_| Placement::Anywhere).unwrap().unwrap();
            session.leave();
        },
        |space, table| {
            flushing(space, |space, gather| space.unmap_range(table, gather, drop).unwrap());
            space.map_range(table, PhysAddr(0x40_0000), Attrs::DATA).unwrap();
            flushing(space, |space, gather| space.split(table.first(), gather).unwrap());
            space.promote(huge(table.first().0)).unwrap();
            flushing(space, |space, gather| {
                let _ = space.unmap(page(AT + 0x2000), gather).unwrap();
            });
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let (memory, cell) = (Memory::new(), RootCell::new());
        let mut space = near(&memory, &cell);
        way(&mut space, table);
        space.map(page(AT + 0x2000), frame(0x7000), Attrs::DATA).unwrap();
        assert_eq!(hit(&memory, &space, AT + 0x2000).unwrap().phys, 0x7000, "way {number}");
        assert!(space.tear_down().is_ok());
        assert_eq!(memory.tables_in_use(), 0, "way {number}");
    }
}

/// A cursor that took the last page of a table goes on in a new one.
#[test]
fn a_cursor_goes_on_past_a_table_that_went() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let mut space = near(&memory, &cell);
    flushing(&mut space, |space, gather| {
        let mut cursor = space.cursor(VirtAddr(AT));
        let _ = (cursor.unmap(gather).unwrap(), cursor.unmap(gather).unwrap());
        cursor.map(PhysAddr(0x7000), Attrs::DATA).unwrap();
        assert_eq!(gather.tables(), 3);
    });
    assert_eq!(hit(&memory, &space, AT + 0x2000).unwrap().phys, 0x7000);
}

/// A root that has tables of the lowest level below it, and a copy of itself in limbo.
#[test]
fn a_root_that_was_moved_is_changed_in_both_places() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_32, _>(&memory, &cell);
    space.map(page(0x5000), frame(0x9000), Attrs::ALL).unwrap();
    let old = space.root().0;
    let mut session = space.enter();
    session.migrate_root(|_| Placement::Anywhere).unwrap().unwrap();
    session.suspend();
    space.map(page(0x40_5000), frame(0xa000), Attrs::ALL).unwrap();
    for root in [old, space.root().0] {
        assert_eq!(oracle::translate::<X86_32>(&memory, root, 0x40_5000).unwrap().phys, 0xa000);
    }
}

/// While a table has a copy in limbo, pages come and go in both.
#[test]
fn a_table_that_was_moved_is_changed_in_both_places() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let mut space = near(&memory, &cell);
    let (old, index) = (hit(&memory, &space, AT).unwrap().leaf_at & !0xfff, 8 * (AT >> 12 & 511));
    let mut session = space.enter();
    session.migrate_pmd_entry(VirtAddr(AT), |_| Placement::Anywhere).unwrap().unwrap();
    session.suspend();
    for step in 2..5 {
        space.map(page(AT + (step << 12)), frame(0x7000), Attrs::DATA).unwrap();
        assert_eq!(memory.read(old + index + 8 * step, 3) & 1, 1);
    }
    memory.set_bits(old + index, 3, 0x40);
    flushing(&mut space, |space, gather| {
        let gone = space.unmap(page(AT), gather).unwrap().page().unwrap();
        assert!(gone.attrs.dirty);
        let _ = space.unmap(page(AT + 0x2000), gather).unwrap();
    });
    assert_eq!((memory.read(old + index, 3), memory.read(old + index + 16, 3)), (0, 0));
}

/// Tables on the way that keep user mode out are opened for a page that lets it in.
#[test]
fn a_way_that_is_closed_to_user_mode_is_opened() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let mut space = near(&memory, &cell);
    space.map(page(AT + 0x2000), frame(0x7000), Attrs::DATA.user()).unwrap();
    let found = hit(&memory, &space, AT + 0x2000).unwrap();
    assert!(found.user && found.writable);
    // From here on it is open, and stays so for those that do not need it.
    space.map(page(AT + 0x3000), frame(0x7000), Attrs::DATA).unwrap();
    space.map(page(AT + 0x4000), frame(0x7000), Attrs::DATA.user()).unwrap();
    assert!(!hit(&memory, &space, AT + 0x3000).unwrap().user);
    assert!(hit(&memory, &space, AT + 0x4000).unwrap().user);
    // By hand as well, where the tables are missing.
    flushing(&mut space, |space, gather| {
        space.exchange(page(AT << 4), 0, 0x7007, gather).unwrap();
    });
    assert!(hit(&memory, &space, AT << 4).unwrap().user);
}

/// What cannot be mapped is refused with the table at hand as without it, and nothing is changed.
#[test]
fn refusals_are_the_same() {
    let mut limits = X86_64::LIMITS;
    (limits.no_execute, limits.global, limits.keys, limits.phys_bits) = (false, false, false, 40);
    let (memory, cell) = (Memory::new(), RootCell::new());
    let setup = Setup::new().limits(limits);
    let mut space = Space::<X86_64, _>::new(&memory, &cell, setup).unwrap();
    let all = Attrs::new(USER | Rights::EXECUTE);
    let mut refused = |at: u64, nth: usize| {
        let (frame, wide) = (frame(0x9000), Frame::new(PhysAddr(1 << 40)).unwrap());
        let bad = [
            space.map(page(at), wide, all),
            space.map(page(at), frame, Attrs::DATA),
            space.map(page(at), frame, all.with_global(true)),
            space.map(page(at), frame, all.with_key(3)),
            space.map(page(at), frame, all.with_software(0x8000)),
        ];
        assert!(space.translate(VirtAddr(at)).is_err());
        assert_eq!(bad.iter().filter(|bad| bad.is_err()).count(), 5, "{nth}: {bad:?}");
        space.map(page(at), frame, all).unwrap();
        bad
    };
    assert_eq!(refused(AT, 0), refused(AT + 0x1000, 1));
    let occupied = space.map(page(AT), frame(0x7000), all);
    assert!(matches!(occupied, Err(Error::Occupied { at: VirtAddr(AT), .. })));
    let memory_type = Attrs::new(all.rights).with_memory(MemoryType::new(5).unwrap());
    space.map(page(AT + 0x2000), frame(0x7000), memory_type).unwrap();
    assert_eq!(space.translate(VirtAddr(AT + 0x2000)).unwrap().attrs, memory_type);
}

/// Global pages are told as such, one by one, whatever is at hand.
#[test]
fn global_pages_are_stale_everywhere() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let mut space = near(&memory, &cell);
    let global = Attrs::DATA.with_global(true);
    space.map(page(AT + 0x2000), frame(0x7000), global).unwrap();
    flushing(&mut space, |space, gather| {
        let _ = space.unmap(page(AT), gather).unwrap();
        assert!(!gather.stale().global());
        let _ = space.unmap(page(AT + 0x2000), gather).unwrap();
        assert!(gather.stale().global());
    });
    let told = memory.stale().pop().unwrap();
    assert_eq!((told.global(), told.space()), (true, None));
}

/// Addresses that are nobody's, or others', are refused when the tables next to them are at hand.
#[test]
fn what_is_next_to_forbidden_addresses() {
    let (memory, cells) = (Memory::new(), [const { RootCell::new() }; 3]);
    let own = Setup::new().kernel(upper_half::<X86_64>());
    let mut kernel = Space::<X86_64, _>::new(&memory, &cells[0], own).unwrap();
    let half = kernel.kernel_half().unwrap();
    let setup = Setup::new().sharing(half);
    let mut guest = Space::<X86_64, _>::new(&memory, &cells[1], setup.self_map(5)).unwrap();
    let mut other = Space::<X86_64, _>::new(&memory, &cells[2], setup).unwrap();
    let (low, high) = (0x7fff_ffff_e000, 0xffff_8000_0000_0000);
    for _ in 0..2 {
        assert_eq!(
            guest.map(page(low + 0x2000), frame(0x9000), plain()),
            Err(Error::NoSuchAddress(VirtAddr(low + 0x2000)))
        );
        assert_eq!(
            guest.map(page(high), frame(0x9000), plain()),
            Err(Error::Shared { at: VirtAddr(high) })
        );
        let mapped = 5 << 39;
        for at in [mapped, mapped + (1 << 39) - 0x1000] {
            assert_eq!(
                guest.map(page(at), frame(0x9000), plain()),
                Err(Error::SelfMap { at: VirtAddr(at) })
            );
            assert_eq!(guest.translate(VirtAddr(at)), Err(Error::SelfMap { at: VirtAddr(at) }));
        }
        guest.map(page(mapped - 0x1000), frame(0x9000), plain()).unwrap();
        guest.map(page(mapped + (1 << 39)), frame(0x9000), plain()).unwrap();
        guest.map(page(low), frame(0x9000), plain()).unwrap();
        kernel.map(page(high), frame(0x9000), plain()).unwrap();
        assert!(guest.translate(VirtAddr(high)).is_ok());
        // Also where tables are, by the entry of the root that both addresses come to.
        for at in [high + 0x1000, high & ((1 << 48) - 1)] {
            guest.map(page(at), frame(0x9000), plain()).unwrap_err();
            other.map(page(at), frame(0x9000), plain()).unwrap_err();
            assert!(kernel.translate(VirtAddr(high + 0x1000)).is_err());
        }
        flushing(&mut guest, |guest, gather| {
            for at in [mapped - 0x1000, mapped + (1 << 39), low] {
                let _ = guest.unmap(page(at), gather).unwrap();
            }
            assert!(matches!(guest.unmap(page(high), gather), Err(Error::Shared { .. })));
        });
        flushing(&mut kernel, |kernel, gather| kernel.unmap(page(high), gather).map(drop)).unwrap();
    }
}

/// A gather of another space is refused, also where a page of the same address was just gone.
#[test]
fn another_gather_is_refused() {
    let (memory, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let (mut one, mut other) = (near(&memory, &cells[0]), near(&memory, &cells[1]));
    Gather::scope(|mut gather| {
        let _ = one.unmap(page(AT), &mut gather).unwrap();
        assert_eq!(other.unmap(page(AT), &mut gather).map(drop), Err(Error::OtherGather));
        assert_eq!(other.unmap(page(AT + 0x1000), &mut gather).map(drop), Err(Error::OtherGather));
        let change = Change::rights(Rights::READ);
        let refused = other.protect(page(AT + 0x1000), change, &mut gather);
        assert_eq!(refused, Err(Error::OtherGather));
        let _ = one.finish(gather).unwrap();
    });
    assert!(other.translate(VirtAddr(AT)).is_ok());
}

/// Where the table of the lowest level hangs in the root, and where tables have other names.
#[test]
fn small_and_aliased_trees() {
    let (memory, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let mut small = space::<X86_32, _>(&memory, &cells[0]);
    for at in [0x40_5000, 0x40_6000, 0x80_5000] {
        small.map(page(at), frame(at), Attrs::ALL).unwrap();
    }
    for at in [0x40_5000, 0x40_6000, 0x80_5000] {
        assert_eq!(oracle::translate::<X86_32>(&memory, small.root().0, at).unwrap().phys, at);
    }
    let root = near(&memory, &cells[1]).release().map_err(|(_, error)| error).unwrap();
    let names = Setup::new().names(Names::Aliased);
    // SAFETY: the tree was made for this host, and given up.
    let mut aliased =
        unsafe { Space::<X86_64, _>::adopt(&memory, &cells[1], root, names) }.unwrap();
    flushing(&mut aliased, |aliased, gather| {
        let _ = aliased.unmap(page(AT), gather).unwrap();
        assert_eq!(gather.stale().extent(), pgtable::Extent::Everything);
        let _ = aliased.unmap(page(AT + 0x1000), gather).unwrap();
    });
    assert!(aliased.tear_down().is_ok());
}
