//! A place in a space, for runs of operations.

use super::{Space, View};
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::gather::{Gather, Gone};
use crate::level::{Attrs, Change, Config, Entry, Error, Format, PageTableLevel, Rights};
use crate::map::{Tree, Used, UsedPage};
use crate::table::{Host, Table};
use crate::walk::{Finder, FormatOf, LeafmostOf, Mapping, Path, Spot, Step, Visitor};
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
    tree: &'s mut Tree<'r, C, H>,
    /// `None` past the last page of the 64-bit addresses.
    at: Option<VirtAddr>,
    window: Option<Window<C>>,
}

/// The table of the lowest level that serves a span, and what the entries above it grant.
struct Window<C: Config> {
    span: Span,
    table: Table<LeafmostOf<C>>,
    granted: u64,
}

impl<C: Config> Clone for Window<C> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<C: Config> Copy for Window<C> {}

impl<'r, C: Config, H: Host> Space<'r, C, H> {
    /// A cursor at the base page that holds `at`.
    pub fn cursor(&mut self, at: VirtAddr) -> Cursor<'_, 'r, C, H> {
        let at = Some(at.align_down(FormatOf::<C>::PAGE_LG2));
        Cursor { tree: &mut self.tree, at, window: None }
    }
}

impl<C: Config, H: Host> Cursor<'_, '_, C, H> {
    /// The page it is at; `None` past the last one.
    #[must_use]
    pub const fn at(&self) -> Option<VirtAddr> {
        self.at
    }

    /// Goes to the base page that holds `at`.
    #[inline]
    pub fn seek(&mut self, at: VirtAddr) {
        self.at = Some(at.align_down(FormatOf::<C>::PAGE_LG2));
    }

    /// Maps this page, and goes on to the next. See [`Space::map`].
    ///
    /// # Errors
    /// As there, and [`Error::BadFrame`] if the frame is not on a page boundary. The cursor stays.
    #[inline]
    pub fn map(&mut self, frame: PhysAddr, attrs: Attrs) -> Result<(), Error> {
        let (page, window) = self.here()?;
        let size_lg2 = FormatOf::<C>::PAGE_LG2;
        if !frame.is_aligned(size_lg2) {
            return Err(Error::BadFrame { at: page.first(), frame: Some(frame) });
        }
        match window {
            Some(window) if window.grants(attrs.rights) => {
                let mut one = self.tree.page(size_lg2, frame, &attrs);
                self.tree.ground().descend(window.table, page, &mut one)?;
            }
            _ => {
                self.tree.map(page, size_lg2, frame, &attrs)?;
                self.window = None;
            }
        }
        self.step(page);
        Ok(())
    }

    /// Unmaps this page, and goes on to the next. See [`Space::unmap`].
    ///
    /// # Errors
    /// As there. The cursor stays.
    #[inline]
    pub fn unmap<'g>(&mut self, gather: &mut Gather<'g>) -> Result<Gone<'g>, Error> {
        gather.bind(self.tree.owner)?;
        let (page, window) = self.here()?;
        let size_lg2 = FormatOf::<C>::PAGE_LG2;
        let Some(window) = window else {
            let gone = self.tree.unmap(page, size_lg2, gather)?;
            self.step(page);
            return Ok(gone);
        };
        let mut gone = None;
        let mut clear = self.tree.clear(gather, Some(size_lg2), |found| gone = Some(found));
        self.tree.ground().descend(window.table, page, &mut clear)?;
        let index = <LeafmostOf<C>>::LEVEL.index(page.first());
        if C::FREE_EMPTY_TABLES && window.table.is_empty(&self.tree.host, index) {
            self.window = None;
            self.tree.prune_path(page, gather)?;
        }
        self.step(page);
        gone.ok_or(Error::NotMapped { at: page.first(), size_lg2 })
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
        gather.bind(self.tree.owner)?;
        let (page, window) = self.here()?;
        let (change, size_lg2) = (change.into(), FormatOf::<C>::PAGE_LG2);
        match window {
            Some(window) if window.grants(change.to().rights) => {
                let mut protector = self.tree.protector(change, gather, Some(size_lg2))?;
                self.tree.ground().descend(window.table, page, &mut protector)?;
            }
            _ => {
                self.tree.protect(page, size_lg2, change, gather)?;
                self.window = None;
            }
        }
        self.step(page);
        Ok(())
    }

    /// Clears accessed or dirty bits of this page, and goes on to the next; answers with the page if
    /// one was set. See [`Space::test_and_clear`].
    ///
    /// # Errors
    /// As there. The cursor stays.
    pub fn test_and_clear(
        &mut self,
        used: Used,
        gather: &mut Gather<'_>,
    ) -> Result<Option<UsedPage>, Error> {
        gather.bind(self.tree.owner)?;
        let (page, window) = self.here()?;
        let mut found = None;
        let mut scan = self.tree.scanner(used, gather, |page| found = Some(page));
        match window {
            Some(window) => self.tree.ground().descend(window.table, page, &mut scan)?,
            None => self.tree.descend(page, &mut scan)?,
        }
        self.step(page);
        Ok(found)
    }

    /// What is mapped here. The cursor stays. See [`Space::translate`].
    ///
    /// # Errors
    /// As there.
    pub fn translate(&mut self) -> Result<Mapping, Error> {
        let at = self.at.ok_or(Error::NoSuchAddress(VirtAddr(u64::MAX)))?;
        if self.tree.ground().borrows(Span::around(at, 0)) {
            return View::of(self.tree).translate(at);
        }
        let (page, window) = self.here()?;
        let ground = self.tree.ground();
        let mut finder = Finder::new(at, window.map_or(u64::MAX, |window| window.granted));
        match window {
            Some(window) => ground.descend(window.table, page, &mut finder)?,
            None => ground.descend(self.tree.root()?, page, &mut finder)?,
        }
        finder.answer
    }

    /// The page at hand, and the table for it, if there is one.
    #[inline]
    fn here(&mut self) -> Result<(Span, Option<Window<C>>), Error> {
        let at = self.at.ok_or(Error::NoSuchAddress(VirtAddr(u64::MAX)))?;
        let page = Span::around(at, FormatOf::<C>::PAGE_LG2);
        match self.window {
            Some(window) if window.span.contains(at) => {}
            _ => self.window = self.enter(page)?,
        }
        Ok((page, self.window))
    }

    fn enter(&self, page: Span) -> Result<Option<Window<C>>, Error> {
        self.tree.ground().admit(page)?;
        let mut enter = Enter { path: Path::new(u64::MAX), window: None };
        self.tree.descend(page, &mut enter)?;
        Ok(enter.window)
    }

    #[inline]
    fn step(&mut self, page: Span) {
        self.at = page.last().0.checked_add(1).map(VirtAddr);
    }
}

impl<C: Config> Window<C> {
    #[inline]
    fn grants(&self, rights: Rights) -> bool {
        FormatOf::<C>::rights(self.granted).contains(rights)
    }
}

impl<C: Config, H: Host> fmt::Debug for Cursor<'_, '_, C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Looks for the table of the lowest level.
struct Enter<C: Config> {
    path: Path,
    window: Option<Window<C>>,
}

impl<C: Config> Visitor<FormatOf<C>> for Enter<C> {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<L>,
    ) -> Result<Step, Error> {
        if L::LEVEL.height == 0 {
            let span = Span::around(spot.at(), L::LEVEL.reach_lg2());
            let granted = self.path.above(0);
            let window = |table| Window { span, table, granted };
            self.window = spot.table.if_of::<LeafmostOf<C>>().map(window);
        } else if let Entry::Table(_) = spot.seen.entry() {
            self.path.down(spot);
        }
        Ok(Step::Into)
    }
}
