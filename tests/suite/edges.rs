//! Corners in which an early version did the wrong thing.

use crate::common::memory::Memory;
use crate::common::watch::Watch;
use crate::common::x86::flushing;
use crate::common::{plain, upper_half};
use pgtable::arch::x86::{LongPmd, X86_32, X86_64, X86Long, X86Pae};
use pgtable::{
    Above, Arch, Attrs, Config, Error, Feature, Format, Frame, FrameRun, Gather, Last, Limits,
    Names, Page, PhysAddr, Placement, Rights, RootCell, Setup, Size2MiB, Size4KiB, Size4MiB, Space,
    Span, Used, VirtAddr,
};
use std::cell::Cell;

const UPPER: u64 = 0xffff_8000_0000_0000;

fn page(at: u64) -> Page<Size4KiB> {
    Page::new(VirtAddr(at)).unwrap()
}

fn span(at: u64, bytes: u64) -> Span {
    Span::new(VirtAddr(at), bytes).unwrap()
}

fn four(at: u64) -> Page<Size4MiB> {
    Page::new(VirtAddr(at)).unwrap()
}

#[test]
fn global_translations_are_stale_everywhere() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = Space::<X86_64, _>::new(&host, &cell, Setup::new()).unwrap();
    let huge = Page::<Size2MiB>::new(VirtAddr(0x20_0000)).unwrap();
    let global = Attrs::DATA.with_global(true);
    space.map_range(huge.span(), PhysAddr(0x4000_0000), global).unwrap();
    Gather::scope(|mut gather| {
        space.split(huge.start(), &mut gather).unwrap();
        space.finish(gather).unwrap();
    });
    space.promote(huge).unwrap();
    // The pieces that promotion took away were global.
    let stale = host.stale().pop().unwrap();
    assert_eq!((stale.space(), stale.global(), stale.tables()), (None, true, true));
    space.tear_down_with(|_, _| ()).map_err(|(_, error)| error).unwrap();
    assert!(host.stale().pop().unwrap().global());
}

type Of<'r, 'm> = Space<'r, X86_32, &'m Memory>;

/// A kernel with a 4 MiB page in its half, which another space shares.
fn kernel_and_guest<'r, 'm>(host: &'m Memory, cells: &'r [RootCell; 2]) -> [Of<'r, 'm>; 2] {
    let own = Setup::new().kernel(upper_half::<X86_32>());
    let mut kernel = Space::new(host, &cells[0], own).unwrap();
    kernel.map(four(0xc000_0000), Frame::new(PhysAddr(0)).unwrap(), plain()).unwrap();
    let half = kernel.kernel_half().unwrap();
    let guest = Space::new(host, &cells[1], Setup::new().sharing(half)).unwrap();
    [kernel, guest]
}

#[test]
fn what_a_leaving_root_noted_stays() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let [kernel, guest] = kernel_and_guest(&host, &cells);
    host.set_bits(guest.root().0 + 4 * 0x300, 2, 0x60);
    guest.tear_down().map_err(|(_, error)| error).unwrap();
    let attrs = kernel.translate(VirtAddr(0xc000_0000)).unwrap().attrs;
    assert!(attrs.accessed && attrs.dirty);
}

/// Also where the kernel has taken as much away from the words of a root in limbo as a CPU has noted there.
#[test]
fn what_a_moved_root_noted_stays() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let [mut kernel, mut guest] = kernel_and_guest(&host, &cells);
    let used = plain().with_used(true, false);
    kernel.map(four(0xc040_0000), Frame::new(PhysAddr(0)).unwrap(), used).unwrap();
    let mut session = guest.enter();
    let moved = session.migrate_root(|_| Placement::Anywhere).unwrap().unwrap();
    session.suspend();
    host.set_bits(moved.from.0 + 4 * 0x300, 2, 0x20);
    flushing(&mut kernel, |kernel, gather| {
        kernel.test_and_clear(four(0xc040_0000).span(), Used::ACCESSED, gather, |_| ()).unwrap();
    });
    guest.enter().leave();
    let accessed = |at| kernel.translate(VirtAddr(at)).unwrap().attrs.accessed;
    assert_eq!([0xc000_0000, 0xc040_0000].map(accessed), [true, false]);
}

#[test]
fn a_gather_belongs_to_one_space() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let other_host = Memory::new();
    let mut one = Space::<X86_64, _>::new(&host, &cells[0], Setup::new()).unwrap();
    let mut two = Space::<X86_64, _>::new(&other_host, &cells[1], Setup::new()).unwrap();
    for space in [&mut one, &mut two] {
        space.map(page(0x5000), Frame::new(PhysAddr(0x5000)).unwrap(), Attrs::DATA).unwrap();
    }
    Gather::scope(|mut gather| {
        let _ = one.unmap(page(0x5000), &mut gather).unwrap();
        let refused = two.unmap(page(0x5000), &mut gather).map(|_| ());
        assert_eq!(refused, Err(Error::OtherGather));
        let mut cursor = two.cursor(VirtAddr(0x5000));
        assert_eq!(cursor.unmap(&mut gather).map(|_| ()), Err(Error::OtherGather));
        assert_eq!(two.finish(gather).map(|_| ()), Err(Error::OtherGather));
    });
    assert!(two.translate(VirtAddr(0x5000)).is_ok());
    assert!(other_host.stale().is_empty());
}

#[test]
fn a_cell_holds_one_space() {
    let (memory, cell, other) = (Memory::new(), RootCell::new(), Cell::new(None));
    let (memory, cell, other) = (&memory, &cell, &other);
    let host = Watch::new(memory);
    // Somebody else, while the first one is being made.
    host.at_table_made(move |_, _| {
        let space = Space::<X86_64, _>::new(memory, cell, Setup::new());
        other.set(Some(space.map(|_| ())));
    });
    let space = Space::<X86_64, _>::new(&host, cell, Setup::new()).unwrap();
    assert_eq!(other.take(), Some(Err(Error::BadRoot(PhysAddr(0)))));
    assert_eq!(memory.tables_in_use(), 1);
    space.tear_down().map_err(|(_, error)| error).unwrap();
}

#[test]
fn roots_that_others_use_are_not_released() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 3]);
    let own = Setup::new().kernel(upper_half::<X86_64>());
    let kernel = Space::<X86_64, _>::new(&host, &cells[0], own).unwrap();
    let half = kernel.kernel_half().unwrap();
    let guest = Space::<X86_64, _>::new(&host, &cells[1], Setup::new().sharing(half)).unwrap();
    let at = VirtAddr(UPPER);
    let (guest, error) = guest.release().unwrap_err();
    assert_eq!(error, Error::Shared { at });
    let (kernel, error) = kernel.release().unwrap_err();
    assert_eq!(error, Error::Shared { at });
    // And there is one kernel.
    let second = Space::<X86_64, _>::new(&host, &cells[2], own).map(|_| ());
    assert!(matches!(second, Err(Error::RootList(_))));
    assert_eq!(host.listed(), [kernel.root().0, guest.root().0]);
    // The half of a kernel that is on another host's list.
    let other_host = Memory::new();
    let half = kernel.kernel_half().unwrap();
    let lost = Space::<X86_64, _>::new(&other_host, &cells[2], Setup::new().sharing(half));
    assert_eq!(lost.map(|_| ()), Err(Error::RootList(kernel.root())));
}

#[test]
fn a_cpu_without_any_page_size() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let limits = Limits { largest_leaf_lg2: 11, ..X86_64::LIMITS };
    let result = Space::<X86_64, _>::new(&host, &cell, Setup::new().limits(limits)).map(|_| ());
    assert_eq!(result, Err(Error::Unsupported(Feature::PageSize(12))));
    assert_eq!((host.tables_in_use(), cell.root()), (0, None));
}

#[test]
fn a_table_at_frame_0_is_refused() {
    let (host, cell) = (Memory::with(0, 1 << 20, false), RootCell::new());
    let result = Space::<X86Pae, _>::new(&host, &cell, Setup::new()).map(|_| ());
    assert!(matches!(result, Err(Error::BadTable { table: PhysAddr(0), .. })));
    assert_eq!(host.tables_in_use(), 0);
}

#[test]
fn a_refused_exchange_changes_nothing() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let [mut kernel, guest] = kernel_and_guest(&host, &cells);
    host.set_bits(guest.root().0 + 4 * 0x300, 2, 0x60);
    let before = host.picture();
    Gather::scope(|mut gather| {
        let result = kernel.exchange(four(0xc000_0000), 0x83, 0, &mut gather);
        assert!(matches!(result, Err(Error::Changed { .. })));
    });
    assert_eq!(before, host.picture());
}

/// A tree given up by its space.
fn left_behind(host: &Memory, work: impl FnOnce(&mut Space<'_, X86_64, &Memory>)) -> PhysAddr {
    let cell = RootCell::new();
    let mut space = Space::<X86_64, _>::new(host, &cell, Setup::new()).unwrap();
    work(&mut space);
    space.release().map_err(|(_, error)| error).unwrap()
}

#[test]
fn a_self_map_with_software_bits() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let root = left_behind(&host, |_| ());
    host.set_bits(root.0 + 8 * 510, 3, root.0 | 0x203);
    let setup = Setup::new().self_map(510);
    let adopted = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, setup) }.map(|_| ());
    assert!(matches!(adopted, Err(Error::SoftwareBits { .. })));
    assert_eq!(cell.root(), None);
}

#[test]
fn what_is_there_can_be_split_and_promoted() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let huge = Page::<Size2MiB>::new(VirtAddr(0)).unwrap();
    let attrs = Attrs::DATA.with_global(true).with_key(5);
    let frame = Frame::new(PhysAddr(0x4000_0000)).unwrap();
    let root = left_behind(&host, |space| space.map(huge, frame, attrs).unwrap());
    let limits = Limits { global: false, keys: false, ..X86_64::LIMITS };
    let setup = Setup::new().limits(limits);
    let mut space = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, setup) }.unwrap();
    Gather::scope(|mut gather| {
        space.split(huge.start(), &mut gather).unwrap();
        space.finish(gather).unwrap();
    });
    assert_eq!(space.translate(VirtAddr(0x1000)).unwrap().attrs, attrs);
    space.promote(huge).unwrap();
    assert_eq!(space.translate(VirtAddr(0)).unwrap().attrs, attrs);
}

#[test]
fn one_leaf_under_two_names_is_cut_once() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let huge = Page::<Size2MiB>::new(VirtAddr(0x60_0000)).unwrap();
    let frame = Frame::new(PhysAddr(0x4000_0000)).unwrap();
    let root = left_behind(&host, |space| space.map(huge, frame, plain()).unwrap());
    let pud = host.read(root.0, 3) & !0xfff;
    host.set_bits(pud + 8, 3, host.read(pud, 3));
    let setup = Setup::new().names(Names::Aliased);
    let mut space = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, setup) }.unwrap();
    let both_ends = Span::inclusive(VirtAddr(0x60_1000), VirtAddr(0x4060_1fff)).unwrap();
    Gather::scope(|mut gather| {
        space.protect_range(both_ends, Rights::READ, &mut gather).unwrap();
        space.finish(gather).unwrap();
    });
    assert_eq!(host.tables_in_use(), 4);
    assert_eq!(space.translate(VirtAddr(0x60_1000)).unwrap().attrs.rights, Rights::READ);
    space.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.tables_in_use(), 0);
}

#[test]
fn a_cursor_translates_what_the_space_does() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let own = Setup::new().kernel(upper_half::<X86_64>());
    let mut kernel = Space::<X86_64, _>::new(&host, &cells[0], own).unwrap();
    kernel.map_range(span(UPPER, 0x1000), PhysAddr(0x7000), plain()).unwrap();
    let half = kernel.kernel_half().unwrap();
    let mut guest = Space::<X86_64, _>::new(&host, &cells[1], Setup::new().sharing(half)).unwrap();
    let expected = guest.translate(VirtAddr(UPPER));
    assert!(expected.is_ok());
    assert_eq!(guest.cursor(VirtAddr(UPPER)).translate(), expected);
}

#[test]
fn a_root_made_during_a_failing_map_has_nothing_of_it() {
    let (host, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let own = Setup::new().kernel(upper_half::<X86_32>());
    let mut kernel = Space::<X86_32, _>::new(&host, &cells[0], own).unwrap();
    let table = kernel.root();
    let word = |root: PhysAddr| host.read(root.0 + 4 * 0x300, 2);
    // One 4 MiB page is staged, and then there are no more frames.
    let mut runs = 0;
    let run = FrameRun { start: PhysAddr(0x40_0000), bytes: 0x40_0000 };
    let result = kernel.map_frames(span(0xc000_0000, 0x80_0000), plain(), |_, _| {
        runs += 1;
        assert!(runs == 1 || word(table) == 0x40_0082, "staged, and not present");
        (runs == 1).then_some(run)
    });
    assert!(matches!(result, Err(Error::BadFrame { .. })));
    let half = kernel.kernel_half().unwrap();
    let guest = Space::<X86_32, _>::new(&host, &cells[1], Setup::new().sharing(half)).unwrap();
    assert_eq!((word(kernel.root()), word(guest.root())), (0, 0));
}

#[test]
fn without_4_mib_pages_their_bit_is_ignored() {
    let limits = Limits { largest_leaf_lg2: 12, ..X86_32::LIMITS };
    let level = pgtable::levels::<X86_32>().next().unwrap();
    let entry = <X86_32 as Arch>::Format::decode(level, 0x1230_0083, &limits);
    assert_eq!(entry, pgtable::Entry::Table(PhysAddr(0x1230_0000)));
}

#[test]
fn root_entries_of_pae_may_have_the_accessed_bit() {
    // Emulators set it; the crate never does.
    let level = pgtable::levels::<X86Pae>().next().unwrap();
    let entry = <X86Pae as Arch>::Format::decode(level, 0x1ce9_4021, &X86Pae::LIMITS);
    assert_eq!(entry, pgtable::Entry::Table(PhysAddr(0x1ce9_4000)));
    let word = <X86Pae as Arch>::Format::table(level, PhysAddr(0x1ce9_4000), true);
    assert_eq!(word, 0x1ce9_4001);
}

/// A kernel that keeps its tables for the next page.
enum Keeping {}
impl Config for Keeping {
    type Arch = X86_64;
    const FREE_EMPTY_TABLES: bool = false;
}

#[test]
fn empty_tables_stay_where_the_config_says_so() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = Space::<Keeping, _>::new(&host, &cell, Setup::new()).unwrap();
    let frame = Frame::new(PhysAddr(0x9000)).unwrap();
    for round in 0..2 {
        space.map(page(0x5000), frame, plain()).unwrap();
        Gather::scope(|mut gather| {
            let gone = match round {
                0 => space.unmap(page(0x5000), &mut gather),
                _ => space.cursor(VirtAddr(0x5000)).unmap(&mut gather),
            };
            assert!(gone.is_ok());
            assert_eq!((gather.tables(), gather.stale().tables()), (0, false));
            space.finish(gather).unwrap();
        });
    }
    assert_eq!((host.tables_in_use(), host.requests()), (4, 4));
    space.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.tables_in_use(), 0);
}

#[test]
fn all_of_a_page_must_be_in_reach() {
    let (host, cell) = (Memory::with(0x1000, 0xf_f000, false), RootCell::new());
    let limits = Limits { phys_bits: 20, ..X86_64::LIMITS };
    let mut space = Space::<X86_64, _>::new(&host, &cell, Setup::new().limits(limits)).unwrap();
    let huge = Page::<Size2MiB>::new(VirtAddr(0)).unwrap();
    let result = space.map(huge, Frame::new(PhysAddr(0)).unwrap(), plain());
    assert_eq!(result, Err(Error::TooWide { frame: PhysAddr(0), bits: 20 }));
}

/// Tables with as many entries as a count of 16 bits cannot tell from none.
enum Large {}
impl Arch for Large {
    type Format = X86Long;
    type Root = Above<Last<X86Long, 16>, 9, false>;
    const NAME: &'static str = "large tables";
    const SIGN_EXTENDED: bool = false;
    const LIMITS: Limits = Limits { largest_leaf_lg2: 12, ..X86_64::LIMITS };
}

#[test]
fn tables_that_are_too_large_to_be_counted() {
    let (host, cell) = (Memory::with(0x10_0000, 4 << 20, true), RootCell::new());
    let mut space = Space::<Large, _>::new(&host, &cell, Setup::new()).unwrap();
    let all = span(0, 1 << 28);
    space.map_range(all, PhysAddr(0), plain()).unwrap();
    let most = span(0, (1 << 28) - 0x1000);
    Gather::scope(|mut gather| {
        space.unmap_range(most, &mut gather, |_| {}).unwrap();
        space.finish(gather).unwrap();
    });
    assert!(space.translate(VirtAddr(most.last().0 + 1)).is_ok());
    assert_eq!(host.tables_in_use(), 2);
}

/// A root of two entries: smaller than what the root cell can hold.
enum Tiny {}
impl Arch for Tiny {
    type Format = X86Long;
    type Root = Above<LongPmd, 1, false>;
    const NAME: &'static str = "tiny root";
    const SIGN_EXTENDED: bool = false;
    const LIMITS: Limits = X86_64::LIMITS;
}

#[test]
fn a_root_that_the_cell_cannot_hold_is_refused() {
    let (host, cell) = (Memory::new(), RootCell::new());
    host.answer_next(0x10_0010);
    let result = Space::<Tiny, _>::new(&host, &cell, Setup::new()).map(|_| ());
    assert_eq!(result, Err(Error::BadRoot(PhysAddr(0x10_0010))));
    assert_eq!((host.tables_in_use(), cell.root()), (0, None));
    host.answer_next(0x10_0020);
    assert!(Space::<Tiny, _>::new(&host, &cell, Setup::new()).is_ok());
}
