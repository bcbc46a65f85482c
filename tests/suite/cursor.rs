//! A cursor does what the space does, wherever it comes from and whatever it remembers.

use crate::common::memory::Memory;
use crate::common::x86::{USER, flushing, frame, page, space};
use crate::common::{plain, upper_half};
use pgtable::arch::x86::X86_64;
use pgtable::{
    Attrs, Cursor, Error, Extent, Gather, PhysAddr, Rights, RootCell, Setup, Space, Used, VirtAddr,
};

type Of<'s, 'r, 'm> = Cursor<'s, 'r, X86_64, &'m Memory>;

/// A space with pages of the kernel at 0x5000 and 0x6000, both used.
fn two_pages<'r, 'm>(host: &'m Memory, cell: &'r RootCell) -> Space<'r, X86_64, &'m Memory> {
    let mut space = space::<X86_64, _>(host, cell);
    for at in [0x5000, 0x6000] {
        space.map(page(at), frame(at), Attrs::DATA.with_used(true, true)).unwrap();
    }
    space
}

#[test]
fn a_table_that_is_gone_is_not_remembered() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = two_pages(&host, &cell);
    flushing(&mut space, |space, gather| {
        let mut cursor = space.cursor(VirtAddr(0x5000));
        let _ = (cursor.unmap(gather).unwrap(), cursor.unmap(gather).unwrap());
        cursor.seek(VirtAddr(0x6000));
        cursor.map(PhysAddr(0x9000), Attrs::DATA).unwrap();
        assert_eq!(gather.tables(), 3);
    });
    assert_eq!(space.translate(VirtAddr(0x6000)).unwrap().frame, PhysAddr(0x9000));
    assert_eq!(host.tables_in_use(), 4);
}

#[test]
fn a_table_of_other_addresses_is_not_used() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = two_pages(&host, &cell);
    let mut cursor = space.cursor(VirtAddr(0x7000));
    for at in [0x7000, 0x20_7000, 0x4000_7000, 0x8000] {
        cursor.seek(VirtAddr(at));
        cursor.map(PhysAddr(at), Attrs::DATA).unwrap();
    }
    for at in [0x5000, 0x6000, 0x7000, 0x8000, 0x20_7000, 0x4000_7000] {
        assert_eq!(space.translate(VirtAddr(at)).unwrap().frame, PhysAddr(at));
    }
}

/// Runs a step at 0x6000 with a cursor that remembers its table, which lets no user mode through.
fn widening(step: fn(&mut Of<'_, '_, '_>, &mut Gather<'_>) -> Result<(), Error>, at: u64) {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = two_pages(&host, &cell);
    flushing(&mut space, |space, gather| {
        let mut cursor = space.cursor(VirtAddr(at));
        assert_eq!(cursor.translate().is_ok(), at == 0x6000);
        step(&mut cursor, gather).unwrap();
        // The table is remembered from before; what is above it is not.
        cursor.seek(VirtAddr(at));
        assert_eq!(cursor.translate().unwrap().effective, USER);
    });
    assert_eq!(space.translate(VirtAddr(at)).unwrap().effective, USER);
}

#[test]
fn rights_above_are_widened_and_seen() {
    widening(|cursor, _| cursor.map(PhysAddr(0x9000), Attrs::new(USER)), 0x7000);
    widening(|cursor, gather| cursor.protect(USER, gather), 0x6000);
}

#[test]
fn a_gather_of_another_space_is_refused() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let [mut one, mut two] = [&cells[0], &cells[1]].map(|cell| two_pages(&host, cell));
    Gather::scope(|mut gather| {
        let _ = one.unmap(page(0x5000), &mut gather).unwrap();
        let before = host.picture();
        let mut cursor = two.cursor(VirtAddr(0x5000));
        let refused = Error::OtherGather;
        assert_eq!(cursor.unmap(&mut gather).map(drop), Err(refused));
        assert_eq!(cursor.protect(Rights::READ, &mut gather), Err(refused));
        assert_eq!(cursor.test_and_clear(Used::all(), &mut gather), Err(refused));
        assert_eq!(cursor.at(), Some(VirtAddr(0x5000)));
        assert_eq!(before, host.picture());
    });
}

/// Every step is refused, and the cursor stays.
fn refused_at(space: &mut Space<'_, X86_64, &Memory>, at: VirtAddr, error: Error) {
    flushing(space, |space, gather| {
        let mut cursor = space.cursor(at);
        assert_eq!(cursor.map(PhysAddr(0), plain()), Err(error));
        assert_eq!(cursor.unmap(gather).map(drop), Err(error));
        assert_eq!(cursor.protect(Rights::READ, gather), Err(error));
        assert_eq!(cursor.test_and_clear(Used::all(), gather), Err(error));
        assert_eq!(cursor.at(), Some(at));
        assert_eq!(gather.stale().extent(), Extent::Nothing);
    });
}

#[test]
fn where_a_cursor_may_not_go() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let own = Setup::new().kernel(upper_half::<X86_64>());
    let mut kernel = Space::<X86_64, _>::new(&host, &cells[0], own).unwrap();
    let top = page(0xffff_8000_0000_5000);
    kernel.map(top, frame(0x9000), plain().with_used(true, true)).unwrap();
    let guest = Setup::new().sharing(kernel.kernel_half().unwrap()).self_map(3);
    let mut guest = Space::<X86_64, _>::new(&host, &cells[1], guest).unwrap();
    let before = host.picture();
    let hole = VirtAddr(0x8000_0000_0000);
    refused_at(&mut guest, hole, Error::NoSuchAddress(hole));
    let at = VirtAddr(3 << 39);
    refused_at(&mut guest, at, Error::SelfMap { at });
    let at = top.start();
    refused_at(&mut guest, at, Error::Shared { at });
    assert_eq!(before, host.picture());
}

#[test]
fn frames_of_a_cursor_are_pages() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = two_pages(&host, &cell);
    let before = host.picture();
    for at in [VirtAddr(0x7000), VirtAddr(1 << 40)] {
        let given = PhysAddr(0x9010);
        let error = space.cursor(at).map(given, plain());
        assert_eq!(error, Err(Error::BadFrame { at, frame: Some(given) }));
    }
    assert_eq!(before, host.picture());
}
