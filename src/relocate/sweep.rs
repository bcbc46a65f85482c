//! What may start a move.

use super::slot::{EntrySlot, RootSlot};
use super::{Moved, Mover, Placement, Stop, TableAt};
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::level::{Config, Error, Format, PageTableLevel, movable, relocatable};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, Name, Names, Reach, RootOf, Spot, Step, Visitor};

/// Says of each table where it shall be.
pub(crate) trait Policy: FnMut(&TableAt) -> Placement {}
impl<P: FnMut(&TableAt) -> Placement> Policy for P {}

impl<C: Config, H: Host> Mover<'_, C, H> {
    /// Moves the table of this height that serves `at`. `None` if the policy keeps it.
    pub(crate) fn one(
        &mut self,
        at: VirtAddr,
        height: u8,
        policy: &mut impl Policy,
    ) -> Result<Option<Moved>, Error> {
        let root = RootOf::<C>::LEVEL.height;
        if !relocatable::<C>() || height > root {
            self.end();
            return Err(Error::Refused { height });
        }
        if height == root {
            return self.root(policy);
        }
        let mut answer = None;
        self.until_done(|mover| mover.try_one(at, height, policy, &mut answer))
    }

    /// Moves the root.
    pub(crate) fn root(&mut self, policy: &mut impl Policy) -> Result<Option<Moved>, Error> {
        let mut answer = None;
        self.until_done(|mover| mover.try_root(policy, &mut answer))
    }

    /// Moves what the policy picks among the tables that serve a byte of `span`, but the root: each
    /// table once, by the first of its names there, and those below a table before it.
    pub(crate) fn range(&mut self, span: Span, policy: &mut impl Policy) -> Result<(), Error> {
        if !relocatable::<C>() {
            return Err(Error::Refused { height: RootOf::<C>::LEVEL.height });
        }
        let mut progress = Progress::default();
        self.until_done(|mover| mover.try_range(span, policy, &mut progress))
    }

    /// Moves what the policy picks among all tables, the root last.
    pub(crate) fn space(&mut self, policy: &mut impl Policy) -> Result<(), Error> {
        self.range(Span::ALL, policy)?;
        if const { movable::<C>(RootOf::<C>::LEVEL) } {
            return self.root(policy).map(|_| ());
        }
        self.statistics.forbidden = self.statistics.forbidden.saturating_add(1);
        Ok(())
    }

    /// Moves the table at `frame`, if it is one of this space.
    pub(crate) fn frame(
        &mut self,
        frame: PhysAddr,
        policy: &mut impl Policy,
    ) -> Result<Option<Moved>, Error> {
        let height = RootOf::<C>::LEVEL.height;
        if !relocatable::<C>() {
            return Err(Error::Refused { height });
        }
        // What is in limbo is freed.
        if self.limbo.holds(frame) {
            self.end();
        }
        match self.until_done(|mover| mover.try_name_of(frame))? {
            None => self.root(policy),
            Some(name) => self.one(name.at, name.height, policy),
        }
    }

    /// What names the table at `frame`; `None` for the root.
    fn try_name_of(&self, frame: PhysAddr) -> Result<Option<Name>, Stop> {
        let root = self.ground.root(self.cell)?;
        if root.frame() == frame {
            return Ok(None);
        }
        let name = self.ground.name_of(root, Span::ALL, frame, None)?;
        Ok(Some(name.ok_or(Error::NoTable(frame))?))
    }

    /// Does a part of the work, and again after the batch has ended if that is in its way. Who fails
    /// ends the batch, too.
    fn until_done<R>(
        &mut self,
        mut work: impl FnMut(&mut Self) -> Result<R, Stop>,
    ) -> Result<R, Error> {
        loop {
            match work(self) {
                Ok(result) => return Ok(result),
                Err(Stop::BatchMustEnd) => self.end(),
                Err(Stop::Failed(error)) => {
                    self.end();
                    return Err(error);
                }
            }
        }
    }

    fn try_one(
        &mut self,
        at: VirtAddr,
        height: u8,
        policy: &mut impl Policy,
        answer: &mut Option<Placement>,
    ) -> Result<Option<Moved>, Stop> {
        let page = Span::around(at, FormatOf::<C>::PAGE_LG2);
        self.ground.admit(page)?;
        let (ground, root) = (self.ground, self.ground.root(self.cell)?);
        let mut one = One { mover: self, policy, answer, height, moved: None };
        ground.descend(root, page, &mut one)?;
        Ok(one.moved)
    }

    fn try_root(
        &mut self,
        policy: &mut impl Policy,
        answer: &mut Option<Placement>,
    ) -> Result<Option<Moved>, Stop> {
        let level = RootOf::<C>::LEVEL;
        if !const { movable::<C>(RootOf::<C>::LEVEL) } {
            return Err(Error::Refused { height: level.height }.into());
        }
        let root = self.ground.root(self.cell)?;
        let to = self.ask(root, VirtAddr(0), policy, answer);
        self.migrate_entry(&RootSlot, root, to)
    }

    fn try_range(
        &mut self,
        span: Span,
        policy: &mut impl Policy,
        progress: &mut Progress,
    ) -> Result<(), Stop> {
        let (ground, root) = (self.ground, self.ground.root(self.cell)?);
        let mut sweep = Sweep { mover: self, policy, progress, root, span };
        for half in Reach::<C::Arch>::halves().into_iter().flatten() {
            let rest = half.intersect(span).and_then(|part| sweep.rest_of(part));
            if let Some(rest) = rest {
                ground.walk(root, rest, &mut sweep)?;
            }
        }
        Ok(())
    }

    /// What the policy says of a table; it is asked once, also where the batch has to end before its
    /// answer can be followed.
    fn ask<M>(
        &mut self,
        table: Table<M>,
        at: VirtAddr,
        policy: &mut impl Policy,
        answer: &mut Option<Placement>,
    ) -> Placement
    where
        M: PageTableLevel,
    {
        *answer.get_or_insert_with(|| {
            let (frame, height) = (table.frame(), M::LEVEL.height);
            policy(&TableAt::new::<C::Arch, H>(self.ground.host, frame, height, at))
        })
    }
}

/// Whether what entries of level `L` name are tables that may be moved: those of the last level name
/// none.
const fn names_movable<C: Config, L: PageTableLevel>() -> bool {
    L::LEVEL.height != 0 && movable::<C>(<L::Below as PageTableLevel>::LEVEL)
}

/// Goes to the entry above one table, and moves that.
struct One<'m, 'a, C: Config, H: Host, P> {
    mover: &'m mut Mover<'a, C, H>,
    policy: &'m mut P,
    answer: &'m mut Option<Placement>,
    /// The height of the table.
    height: u8,
    moved: Option<Moved>,
}

impl<C: Config, H: Host, P: Policy> Visitor<FormatOf<C>> for One<'_, '_, C, H, P> {
    type Stop = Stop;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Stop> {
        let below = <L::Below as PageTableLevel>::LEVEL;
        let Some(table) = self.mover.ground.below(&spot.seen)? else {
            return Err(spot.in_the_way().into());
        };
        if below.height != self.height {
            return Ok(Step::Into);
        }
        if !const { names_movable::<C, L>() } {
            return Err(Error::Refused { height: below.height }.into());
        }
        let to = self.mover.ask(table, spot.whole.first(), self.policy, self.answer);
        self.moved = self.mover.migrate_entry(&EntrySlot(spot), table, to)?;
        Ok(Step::Over)
    }
}

/// How far a sweep has come.
#[derive(Default)]
struct Progress {
    /// Past the table of this height that ends at this address. Tables come in this order, those
    /// below before the one that names them.
    past: Option<(VirtAddr, u8)>,
    /// What the policy has said of the next one.
    answer: Option<Placement>,
}

/// Moves every table that the policy picks.
struct Sweep<'m, 'a, C: Config, H: Host, P> {
    mover: &'m mut Mover<'a, C, H>,
    policy: &'m mut P,
    progress: &'m mut Progress,
    root: Table<RootOf<C>>,
    span: Span,
}

impl<C: Config, H: Host, P: Policy> Sweep<'_, '_, C, H, P> {
    /// What of a span was not swept yet, or has a table above it that was not.
    fn rest_of(&self, span: Span) -> Option<Span> {
        match self.progress.past {
            Some((last, _)) => Span::inclusive(span.first().max(last), span.last()),
            None => Some(span),
        }
    }

    /// Whether a table has an earlier name for a byte of `span`.
    fn has_earlier_name<L>(
        &self,
        spot: &Spot<'_, L>,
        table: PhysAddr,
        span: Span,
    ) -> Result<bool, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let ground = self.mover.ground;
        if ground.names == Names::Unique || ground.repeats(spot, span) {
            return Ok(ground.names == Names::Aliased);
        }
        let first = ground.name_of(self.root, span, table, None)?;
        Ok(first.is_some_and(|first| first.at < spot.whole.first()))
    }

    /// Whether the sweep has been to all that is below an entry, by an earlier name of the table that
    /// this one names. Of one that the span has in part, it has not.
    fn was_below<L>(&self, spot: &Spot<'_, L>, table: PhysAddr) -> Result<bool, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let (first, last) = (self.span.first(), self.span.last());
        let around = Span::around(first, L::LEVEL.span_lg2);
        let next = around.last().0.checked_add(1).map(VirtAddr);
        let from = if around.first() == first { Some(first) } else { next };
        match from.and_then(|from| Span::inclusive(from, last)) {
            Some(whole) => self.has_earlier_name(spot, table, whole),
            None => Ok(false),
        }
    }

    fn table<L>(&mut self, spot: &Spot<'_, L>, table: Table<L::Below>) -> Result<(), Stop>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let here = (spot.whole.last(), <L::Below as PageTableLevel>::LEVEL.height);
        if self.progress.past.is_some_and(|past| here <= past) {
            return Ok(());
        }
        if self.has_earlier_name(spot, table.frame(), self.span)? {
            return Ok(());
        }
        match self.movable_table(spot, table) {
            Err(Stop::Failed(Error::Shared { .. })) => {
                let statistics = &mut self.mover.statistics;
                statistics.shared = statistics.shared.saturating_add(1);
            }
            result => result?,
        }
        *self.progress = Progress { past: Some(here), answer: None };
        Ok(())
    }

    fn movable_table<L>(&mut self, spot: &Spot<'_, L>, table: Table<L::Below>) -> Result<(), Stop>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        if !const { names_movable::<C, L>() } {
            let statistics = &mut self.mover.statistics;
            statistics.forbidden = statistics.forbidden.saturating_add(1);
            return Ok(());
        }
        let (at, answer) = (spot.whole.first(), &mut self.progress.answer);
        let to = self.mover.ask(table, at, self.policy, answer);
        self.mover.migrate_entry(&EntrySlot(spot), table, to).map(|_| ())
    }
}

impl<C: Config, H: Host, P: Policy> Visitor<FormatOf<C>> for Sweep<'_, '_, C, H, P> {
    type Stop = Stop;
    const EMPTY: bool = false;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Stop> {
        if self.mover.ground.not_ours(spot) {
            return Ok(Step::Over);
        }
        let Some(table) = self.mover.ground.below(&spot.seen)? else { return Ok(Step::Over) };
        // Tables of height 0 name none: no need to look into them.
        if L::LEVEL.height > 1 {
            let over = self.was_below(spot, table.frame())?;
            return Ok(if over { Step::Over } else { Step::Into });
        }
        self.table(spot, table)?;
        Ok(Step::Over)
    }

    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
        below: Table<L::Below>,
    ) -> Result<(), Stop> {
        self.table(spot, below)
    }
}
