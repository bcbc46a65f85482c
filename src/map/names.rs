//! Names of tables: what adoption checks, and the search for other names.

use super::tree::Tree;
use crate::addr::{PhysAddr, Span};
use crate::level::{Config, Entry, Error, Format, MAX_LEVELS, PageTableLevel};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, Ground, Names, Spot, Step, Visitor};

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Whether the table that a spot names is named by another entry of the space as well.
    /// A search that comes to nothing says yes: the table stays.
    pub(super) fn has_other_name<L>(&self, spot: &Spot<'_, L>, table: PhysAddr) -> bool
    where
        L: PageTableLevel,
    {
        self.names == Names::Aliased && self.search(spot, table).unwrap_or(true)
    }

    fn search<L: PageTableLevel>(
        &self,
        spot: &Spot<'_, L>,
        table: PhysAddr,
    ) -> Result<bool, Error> {
        // Names tend to lie side by side.
        let named = |index| spot.table.see(index, &self.sight).names(table);
        if (0..L::LEVEL.entries()).any(|index| index != spot.index && named(index)) {
            return Ok(true);
        }
        let here = Some((spot.table.frame(), spot.index));
        let name = self.ground().name_of(self.root()?, Span::ALL, table, here)?;
        Ok(name.is_some())
    }
}

/// Checks a tree before it is adopted, and counts its entries for a host that wants to know.
pub(crate) struct Check<'h, C, H> {
    ground: Ground<'h, C, H>,
    /// The tables on the way to where the walk is, by height.
    above: [PhysAddr; MAX_LEVELS],
}

impl<'h, C: Config, H: Host> Check<'h, C, H> {
    pub(crate) fn new(tree: &'h Tree<'_, C, H>) -> Self {
        Self { ground: tree.ground(), above: [PhysAddr(u64::MAX); MAX_LEVELS] }
    }
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Check<'_, C, H> {
    type Stop = Error;
    const EMPTY: bool = false;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        let Entry::Table(table) = spot.seen.entry() else {
            return Ok(Step::Over);
        };
        // The kernel may be changing its half.
        if self.ground.not_ours(spot) {
            return Ok(Step::Over);
        }
        let (at, raw) = (spot.at(), spot.seen.raw);
        if raw & (L::Format::LOCK | L::Format::TWIN) != 0 {
            return Err(Error::SoftwareBits { at, raw });
        }
        let height = usize::from(L::LEVEL.height);
        if let Some(place) = self.above.get_mut(height) {
            *place = spot.table.frame();
        }
        if self.above.iter().skip(height).any(|&above| above == table) {
            return Err(Error::Cycle { at, table });
        }
        Ok(Step::Into)
    }

    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        _: &Spot<'_, L>,
        below: Table<L::Below>,
    ) -> Result<(), Error> {
        below.recount(self.ground.host);
        Ok(())
    }
}
