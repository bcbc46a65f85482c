//! Words that name a table.

use super::{Mover, Stop};
use crate::addr::{PhysAddr, Span, low_bits};
use crate::level::{Arch, Config, Error, Extent, Format, PageTableLevel, Reload, Strategy};
use crate::table::{Host, RootCell, Table, name_bits, with_roots};
use crate::walk::{FormatOf, Half, Names, Reach, RootOf, Spot, Step, Visitor};

/// What names a table of level `M`: one word, or several that are changed in one move.
pub(super) trait Slot<C: Config, H: Host, M: PageTableLevel> {
    /// Whether the name can be taken away for a while.
    const BREAKABLE: bool;

    /// All that the table serves.
    fn span(&self) -> Span;

    /// What is stale when the word has changed.
    fn extent(&self) -> Extent;

    /// Whether it is stale in every space.
    fn everywhere(&self, mover: &Mover<'_, C, H>) -> bool;

    /// The highest address that fits the word.
    fn highest(&self, mover: &Mover<'_, C, H>) -> PhysAddr;

    /// Refuses a table whose names are not all known.
    fn check(&self, mover: &Mover<'_, C, H>, old: PhysAddr) -> Result<(), Stop>;

    /// Lets `fill` fill the new table at `new`, when those who must know of it before it is used do.
    fn enlist(
        &self,
        mover: &Mover<'_, C, H>,
        new: PhysAddr,
        fill: &mut dyn FnMut(),
    ) -> Result<(), Error>;

    /// Writes the new address over the old one, with TWIN.
    fn publish(&self, mover: &Mover<'_, C, H>, old: Table<M>, new: Table<M>);

    /// Makes the name not present, with LOCK.
    fn break_name(&self, mover: &Mover<'_, C, H>);

    /// Makes it present again, with the new address.
    fn make_name(&self, mover: &Mover<'_, C, H>, old: PhysAddr, new: PhysAddr);
}

/// The entry at a spot, and every other one that names the same table.
pub(super) struct EntrySlot<'s, L>(pub(super) &'s Spot<'s, L>);

impl<C, H, L> Slot<C, H, L::Below> for EntrySlot<'_, L>
where
    C: Config,
    H: Host,
    L: PageTableLevel<Format = FormatOf<C>>,
{
    const BREAKABLE: bool = true;

    fn span(&self) -> Span {
        self.0.whole
    }

    fn extent(&self) -> Extent {
        match C::Arch::reload(L::LEVEL) {
            Reload::Root => Extent::Root,
            Reload::Entry => Extent::Everything,
        }
    }

    fn everywhere(&self, mover: &Mover<'_, C, H>) -> bool {
        mover.ground.owns(self.0.whole)
    }

    fn highest(&self, mover: &Mover<'_, C, H>) -> PhysAddr {
        mover.ground.sight.highest_table::<L>()
    }

    fn check(&self, mover: &Mover<'_, C, H>, old: PhysAddr) -> Result<(), Stop> {
        if mover.ground.names == Names::Unique {
            return Ok(());
        }
        let (height, holder) = (L::LEVEL.height, (self.0.table.frame(), self.0.index));
        mover.walk_names(&mut Check { mover, table: old, height, holder })
    }

    fn enlist(
        &self,
        _: &Mover<'_, C, H>,
        _: PhysAddr,
        fill: &mut dyn FnMut(),
    ) -> Result<(), Error> {
        fill();
        Ok(())
    }

    fn publish(&self, mover: &Mover<'_, C, H>, old: Table<L::Below>, new: Table<L::Below>) {
        let clear = name_bits::<L>(old.frame());
        let set = name_bits::<L>(new.frame()) | L::Format::TWIN;
        if mover.ground.names == Names::Unique {
            mover.ground.modify(self.0, clear, set);
        } else {
            let (table, height) = (old.frame(), L::LEVEL.height);
            // `check` has walked the same way, and it did not fail.
            let _ = mover.walk_names(&mut Rename { mover, table, height, clear, set });
        }
    }

    fn break_name(&self, mover: &Mover<'_, C, H>) {
        mover.ground.modify(self.0, L::Format::PRESENT, L::Format::LOCK);
    }

    fn make_name(&self, mover: &Mover<'_, C, H>, old: PhysAddr, new: PhysAddr) {
        let clear = name_bits::<L>(old) | L::Format::LOCK;
        mover.ground.modify(self.0, clear, name_bits::<L>(new) | L::Format::PRESENT);
    }
}

/// The root cell.
pub(super) struct RootSlot;

impl<C: Config, H: Host> Slot<C, H, RootOf<C>> for RootSlot {
    /// Each CPU writes its root register for itself: there is nothing to break.
    const BREAKABLE: bool = false;

    fn span(&self) -> Span {
        Span::ALL
    }

    fn extent(&self) -> Extent {
        Extent::Root
    }

    fn everywhere(&self, _: &Mover<'_, C, H>) -> bool {
        false
    }

    fn highest(&self, mover: &Mover<'_, C, H>) -> PhysAddr {
        let bits = C::Arch::root_phys_bits(&mover.ground.sight.limits);
        PhysAddr(low_bits(bits.min(RootCell::phys_bits())))
    }

    fn check(&self, _: &Mover<'_, C, H>, _: PhysAddr) -> Result<(), Stop> {
        Ok(())
    }

    /// Under the list's lock from before the copy until the new root is listed, so that it misses no
    /// change of the kernel's half; while the old one is listed as well, changes go to both.
    fn enlist(
        &self,
        mover: &Mover<'_, C, H>,
        new: PhysAddr,
        fill: &mut dyn FnMut(),
    ) -> Result<(), Error> {
        if !RootCell::holds(new) {
            return Err(Error::BadRoot(new));
        }
        if mover.ground.half == Half::Apart {
            fill();
            return Ok(());
        }
        let mut listed = false;
        with_roots(mover.ground.host, |list| {
            // What panics in the host has listed no root that goes back.
            fill();
            listed = list.insert(new);
        });
        listed.then_some(()).ok_or(Error::RootList(new))
    }

    fn publish(&self, mover: &Mover<'_, C, H>, old: Table<RootOf<C>>, new: Table<RootOf<C>>) {
        if let Some(index) = mover.ground.self_map {
            let clear = name_bits::<RootOf<C>>(old.frame());
            let set = name_bits::<RootOf<C>>(new.frame());
            new.live().modify(index, clear, set);
            old.live().modify(index, clear, set);
        }
        mover.cell.set_with_twin(new.frame());
    }

    fn break_name(&self, _: &Mover<'_, C, H>) {}

    fn make_name(&self, _: &Mover<'_, C, H>, _: PhysAddr, _: PhysAddr) {}
}

impl<C: Config, H: Host> Mover<'_, C, H> {
    /// Visits every entry of the space that can name a table.
    pub(super) fn walk_names<V>(&self, v: &mut V) -> Result<(), V::Stop>
    where
        V: Visitor<FormatOf<C>>,
    {
        let root = self.ground.root(self.cell)?;
        let mut halves = Reach::<C::Arch>::halves().into_iter().flatten();
        halves.try_for_each(|half| self.ground.walk(root, half, v))
    }

    /// Where a search for names goes from here. The kernel's half names no table of another space,
    /// and a table of height 0 names none.
    pub(super) fn onward<L: PageTableLevel>(&self, spot: &Spot<'_, L>) -> Step {
        let new = !self.ground.not_ours(spot) && !self.ground.repeats(spot, Span::ALL);
        let further = L::LEVEL.height > 1 && new;
        if further { Step::Into } else { Step::Over }
    }
}

/// Looks whether a table is named as a table of one level only, and, where a name must be taken away
/// before another is given, once only.
struct Check<'m, 'a, C: Config, H: Host> {
    mover: &'m Mover<'a, C, H>,
    table: PhysAddr,
    height: u8,
    holder: (PhysAddr, usize),
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Check<'_, '_, C, H> {
    type Stop = Stop;
    const EMPTY: bool = false;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Stop> {
        let swap = C::Arch::STRATEGY == Strategy::Swap;
        let known = swap || (spot.table.frame(), spot.index) == self.holder;
        if spot.seen.names(self.table) && (L::LEVEL.height != self.height || !known) {
            return Err(Error::Shared { at: spot.whole.first() }.into());
        }
        Ok(self.mover.onward(spot))
    }
}

/// Changes every name of a table.
struct Rename<'m, 'a, C: Config, H: Host> {
    mover: &'m Mover<'a, C, H>,
    table: PhysAddr,
    height: u8,
    clear: u64,
    set: u64,
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Rename<'_, '_, C, H> {
    type Stop = Error;
    const EMPTY: bool = false;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        if L::LEVEL.height != self.height {
            return Ok(self.mover.onward(spot));
        }
        if spot.seen.names(self.table) {
            self.mover.ground.modify(spot, self.clear, self.set);
        }
        // `Check` has found no name of it further down.
        Ok(Step::Over)
    }
}
