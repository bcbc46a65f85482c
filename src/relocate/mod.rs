//! Giving tables new frames, while CPUs walk through them.
//!
//! # The protocol
//!
//! A table is named by a word: an entry of the table above it, or, for a root, the root cell. Moving
//! it is five steps, and all that can fail is in the first:
//!
//! 1. *Prepare.* Ask the host for a frame, and see that there is room for a record. (A root that
//!    shares the kernel half is put on the host's list as well.)
//! 2. *Copy* every word into the new frame. From now on hardware may set A and D in the old words
//!    that the copy lacks.
//! 3. *Record* that the old frame is the limbo copy, the *twin*, of the new one.
//! 4. *Publish*: write the new address over the old one, in every word that names the table, with
//!    TWIN beside it. New walks come to the new table.
//! 5. *Note* what is stale: every translation and every cached pointer of the space, and the root
//!    register if a root, or an entry that is read only when a root is loaded, has changed.
//!
//! Until the batch ends, CPUs may walk either copy. So whatever a verb writes into the live table it
//! writes into its twin as well, and what hardware sets in either is found by every verb that looks:
//! a walk that meets TWIN knows that there are two. CPUs find the same mappings in both.
//!
//! *The end of a batch* is one shootdown, acknowledged by every CPU. Now nobody reaches a limbo copy.
//! Each record is looked up by walking to its table by address; what hardware has set in the copy is
//! merged into the live table; the record is dropped, TWIN is cleared, and when this is done for all
//! of them, the old frames go back. A batch ends when a session is left or dropped, when a move fails,
//! and when the limbo is full, after which the move goes on. Nothing waits for anybody else to leave.
//!
//! Most often there is nothing to merge, and the old words tell it: hardware sets bits, and so makes
//! their sum larger than it was before they were copied. Where a verb has come by since, which may have
//! written to both copies, the sum tells nothing, and they are compared word by word.
//!
//! If the host's shootdown panics, all stays as it is: frames in limbo are never freed without an
//! acknowledgement.
//!
//! # Break before make
//!
//! Some architectures forbid to swap one table for another under a CPU. There
//! ([`Strategy::BreakBeforeMake`]) the entry is made not present, with LOCK as the mark, then comes
//! a shootdown, and the copy after it is exact: nobody can write the old words any more. The new name
//! is written, and the old frame goes back at once. Accesses in between fault, and are tried again.
//! A root register is written by each CPU for itself, so a root is moved as above.

mod delimbo;
mod end;
mod policy;
mod slot;
mod sweep;

pub(crate) use delimbo::delimbo;
pub use policy::{Moved, Placement, Statistics, TableAt};

use crate::addr::{PhysAddr, Span};
use crate::gather::Gather;
use crate::level::{Arch, Config, Error, Fields, Format, PageTableLevel, Strategy};
use crate::limbo::{Due, Limbo, Record};
use crate::table::{Host, RootCell, Spare, Table, give_back, table_lg2};
use crate::walk::{FormatOf, Ground, Half};
use core::marker::PhantomData;
use policy::tally;
use slot::Slot;

/// Moves tables of one space.
pub(crate) struct Mover<'a, C: Config, H: Host> {
    pub(crate) ground: Ground<'a, C, H>,
    pub(crate) cell: &'a RootCell,
    pub(crate) limbo: &'a Limbo,
    /// Whether a leaf that this space has mapped may be global.
    pub(crate) global: bool,
    pub(crate) statistics: &'a mut Statistics,
}

/// Why a walk that moves tables has come to its end early.
pub(crate) enum Stop {
    /// The limbo is full, or the table was moved in this batch already: the batch must end first.
    BatchMustEnd,
    /// It failed.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<C: Config, H: Host> Mover<'_, C, H> {
    /// Moves the table `old`, which `slot` names: the one body for every level of every mode, and for
    /// the root.
    #[inline(never)] // rare, and long: one copy for each level and kind of slot
    fn migrate_entry<M, S>(
        &mut self,
        slot: &S,
        old: Table<M>,
        to: Placement,
    ) -> Result<Option<Moved>, Stop>
    where
        M: PageTableLevel<Format = FormatOf<C>>,
        S: Slot<C, H, M>,
    {
        let node = match to {
            Placement::Keep => {
                self.statistics.kept = self.statistics.kept.saturating_add(1);
                return Ok(None);
            }
            Placement::Node(node) => Some(node),
            Placement::Anywhere => None,
        };
        slot.check(self, old.frame())?;
        let breaks = S::BREAKABLE && C::Arch::STRATEGY == Strategy::BreakBeforeMake;
        if old.twin().is_some() || !breaks && !self.limbo.has_room() {
            return Err(Stop::BatchMustEnd);
        }
        let (highest, at) = (slot.highest(self), slot.span().first());
        let spare = Spare::<M, H>::new(self.ground.host, highest, node, at)?;
        let moved = Moved { from: old.frame(), to: spare.frame() };
        if breaks {
            self.break_and_make(slot, old, spare);
        } else {
            self.swap(slot, old, spare)?;
        }
        self.statistics.count_move::<M>();
        Ok(Some(moved))
    }

    fn swap<M, S>(
        &mut self,
        slot: &S,
        old: Table<M>,
        mut spare: Spare<'_, M, H>,
    ) -> Result<(), Error>
    where
        M: PageTableLevel<Format = FormatOf<C>>,
        S: Slot<C, H, M>,
    {
        let (mut sum, to) = (0, spare.frame());
        slot.enlist(self, to, &mut || sum = spare.copy(old))?;
        // From here on nothing fails.
        let new = spare.into_live(old);
        let everywhere = slot.everywhere(self) || self.has_global(old);
        let sum = Self::sum_tells::<M>().then_some(sum);
        let record = Record::new::<M>((old.frame(), to), slot.span().first(), sum);
        self.limbo.hold(record, Due { extent: slot.extent(), everywhere });
        slot.publish(self, old, new);
        Ok(())
    }

    /// Whether a leaf of the table is, or may be, global.
    fn has_global<M>(&self, table: Table<M>) -> bool
    where
        M: PageTableLevel<Format = FormatOf<C>>,
    {
        if Ground::<C, H>::is_root::<M>() && self.ground.half != Half::Apart {
            // Other spaces may map one in the half that all share, at any time.
            return M::LEVEL.maps;
        }
        let bits = M::Format::mask(M::LEVEL, Fields::GLOBAL);
        M::LEVEL.maps && self.global && table.live().any(bits)
    }

    fn break_and_make<M, S>(&mut self, slot: &S, old: Table<M>, mut spare: Spare<'_, M, H>)
    where
        M: PageTableLevel<Format = FormatOf<C>>,
        S: Slot<C, H, M>,
    {
        slot.break_name(self);
        let (frame, height) = (old.frame(), M::LEVEL.height);
        let mut broken = Broken { mover: self, slot, was: frame, now: frame, level: PhantomData };
        // Global translations are among what the pages of any table may have left.
        broken.mover.shoot_down(Due { extent: slot.extent(), everywhere: true });
        spare.copy(old);
        broken.now = spare.into_live(old).frame();
        drop(broken);
        self.ground.host.table_gone(frame, height);
        give_back(self.ground.host, frame, height, table_lg2::<M>());
        tally(&mut self.statistics.freed, height);
    }

    /// Makes every CPU drop what is due.
    fn shoot_down(&mut self, due: Due) {
        let space = if due.everywhere { None } else { self.ground.space };
        self.limbo.set_interrupted(true);
        Gather::scope(|mut gather| {
            gather.add(due.extent, Span::ALL, space, due.everywhere);
            gather.flush(self.ground.host);
        });
        self.limbo.set_interrupted(false);
        self.statistics.shootdowns = self.statistics.shootdowns.saturating_add(1);
    }
}

/// A name that was taken away for a while. Dropped, it names a table again: the new one, or, if the host
/// has panicked before there is one, the old one.
struct Broken<'b, 'a, C, H, M, S>
where
    C: Config,
    H: Host,
    M: PageTableLevel<Format = FormatOf<C>>,
    S: Slot<C, H, M>,
{
    mover: &'b mut Mover<'a, C, H>,
    slot: &'b S,
    was: PhysAddr,
    now: PhysAddr,
    level: PhantomData<M>,
}

impl<C, H, M, S> Drop for Broken<'_, '_, C, H, M, S>
where
    C: Config,
    H: Host,
    M: PageTableLevel<Format = FormatOf<C>>,
    S: Slot<C, H, M>,
{
    fn drop(&mut self) {
        self.slot.make_name(self.mover, self.was, self.now);
    }
}
