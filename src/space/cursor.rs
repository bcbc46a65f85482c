//! A place in a space, for runs of operations.

use super::{Held, Look, Place, Space};
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::gather::{Gather, Gone};
use crate::level::{Attrs, Change, Config, Error, Format, Level, PageTableLevel, Rights};
use crate::map::{Used, UsedPage};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, LeafmostOf, Mapping};
use core::fmt;

/// A place in a space that goes on by one base page with every verb, and does not walk from the root
/// each time: it keeps the table of the lowest level while it stays in what that serves.
///
/// ```
/// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
/// # use pgtable::*;
/// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
/// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
/// let mut cursor = space.cursor(VirtAddr(0x7000));
/// for frame in [0x9000, 0x4000, 0x6000] {
///     cursor.map(PhysAddr(frame), Attrs::DATA)?;
/// }
/// cursor.seek(VirtAddr(0x8000));
/// assert_eq!(cursor.translate()?.frame, PhysAddr(0x4000));
/// # Ok::<(), Error>(())
/// ```
pub struct Cursor<'s, 'r, C: Config, H: Host> {
    held: &'s mut Held<'r, C, H>,
    here: Here<C>,
}

/// The page that a cursor is at. What changes it on a path that is not hot is given it and gives it
/// back, so that it need not be in memory.
struct Here<C: Config> {
    /// The first address that the table for this page serves.
    base: VirtAddr,
    /// The entry for this page; past the last one, it is the first of the next table.
    index: usize,
    /// That table, if plain entries lead to it, and whether these let user mode through.
    table: Option<(Table<LeafmostOf<C>>, bool)>,
}

impl<C: Config> Clone for Here<C> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<C: Config> Copy for Here<C> {}

impl<C: Config> Here<C> {
    const LEVEL: Level = LeafmostOf::<C>::LEVEL;

    fn new(at: VirtAddr) -> Self {
        let base = at.align_down(Self::LEVEL.reach_lg2());
        Self { base, index: Self::LEVEL.index(at), table: None }
    }

    /// The first address of the page; `None` past the last one of the 64-bit addresses.
    #[inline]
    fn at(&self) -> Option<VirtAddr> {
        let bytes = (self.index as u64).wrapping_shl(Self::LEVEL.span_lg2.into());
        self.base.0.checked_add(bytes).map(VirtAddr)
    }

    /// The table and the entry, if they are known.
    #[inline(always)]
    fn place(&self, user: bool) -> Option<Place<C>> {
        match self.table {
            Some((table, lets)) if self.index < Self::LEVEL.entries() && (lets || !user) => {
                Some((table.alone(), self.index))
            }
            _ => None,
        }
    }

    /// The page of this entry of the table.
    #[inline(always)]
    fn page(&self, index: usize) -> Span {
        let bytes = (index as u64).wrapping_shl(Self::LEVEL.span_lg2.into());
        Span::around(VirtAddr(self.base.0.wrapping_add(bytes)), Self::LEVEL.span_lg2)
    }

    /// The same page, with its table if that can be found.
    fn arrived<H: Host>(self, held: &mut Held<'_, C, H>) -> Result<(Self, Span), Error> {
        let at = self.at().ok_or(Error::NoSuchAddress(VirtAddr(u64::MAX)))?;
        let here = Self { table: held.approach(at), ..Self::new(at) };
        Ok((here, Span::around(at, Self::LEVEL.span_lg2)))
    }

    /// The next page, after something was done here.
    fn next<H: Host>(self, held: &mut Held<'_, C, H>) -> Self {
        let table = self.at().and_then(|at| held.approach(at));
        Self { index: self.index.wrapping_add(1), table, ..self }
    }
}

impl<'r, C: Config, H: Host> Space<'r, C, H> {
    /// A cursor at the base page that holds `at`.
    pub fn cursor(&mut self, at: VirtAddr) -> Cursor<'_, 'r, C, H> {
        Cursor { held: &mut self.held, here: Here::new(at) }
    }
}

impl<C: Config, H: Host> Cursor<'_, '_, C, H> {
    const PAGE_LG2: u8 = FormatOf::<C>::PAGE_LG2;

    /// The page it is at; `None` past the last one.
    #[must_use]
    pub fn at(&self) -> Option<VirtAddr> {
        self.here.at()
    }

    /// Goes to the base page that holds `at`.
    pub fn seek(&mut self, at: VirtAddr) {
        self.here = Here::new(at);
    }

    /// Maps this page, and goes on to the next. See [`Space::map`].
    ///
    /// # Errors
    /// As there, and [`Error::BadFrame`] if the frame is not on a page boundary. The cursor stays.
    #[inline(always)] // as `Space::map`
    pub fn map(&mut self, frame: PhysAddr, attrs: Attrs) -> Result<(), Error> {
        let place = self.here.place(attrs.rights.contains(Rights::USER));
        if let Some(place) = place.filter(|_| frame.is_aligned(Self::PAGE_LG2)) {
            if let Some(mapped) = self.held.map_at(place, self.here.page(place.1), frame, attrs) {
                mapped?;
                self.here.index = place.1.wrapping_add(1);
                return Ok(());
            }
        }
        self.here = Self::map_afar(self.held, self.here, frame, attrs)?;
        Ok(())
    }

    #[inline(never)]
    fn map_afar(
        held: &mut Held<'_, C, H>,
        here: Here<C>,
        frame: PhysAddr,
        attrs: Attrs,
    ) -> Result<Here<C>, Error> {
        let (here, page) = here.arrived(held)?;
        if !frame.is_aligned(Self::PAGE_LG2) {
            return Err(Error::BadFrame { at: page.first(), frame: Some(frame) });
        }
        held.map(page, Self::PAGE_LG2, frame, attrs)?;
        Ok(here.next(held))
    }

    /// Unmaps this page, and goes on to the next. See [`Space::unmap`].
    ///
    /// # Errors
    /// As there. The cursor stays.
    #[inline(always)] // as `Space::map`
    pub fn unmap<'g>(&mut self, gather: &mut Gather<'g>) -> Result<Gone<'g>, Error> {
        // Not kept while the table may go: the host can panic then.
        let (place, table) = (self.here.place(false), self.here.table.take());
        if let Some(place) = place {
            if let Some(unmapped) =
                self.held.unmap_at::<true>(place, self.here.page(place.1), gather)
            {
                self.here.index = place.1.wrapping_add(1);
                if self.held.has_near() {
                    self.here.table = table;
                }
                return Ok(Gone::Page(unmapped));
            }
        }
        let (here, gone) = Self::unmap_afar(self.held, self.here, gather)?;
        self.here = here;
        Ok(gone)
    }

    #[inline(never)]
    fn unmap_afar<'g>(
        held: &mut Held<'_, C, H>,
        here: Here<C>,
        gather: &mut Gather<'g>,
    ) -> Result<(Here<C>, Gone<'g>), Error> {
        let (here, page) = here.arrived(held)?;
        let gone = held.unmap(page, Self::PAGE_LG2, gather)?;
        Ok((here.next(held), gone))
    }

    /// Changes what this page says of itself, and goes on to the next. See [`Space::protect`].
    ///
    /// # Errors
    /// As there. The cursor stays.
    pub fn protect(
        &mut self,
        change: impl Into<Change>,
        gather: &mut Gather<'_>,
    ) -> Result<(), Error> {
        let (change, (here, page)) = (change.into(), self.here.arrived(self.held)?);
        match here.place(change.to().rights.contains(Rights::USER)) {
            Some(place) => self.held.tree().protect_in(place, page, change, gather)?,
            None => self.held.change().protect(page, Self::PAGE_LG2, change, gather)?,
        }
        self.here = here.next(self.held);
        Ok(())
    }

    /// Clears accessed or dirty bits of this page, says what they were, and goes on to the next; `None`
    /// if none of them was set, or no page is there. See [`Space::test_and_clear`].
    ///
    /// # Errors
    /// As there. The cursor stays.
    pub fn test_and_clear(
        &mut self,
        used: Used,
        gather: &mut Gather<'_>,
    ) -> Result<Option<UsedPage>, Error> {
        let (here, page) = self.here.arrived(self.held)?;
        let (mut found, place) = (None, here.place(false));
        self.held.tree().scan_page(place, page, used, gather, |page| found = Some(page))?;
        self.here = here.next(self.held);
        Ok(found)
    }

    /// What is mapped here. The cursor stays. See [`View::translate`](super::View::translate).
    ///
    /// # Errors
    /// As there.
    pub fn translate(&mut self) -> Result<Mapping, Error> {
        let at = self.at().ok_or(Error::NoSuchAddress(VirtAddr(u64::MAX)))?;
        let tree = self.held.tree();
        match tree.base_page(at) {
            Some(mapping) => Ok(mapping),
            None => Look::at(tree).translate(at),
        }
    }
}

impl<C: Config, H: Host> fmt::Debug for Cursor<'_, '_, C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("at", &self.at()).finish_non_exhaustive()
    }
}
