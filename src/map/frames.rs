//! Frames for a range of pages.

use super::install::Install;
use super::tree::{Tree, leaf_word};
use crate::addr::{PhysAddr, Span, VirtAddr, low_bits};
use crate::level::{Attrs, Config, Error, Limits, PageTableLevel, Rights};
use crate::table::Host;

/// A run of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRun {
    /// Its first byte.
    pub start: PhysAddr,
    /// How many bytes it has.
    pub bytes: u64,
}

/// Takes runs of memory from a closure, and lays them out in the largest pages that fit.
pub(crate) struct Frames<F> {
    next: F,
    attrs: Attrs,
    /// The span to be filled ends here.
    last: VirtAddr,
    /// What the run at hand is mapped to.
    run: Option<(Span, PhysAddr)>,
    exact: Option<u8>,
}

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Maps a span to the frames that a closure gives, run by run.
    pub(crate) fn map_frames(
        &self,
        span: Span,
        attrs: Attrs,
        next: impl FnMut(VirtAddr, u64) -> Option<FrameRun>,
    ) -> Result<(), Error> {
        self.ground().admit(span)?;
        self.limits.permit(&attrs)?;
        let last = span.last();
        self.install(span, &mut Frames { next, attrs, last, run: None, exact: None })
    }

    /// Maps a span to one run of memory that begins at `start`.
    pub(crate) fn map_range(&self, span: Span, start: PhysAddr, attrs: Attrs) -> Result<(), Error> {
        let bytes = span.bytes_less_one().saturating_add(1);
        self.map_frames(span, attrs, |_, _| Some(FrameRun { start, bytes }))
    }

    /// Maps one page of exactly this size, where tables for it are missing.
    #[cold]
    pub(super) fn map_page_and_tables(
        &self,
        page: Span,
        size_lg2: u8,
        start: PhysAddr,
        attrs: Attrs,
    ) -> Result<(), Error> {
        let bytes = page.bytes_less_one().saturating_add(1);
        let next = |_, _| Some(FrameRun { start, bytes });
        let (last, exact) = (page.last(), Some(size_lg2));
        self.install(page, &mut Frames { next, attrs, last, run: None, exact })
    }
}

impl<F: FnMut(VirtAddr, u64) -> Option<FrameRun>> Frames<F> {
    /// The frame for `at`, and how many bytes more of the run there are from it on, less one.
    fn run_at(&mut self, at: VirtAddr) -> Result<(PhysAddr, u64), Error> {
        let (span, start) = match self.run {
            Some(run) if run.0.contains(at) => run,
            _ => self.ask(at)?,
        };
        let offset = at.0.wrapping_sub(span.first().0);
        Ok((PhysAddr(start.0.wrapping_add(offset)), span.last().0.wrapping_sub(at.0)))
    }

    fn ask(&mut self, at: VirtAddr) -> Result<(Span, PhysAddr), Error> {
        let wanted = self.last.0.wrapping_sub(at.0).saturating_add(1);
        let given = (self.next)(at, wanted).ok_or(Error::BadFrame { at, frame: None })?;
        let bad = Error::BadFrame { at, frame: Some(given.start) };
        let span = Span::new(at, given.bytes.min(wanted)).ok_or(bad)?;
        given.start.0.checked_add(span.bytes_less_one()).ok_or(bad)?;
        self.run = Some((span, given.start));
        Ok((span, given.start))
    }
}

impl<F: FnMut(VirtAddr, u64) -> Option<FrameRun>> Install for Frames<F> {
    fn exact(&self) -> Option<u8> {
        self.exact
    }

    fn rights(&self) -> Rights {
        self.attrs.rights
    }

    #[inline]
    fn word<L: PageTableLevel>(
        &mut self,
        limits: &Limits,
        at: VirtAddr,
    ) -> Result<Option<u64>, Error> {
        if self.exact.is_some_and(|exact| exact < L::LEVEL.span_lg2) {
            return Ok(None);
        }
        let (frame, more) = self.run_at(at)?;
        let size_lg2 = L::LEVEL.span_lg2;
        if frame.is_aligned(size_lg2) && more >= low_bits(size_lg2) {
            return leaf_word::<L>(limits, frame, &self.attrs).map(Some);
        }
        if L::LEVEL.height == 0 {
            return Err(Error::BadFrame { at, frame: Some(frame) });
        }
        Ok(None)
    }
}
