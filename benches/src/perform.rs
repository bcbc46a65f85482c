//! One row, done by one subject: made ready, timed, and compared with what it must come to.

use crate::arena;
use crate::region::timed;
use crate::row::{Load, Row};
use crate::subject::{Mode, Subject, Sum};
use crate::walk::{self, Leaf};
use std::time::Duration;

/// Whether results are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Yes,
    No,
}

/// What is wrong.
pub type Wrong = String;

/// A row, and how it is done.
struct Task<'l> {
    mode: Mode,
    load: &'l Load,
    check: Check,
}

/// Does a row once, and says how long its operations took.
pub fn perform<S: Subject>(row: Row, load: &Load, check: Check) -> Result<Duration, Wrong> {
    arena::reset();
    let task = Task { mode: S::MODE, load, check };
    match row {
        Row::MapPage | Row::MapCursor | Row::MapRange | Row::MapRandom => task.map::<S>(row),
        Row::MapHuge => task.map_huge::<S>(),
        Row::TranslateRandom => task.translate::<S>(),
        Row::UnmapPage | Row::UnmapPageFreed | Row::UnmapRange => task.unmap::<S>(row),
        Row::ProtectRange => task.protect::<S>(),
        Row::MapUnmap => task.turns::<S>(),
        Row::TearDown => task.tear_down::<S>(),
    }
}

impl Task<'_> {
    fn map<S: Subject>(&self, row: Row) -> Result<Duration, Wrong> {
        let (load, mut subject) = (self.load, S::new());
        let took = match row {
            Row::MapPage => timed(|| subject.map_pages(load.base)),
            Row::MapCursor => timed(|| subject.map_cursor(load.base)),
            Row::MapRange => timed(|| subject.map_range(load.base)),
            _ => timed(|| subject.map_list(&load.random)),
        };
        let pages = if row == Row::MapRandom { load.random.clone() } else { self.pages() };
        self.same(subject.root(), pages, load.base.size, true)?;
        Ok(took)
    }

    /// In many new spaces in a row: one alone takes no longer than some steps of the clock.
    fn map_huge<S: Subject>(&self) -> Result<Duration, Wrong> {
        let huge = self.load.huge;
        let mut subjects: Vec<S> = (0..Load::HUGE_SPACES).map(|_| S::new()).collect();
        let took = timed(|| subjects.iter_mut().for_each(|subject| subject.map_range(huge)));
        for subject in &subjects {
            self.same(subject.root(), huge.each().collect(), huge.size, true)?;
        }
        Ok(took)
    }

    fn translate<S: Subject>(&self) -> Result<Duration, Wrong> {
        let mut subject = S::new();
        subject.map_list(&self.load.random);
        let mut expected = Sum::default();
        self.load.random.iter().for_each(|&(_, frame)| expected.add(frame));
        let mut sum = Sum::default();
        let took = timed(|| sum = subject.translate_list(&self.load.random));
        self.equal(expected, sum, "the sum of frames")?;
        Ok(took)
    }

    fn unmap<S: Subject>(&self, row: Row) -> Result<Duration, Wrong> {
        let (mut subject, base) = (S::new(), self.load.base);
        subject.map_pages(base);
        let before = arena::used();
        self.mark(subject.root());
        let expected = self.sum(subject.root(), row == Row::UnmapRange);
        let mut sum = None;
        let took = match row {
            Row::UnmapPage => timed(|| sum = subject.unmap_pages(base)),
            Row::UnmapPageFreed => timed(|| sum = subject.unmap_pages_freed(base)),
            _ => timed(|| sum = subject.unmap_range(base)),
        };
        self.equal(expected, sum.unwrap_or(expected), "the sum of frames, A and D")?;
        self.same(subject.root(), Vec::new(), base.size, true)?;
        match row {
            Row::UnmapPage => self.equal(before, arena::used(), "tables kept")?,
            Row::UnmapPageFreed => self.equal(1, arena::used(), "tables left")?,
            _ => {}
        }
        Ok(took)
    }

    fn protect<S: Subject>(&self) -> Result<Duration, Wrong> {
        let (mut subject, base) = (S::new(), self.load.base);
        subject.map_pages(base);
        self.mark(subject.root());
        let expected = self.sum(subject.root(), true);
        let took = timed(|| subject.protect_range(base));
        self.same(subject.root(), self.pages(), base.size, false)?;
        if S::KEEPS_USED {
            self.equal(expected, self.sum(subject.root(), true), "A and D after it")?;
        }
        Ok(took)
    }

    fn turns<S: Subject>(&self) -> Result<Duration, Wrong> {
        let (mut subject, base, turns) = (S::new(), self.load.base, self.load.turns);
        // A neighbour, so that there are tables.
        let mut page = base;
        page.pages = 1;
        let mut neighbour = page;
        neighbour.at += base.size;
        subject.map_pages(neighbour);
        let mut expected = Sum::default();
        (0..turns).for_each(|turn| expected.add(base.frame + turn % 2 * base.size));
        let mut sum = None;
        let took = timed(|| sum = subject.map_unmap(page, turns));
        self.equal(expected, sum.unwrap_or(expected), "the sum of frames")?;
        self.same(subject.root(), neighbour.each().collect(), base.size, true)?;
        Ok(took)
    }

    fn tear_down<S: Subject>(&self) -> Result<Duration, Wrong> {
        let mut subject = S::new();
        subject.map_pages(self.load.base);
        let mut subject = Some(subject);
        let took = timed(|| subject.take().into_iter().for_each(S::tear_down));
        self.equal(0, arena::used(), "tables left")?;
        Ok(took)
    }

    fn pages(&self) -> Vec<(u64, u64)> {
        self.load.base.each().collect()
    }

    /// Sets A in every second page and D in every third, as x86 does.
    fn mark(&self, root: u64) {
        if matches!(self.mode, Mode::Aarch64) {
            return;
        }
        let mut index = 0_u64;
        walk::leaves(self.mode, root, &mut |_, word| {
            let (accessed, dirty) = (index.is_multiple_of(2), index.is_multiple_of(3));
            walk::set(self.mode, word, u64::from(accessed) << 5 | u64::from(dirty) << 6);
            index += 1;
        });
    }

    /// The sum of all that is mapped.
    fn sum(&self, root: u64, used: bool) -> Sum {
        let mut sum = Sum::default();
        walk::leaves(self.mode, root, &mut |leaf, word| {
            let raw = if used { walk::load(self.mode, word) } else { 0 };
            sum.add_used(leaf.frame, raw & 1 << 5 != 0, raw & 1 << 6 != 0);
        });
        sum
    }

    /// Compares all that is mapped with what must be.
    fn same(
        &self,
        root: u64,
        mut pages: Vec<(u64, u64)>,
        size: u64,
        writable: bool,
    ) -> Result<(), Wrong> {
        if self.check == Check::No {
            return Ok(());
        }
        pages.sort_unstable();
        let (mut wrong, mut expected) = (None, pages.into_iter());
        // Without NX, every page can be executed.
        let executable = matches!(self.mode, Mode::Legacy);
        walk::leaves(self.mode, root, &mut |found, _| {
            let next = expected.next();
            let wanted = next.map(|(at, frame)| Leaf { at, frame, size, writable, executable });
            if wrong.is_none() && wanted != Some(found) {
                wrong = Some(format!("{found:x?} is there, and not {wanted:x?}"));
            }
        });
        match (wrong, expected.next()) {
            (Some(wrong), _) => Err(wrong),
            (None, Some((at, _))) => Err(format!("{at:#x} is not mapped")),
            (None, None) => Ok(()),
        }
    }

    fn equal<T: PartialEq + std::fmt::Debug>(
        &self,
        wanted: T,
        found: T,
        what: &str,
    ) -> Result<(), Wrong> {
        if wanted == found { Ok(()) } else { Err(format!("{what}: {found:?}, not {wanted:?}")) }
    }
}
