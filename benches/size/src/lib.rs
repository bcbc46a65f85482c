//! Every verb of a space, for a host that lives elsewhere: none is left out, and none is called.
#![no_std]
#![allow(clippy::result_large_err, clippy::type_complexity)] // the space comes back in it

mod outside;

use core::marker::PhantomData;
use outside::Outside;
use pgtable::arch::x86::X86_64;
#[cfg(feature = "four")]
use pgtable::arch::x86::{X86_32, X86_64La57, X86Pae};
use pgtable::{
    Arch, Attrs, Change, Config, Cursor, Error, Flushed, Frame, FrameRun, Gather, Gone, KernelHalf,
    Mapping, Moved, Page, PageSize, PhysAddr, Placement, RootCell, Session, Setup, Size2MiB,
    Size4KiB, Space, Span, Statistics, Step, Used, UsedPage, View, VirtAddr, Visited,
};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kind of space that is weighed.
pub struct Kind<A>(PhantomData<A>);

impl<A: Arch> Config for Kind<A> {
    type Arch = A;
    const RELOCATABLE: bool = !cfg!(feature = "still");
}

/// The larger page of a mode.
pub trait Large {
    type Page: PageSize;
}
impl Large for X86_64 {
    type Page = Size2MiB;
}
#[cfg(feature = "four")]
impl Large for X86_64La57 {
    type Page = Size2MiB;
}
#[cfg(feature = "four")]
impl Large for X86Pae {
    type Page = Size2MiB;
}
#[cfg(feature = "four")]
impl Large for X86_32 {
    type Page = pgtable::Size4MiB;
}

type Here<A> = Space<'static, Kind<A>, Outside>;
type Moving<A> = Session<'static, 'static, Kind<A>, Outside>;
type Walking<A> = Cursor<'static, 'static, Kind<A>, Outside>;
type G = Gather<'static>;
type Done = Result<(), Error>;
type Taken = Result<Gone<'static>, Error>;
type Went = Result<Option<Moved>, Error>;
type Policy = fn(&pgtable::TableAt) -> Placement;
type Whole<A> = Result<(), (Here<A>, Error)>;

/// What a kernel calls, each by a pointer, so that all of it is there.
pub struct Verbs<A: Arch + Large + 'static> {
    pub new: fn(Outside, &'static RootCell, Setup<'static, A>) -> Result<Here<A>, Error>,
    pub adopt: unsafe fn(
        Outside,
        &'static RootCell,
        PhysAddr,
        Setup<'static, A>,
    ) -> Result<Here<A>, Error>,
    pub release: fn(Here<A>) -> Result<PhysAddr, (Here<A>, Error)>,
    pub tear_down: fn(Here<A>) -> Whole<A>,
    pub tear_down_with: fn(Here<A>, fn(Gone<'_>, &Flushed<'_>)) -> Whole<A>,
    pub kernel_half: fn(&'static Here<A>) -> Option<KernelHalf<'static, A>>,
    pub finish: fn(&Here<A>, G) -> Result<Flushed<'static>, Error>,
    pub map: fn(&mut Here<A>, Page<Size4KiB>, Frame<Size4KiB>, Attrs) -> Done,
    pub map_large: fn(&mut Here<A>, Page<A::Page>, Frame<A::Page>, Attrs) -> Done,
    pub map_range: fn(&mut Here<A>, Span, PhysAddr, Attrs) -> Done,
    pub map_frames: fn(&mut Here<A>, Span, Attrs, fn(VirtAddr, u64) -> Option<FrameRun>) -> Done,
    pub unmap: fn(&mut Here<A>, Page<Size4KiB>, &mut G) -> Taken,
    pub unmap_large: fn(&mut Here<A>, Page<A::Page>, &mut G) -> Taken,
    pub unmap_range: fn(&mut Here<A>, Span, &mut G, fn(Gone<'static>)) -> Done,
    pub protect: fn(&mut Here<A>, Page<Size4KiB>, Change, &mut G) -> Done,
    pub protect_range: fn(&mut Here<A>, Span, Change, &mut G) -> Done,
    pub test_and_clear: fn(&mut Here<A>, Span, Used, &mut G, fn(UsedPage)) -> Done,
    pub split: fn(&mut Here<A>, VirtAddr, &mut G) -> Done,
    pub promote: fn(&mut Here<A>, Page<A::Page>) -> Done,
    pub exchange: fn(&mut Here<A>, Page<Size4KiB>, u64, u64, &mut G) -> Result<u64, Error>,
    pub translate: fn(&Here<A>, VirtAddr) -> Result<Mapping, Error>,
    pub mappings: fn(&Here<A>, Span) -> usize,
    pub visit: fn(&View<'_, Kind<A>, Outside>, Span, fn(&Visited) -> Step) -> Done,
    pub cursor: fn(&'static mut Here<A>, VirtAddr) -> Walking<A>,
    pub cursor_map: fn(&mut Walking<A>, PhysAddr, Attrs) -> Done,
    pub cursor_unmap: fn(&mut Walking<A>, &mut G) -> Taken,
    pub cursor_protect: fn(&mut Walking<A>, Change, &mut G) -> Done,
    pub cursor_scan: fn(&mut Walking<A>, Used, &mut G) -> Result<Option<UsedPage>, Error>,
    pub cursor_translate: fn(&mut Walking<A>) -> Result<Mapping, Error>,
    pub enter: fn(&'static mut Here<A>) -> Moving<A>,
    pub leave: fn(Moving<A>) -> Statistics,
    pub suspend: fn(Moving<A>) -> Statistics,
    pub migrate_space: fn(&mut Moving<A>, Policy) -> Done,
    pub migrate_range: fn(&mut Moving<A>, Span, Policy) -> Done,
    pub migrate_table: fn(&mut Moving<A>, VirtAddr, u8, Policy) -> Went,
    pub migrate_frame: fn(&mut Moving<A>, PhysAddr, Policy) -> Went,
    pub migrate_root: fn(&mut Moving<A>, Policy) -> Went,
    pub delimbo: fn(&Here<A>, VirtAddr, u8) -> Result<PhysAddr, Error>,
    pub in_limbo: fn(&Here<A>, PhysAddr) -> bool,
}

impl<A: Arch + Large> Verbs<A> {
    const ALL: Self = Self {
        new: Space::new,
        adopt: Space::adopt,
        release: Space::release,
        tear_down: Space::tear_down,
        tear_down_with: |space, report| space.tear_down_with(report),
        kernel_half: Space::kernel_half,
        finish: |space, gather| space.finish(gather),
        map: Space::map,
        map_large: Space::map,
        map_range: Space::map_range,
        map_frames: Space::map_frames,
        unmap: Space::unmap,
        unmap_large: Space::unmap,
        unmap_range: Space::unmap_range,
        protect: |space, page, change, gather| space.protect(page, change, gather),
        protect_range: |space, span, change, gather| space.protect_range(span, change, gather),
        test_and_clear: |space, span, used, gather, report| {
            space.test_and_clear(span, used, gather, report)
        },
        split: |space, at, gather| space.split(at, gather),
        promote: Space::promote,
        exchange: |space, page, was, raw, gather| space.exchange(page, was, raw, gather),
        translate: Space::translate,
        mappings: |space, span| space.mappings(span).count(),
        visit: |view, span, visit| view.visit(span, visit),
        cursor: Space::cursor,
        cursor_map: Cursor::map,
        cursor_unmap: Cursor::unmap,
        cursor_protect: |cursor, change, gather| cursor.protect(change, gather),
        cursor_scan: |cursor, used, gather| cursor.test_and_clear(used, gather),
        cursor_translate: Cursor::translate,
        enter: |space| space.enter(),
        leave: Session::leave,
        suspend: Session::suspend,
        migrate_space: |session, policy| session.migrate_space(policy),
        migrate_range: |session, span, policy| session.migrate_range(span, policy),
        migrate_table: |session, at, height, policy| session.migrate_table(at, height, policy),
        migrate_frame: |session, frame, policy| session.migrate_frame(frame, policy),
        migrate_root: |session, policy| session.migrate_root(policy),
        delimbo: Space::delimbo,
        in_limbo: Space::in_limbo,
    };
}

#[unsafe(no_mangle)]
pub static LONG: Verbs<X86_64> = Verbs::ALL;
#[cfg(feature = "four")]
#[unsafe(no_mangle)]
pub static LA57: Verbs<X86_64La57> = Verbs::ALL;
#[cfg(feature = "four")]
#[unsafe(no_mangle)]
pub static PAE: Verbs<X86Pae> = Verbs::ALL;
#[cfg(feature = "four")]
#[unsafe(no_mangle)]
pub static LEGACY: Verbs<X86_32> = Verbs::ALL;
