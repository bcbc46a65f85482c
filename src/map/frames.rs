//! Frames for a range of pages.

use super::install::Install;
use super::tree::{Tree, leaf_word};
use crate::addr::{PhysAddr, Span, VirtAddr, low_bits};
use crate::level::{Attrs, Config, Error, Format, PageTableLevel, Rights, Sight};
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
}

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Maps a span to the frames that a closure gives, run by run.
    pub(crate) fn map_frames(
        &self,
        span: Span,
        attrs: Attrs,
        next: impl FnMut(VirtAddr, u64) -> Option<FrameRun>,
    ) -> Result<(), Error> {
        self.admit(span)?;
        self.sight.limits.permit(&attrs)?;
        self.expect(attrs.global);
        let last = span.last();
        self.install(span, &mut Frames { next, attrs, last, run: None })
    }

    /// Maps a span to one run of memory that begins at `start`.
    pub(crate) fn map_range(&self, span: Span, start: PhysAddr, attrs: Attrs) -> Result<(), Error> {
        let bytes = span.bytes_less_one().saturating_add(1);
        self.map_frames(span, attrs, |_, _| Some(FrameRun { start, bytes }))
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
    const SINGLE: bool = false;

    fn rights(&self) -> Rights {
        self.attrs.rights
    }

    #[inline(always)] // what it answers with is large
    fn leaves<L: PageTableLevel>(
        &mut self,
        sight: &Sight,
        at: VirtAddr,
        most: usize,
    ) -> Result<Option<(usize, impl FnMut() -> u64)>, Error> {
        let (frame, more) = self.run_at(at)?;
        let size_lg2 = L::LEVEL.span_lg2;
        if frame.is_aligned(size_lg2) && more >= low_bits(size_lg2) {
            // What an entry cannot hold comes by itself, and is refused.
            let pages = more.wrapping_sub(low_bits(size_lg2)).wrapping_shr(size_lg2.into());
            let all = usize::try_from(pages).unwrap_or(usize::MAX).saturating_add(1).min(most);
            let last = nth::<L>(frame, all.saturating_sub(1));
            let count = if sight.reaches::<L>(last) { all } else { 1 };
            let word = leaf_word::<L>(sight, frame, &self.attrs)?;
            return Ok(Some((count, words::<L>(word, frame, self.attrs))));
        }
        if L::LEVEL.height == 0 {
            return Err(Error::BadFrame { at, frame: Some(frame) });
        }
        Ok(None)
    }
}

/// The words of the leaves of level `L` for frames in a row, of which `word` is the first.
#[inline(always)]
fn words<L: PageTableLevel>(word: u64, first: PhysAddr, attrs: Attrs) -> impl FnMut() -> u64 {
    let (mut next, mut frame) = (word, first);
    move || {
        let word = next;
        frame = nth::<L>(frame, 1);
        next = match L::Format::step(L::LEVEL) {
            Some(step) => word.wrapping_add(step),
            // Whether a format can say something does not depend on the frame.
            None => L::Format::leaf(L::LEVEL, frame, &attrs).unwrap_or(word),
        };
        word
    }
}

/// The frame of the page of level `L` that is `index` pages after the one at `first`.
#[inline]
fn nth<L: PageTableLevel>(first: PhysAddr, index: usize) -> PhysAddr {
    PhysAddr(first.0.wrapping_add((index as u64).wrapping_shl(L::LEVEL.span_lg2.into())))
}
