//! Moves among the verbs, and CPUs that walk from whatever table they may still know.

use super::Both;
use crate::common;
use crate::common::ops::Place;
use common::{canonical, oracle};
use pgtable::{Arch, Entry, Error, Extent, Placement, Setup, Span, Stale, Step, VirtAddr, levels};
use std::collections::BTreeSet;

/// A table that a CPU has a pointer to: its height, its frame, and the first address it serves.
pub(super) type Pointer = (u8, u64, u64);

impl<A: Arch> Both<'_, A> {
    /// Moves something, and leaves it in limbo.
    pub(super) fn relocate(&mut self, place: Place, what: u8, height: u8) {
        let (at, _, span) = Self::span(place);
        let tables = self.host.tables_in_use();
        let mut session = self.space.enter();
        let moved = match what {
            0 => session.migrate_space(|_| Placement::Anywhere),
            1 => session.migrate_range(span, |_| Placement::Anywhere),
            2 => session.migrate_root(|_| Placement::Anywhere).map(|_| ()),
            3 => {
                let nth = usize::from(place.page) % tables;
                let frame = *self.host.in_use().keys().nth(nth).unwrap();
                let frame = pgtable::PhysAddr(frame);
                match session.migrate_frame(frame, |_| Placement::Anywhere) {
                    Ok(moved) => {
                        assert_eq!(moved.unwrap().from, frame);
                        Ok(())
                    }
                    // It was in limbo, and is given back now.
                    Err(Error::NoTable(_)) => {
                        assert!(!self.host.in_use().contains_key(&frame.0));
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
            _ => {
                let height = height % levels::<A>().len_of_mode();
                let at = canonical::<A>(at);
                match session.migrate_table(at, height, |_| Placement::Anywhere) {
                    Ok(moved) => {
                        let moved = moved.unwrap();
                        assert_eq!(session.delimbo(at, height).unwrap(), moved.to);
                        assert!(session.in_limbo(moved.from) && !session.in_limbo(moved.to));
                        Ok(())
                    }
                    // A hole, or a page, where the table would be.
                    Err(
                        Error::NotMapped { .. } | Error::Occupied { .. } | Error::NonPresent { .. },
                    ) => Ok(()),
                    Err(error) => Err(error),
                }
            }
        };
        moved.unwrap();
        std::mem::forget(session);
    }

    pub(super) fn end_batch(&mut self) {
        let limbo = self.in_limbo() as u64;
        let done = self.space.enter().leave();
        assert_eq!((done.tables_freed(), self.in_limbo()), (limbo, 0));
        assert_eq!(done.shootdowns, u64::from(limbo != 0));
    }

    /// How many frames are in limbo.
    pub(super) fn in_limbo(&self) -> usize {
        let frames = self.host.in_use();
        frames.keys().filter(|&&frame| self.space.in_limbo(pgtable::PhysAddr(frame))).count()
    }

    /// What a CPU may know after this step: what it knew, but for what it was told to drop, and every
    /// table that it can have met since.
    pub(super) fn remember(&mut self) {
        for stale in self.host.stale().iter().skip(self.told) {
            self.cached.retain(|&pointer| survives::<A>(stale, pointer));
        }
        self.told = self.host.stale().len();
        let root = (levels::<A>().len_of_mode() - 1, self.space.root().0, 0);
        let cached = &mut self.cached;
        cached.insert(root);
        let visit = |at: &pgtable::Visited| {
            if let Entry::Table(table) = at.entry {
                let mask = u64::MAX.checked_shl(at.level.span_lg2.into()).unwrap();
                cached.insert((at.level.height - 1, table.0, at.at.0 & mask));
            }
            Step::Into
        };
        self.space.view().visit(Span::ALL, visit).unwrap();
    }

    /// A CPU uses a page, from a table that it knows; the `nth` that serves the address.
    pub(super) fn touch_stale(&mut self, place: Place, nth: u8, write: bool) {
        let (at, _, span) = Self::span(place);
        let va = span.first().0;
        let serving =
            self.cached.iter().filter(|&&(height, _, first)| serves::<A>(height, first, va));
        let serving: Vec<Pointer> = serving.copied().collect();
        if A::NAME == "made-up" || serving.is_empty() {
            return;
        }
        let (height, table, _) = serving[usize::from(nth) % serving.len()];
        let hit = oracle::touch_from::<A>(self.host, height, table, va, write);
        let found = self.space.translate(VirtAddr(va)).ok();
        assert_eq!(hit.map(|hit| hit.phys), found.map(|found| found.phys(VirtAddr(va)).0));
        self.model.touch(at, write);
    }
}

/// Whether a table of this height, which serves the addresses from `first` on, serves `va`.
fn serves<A: Arch>(height: u8, first: u64, va: u64) -> bool {
    let level = levels::<A>().find(|level| level.height == height).unwrap();
    let above = u32::from(level.reach_lg2());
    height + 1 == levels::<A>().len_of_mode() || first.checked_shr(above) == va.checked_shr(above)
}

/// Whether a CPU that was told of this may keep the pointer.
fn survives<A: Arch>(stale: &Stale, (height, _, first): Pointer) -> bool {
    match stale.extent() {
        Extent::Nothing => true,
        Extent::Everything | Extent::Root => false,
        Extent::Spans => {
            let level = levels::<A>().find(|level| level.height == height).unwrap();
            let served = Span::around(VirtAddr(first), level.reach_lg2().min(63));
            !stale.tables() || stale.spans().iter().all(|span| span.intersect(served).is_none())
        }
    }
}

/// The number of levels.
trait LenOfMode {
    fn len_of_mode(self) -> u8;
}

impl<I: Iterator> LenOfMode for I {
    fn len_of_mode(self) -> u8 {
        self.count() as u8
    }
}

pub(super) type Cached = BTreeSet<Pointer>;

/// With the search for other names, or without.
pub(super) fn setup<'k, A: Arch>(aliased: bool) -> Setup<'k, A> {
    let names = if aliased { pgtable::Names::Aliased } else { pgtable::Names::Unique };
    Setup::new().names(names)
}
