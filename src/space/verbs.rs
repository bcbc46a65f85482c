//! The verbs, as a kernel calls them: the same bodies, with pages and frames in their types.

use super::Space;
use crate::addr::{Frame, Page, PageSize, PhysAddr, Span, VirtAddr};
use crate::gather::{Gather, Gone};
use crate::level::{Attrs, Change, Config, Error};
use crate::map::{FrameRun, Used, UsedPage};
use crate::table::Host;

impl<C: Config, H: Host> Space<'_, C, H> {
    /// Maps a page to a frame. Tables that are missing are made. No CPU needs to be told.
    ///
    /// # Errors
    /// [`Error::Occupied`] or [`Error::Malformed`] with what is there already;
    /// [`Error::Unsupported`] and [`Error::TooWide`] for what the mode or this CPU cannot say;
    /// [`Error::OutOfMemory`] or [`Error::BadTable`] from the host's frames;
    /// [`Error::NoSuchAddress`], [`Error::Shared`] and [`Error::SelfMap`] for addresses that do not
    /// exist or are not to be mapped here.
    #[inline(always)] // so that what is known of the page and of what it says is not asked again
    pub fn map<S: PageSize>(
        &mut self,
        page: Page<S>,
        frame: Frame<S>,
        attrs: Attrs,
    ) -> Result<(), Error> {
        self.held.map(page.span(), S::SIZE_LG2, frame.start(), attrs)
    }

    /// Maps a span to one run of memory from `start` on, with the largest pages that fit.
    ///
    /// # Errors
    /// As [`map`](Self::map); [`Error::BadSpan`] if the span is not made of whole pages;
    /// [`Error::BadFrame`] if `start` is not on a page boundary. Nothing is mapped then.
    pub fn map_range(&mut self, span: Span, start: PhysAddr, attrs: Attrs) -> Result<(), Error> {
        self.held.change().map_range(span, start, attrs)
    }

    /// Maps a span to the memory that `next` gives, run by run: it is called with the address to be
    /// mapped next and the bytes still missing, and what it gives beyond these is not used. The
    /// largest pages that fit are used.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
    /// let span = Span::new(VirtAddr(0x1000_0000), 0x3000).unwrap();
    /// let mut scattered = [0x7000, 0x3000, 0x9000].into_iter().map(PhysAddr);
    /// space.map_frames(span, Attrs::DATA, |_, _| {
    ///     Some(FrameRun { start: scattered.next()?, bytes: 0x1000 })
    /// })?;
    /// assert_eq!(space.translate(VirtAddr(0x1000_1000))?.frame, PhysAddr(0x3000));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`map_range`](Self::map_range); [`Error::BadFrame`] if `next` gives none, or a run of
    /// nothing. Nothing is mapped then, and the frames are the caller's again.
    pub fn map_frames(
        &mut self,
        span: Span,
        attrs: Attrs,
        next: impl FnMut(VirtAddr, u64) -> Option<FrameRun>,
    ) -> Result<(), Error> {
        self.held.change().map_frames(span, attrs, next)
    }

    /// Unmaps one page. If it is part of a larger one, that is split first. Tables that are empty
    /// then are unlinked and go into the gather.
    ///
    /// # Errors
    /// [`Error::NotMapped`] or [`Error::Malformed`] if there is no page; [`Error::Occupied`] if
    /// there are smaller ones; [`Error::OutOfMemory`], [`Error::BadTable`] and [`Error::TooWide`]
    /// from splitting; and those about addresses.
    #[inline(always)] // as `map`
    pub fn unmap<'g, S: PageSize>(
        &mut self,
        page: Page<S>,
        gather: &mut Gather<'g>,
    ) -> Result<Gone<'g>, Error> {
        self.held.unmap(page.span(), S::SIZE_LG2, gather)
    }

    /// Unmaps all pages of a span and clears the user's own entries, and hands them to `report` in
    /// ascending order. Larger pages that it covers in part are split first; holes are well.
    ///
    /// Of a large span ([`Config::UNMAP_WHOLE_FROM`]), tables that serve nothing else go with all that is
    /// in them: then there is a shootdown before their pages are reported. What such tables still held
    /// when a report panics is unmapped, and is not reported any more.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
    /// let huge = Span::new(VirtAddr(0x20_0000), 0x20_0000).unwrap();
    /// space.map_range(huge, PhysAddr(0x4000_0000), Attrs::DATA)?;
    /// let one = Span::new(VirtAddr(0x20_3000), 0x1000).unwrap();
    /// let frames = Gather::scope(|mut gather| {
    ///     let mut pages = Vec::new();
    ///     space.unmap_range(one, &mut gather, |gone| pages.extend(gone.page()))?;
    ///     let flushed = space.finish(gather)?;
    ///     Ok::<_, Error>(pages.into_iter().map(|page| page.open(&flushed)).collect::<Vec<_>>())
    /// })?;
    /// assert_eq!(frames, [PhysAddr(0x4000_3000)]);
    /// assert!(space.translate(VirtAddr(0x20_4000)).is_ok());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::BadTable`] and [`Error::TooWide`] from splitting;
    /// [`Error::NonPresent`] if an entry of the user's own is covered in part; and those about
    /// addresses. Nothing is unmapped then.
    pub fn unmap_range<'g>(
        &mut self,
        span: Span,
        gather: &mut Gather<'g>,
        report: impl FnMut(Gone<'g>),
    ) -> Result<(), Error> {
        self.held.change().unmap_range(span, gather, report)
    }

    /// Changes what a page says of itself; accessed and dirty stay as hardware has them. If it is
    /// part of a larger one, that is split first.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
    /// let page = Page::<Size4KiB>::new(VirtAddr(0x5000)).unwrap();
    /// space.map(page, Frame::new(PhysAddr(0x8000)).unwrap(), Attrs::DATA)?;
    /// Gather::scope(|mut gather| {
    ///     space.protect(page, Rights::READ, &mut gather)?;
    ///     space.finish(gather)?;
    ///     Ok::<_, Error>(())
    /// })?;
    /// assert_eq!(space.translate(VirtAddr(0x5000))?.effective, Rights::READ);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NonPresent`] for an entry of the user's own; [`Error::Unsupported`] for what the
    /// mode or this CPU cannot say; and those of [`unmap`](Self::unmap).
    pub fn protect<S: PageSize>(
        &mut self,
        page: Page<S>,
        change: impl Into<Change>,
        gather: &mut Gather<'_>,
    ) -> Result<(), Error> {
        self.held.change().protect(page.span(), S::SIZE_LG2, change.into(), gather)
    }

    /// Changes what all pages of a span say of themselves. Larger pages that it covers in part are
    /// split first; holes and the user's own entries stay as they are.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what the mode or this CPU cannot say; and those of
    /// [`unmap_range`](Self::unmap_range). Nothing is changed then.
    pub fn protect_range(
        &mut self,
        span: Span,
        change: impl Into<Change>,
        gather: &mut Gather<'_>,
    ) -> Result<(), Error> {
        self.held.change().protect_range(span, change.into(), gather)
    }

    /// Clears accessed or dirty bits, and reports every page that had one of them set. A larger
    /// page that the span touches is scanned whole.
    ///
    /// A write through a translation that a CPU still holds as dirty shows again only after the
    /// gather is finished: finish it before the pages are written out.
    ///
    /// # Errors
    /// Those about addresses.
    pub fn test_and_clear(
        &mut self,
        span: Span,
        used: Used,
        gather: &mut Gather<'_>,
        report: impl FnMut(UsedPage),
    ) -> Result<(), Error> {
        self.held.change().test_and_clear(span, used, gather, report)
    }

    /// Splits the huge page that holds `at` into pages of the next smaller size.
    ///
    /// # Errors
    /// [`Error::Occupied`] with the page, if it is one of the smallest; [`Error::TooWide`] if the
    /// frame is out of reach of smaller pages (a 4 MiB page above 4 GiB); [`Error::NotMapped`],
    /// [`Error::NonPresent`] or [`Error::Malformed`] if there is no page; [`Error::OutOfMemory`] or
    /// [`Error::BadTable`] from the host's frames; and those about addresses.
    pub fn split(&mut self, at: VirtAddr, gather: &mut Gather<'_>) -> Result<(), Error> {
        self.held.change().split(at, gather)
    }

    /// Makes one huge page of the smaller ones that are there, if they are its pieces: frames in a
    /// row and aligned, and alike in everything but accessed and dirty, of which it gets those of all
    /// pieces. It makes a shootdown of its own.
    ///
    /// # Errors
    /// [`Error::NotOnePage`] with the first page that does not fit; [`Error::NotMapped`],
    /// [`Error::NonPresent`] or [`Error::Malformed`] for an entry that is no page;
    /// [`Error::Occupied`] if there is one huge page already; and those about addresses and sizes.
    pub fn promote<S: PageSize>(&mut self, page: Page<S>) -> Result<(), Error> {
        self.held.change().promote(page.span(), S::SIZE_LG2)
    }

    /// Puts the raw entry `raw` in place of `was`, if that is still there, and answers with what was
    /// there. Both may be zero (empty), an entry of the user's own, or a leaf; tables on the way are
    /// made. This is how a page is swapped out and in.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
    /// let page = Page::<Size4KiB>::new(VirtAddr(0x5000)).unwrap();
    /// let swap_entry = 0xabcd << 1;       // bit 0 is clear: not present
    /// Gather::scope(|mut gather| {
    ///     space.exchange(page, 0, swap_entry, &mut gather)?;
    ///     assert_eq!(
    ///         space.translate(page.start()),
    ///         Err(Error::NonPresent { at: page.start(), raw: swap_entry }),
    ///     );
    ///     space.finish(gather)?;
    ///     Ok::<_, Error>(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Changed`] with what is there instead; [`Error::BadRaw`] if `raw` names a table or
    /// has reserved bits; [`Error::Occupied`] if pages of another size are there; and those of
    /// [`map`](Self::map).
    pub fn exchange<S: PageSize>(
        &mut self,
        page: Page<S>,
        was: u64,
        raw: u64,
        gather: &mut Gather<'_>,
    ) -> Result<u64, Error> {
        self.held.change().exchange(page.span(), S::SIZE_LG2, (was, raw), gather)
    }
}
