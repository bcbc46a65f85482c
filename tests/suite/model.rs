//! Any sequence of verbs and moves, against a model that knows no tables: results, mappings, accessed
//! and dirty bits and the number of tables are compared after each step, and CPUs that walk from any
//! table which they may still know find what is mapped.

mod moves;

use crate::common::memory::Memory;
use crate::common::model::{Is, Model, opened, page_lg2, seen};
use crate::common::ops::{Op, Place, ops};
use crate::common::{canonical, mapping_levels, oracle, root_level, virt_bits};
use pgtable::{
    Arch, Attrs, Change, Entry, Error, Format, Gather, Page, PageSize, PhysAddr, Rights, RootCell,
    Space, Span, Step, Used, VirtAddr,
};
use proptest::prelude::*;

/// Attributes that every mode has, in sixteen variants.
fn attrs(variant: u8) -> Attrs {
    let mut attrs = Attrs::ALL.with_software(u16::from(variant & 4 >> 2));
    attrs.rights.set(Rights::WRITE, variant & 1 != 0);
    attrs.rights.set(Rights::USER, variant & 2 != 0);
    attrs.with_global(variant & 8 != 0)
}

/// Entries of the user's own: in no format here are bits 9 and 11 looked at by themselves.
fn own(number: u8) -> u64 {
    if number == 0 { 0 } else { 0xa00 + (u64::from(number) << 12) }
}

struct Both<'m, A: Arch> {
    host: &'m Memory,
    space: Space<'m, A, &'m Memory>,
    model: Model<A>,
    /// Tables that CPUs may know of.
    cached: moves::Cached,
    /// How many shootdowns they were told of.
    told: usize,
}

/// Calls a verb that is typed by page size with a size known only at run time.
macro_rules! sized {
    ($lg2:expr, $at:expr, |$page:ident| $call:expr) => {{
        macro_rules! arm {
            ($name:ident) => {{
                let $page = Page::<$name>::new($at).unwrap();
                $call
            }};
        }
        match $lg2 {
            10 => arm!(L10),
            12 => arm!(L12),
            18 => arm!(L18),
            21 => arm!(L21),
            22 => arm!(L22),
            _ => arm!(L30),
        }
    }};
}

macro_rules! sizes {
    ($($name:ident = $lg2:literal),*) => {$(
        #[derive(Clone, Copy)]
        enum $name {}
        impl PageSize for $name { const SIZE_LG2: u8 = $lg2; }
    )*};
}
sizes!(L10 = 10, L12 = 12, L18 = 18, L21 = 21, L22 = 22, L30 = 30);

impl<A: Arch> Both<'_, A> {
    fn span(place: Place) -> (u64, u64, Span) {
        let top = root_level::<A>().entries() as u64 - 1;
        let page = 1u64 << page_lg2::<A>();
        let all = 1u64 << virt_bits::<A>();
        let bytes = u64::from(place.pages) * page;
        let start = match place.anchor {
            0 => 0,
            1 => all / 2,
            2 => (top << root_level::<A>().span_lg2) & !(1 << 30),
            _ => all - 1400 * page,
        };
        let mut at = start + u64::from(place.page) * page;
        let half_end = if at < all / 2 { all / 2 } else { all };
        at = at.min(half_end - page);
        let last = (at + (bytes - 1)).min(half_end - 1);
        (at, last, Span::inclusive(canonical::<A>(at), canonical::<A>(last)).unwrap())
    }

    fn sized(place: Place, size: u8) -> (u64, u8, VirtAddr) {
        let levels = mapping_levels::<A>();
        let lg2 = levels[usize::from(size) % levels.len()].span_lg2;
        let at = Self::span(place).0 & !((1 << lg2) - 1);
        (at, lg2, canonical::<A>(at))
    }

    fn step(&mut self, op: Op) {
        let before = self.host.picture();
        let refused = match op {
            Op::Map { place, size, attrs: a } => self.map(place, size, attrs(a)),
            Op::MapRange { place, frame, aligned, attrs: a } => {
                self.map_range(place, frame, aligned, attrs(a))
            }
            Op::MapCursor { place, attrs: a } => self.map_cursor(place, attrs(a)),
            Op::Unmap { place, size } => self.unmap(place, size),
            Op::UnmapRange { place } => self.unmap_range(place),
            Op::UnmapCursor { place } => self.unmap_cursor(place),
            Op::Protect { place, size, attrs: a } => self.protect(place, size, attrs(a)),
            Op::ProtectRange { place, attrs: a } => self.protect_range(place, attrs(a)),
            Op::Split { place } => self.split(place),
            Op::Promote { place, size } => self.promote(place, size),
            Op::Exchange { place, size, was, raw } => self.exchange(place, size, was, raw),
            Op::Scan { place, accessed, dirty } => self.scan(place, accessed, dirty),
            Op::Touch { place, write } => self.touch(place, write),
            Op::TouchStale { place, nth, write } => {
                self.touch_stale(place, nth, write);
                false
            }
            Op::Relocate { place, what, height } => {
                self.relocate(place, what, height);
                false
            }
            Op::EndBatch => {
                self.end_batch();
                false
            }
        };
        if refused {
            assert_eq!(before, self.host.picture(), "what fails has changed nothing");
        }
        self.compare();
        self.remember();
    }

    fn compare(&self) {
        assert_eq!(visited(&self.space), self.model.mappings());
        assert_eq!(self.host.tables_in_use(), self.model.tables() + self.in_limbo());
        assert_eq!(self.host.hooked().len(), self.host.tables_in_use());
    }

    fn map(&mut self, place: Place, size: u8, attrs: Attrs) -> bool {
        let (at, lg2, va) = Self::sized(place, size);
        let frame = u64::from(place.pages & 7) << lg2;
        let expected = self.model.map(at, lg2, frame, attrs);
        let frame = PhysAddr(frame);
        let result = sized!(lg2, va, |page| {
            self.space.map(page, pgtable::Frame::new(frame).unwrap(), attrs)
        });
        assert_eq!(result.is_ok(), expected.is_ok(), "{result:?}");
        result.is_err()
    }

    fn map_range(&mut self, place: Place, frame: u16, aligned: bool, attrs: Attrs) -> bool {
        let (at, last, span) = Self::span(place);
        let frame = if aligned { at & 0x7fff_ffff } else { u64::from(frame) << page_lg2::<A>() };
        let expected = self.model.map_range(at, last - at + 1, frame, attrs);
        let result = self.space.map_range(span, PhysAddr(frame), attrs);
        assert_eq!(result.is_ok(), expected.is_ok(), "{result:?}");
        result.is_err()
    }

    fn map_cursor(&mut self, place: Place, attrs: Attrs) -> bool {
        let (at, last, span) = Self::span(place);
        let mut cursor = self.space.cursor(span.first());
        for at in (at..=last.min(at + 0xfffff)).step_by(1 << page_lg2::<A>()) {
            let frame = at & 0x7fff_ffff;
            let expected = self.model.map(at, page_lg2::<A>(), frame, attrs);
            let result = cursor.map(PhysAddr(frame), attrs);
            assert_eq!(result.is_ok(), expected.is_ok(), "{result:?}");
            match result {
                Ok(()) => {}
                Err(_) => cursor.seek(VirtAddr(canonical::<A>(at).0 + (1 << page_lg2::<A>()))),
            }
            if at == last & !((1 << page_lg2::<A>()) - 1) {
                break;
            }
        }
        false
    }

    fn unmap(&mut self, place: Place, size: u8) -> bool {
        let (at, lg2, va) = Self::sized(place, size);
        let expected = self.model.unmap(at, lg2);
        let result = Gather::scope(|mut gather| {
            let gone = sized!(lg2, va, |page| self.space.unmap(page, &mut gather));
            let flushed = self.space.finish(gather).unwrap();
            gone.map(|gone| opened(gone, &flushed))
        });
        match (&result, &expected) {
            (Ok(gone), Ok(slot)) => assert_eq!(*gone, (va.0, *slot)),
            (Err(_), Err(_)) => {}
            _ => panic!("{result:?}, not {expected:?}"),
        }
        result.is_err()
    }

    fn unmap_range(&mut self, place: Place) -> bool {
        let (at, last, span) = Self::span(place);
        let expected = self.model.unmap_range(at, last);
        let result = Gather::scope(|mut gather| {
            let mut gone = Vec::new();
            let result = self.space.unmap_range(span, &mut gather, |one| gone.push(one));
            let flushed = self.space.finish(gather).unwrap();
            result.map(|()| gone.into_iter().map(|one| opened(one, &flushed)).collect::<Vec<_>>())
        });
        match (&result, expected) {
            (Ok(gone), Ok(slots)) => {
                let slots = slots.into_iter().map(|(at, slot)| (canonical::<A>(at).0, slot));
                assert_eq!(*gone, slots.collect::<Vec<_>>());
            }
            (Err(_), Err(_)) => {}
            (result, expected) => panic!("{result:?}, not {expected:?}"),
        }
        result.is_err()
    }

    fn unmap_cursor(&mut self, place: Place) -> bool {
        let (at, last, span) = Self::span(place);
        let step = 1u64 << page_lg2::<A>();
        Gather::scope(|mut gather| {
            let mut cursor = self.space.cursor(span.first());
            for at in (at..last.min(at + 64 * step)).step_by(step as usize) {
                let expected = self.model.unmap(at, page_lg2::<A>());
                let result = cursor.unmap(&mut gather);
                assert_eq!(result.is_ok(), expected.is_ok(), "{result:?}");
                if result.is_err() {
                    cursor.seek(VirtAddr(canonical::<A>(at).0.saturating_add(step)));
                }
            }
            let _ = self.space.finish(gather).unwrap();
        });
        false
    }

    fn protect(&mut self, place: Place, size: u8, attrs: Attrs) -> bool {
        let (at, lg2, va) = Self::sized(place, size);
        let expected = self.model.protect(at, lg2, attrs);
        let result = self.flushing(|space, gather| {
            sized!(lg2, va, |page| space.protect(page, Change::all(attrs), gather))
        });
        assert_eq!(result.is_ok(), expected.is_ok(), "{result:?}");
        result.is_err()
    }

    fn protect_range(&mut self, place: Place, attrs: Attrs) -> bool {
        let (at, last, span) = Self::span(place);
        let expected = self.model.protect_range(at, last, attrs);
        let result =
            self.flushing(|space, gather| space.protect_range(span, Change::all(attrs), gather));
        assert_eq!(result.is_ok(), expected.is_ok(), "{result:?}");
        result.is_err()
    }

    fn split(&mut self, place: Place) -> bool {
        let (at, _, span) = Self::span(place);
        let expected = self.model.split(at);
        let result = self.flushing(|space, gather| space.split(span.first(), gather));
        assert_eq!(result.is_ok(), expected.is_ok(), "{result:?}");
        result.is_err()
    }

    fn promote(&mut self, place: Place, size: u8) -> bool {
        let (at, lg2, va) = Self::sized(place, size);
        if lg2 == page_lg2::<A>() {
            return false;
        }
        let expected = self.model.promote(at, lg2);
        let result = sized!(lg2, va, |page| self.space.promote(page));
        assert_eq!(result.is_ok(), expected.is_ok(), "{result:?}");
        result.is_err()
    }

    fn exchange(&mut self, place: Place, size: u8, was: u8, raw: u8) -> bool {
        let (at, lg2, va) = Self::sized(place, size);
        let expected = self.model.exchange(at, lg2, own(was), own(raw));
        let result = self.flushing(|space, gather| {
            sized!(lg2, va, |page| space.exchange(page, own(was), own(raw), gather))
        });
        assert_eq!(result.is_ok(), expected.is_ok(), "{result:?}");
        result.is_err()
    }

    fn scan(&mut self, place: Place, accessed: bool, dirty: bool) -> bool {
        let (at, last, span) = Self::span(place);
        let expected = self.model.scan(at, last, accessed, dirty);
        let mut used = Used::empty();
        used.set(Used::ACCESSED, accessed);
        used.set(Used::DIRTY, dirty);
        let mut found = Vec::new();
        let report = |page: pgtable::UsedPage| found.push(page.at.0);
        self.flushing(|space, gather| space.test_and_clear(span, used, gather, report)).unwrap();
        let expected: Vec<_> = expected.into_iter().map(|at| canonical::<A>(at).0).collect();
        assert_eq!(found, expected);
        false
    }

    /// A CPU uses a page: the manual's walk finds what the crate says, and sets A and D.
    fn touch(&mut self, place: Place, write: bool) -> bool {
        let (at, _, span) = Self::span(place);
        if A::NAME == "made-up" {
            return false;
        }
        self.model.touch(at, write);
        let hit = oracle::touch::<A>(self.host, self.space.root().0, span.first().0, write);
        let found = self.space.translate(span.first()).ok();
        assert_eq!(hit.is_some(), found.is_some());
        if let (Some(hit), Some(found)) = (hit, found) {
            assert_eq!(hit.phys, found.phys(span.first()).0);
            assert_eq!(hit.size, 1 << found.size_lg2);
            assert_eq!(hit.writable, found.effective.contains(Rights::WRITE));
            assert_eq!(hit.user, found.effective.contains(Rights::USER));
            assert_eq!(hit.executable, found.effective.contains(Rights::EXECUTE));
            assert_eq!(found.effective, found.attrs.rights, "the tables above take nothing away");
        }
        false
    }

    fn flushing<R>(
        &mut self,
        work: impl for<'g> FnOnce(&mut Space<'_, A, &Memory>, &mut Gather<'g>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        Gather::scope(|mut gather| {
            let result = work(&mut self.space, &mut gather);
            let _ = self.space.finish(gather).unwrap();
            result
        })
    }
}

/// Every page of a space, and every entry of the user's own, in one walk.
fn visited<A: Arch>(space: &Space<'_, A, &Memory>) -> Vec<(u64, (u8, Is))> {
    let mut found = Vec::new();
    let visit = |at: &pgtable::Visited| {
        let is = match at.entry {
            Entry::Leaf(frame) => {
                let attrs = <A::Format as Format>::attrs(at.level, at.raw);
                Is::Page { frame: frame.0, attrs }
            }
            Entry::NonPresent(raw) => Is::NonPresent(raw),
            Entry::Empty | Entry::Table(_) => return Step::Into,
            Entry::Malformed(raw) => panic!("{raw:#x}"),
        };
        found.push((at.at.0, (at.level.span_lg2, is)));
        Step::Over
    };
    space.view().visit(Span::ALL, visit).unwrap();
    found
}

fn run<A: Arch>(ops: &[Op], (counting, aliased): (bool, bool)) {
    let host = Memory::with(0x10_0000, 1 << 20, counting);
    let cell = RootCell::new();
    let space = Space::<A, _>::new(&host, &cell, moves::setup(aliased)).unwrap();
    let cached = moves::Cached::new();
    let mut both = Both { host: &host, space, model: Model::new(), cached, told: 0 };
    ops.iter().for_each(|&op| both.step(op));
    let listed: Vec<_> = both.space.mappings(Span::ALL).map(|m| seen(m.unwrap())).collect();
    assert_eq!(listed, both.model.mappings());
    both.space.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!((host.tables_in_use(), host.hooked().len()), (0, 0));
}

proptest! {
    #![proptest_config(crate::common::cases(64))]

    #[test]
    fn x86_32(ops in prop::collection::vec(ops(), 1..60), kind: (bool, bool)) {
        run::<pgtable::arch::x86::X86_32>(&ops, kind);
    }
    #[test]
    fn x86_pae(ops in prop::collection::vec(ops(), 1..60), kind: (bool, bool)) {
        run::<pgtable::arch::x86::X86Pae>(&ops, kind);
    }
    #[test]
    fn x86_64(ops in prop::collection::vec(ops(), 1..60), kind: (bool, bool)) {
        run::<pgtable::arch::x86::X86_64>(&ops, kind);
    }
    #[test]
    fn x86_64_la57(ops in prop::collection::vec(ops(), 1..60), kind: (bool, bool)) {
        run::<pgtable::arch::x86::X86_64La57>(&ops, kind);
    }
    #[test]
    fn made_up(ops in prop::collection::vec(ops(), 1..60), kind: (bool, bool)) {
        run::<crate::common::odd::Odd>(&ops, kind);
    }
}
