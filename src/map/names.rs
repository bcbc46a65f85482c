//! Names of tables: what adoption checks, and the search for other names.

use super::tree::{Half, Names, Tree};
use crate::addr::{PhysAddr, Span};
use crate::level::{Config, Entry, Error, Format, MAX_LEVELS, PageTableLevel};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, Ground, Reach, Spot, Step, Visitor};

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Whether the table that a spot names is named by another entry of the space as well.
    /// A search that comes to nothing says yes: the table stays.
    pub(super) fn has_other_name<L>(&self, spot: &Spot<L>, table: PhysAddr) -> bool
    where
        L: PageTableLevel,
    {
        self.names == Names::Aliased && self.search(spot, table).unwrap_or(true)
    }

    fn search<L: PageTableLevel>(&self, spot: &Spot<L>, table: PhysAddr) -> Result<bool, Error> {
        // Names tend to lie side by side.
        let named = |index| spot.table.see(index, &self.limits).entry() == Entry::Table(table);
        if (0..L::LEVEL.entries()).any(|index| index != spot.index && named(index)) {
            return Ok(true);
        }
        let mut search = Search { table, holder: spot.table.frame(), index: spot.index };
        for half in Reach::<C::Arch>::halves().into_iter().flatten() {
            match self.ground().walk(self.root()?, half, &mut search) {
                Ok(()) => {}
                Err(Hit::Found) => return Ok(true),
                Err(Hit::Failed(error)) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Looks for an entry, not the one given, that names a table.
struct Search {
    table: PhysAddr,
    holder: PhysAddr,
    index: usize,
}

enum Hit {
    Found,
    Failed(Error),
}

impl From<Error> for Hit {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<F: Format> Visitor<F> for Search {
    type Stop = Hit;

    fn entry<L: PageTableLevel<Format = F>>(&mut self, spot: &Spot<L>) -> Result<Step, Hit> {
        let same = spot.table.frame() == self.holder && spot.index == self.index;
        if spot.seen.entry() == Entry::Table(self.table) && !same {
            return Err(Hit::Found);
        }
        // Tables of height 0 name none.
        Ok(if L::LEVEL.height > 1 { Step::Into } else { Step::Over })
    }
}

/// Checks a tree before it is adopted, and counts its entries for a host that wants to know.
pub(crate) struct Check<'h, C, H> {
    ground: Ground<'h, C, H>,
    /// The half that is the kernel's: not looked at, since the kernel may be changing it.
    not_ours: Option<Span>,
    /// The tables on the way to where the walk is, by height.
    above: [PhysAddr; MAX_LEVELS],
}

impl<'h, C: Config, H: Host> Check<'h, C, H> {
    pub(crate) fn new(tree: &'h Tree<'_, C, H>) -> Self {
        let ground = tree.ground();
        let not_ours = if let Half::Guest(span) = tree.half { Some(span) } else { None };
        Self { ground, not_ours, above: [PhysAddr(u64::MAX); MAX_LEVELS] }
    }
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Check<'_, C, H> {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<L>,
    ) -> Result<Step, Error> {
        let theirs = self.not_ours.is_some_and(|half| half.covers(spot.whole));
        let Entry::Table(table) = spot.seen.entry() else {
            return Ok(Step::Over);
        };
        if theirs && Ground::<C, H>::is_root::<L>() {
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
        _: &Spot<L>,
        below: Table<L::Below>,
    ) -> Result<(), Error> {
        below.recount(self.ground.host);
        Ok(())
    }
}
