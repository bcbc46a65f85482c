//! This crate.

use super::{Mode, Subject, Sum};
use crate::arena;
use crate::row::Run;
use pgtable::arch::x86::{X86_32, X86_64, X86Pae};
use pgtable::{
    Arch, Attrs, Config, Frame, Gather, Gone, Host, Page, PhysAddr, Request, Rights, RootCell,
    Setup, Size4KiB, Space, Span, Stale, VirtAddr,
};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};

/// How many shootdowns there were. Nothing is flushed: no CPU uses these tables.
pub static SHOOTDOWNS: AtomicU64 = AtomicU64::new(0);

/// The arena as a host, with a count of entries for each table or without.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<const COUNTS: bool>;

// SAFETY: the arena hands out each frame once until it comes back, all of it can be reached where its
// physical addresses say, one thread uses it, and no CPU walks these tables.
unsafe impl<const COUNTS: bool> Host for Kernel<COUNTS> {
    #[inline]
    fn allocate(&self, _: &Request) -> Option<PhysAddr> {
        arena::take().map(PhysAddr)
    }
    #[inline]
    unsafe fn free(&self, table: PhysAddr, _: u8, _: u8) {
        arena::give(table.0);
    }
    #[inline]
    fn reach(&self, table: PhysAddr, _: u8) -> Option<NonNull<u8>> {
        arena::reach_non_null(table.0)
    }
    fn shoot_down(&self, _: &Stale) {
        SHOOTDOWNS.store(SHOOTDOWNS.load(Relaxed) + 1, Relaxed);
    }
    #[inline]
    fn count(&self, table: PhysAddr) -> Option<&AtomicU16> {
        COUNTS.then(|| arena::count(table.0))
    }
}

/// A mode, and what its pages are mapped with.
pub trait Moded: Arch {
    const MODE: Mode;
    const DATA: Attrs;
    const READ: Rights;
}

impl Moded for X86_64 {
    const MODE: Mode = Mode::Long;
    const DATA: Attrs = Attrs::DATA;
    const READ: Rights = Rights::READ;
}
impl Moded for X86Pae {
    const MODE: Mode = Mode::Pae;
    const DATA: Attrs = Attrs::DATA;
    const READ: Rights = Rights::READ;
}
impl Moded for X86_32 {
    // There is no NX.
    const MODE: Mode = Mode::Legacy;
    const DATA: Attrs = Attrs::ALL;
    const READ: Rights = Rights::READ.union(Rights::EXECUTE);
}

/// A kind of space: its mode, whether it can be moved, and whether unmap frees empty tables.
pub struct Kind<A, const RELOCATABLE: bool, const FREES: bool>(PhantomData<A>);

impl<A: Moded, const RELOCATABLE: bool, const FREES: bool> Config for Kind<A, RELOCATABLE, FREES> {
    type Arch = A;
    const RELOCATABLE: bool = RELOCATABLE;
    const FREE_EMPTY_TABLES: bool = FREES;
}

/// A space of this crate: of a mode, relocatable or not, freeing empty tables or not, on a host that
/// counts or does not.
pub struct Ours<A: Moded, const RELOCATABLE: bool, const FREES: bool, const COUNTS: bool> {
    pub space: Space<'static, Kind<A, RELOCATABLE, FREES>, Kernel<COUNTS>>,
}

fn page(at: u64) -> Page<Size4KiB> {
    Page::containing(VirtAddr(at))
}

#[inline(always)]
fn frame(at: u64) -> Frame<Size4KiB> {
    Frame::new(PhysAddr(at)).unwrap()
}

fn span(run: Run) -> Span {
    Span::new(VirtAddr(run.at), run.bytes()).unwrap()
}

#[inline(always)]
fn note(sum: &mut Sum, gone: Gone<'_>) {
    if let Some(page) = gone.page() {
        sum.add(page.peek().0);
    }
}

#[inline(always)]
fn note_used(sum: &mut Sum, gone: Gone<'_>) {
    if let Some(page) = gone.page() {
        sum.add_used(page.peek().0, page.attrs.accessed, page.attrs.dirty);
    }
}

impl<A: Moded, const R: bool, const F: bool, const C: bool> Ours<A, R, F, C> {
    fn unmap_each(&mut self, run: Run) -> Option<Sum> {
        let mut sum = Sum::default();
        Gather::scope(|mut gather| {
            for (at, _) in run.base_pages() {
                note(&mut sum, self.space.unmap(page(at), &mut gather).unwrap());
            }
            self.space.finish(gather).unwrap();
        });
        Some(sum)
    }
}

impl<A: Moded, const R: bool, const F: bool, const C: bool> Subject for Ours<A, R, F, C> {
    const MODE: Mode = A::MODE;

    fn new() -> Self {
        // A cell lives as long as its space: here, for ever.
        let cell = Box::leak(Box::new(RootCell::new()));
        Self { space: Space::new(Kernel, cell, Setup::new()).unwrap() }
    }

    fn root(&self) -> u64 {
        self.space.root().0
    }

    fn map_pages(&mut self, run: Run) {
        for (at, to) in run.base_pages() {
            self.space.map(page(at), frame(to), A::DATA).unwrap();
        }
    }

    fn map_cursor(&mut self, run: Run) {
        let mut cursor = self.space.cursor(VirtAddr(run.at));
        for (_, to) in run.base_pages() {
            cursor.map(PhysAddr(to), A::DATA).unwrap();
        }
    }

    fn map_range(&mut self, run: Run) {
        self.space.map_range(span(run), PhysAddr(run.frame), A::DATA).unwrap();
    }

    fn map_list(&mut self, list: &[(u64, u64)]) {
        for &(at, to) in list {
            self.space.map(page(at), frame(to), A::DATA).unwrap();
        }
    }

    fn translate_list(&self, list: &[(u64, u64)]) -> Sum {
        let mut sum = Sum::default();
        for &(at, _) in list {
            let found = self.space.translate(VirtAddr(at)).unwrap();
            sum.add(found.phys(VirtAddr(at)).0);
        }
        sum
    }

    fn unmap_pages(&mut self, run: Run) -> Option<Sum> {
        self.unmap_each(run)
    }

    fn unmap_pages_freed(&mut self, run: Run) -> Option<Sum> {
        self.unmap_each(run)
    }

    fn unmap_range(&mut self, run: Run) -> Option<Sum> {
        let mut sum = Sum::default();
        Gather::scope(|mut gather| {
            self.space
                .unmap_range(span(run), &mut gather, |gone| note_used(&mut sum, gone))
                .unwrap();
            self.space.finish(gather).unwrap();
        });
        Some(sum)
    }

    fn protect_range(&mut self, run: Run) {
        Gather::scope(|mut gather| {
            self.space.protect_range(span(run), A::READ, &mut gather).unwrap();
            self.space.finish(gather).unwrap();
        });
    }

    fn map_unmap(&mut self, run: Run, turns: u64) -> Option<Sum> {
        let mut sum = Sum::default();
        Gather::scope(|mut gather| {
            for turn in 0..turns {
                let to = frame(run.frame + turn % 2 * 4096);
                self.space.map(page(run.at), to, A::DATA).unwrap();
                note(&mut sum, self.space.unmap(page(run.at), &mut gather).unwrap());
            }
            self.space.finish(gather).unwrap();
        });
        Some(sum)
    }

    fn tear_down(self) {
        assert!(self.space.tear_down().is_ok());
    }
}
