//! Looking, without changing anything.

use super::{Look, Mappings, Space};
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::level::{Config, Entry, Error, Format, Level, Limits, PageTableLevel, Sight};
use crate::map::Tree;
use crate::table::{Host, NoTwins, RootCell, Twins, table_lg2};
use crate::walk::{Ground, Half, Mapping, Names, Reach, RootOf, Spot, Step, Visitor};
use core::fmt;
use core::marker::PhantomData;

/// A tree to look at: that of a [`Space`], or one that is only read, like those in a crash dump.
///
/// Nothing is remembered of what was visited, so a tree of any shape can be walked in constant
/// memory: a table that names itself is a table of the next level, as it is to the MMU.
pub struct View<'h, C, H> {
    host: &'h H,
    twins: &'h dyn Twins,
    sight: Sight,
    names: Names,
    half: Half,
    self_map: Option<usize>,
    cell: RootCell,
    config: PhantomData<C>,
}

/// An entry, as [`View::visit`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Visited {
    /// The first address that it stands for.
    pub at: VirtAddr,
    /// The level of the table that holds it.
    pub level: Level,
    /// The table that holds it.
    pub table: PhysAddr,
    /// Its place there.
    pub index: usize,
    /// Its raw value.
    pub raw: u64,
    /// What it says.
    pub entry: Entry,
}

impl<'h, C: Config, H: Host> View<'h, C, H> {
    /// A tree to be read from `root` on.
    ///
    /// # Safety
    /// `root` is the root of a tree of this mode, or of anything else for which the host reaches no
    /// more than memory that may be read: what a word of it names as a table is looked for with
    /// [`Host::reach`], and read if that answers. Where it answered may be read as long as the view, or
    /// an iterator of it, lives.
    ///
    /// # Errors
    /// [`Error::BadRoot`] if `root` is zero, or not aligned for a root.
    pub unsafe fn new(host: &'h H, root: PhysAddr, limits: Limits) -> Result<Self, Error> {
        let aligned = root.is_aligned(table_lg2::<RootOf<C>>());
        if !RootCell::holds(root) || !aligned {
            return Err(Error::BadRoot(root));
        }
        let cell = RootCell::new();
        cell.set(Some(root));
        Ok(Self {
            host,
            twins: &NoTwins,
            sight: Ground::<C, H>::sight(limits),
            names: Names::Aliased,
            half: Half::Apart,
            self_map: None,
            cell,
            config: PhantomData,
        })
    }

    /// What is mapped at an address.
    ///
    /// # Errors
    /// [`Error::NotMapped`], [`Error::NonPresent`] or [`Error::Malformed`] if no page is;
    /// [`Error::NoSuchAddress`] for an address that the mode does not have; [`Error::SelfMap`] for
    /// one in the self-map; [`Error::Unreachable`] if the host cannot reach a table.
    #[inline]
    pub fn translate(&self, at: VirtAddr) -> Result<Mapping, Error> {
        self.look().translate(at)
    }

    /// Everything that is mapped in a span, in ascending order: every entry that is not empty and
    /// names no table, once for each way to it. An address that the mode does not have maps nothing.
    pub fn mappings(self, span: Span) -> Mappings<'h, C, H> {
        Mappings::new(self, span)
    }

    /// Shows every entry that stands for an address of `span`, empty ones included, from the root
    /// down and in ascending order; `visit` says where to go into the table that an entry names.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if the host cannot reach a table.
    pub fn visit(&self, span: Span, visit: impl FnMut(&Visited) -> Step) -> Result<(), Error> {
        let mut each = Each(visit);
        for half in Reach::<C::Arch>::halves().into_iter().flatten() {
            if let Some(part) = half.intersect(span) {
                self.look().walk(part, &mut each)?;
            }
        }
        Ok(())
    }

    pub(super) fn of(tree: &'h Tree<'_, C, H>) -> Self {
        let twins: &'h dyn Twins = tree.ground().twins;
        Self {
            host: &tree.host,
            twins,
            sight: tree.sight,
            names: tree.names,
            half: tree.half,
            self_map: tree.self_map,
            cell: tree.cell.snapshot(),
            config: PhantomData,
        }
    }

    #[inline]
    pub(super) fn look(&self) -> Look<'_, C, H> {
        let ground = Ground {
            host: self.host,
            twins: self.twins,
            space: None,
            sight: &self.sight,
            names: self.names,
            half: self.half,
            local: false,
            self_map: self.self_map,
            config: PhantomData,
        };
        Look { ground, cell: &self.cell }
    }
}

impl<C, H> fmt::Debug for View<'_, C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("root", &self.cell.root()).finish_non_exhaustive()
    }
}

struct Each<F>(F);

impl<T: Format, F: FnMut(&Visited) -> Step> Visitor<T> for Each<F> {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = T>>(&mut self, spot: &Spot<'_, L>) -> Result<Step, Error> {
        Ok((self.0)(&Visited {
            at: spot.whole.first(),
            level: L::LEVEL,
            table: spot.table.frame(),
            index: spot.index,
            raw: spot.seen.raw,
            entry: spot.seen.entry(),
        }))
    }
}

impl<C: Config, H: Host> Space<'_, C, H> {
    /// The space, to be looked at.
    pub fn view(&self) -> View<'_, C, H> {
        View::of(self.held.tree())
    }

    /// What is mapped at an address. See [`View::translate`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)] // so that what of the answer nobody asks for is not worked out
    pub fn translate(&self, at: VirtAddr) -> Result<Mapping, Error> {
        match self.held.tree().base_page(at) {
            Some(mapping) => Ok(mapping),
            None => Look::at(self.held.tree()).translate(at),
        }
    }

    /// Everything that is mapped in a span, in order, with its accessed and dirty bits as they are
    /// now. See [`View::mappings`].
    pub fn mappings(&self, span: Span) -> Mappings<'_, C, H> {
        self.view().mappings(span)
    }
}
