//! Small differences: what is left alone beside what is changed, and answers that could be a little more.

use crate::common::memory::Memory;
use crate::common::x86::{USER, flushing, frame, huge, page, space};
use crate::common::{oracle, plain, upper_half};
use pgtable::arch::x86::X86_64;
use pgtable::{
    Arch, Attrs, Error, Found, Frame, Host, Names, PhysAddr, Placement, Request, Rights, RootCell,
    Setup, Space, Span, Stale, Step, Used, View, VirtAddr, Visited,
};
use std::cell::Cell;
use std::ptr::NonNull;

/// An entry of the user's own, which is not present.
const OWN: u64 = 0x2466;

/// Where nothing is, nothing is exchanged, and no table is made for nothing.
#[test]
fn an_exchange_where_there_is_no_table() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    flushing(&mut space, |space, gather| {
        for raw in [0, OWN] {
            let result = space.exchange(page(0x5000), OWN, raw, gather);
            assert_eq!(result, Err(Error::Changed { at: VirtAddr(0x5000), raw: 0 }));
        }
        assert_eq!(space.exchange(page(0x5000), 0, 0, gather), Ok(0));
    });
    assert_eq!(host.tables_in_use(), 1);
}

/// What is not present is stale nowhere, and needs no rights.
#[test]
fn an_exchange_tells_what_was_present() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x5000), frame(0x9000), Attrs::new(Rights::READ)).unwrap();
    let leaf = oracle::translate::<X86_64>(&host, space.root().0, 0x5000).unwrap().leaf_at;
    let names = || {
        let tables = host.in_use().into_iter().filter(|&(_, (height, _))| height != 0);
        tables.map(|(table, _)| host.read(table, 3)).collect::<Vec<_>>()
    };
    let (before, raw) = (names(), host.read(leaf, 3));
    flushing(&mut space, |space, gather| space.exchange(page(0x6000), 0, OWN, gather).unwrap());
    assert_eq!((host.stale().len(), names()), (0, before));
    flushing(&mut space, |space, gather| space.exchange(page(0x5000), raw, OWN, gather).unwrap());
    let stale = host.stale();
    assert_eq!(stale.len(), 1);
    assert!(stale[0].spans().iter().any(|span| span.contains(VirtAddr(0x5000))));
}

/// Of an entry that stands in two places it tells what was there, and no more.
#[test]
fn an_exchange_in_limbo_tells_what_was_there() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x5000), frame(0x9000), plain()).unwrap();
    let mut session = space.enter();
    let moved = session.migrate_table(VirtAddr(0), 0, |_| Placement::Anywhere).unwrap().unwrap();
    let raw = host.read(moved.to.0 + 8 * 5, 3);
    let result =
        flushing(&mut session, |space, gather| space.exchange(page(0x5000), raw, OWN, gather));
    assert_eq!(result, Ok(raw));
}

/// A table that is there does not keep a range from a page of its own size.
#[test]
fn a_range_takes_large_pages_beside_small_ones() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0), frame(0), plain()).unwrap();
    let span = Span::new(VirtAddr(0x20_0000), 0x40_0000).unwrap();
    space.map_range(span, PhysAddr(0x20_0000), plain()).unwrap();
    for at in [0x20_0000, 0x40_0000] {
        assert_eq!(space.translate(VirtAddr(at)).unwrap().size_lg2, 21);
    }
}

/// Where a frame is aligned for a large page, its address may not be.
#[test]
fn a_range_takes_large_pages_where_both_are_aligned() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    let span = Span::new(VirtAddr(0x30_0000), 0x40_0000).unwrap();
    space.map_range(span, PhysAddr(0x20_0000), plain()).unwrap();
    for (at, frame) in [(0x30_0000, 0x20_0000), (0x50_0000, 0x40_0000)] {
        let found = space.translate(VirtAddr(at)).unwrap();
        assert_eq!((found.size_lg2, found.frame), (12, PhysAddr(frame)));
    }
    assert!(space.translate(VirtAddr(0x20_0000)).is_err());
}

fn promotable<'r, 'm>(host: &'m Memory, cell: &'r RootCell) -> Space<'r, X86_64, &'m Memory> {
    let mut space = space::<X86_64, _>(host, cell);
    for number in 0..512 {
        let attrs = Attrs::DATA.with_used(number == 5, number == 6);
        space
            .map(page(0x20_0000 + (number << 12)), frame(0x40_0000 + (number << 12)), attrs)
            .unwrap();
    }
    space
}

/// What one small page has seen, the large one has.
#[test]
fn promotion_joins_what_was_used() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = promotable(&host, &cell);
    space.promote(huge(0x20_0000)).unwrap();
    let attrs = space.translate(VirtAddr(0x20_0000)).unwrap().attrs;
    assert!(attrs.accessed && attrs.dirty);
}

/// One frame, or one attribute, that is another one is enough.
#[test]
fn promotion_wants_all_pages_alike() {
    let others = [(frame(0x9000), Attrs::DATA), (frame(0x40_3000), plain())];
    for (other, attrs) in others {
        let (host, cell) = (Memory::new(), RootCell::new());
        let mut space = promotable(&host, &cell);
        let at = page(0x20_3000);
        flushing(&mut space, |space, gather| {
            let _ = space.unmap(at, gather).unwrap();
        });
        space.map(at, other, attrs).unwrap();
        let refused = Err(Error::NotOnePage { at: at.start() });
        assert_eq!(space.promote(huge(0x20_0000)), refused);
    }
}

/// Of a range some pages of which are global, the shootdown says so.
#[test]
fn a_range_that_was_global_is_stale_everywhere() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    let span = Span::new(VirtAddr(0x5000), 0x8000).unwrap();
    space.map_range(span, PhysAddr(0x9000), plain().with_global(true)).unwrap();
    flushing(&mut space, |space, gather| space.protect_range(span, Rights::READ, gather).unwrap());
    assert!(host.stale().pop().unwrap().global());
}

#[test]
fn a_large_page_that_is_small_ones_is_not_changed() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    // The second one leaves their table at hand.
    space.map(page(0x20_1000), frame(0x8000), plain()).unwrap();
    space.map(page(0x20_0000), frame(0x9000), plain()).unwrap();
    let before = host.picture();
    flushing(&mut space, |space, gather| {
        let result = space.unmap(huge(0x20_0000), gather).map(|_| ());
        let table = matches!(result, Err(Error::Occupied { found: Found::Table { .. }, .. }));
        assert!(table, "{result:?}");
        let result = space.protect(huge(0x20_0000), Rights::READ, gather);
        let table = matches!(result, Err(Error::Occupied { found: Found::Table { .. }, .. }));
        assert!(table, "{result:?}");
    });
    assert_eq!(host.picture(), before);
}

/// A range passes over what is no page; a page that is none is told.
#[test]
fn entries_of_ones_own_are_passed_over() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x5000), frame(0x9000), plain()).unwrap();
    let span = Span::new(VirtAddr(0x4000), 0x3000).unwrap();
    flushing(&mut space, |space, gather| {
        space.exchange(page(0x4000), 0, OWN, gather).unwrap();
        space.protect_range(span, Rights::READ, gather).unwrap();
    });
    assert_eq!(space.translate(VirtAddr(0x5000)).unwrap().attrs.rights, Rights::READ);
}

/// A scan shows those pages of which a bit was set, and no other.
#[test]
fn a_scan_shows_what_was_used() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    for (number, used) in [(0, false), (1, true), (2, false)] {
        let attrs = plain().with_used(used, false);
        space.map(page(number << 12), frame(number << 12), attrs).unwrap();
    }
    let mut shown = Vec::new();
    flushing(&mut space, |space, gather| {
        let span = Span::new(VirtAddr(0), 0x3000).unwrap();
        space.test_and_clear(span, Used::all(), gather, |page| shown.push(page.at)).unwrap();
    });
    assert_eq!(shown, [VirtAddr(0x1000)]);
}

/// What cannot be split is told.
#[test]
fn what_is_no_large_page_is_not_split() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x5000), frame(0x9000), plain()).unwrap();
    flushing(&mut space, |space, gather| {
        let found = Found::Leaf { frame: PhysAddr(0x9000), size_lg2: 12 };
        let small = Err(Error::Occupied { at: VirtAddr(0x5000), found });
        assert_eq!(space.split(VirtAddr(0x5000), gather), small);
        let none = Err(Error::NotMapped { at: VirtAddr(0x6000), size_lg2: 12 });
        assert_eq!(space.split(VirtAddr(0x6000), gather), none);
    });
}

/// A table with two names is freed once.
#[test]
fn an_aliased_tree_is_torn_down() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let mut space = space::<X86_64, _>(&host, &cells[0]);
    space.map(page(0x5000), Frame::new(PhysAddr(0)).unwrap(), Attrs::new(USER)).unwrap();
    let root = space.release().map_err(|(_, error)| error).unwrap();
    host.set_bits(root.0 + 8, 3, host.read(root.0, 3));
    let setup = Setup::new().names(Names::Aliased);
    // SAFETY: it is a tree that its space gave up, with a second name for one table.
    let space = unsafe { Space::<X86_64, _>::adopt(&host, &cells[1], root, setup) }.unwrap();
    assert!(space.tear_down().is_ok());
    assert_eq!(host.tables_in_use(), 0);
}

/// A cursor that takes a last page, which is global, is at a table no more.
#[test]
fn a_cursor_goes_on_past_a_global_page() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    flushing(&mut space, |space, gather| {
        let mut cursor = space.cursor(VirtAddr(0x5000));
        cursor.map(PhysAddr(0x8000), plain()).unwrap();
        cursor.map(PhysAddr(0x9000), plain().with_global(true)).unwrap();
        cursor.seek(VirtAddr(0x5000));
        let _ = (cursor.unmap(gather).unwrap(), cursor.unmap(gather).unwrap());
        cursor.map(PhysAddr(0xa000), plain()).unwrap();
    });
    let found = oracle::translate::<X86_64>(&host, space.root().0, 0x7000).unwrap();
    assert_eq!(found.phys, 0xa000);
}

/// Each table of an aliased tree gets what was noted in its own old copy.
#[test]
fn each_old_copy_is_merged_where_names_are_many() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let setup = Setup::new().names(Names::Aliased);
    let mut space = Space::<X86_64, _>::new(&host, &cell, setup).unwrap();
    let pages = [0, 1, 2].map(|number| VirtAddr(number << 21));
    for at in pages {
        space.map(page(at.0), frame(0x9000 + at.0), plain()).unwrap();
    }
    let mut session = space.enter();
    for at in pages {
        let moved = session.migrate_table(at, 0, |_| Placement::Anywhere).unwrap().unwrap();
        host.set_bits(moved.from.0, 3, 0x20);
    }
    session.leave();
    for at in pages {
        assert!(space.translate(at).unwrap().attrs.accessed, "{at}");
    }
}

/// A host that does not know where frames are is believed whatever node was asked for.
#[test]
fn a_host_without_nodes() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    for node in [0, 1] {
        let mut session = space.enter();
        let moved = session.migrate_root(|table| {
            assert_eq!(table.node, None);
            Placement::Node(node)
        });
        assert!(moved.unwrap().is_some());
    }
}

/// A walk shows all entries, empty ones too, and each before what is below it.
#[test]
fn a_visit_shows_every_entry() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x1000), frame(0x9000), plain()).unwrap();
    let mut shown = Vec::new();
    let span = Span::new(VirtAddr(0), 0x3000).unwrap();
    let visit = |visited: &Visited| {
        shown.push((visited.level.height, visited.index, visited.raw != 0));
        Step::Into
    };
    space.view().visit(span, visit).unwrap();
    let above = [3, 2, 1].map(|height| (height, 0, true));
    assert_eq!(shown[..3], above);
    assert_eq!(shown[3..], [(0, 0, false), (0, 1, true), (0, 2, false)]);
}

/// Who only looks at a tree knows of no copy in limbo, and needs none.
#[test]
fn a_view_of_a_tree_in_limbo() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x1000), frame(0x9000), plain()).unwrap();
    let mut session = space.enter();
    session.migrate_space(|_| Placement::Anywhere).unwrap();
    session.suspend();
    // SAFETY: it is the root of a tree that is not changed meanwhile.
    let view = unsafe { View::<X86_64, _>::new(&host, space.root(), X86_64::LIMITS) }.unwrap();
    assert_eq!(view.translate(VirtAddr(0x1000)).unwrap().frame, PhysAddr(0x9000));
}

/// A host with nothing that a host need not have: no list of roots, too. A frame that is free names a
/// table in every word, as one that is in use again may.
struct Bare(Memory, Cell<PhysAddr>);

impl Bare {
    fn new() -> Self {
        Self(Memory::new(), Cell::new(PhysAddr(0)))
    }
}

// SAFETY: it does what memory does, and writes to what nobody uses.
unsafe impl Host for Bare {
    fn allocate(&self, request: &Request) -> Option<PhysAddr> {
        self.0.allocate(request)
    }
    unsafe fn free(&self, table: PhysAddr, height: u8, size_lg2: u8) {
        // SAFETY: as the caller promises.
        unsafe { self.0.free(table, height, size_lg2) };
        let words = (table.0..table.0 + (1 << size_lg2)).step_by(8);
        words.for_each(|at| self.0.leave(at, self.1.get().0 | 3));
    }
    fn reach(&self, table: PhysAddr, size_lg2: u8) -> Option<NonNull<u8>> {
        self.0.reach(table, size_lg2)
    }
    fn shoot_down(&self, stale: &Stale) {
        self.0.shoot_down(stale);
    }
}

/// Names are not looked for in tables that are free already.
#[test]
fn what_is_torn_down_names_nothing() {
    let (host, cell) = (Bare::new(), RootCell::new());
    let setup = Setup::new().names(Names::Aliased);
    let mut space = Space::<X86_64, _>::new(&host, &cell, setup).unwrap();
    for at in [0, 1 << 39] {
        space.map(page(at), frame(0x9000), plain()).unwrap();
    }
    host.1.set(space.delimbo(VirtAddr(1 << 39), 2).unwrap());
    assert!(space.tear_down().is_ok());
    assert_eq!(host.0.tables_in_use(), 0);
}

#[test]
fn a_byte_of_a_page_is_one_of_its_frame() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x1000), frame(0x9000), plain()).unwrap();
    let found = space.translate(VirtAddr(0x1234)).unwrap();
    assert_eq!(found.phys(VirtAddr(0x1234)), PhysAddr(0x9234));
}

#[test]
fn without_a_list_of_roots_no_half_is_shared() {
    let (host, cell) = (Bare::new(), RootCell::new());
    let own = Setup::new().kernel(upper_half::<X86_64>());
    let kernel = Space::<X86_64, _>::new(&host, &cell, own).map(|_| ());
    assert!(matches!(kernel, Err(Error::RootList(_))));
    assert_eq!(host.0.tables_in_use(), 0);
}
