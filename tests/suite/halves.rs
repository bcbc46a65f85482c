//! Where one half of an address space ends, and what of the kernel's half is another space's business.

use crate::common::memory::Memory;
use crate::common::watch::Watch;
use crate::common::x86::{flushing, frame, page, space};
use crate::common::{plain, upper_half};
use pgtable::arch::x86::X86_64;
use pgtable::{
    Arch, Error, Feature, Limits, Names, PhysAddr, Placement, RootCell, Setup, Space, Span, View,
    VirtAddr,
};

/// What the kernel's half may hold, a space that shares it must be able to read.
#[test]
fn a_guest_can_what_its_kernel_can() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let own = Setup::new().kernel(upper_half::<X86_64>());
    let kernel = Space::<X86_64, _>::new(&host, &cells[0], own).unwrap();
    assert_eq!(host.tables_in_use(), 1 + 256, "a root, and a table for each entry of the half");
    let less = [
        (
            Limits { largest_leaf_lg2: 21, ..X86_64::LIMITS },
            Some(Error::Unsupported(Feature::PageSize(30))),
        ),
        (
            Limits { no_execute: false, ..X86_64::LIMITS },
            Some(Error::Unsupported(Feature::NoExecute)),
        ),
        (
            Limits { phys_bits: 40, ..X86_64::LIMITS },
            Some(Error::TooWide { frame: PhysAddr((1 << 52) - 1), bits: 40 }),
        ),
        (X86_64::LIMITS, None),
    ];
    for (limits, lacking) in less {
        let setup = Setup::new().sharing(kernel.kernel_half().unwrap()).limits(limits);
        let guest = Space::<X86_64, _>::new(&host, &cells[1], setup).map(|_| ());
        assert_eq!(guest.err(), lacking);
    }
}

/// Tables of the kernel's half may go between two steps of an iterator of another space.
#[test]
fn an_iterator_keeps_no_table_of_the_kernels() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let own = Setup::new().kernel(upper_half::<X86_64>());
    let mut kernel = Space::<X86_64, _>::new(&host, &cells[0], own).unwrap();
    let span = Span::new(VirtAddr(0xffff_8000_0000_0000), 0x4000).unwrap();
    kernel.map_range(span, PhysAddr(0x9000), plain()).unwrap();
    let setup = Setup::new().sharing(kernel.kernel_half().unwrap());
    let guest = Space::<X86_64, _>::new(&host, &cells[1], setup).unwrap();
    let mut mappings = guest.mappings(span);
    assert_eq!(mappings.next().unwrap().unwrap().span().first(), span.first());
    flushing(&mut kernel, |kernel, gather| kernel.unmap_range(span, gather, drop).unwrap());
    assert!(mappings.next().is_none());
}

/// Right after the highest address of the lower half there is none, also where the entry is that of the
/// upper half.
#[test]
fn the_first_address_that_is_none() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0xffff_8000_0000_0000), frame(0x9000), plain()).unwrap();
    let at = VirtAddr(0x8000_0000_0000);
    let none = Error::NoSuchAddress(at);
    assert_eq!(space.translate(at), Err(none));
    assert_eq!(space.map(page(at.0 + 0x1000), frame(0xa000), plain()).map_err(drop), Err(()));
    flushing(&mut space, |space, gather| {
        assert_eq!(space.unmap(page(at.0), gather).map(|_| ()), Err(none));
        assert_eq!(space.cursor(at).unmap(gather).map(|_| ()), Err(none));
    });
}

/// A self-map is another way to every table, and no name of any.
#[test]
fn a_frame_is_not_found_through_a_self_map() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let own = Setup::new().kernel(upper_half::<X86_64>()).self_map(1);
    let mut kernel = Space::<X86_64, _>::new(&host, &cell, own).unwrap();
    kernel.map(page(2 << 39), frame(0x9000), plain()).unwrap();
    for &table in host.in_use().keys() {
        let table = PhysAddr(table);
        // SAFETY: nobody changes the tree meanwhile.
        let found = unsafe { View::<X86_64, _>::find_frame(&&host, table, X86_64::LIMITS) };
        let (_, found) = found.unwrap().unwrap();
        assert_eq!(kernel.enter().delimbo(found.at, found.height), Ok(table));
    }
}

/// A table of a guest is looked for under all names, but not in the kernel's half: the kernel may be
/// changing that.
#[test]
fn names_are_not_looked_for_in_the_kernels_half() {
    let (memory, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let host = Watch::new(&memory);
    let own = Setup::new().kernel(upper_half::<X86_64>());
    let kernel = Space::<X86_64, _>::new(&host, &cells[0], own).unwrap();
    let theirs = PhysAddr(memory.read(kernel.root().0 + 8 * 256, 3) & !0xfff);
    let setup = Setup::new().sharing(kernel.kernel_half().unwrap()).names(Names::Aliased);
    let mut guest = Space::<X86_64, _>::new(&host, &cells[1], setup).unwrap();
    guest.map(page(0x1000), frame(0x9000), plain()).unwrap();
    host.lost.set(Some(theirs));
    let mut session = guest.enter();
    assert!(session.migrate_table(VirtAddr(0x1000), 0, |_| Placement::Anywhere).unwrap().is_some());
    assert_eq!(session.leave().tables_freed(), 1);
}
