//! Tables that a range unmaps whole: unlinked with all that is in them, and read when no CPU uses them
//! any more. Here is what they may not be, and what is in them until the last moment.

use crate::common::memory::Memory;
use crate::common::watch::Watch;
use crate::common::x86::{flushing, frame, huge, page, space};
use crate::common::{oracle, upper_half};
use pgtable::arch::x86::X86_64;
use pgtable::{
    Arch, Attrs, Change, Config, Extent, Frame, Gather, Gone, Host, Names, Page, PhysAddr,
    Placement, Rights, RootCell, Setup, Size2MiB, Space, Span, Stale, VirtAddr,
};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Each table that can goes whole, be it the only one.
enum Whole {}
impl Config for Whole {
    type Arch = X86_64;
    const UNMAP_WHOLE_FROM: u64 = 1;
}

/// What one table of the lowest level serves.
const TABLE: u64 = 1 << 21;
const START: u64 = 1 << 30;

fn tables(count: u64) -> Span {
    Span::new(VirtAddr(START), count * TABLE).unwrap()
}

/// So many whole tables, to frames that make no larger page.
fn filled<'r, H: Host>(host: H, cell: &'r RootCell, count: u64) -> Space<'r, Whole, H> {
    let mut space = space(host, cell);
    space.map_range(tables(count), PhysAddr(0x1_0000_1000), Attrs::DATA).unwrap();
    space
}

/// Where the leaf for a page is.
fn leaf_at(memory: &Memory, root: PhysAddr, at: u64) -> u64 {
    oracle::translate::<X86_64>(memory, root.0, at).unwrap().leaf_at
}

/// What a CPU writes until it has acknowledged the shootdown is in the answer.
#[test]
fn what_cpus_note_before_they_let_go_is_told() {
    let (memory, cell) = (&Memory::new(), RootCell::new());
    let host = Watch::new(memory);
    let mut space = filled(&host, &cell, 1);
    let late = leaf_at(memory, space.root(), START + 0x7000);
    // Dirty: the CPU has the page's translation, and walks for its own use to the old table.
    host.at_shoot_down(move |_| {
        memory.set_bits(late, 3, 0x60);
    });
    let mut told = Vec::new();
    flushing(&mut space, |space, gather| {
        space.unmap_range(tables(1), gather, |gone| told.push(gone.page().unwrap().attrs)).unwrap();
    });
    let noted: Vec<_> = (0..512).filter(|&nth: &usize| told[nth].accessed).collect();
    assert_eq!((told.len(), noted), (512, vec![7]));
    assert!(told[7].dirty);
}

/// Nothing is told, and no table freed, before every CPU has let go; the host knows what of.
#[test]
fn the_shootdown_comes_first() {
    let (memory, cell) = (&Memory::new(), RootCell::new());
    let order = RefCell::new(Vec::new());
    let host = Watch::new(memory);
    let mut space = filled(&host, &cell, 3);
    // So that the table above stays, and nothing but the three speaks of tables.
    space.map(page(START + 3 * TABLE), frame(0x9000), Attrs::DATA).unwrap();
    let (before, order) = (memory.tables_in_use(), &order);
    host.at_shoot_down(move |stale| {
        order.borrow_mut().push("shootdown");
        assert_eq!((stale.extent(), stale.spans()), (Extent::Spans, &[tables(3)][..]));
        assert!(stale.tables());
        assert_eq!(memory.tables_in_use(), before);
    });
    Gather::scope(|mut gather| {
        let report = |_: Gone<'_>| order.borrow_mut().push("page");
        space.unmap_range(tables(3), &mut gather, report).unwrap();
        assert_eq!(order.borrow()[0], "shootdown");
        assert_eq!(order.borrow().iter().filter(|&&what| what == "page").count(), 3 * 512);
        assert_eq!(memory.tables_in_use(), before - 3);
        host.at_shoot_down(|_: &Stale| {});
        let _ = space.finish(gather).unwrap();
    });
}

/// Pages, holes and the user's own entries are told as they would be one by one, in ascending order,
/// and with what is beside the whole tables.
#[test]
fn what_is_in_them_is_told_in_order() {
    let (memory, cell) = (Memory::with(0x10_0000, 16 << 20, true), RootCell::new());
    let mut space = space::<Whole, _>(&memory, &cell);
    // More tables than one gather holds, some of them of every kind.
    let tables = 2 * Gather::MAX_TABLES as u64 + 3;
    let (first, last) = (START - 0x3000, START + tables * TABLE + 0x2fff);
    let mut expected = Vec::new();
    flushing(&mut space, |space, gather| {
        for number in (0..(last - first + 1) / 0x1000).filter(|number| number % 97 != 5) {
            let at = first + number * 0x1000;
            if number % 1031 == 11 {
                space.exchange(page(at), 0, number << 4, gather).unwrap();
                expected.push((at, number << 4));
            } else if number / 512 % 7 != 2 {
                space.map(page(at), frame(number << 13), Attrs::DATA).unwrap();
                expected.push((at, number << 13));
            }
        }
    });
    let mut told = Vec::new();
    let all = Span::inclusive(VirtAddr(first), VirtAddr(last)).unwrap();
    flushing(&mut space, |space, gather| {
        let report = |gone: Gone<'_>| match gone {
            Gone::Page(page) => told.push((page.at.0, page.peek().0)),
            Gone::NonPresent { at, raw, size_lg2: 12 } => told.push((at.0, raw)),
            other => panic!("{other:?}"),
        };
        space.unmap_range(all, gather, report).unwrap();
    });
    assert_eq!(told, expected);
    assert_eq!(memory.tables_in_use(), 1);
    assert_eq!(memory.hooked().len(), 1);
}

/// What is larger than a table's pages comes after the tables before it.
#[test]
fn a_huge_page_comes_in_its_turn() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let mut space = filled(&memory, &cell, 2);
    let frame = Frame::new(PhysAddr(0x4000_0000)).unwrap();
    space.map(huge(START + 2 * TABLE), frame, Attrs::DATA).unwrap();
    flushing(&mut space, |space, gather| {
        let at = Page::<Size2MiB>::new(VirtAddr(START + 3 * TABLE)).unwrap();
        space.exchange(at, 0, 0x2468, gather).unwrap();
    });
    let mut told = Vec::new();
    flushing(&mut space, |space, gather| {
        let report = |gone: Gone<'_>| match gone {
            Gone::Page(page) => told.push(page.at),
            Gone::NonPresent { at, .. } => told.push(at),
            other => panic!("{other:?}"),
        };
        space.unmap_range(tables(4), gather, report).unwrap();
    });
    assert_eq!(told.len(), 2 * 512 + 2);
    assert!(told.is_sorted());
}

/// The kernel's half is every space's: what goes there is told at once, and dropped at the end, once.
#[test]
fn the_kernels_half_goes_page_by_page() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let setup = Setup::new().kernel(upper_half::<X86_64>());
    let mut kernel = Space::<Whole, _>::new(&memory, &cell, setup).unwrap();
    let top = Span::new(VirtAddr(0xffff_8000_0000_0000), TABLE).unwrap();
    kernel.map_range(top, PhysAddr(0x1_0000_1000), Attrs::DATA).unwrap();
    flushing(&mut kernel, |kernel, gather| {
        let mut told = 0;
        kernel.unmap_range(top, gather, |_| told += 1).unwrap();
        assert_eq!((told, memory.stale().len()), (512, 0));
    });
    let [told] = &memory.stale()[..] else { panic!("one shootdown") };
    assert!(told.space().is_none() && told.global());
}

/// A table of which a page stays is no whole one, and neither is one of a range that leaves tables.
#[test]
fn tables_that_stay() {
    enum Keeps {}
    impl Config for Keeps {
        type Arch = X86_64;
        const FREE_EMPTY_TABLES: bool = false;
        const UNMAP_WHOLE_FROM: u64 = 1;
    }
    let (memory, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let mut space = filled(&memory, &cells[0], 1);
    let part = Span::new(VirtAddr(START + 0x1000), TABLE - 0x1000).unwrap();
    flushing(&mut space, |space, gather| space.unmap_range(part, gather, drop).unwrap());
    assert!(space.translate(VirtAddr(START)).is_ok());
    assert!(space.translate(part.first()).is_err());

    let mut space = Space::<Keeps, _>::new(&memory, &cells[1], Setup::new()).unwrap();
    space.map_range(tables(1), PhysAddr(0x1000), Attrs::DATA).unwrap();
    let before = memory.tables_in_use();
    let mut told = 0;
    Gather::scope(|mut gather| {
        space.unmap_range(tables(1), &mut gather, |_| told += 1).unwrap();
        let _ = space.finish(gather).unwrap();
    });
    assert_eq!((told, memory.tables_in_use()), (512, before));
}

/// Global translations serve every space: they are told entry by entry, and as what they are.
#[test]
fn global_pages_are_stale_everywhere() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let mut space = filled(&memory, &cell, 1);
    let global = VirtAddr(START + 0x5000);
    let told = |space: &mut Space<'_, Whole, _>| {
        flushing(space, |space, gather| space.unmap_range(tables(1), gather, drop).unwrap());
        let told = memory.stale();
        (told.iter().any(Stale::global), told.last().unwrap().space())
    };
    assert_eq!(told(&mut space), (false, Some(space.id())));
    // Mapped, made global, and put there by hand: each by itself is enough.
    let how: [fn(&mut Space<'_, Whole, &Memory>); 3] = [
        |space| {
            let attrs = Attrs::DATA.with_global(true);
            space.map(page(START + 0x5000), frame(0x9000), attrs).unwrap();
        },
        |space| {
            space.map(page(START + 0x5000), frame(0x9000), Attrs::DATA).unwrap();
            let change = Change::rights(Rights::READ | Rights::WRITE).global(true);
            flushing(space, |space, gather| {
                space.protect(page(START + 0x5000), change, gather).unwrap();
            });
        },
        |space| {
            flushing(space, |space, gather| {
                space.exchange(page(START + 0x5000), 0, 0x9103, gather).unwrap();
            });
        },
    ];
    for make in how {
        let (memory, cell) = (Memory::new(), RootCell::new());
        let mut space = crate::common::x86::space::<Whole, _>(&memory, &cell);
        make(&mut space);
        assert!(space.translate(global).unwrap().attrs.global);
        flushing(&mut space, |space, gather| {
            space.unmap_range(tables(1), gather, drop).unwrap();
        });
        let last = memory.stale().pop().unwrap();
        assert_eq!((last.global(), last.space()), (true, None));
    }
}

/// What is no page of anybody's is not touched: entries with reserved bits stay where they are.
#[test]
fn malformed_entries_stay() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let space = filled(&memory, &cell, 1);
    let at = leaf_at(&memory, space.root(), START + 0x5000);
    let root = space.release().map_err(|(_, error)| error).unwrap();
    memory.set_bits(at, 3, 1 << 51);
    let mut limits = X86_64::LIMITS;
    limits.phys_bits = 48;
    let setup = Setup::new().limits(limits);
    // SAFETY: the tree was made for this host, and given up.
    let mut space = unsafe { Space::<Whole, _>::adopt(&memory, &cell, root, setup) }.unwrap();
    let mut told = Vec::new();
    flushing(&mut space, |space, gather| {
        let report = |gone: Gone<'_>| {
            if let Gone::Malformed { at, .. } = gone {
                told.push(at);
            }
        };
        space.unmap_range(tables(1), gather, report).unwrap();
    });
    assert_eq!(told, [VirtAddr(START + 0x5000)]);
    assert_ne!(memory.read(at, 3), 0);
}

/// A table with two names loses one of them, and stays for the other.
#[test]
fn a_table_with_another_name_stays() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let space = filled(&memory, &cell, 1);
    let root = space.release().map_err(|(_, error)| error).unwrap();
    // The next entry of the directory names the table as well.
    let table = leaf_at(&memory, root, START) & !0xfff;
    let of_height = |height| move |(&at, &(of, _)): (&u64, &(u8, u8))| (of == height).then_some(at);
    let directory = memory.in_use().iter().find_map(of_height(1)).unwrap();
    memory.set_bits(directory + 8, 3, memory.read(directory, 3));
    let setup = Setup::new().names(Names::Aliased);
    // SAFETY: the tree was made for this host, and given up.
    let mut space = unsafe { Space::<Whole, _>::adopt(&memory, &cell, root, setup) }.unwrap();
    flushing(&mut space, |space, gather| {
        space.unmap_range(tables(1), gather, drop).unwrap();
    });
    assert!(memory.in_use().contains_key(&table));
    assert!(space.translate(VirtAddr(START + TABLE)).is_err());
}

/// A table that was moved is in two places until the batch ends, and CPUs note what they do in both.
#[test]
fn a_copy_in_limbo_is_heard() {
    let (memory, cell) = (&Memory::new(), RootCell::new());
    let mut space = filled(memory, &cell, 1);
    let old = leaf_at(memory, space.root(), START + 0x7000);
    let mut session = space.enter();
    session.migrate_pmd_entry(VirtAddr(START), |_| Placement::Anywhere).unwrap().unwrap();
    session.suspend();
    memory.set_bits(old, 3, 0x60);
    let mut told = Vec::new();
    flushing(&mut space, |space, gather| {
        let report = |gone: Gone<'_>| told.push(gone.page().unwrap().attrs.dirty);
        space.unmap_range(tables(1), gather, report).unwrap();
    });
    assert_eq!((told.len(), told[7]), (512, true));
}

/// A report that panics leaves tables that nobody frees twice.
#[test]
fn a_report_that_panics_leaks() {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let mut space = filled(&memory, &cell, 3);
    Gather::scope(|mut gather| {
        let unmap = || space.unmap_range(tables(3), &mut gather, |_| panic!("not now"));
        catch_unwind(AssertUnwindSafe(unmap)).unwrap_err();
        let _ = space.finish(gather).unwrap();
    });
    assert!(space.translate(VirtAddr(START + TABLE)).is_err());
    space.map_range(tables(3), PhysAddr(0x1000), Attrs::DATA).unwrap();
    assert!(space.tear_down().is_ok());
}

/// Whatever was told when a report panics is stale, so that its frame does not open too early.
#[test]
fn what_was_told_before_a_panic_is_stale() {
    for (first, last) in [(START, START + TABLE - 0x1001), (START, START + 2 * TABLE - 1)] {
        let (memory, cell) = (Memory::new(), RootCell::new());
        let mut space = filled(&memory, &cell, 2);
        let (span, mut told) = (Span::inclusive(VirtAddr(first), VirtAddr(last)).unwrap(), vec![]);
        Gather::scope(|mut gather| {
            let report = |gone: Gone<'_>| {
                told.push(gone.page().unwrap().at);
                assert!(told.len() < 5, "not now");
            };
            let unmap = || space.unmap_range(span, &mut gather, report);
            catch_unwind(AssertUnwindSafe(unmap)).unwrap_err();
            let _ = space.finish(gather).unwrap();
        });
        let stale = memory.stale();
        let mut spans = stale.iter().flat_map(Stale::spans);
        assert_eq!(told.len(), 5);
        assert!(told.iter().all(|&at| spans.clone().any(|span| span.contains(at))), "{stale:?}");
        assert!(spans.all(|span| span.first() >= VirtAddr(START)));
    }
}

/// By default, many small ranges are one shootdown, and only what fills a gather anyway goes whole.
#[test]
fn small_ranges_wait_for_the_gather() {
    let (memory, cells) = (Memory::with(0x10_0000, 8 << 20, false), [const { RootCell::new() }; 2]);
    let mut space: Space<'_, X86_64, _> = space(&memory, &cells[0]);
    let all = Gather::MAX_TABLES as u64;
    space.map_range(tables(all), PhysAddr(0x1_0000_1000), Attrs::DATA).unwrap();
    flushing(&mut space, |space, gather| {
        for number in 0..8 {
            let one = Span::new(VirtAddr(START + number * TABLE), TABLE).unwrap();
            space.unmap_range(one, gather, drop).unwrap();
        }
        assert_eq!(memory.stale().len(), 0);
    });
    assert_eq!(memory.stale().len(), 1);
    // With a page less than that many tables, none goes whole before the gather is full.
    for (bytes, whole) in [(all * TABLE - 0x1000, false), (all * TABLE, true)] {
        let memory = Memory::with(0x10_0000, 8 << 20, false);
        let mut space: Space<'_, X86_64, _> = crate::common::x86::space(&memory, &cells[1]);
        space.map_range(tables(all), PhysAddr(0x1_0000_1000), Attrs::DATA).unwrap();
        let mut first = None;
        flushing(&mut space, |space, gather| {
            let span = Span::new(VirtAddr(START), bytes).unwrap();
            let report = |_: Gone<'_>| {
                first.get_or_insert(memory.stale().len());
            };
            space.unmap_range(span, gather, report).unwrap();
        });
        assert_eq!(first, Some(usize::from(whole)));
        space.tear_down().map_err(|(_, error)| error).unwrap();
    }
}
