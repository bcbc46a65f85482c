//! The search for the entries that name a table.

use super::{FormatOf, Ground, Names, Reach, RootOf, Spot, Step, Visitor};
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::level::{Config, Error, PageTableLevel};
use crate::table::{Host, Table};

/// An entry that names a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// The table that holds the entry.
    pub(crate) holder: PhysAddr,
    /// Its place there.
    pub(crate) index: usize,
    /// The first address that the named table serves by this name.
    pub(crate) at: VirtAddr,
    /// The height of the named table.
    pub(crate) height: u8,
}

impl<C: Config, H: Host> Ground<'_, C, H> {
    /// The first entry for a byte of `span` that names `table`; entries of the holder and place
    /// `but` do not count. A space is not asked about the kernel's half, unless that is its own.
    pub(crate) fn name_of(
        &self,
        root: Table<RootOf<C>>,
        span: Span,
        table: PhysAddr,
        but: Option<(PhysAddr, usize)>,
    ) -> Result<Option<Name>, Error> {
        let mut search = Search { ground: *self, root: root.frame(), span, table, but };
        for half in Reach::<C::Arch>::halves().into_iter().flatten() {
            let Some(part) = half.intersect(span) else { continue };
            match self.walk(root, part, &mut search) {
                Ok(()) => {}
                Err(Hit::Found(name)) => return Ok(Some(name)),
                Err(Hit::Failed(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Whether the entry before this one says the same, and stands for bytes of `span` only: then a walk
    /// of `span` has been to all that is below. (Linux names one leaf table, of small stacks, by 512 entries
    /// in a row.)
    #[inline]
    pub(crate) fn repeats<L: PageTableLevel>(&self, spot: &Spot<'_, L>, span: Span) -> bool {
        // A walk may have left out the root entry before, and that may be in the other half.
        if self.names == Names::Unique || Self::is_root::<L>() {
            return false;
        }
        let Some(before) = spot.index.checked_sub(1) else { return false };
        let bytes = 1_u64.wrapping_shl(L::LEVEL.span_lg2.into());
        let covered = span.first().0 <= spot.whole.first().0.wrapping_sub(bytes);
        covered && spot.table.see(before, self.sight).entry() == spot.seen.entry()
    }
}

/// Looks for an entry that names a table.
struct Search<'h, C, H> {
    ground: Ground<'h, C, H>,
    root: PhysAddr,
    span: Span,
    table: PhysAddr,
    but: Option<(PhysAddr, usize)>,
}

enum Hit {
    Found(Name),
    Failed(Error),
}

impl From<Error> for Hit {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Search<'_, C, H> {
    type Stop = Hit;
    const EMPTY: bool = false;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Hit> {
        // Tables of the kernel's half name none of this space, and may be freed meanwhile.
        if self.ground.not_ours(spot) {
            return Ok(Step::Over);
        }
        let (holder, index) = (spot.table.frame(), spot.index);
        if spot.seen.names(self.table) && self.but != Some((holder, index)) {
            let (at, height) = (spot.whole.first(), L::LEVEL.height.saturating_sub(1));
            return Err(Hit::Found(Name { holder, index, at, height }));
        }
        // A self-map leads nowhere new, and tables of height 0 name none.
        let new = !spot.seen.names(self.root) && !self.ground.repeats(spot, self.span);
        let onward = L::LEVEL.height > 1 && new;
        Ok(if onward { Step::Into } else { Step::Over })
    }
}
