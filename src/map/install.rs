//! Filling a span that is empty, all of it or nothing.
//!
//! 1. *Stage.* Walk the span. Whatever is there already ends the call. Each empty entry is given the
//!    word it shall have, **without its present bits**: hardware does not look at it, and no other verb
//!    does, since the space is borrowed. Where tables are missing, they are made and filled to the
//!    last entry in private memory, and one staged word names the topmost.
//! 2. If anything fails (a conflict, no memory, no frame), the staged words are zeroed again. No CPU
//!    has seen them, so nothing is stale, and the new tables are given back directly.
//! 3. *Commit.* Walk the span again: every entry in it is a table that was there before, or a staged
//!    word. Give these their present bits, and widen the rights of the tables above.
//!
//! A span for which one empty entry stands is staged and committed in one: nothing can fail after that.
//!
//! Another space that looks at the kernel's half meanwhile sees a staged word as what it is, an entry
//! that is not present. A root that is made meanwhile copies it, and is on the list for the commit.
//!
//! A staged word can be zero (a leaf for frame 0 that says nothing but "present"). That is why the
//! commit takes an empty entry for a staged one; rolling back leaves it as it is.

use super::tree::Tree;
use crate::addr::{Span, VirtAddr};
use crate::level::{Config, Entry, Error, Feature, Format, PageTableLevel, Rights, Sight};
use crate::table::{Fresh, Host, Table, discard};
use crate::walk::{FormatOf, Slots, Spot, Step, Visitor};

/// What a span is filled with.
pub(crate) trait Install {
    /// Whether the span is one page, of a size of its own.
    const SINGLE: bool;

    /// What the entries of level `L` are to be that stand for what begins at `at`: for how many of
    /// them it can say so at once, at least one and `most` at most, and their words in order. `None` if
    /// the first must be filled with smaller pages.
    fn leaves<L: PageTableLevel>(
        &mut self,
        sight: &Sight,
        at: VirtAddr,
        most: usize,
    ) -> Result<Option<(usize, impl FnMut() -> u64)>, Error>;

    /// What the tables above must grant.
    fn rights(&self) -> Rights;
}

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Fills a span. The caller has asked [`admit`](Self::admit).
    pub(crate) fn install(&self, span: Span, what: &mut impl Install) -> Result<(), Error> {
        let mut stage = Stage { tree: self, what, span, staged: None };
        self.walk(span, &mut stage)?;
        // Without anything staged, it was done in one.
        if stage.staged.take().is_none() {
            return Ok(());
        }
        let rights = stage.what.rights();
        self.walk(span, &mut Commit { tree: self, rights })
    }
}

impl<'r, C: Config, H: Host> Tree<'r, C, H> {
    /// The word for an entry of level `L`: a leaf's, or that of a table that is made and filled here.
    #[inline(always)]
    pub(super) fn built<L, I>(&self, what: &mut I, whole: Span, part: Span) -> Result<u64, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
        I: Install,
    {
        if L::LEVEL.height == 0 || part == whole {
            if let Some((_, mut word)) = self.leaves::<L, I>(what, part.first(), 1)? {
                return Ok(word());
            }
        }
        self.built_table::<L, I>(what, part)
    }

    /// The leaves for entries of level `L` from `at` on, if there are such leaves.
    #[inline(always)]
    fn leaves<'i, L, I>(
        &'i self,
        what: &'i mut I,
        at: VirtAddr,
        most: usize,
    ) -> Result<Option<(usize, impl FnMut() -> u64 + use<'i, 'r, L, I, C, H>)>, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
        I: Install,
    {
        let base = L::LEVEL.height == 0;
        if L::LEVEL.maps && (base || L::LEVEL.span_lg2 <= self.sight.limits.largest_leaf_lg2) {
            return what.leaves::<L>(&self.sight, at, most);
        }
        Ok(None)
    }

    #[inline(never)]
    fn built_table<L, I>(&self, what: &mut I, part: Span) -> Result<u64, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
        I: Install,
    {
        if L::LEVEL.height == 0 {
            return Err(Error::Unsupported(Feature::PageSize(L::LEVEL.span_lg2)));
        }
        let table = if I::SINGLE {
            let whole = Span::around(part.first(), <L::Below as PageTableLevel>::LEVEL.span_lg2);
            self.single::<L>(part.first(), || self.built::<L::Below, I>(what, whole, part))?
        } else {
            let (limits, highest) = (&self.sight.limits, self.sight.highest_table::<L>());
            let mut table = Fresh::<L::Below, H>::new(&self.host, limits, highest, part)?;
            self.fill(&mut table, what, part)?;
            table.into_live()
        };
        // Some know only now what they need: they have met their leaf.
        let user = what.rights().contains(Rights::USER);
        Ok(L::Format::table(L::LEVEL, table.frame(), user))
    }

    /// A table to be named by an entry of level `L`, in which only the entry for `at` is not empty.
    #[inline(always)]
    pub(super) fn single<L>(
        &self,
        at: VirtAddr,
        word: impl FnOnce() -> Result<u64, Error>,
    ) -> Result<Table<L::Below>, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let (limits, highest) = (&self.sight.limits, self.sight.highest_table::<L>());
        let mut table = Fresh::<L::Below, H>::empty(&self.host, limits, highest, at)?;
        table.set(<L::Below as PageTableLevel>::LEVEL.index(at), word()?);
        Ok(table.into_live())
    }

    fn fill<L, I>(&self, table: &mut Fresh<'_, L, H>, what: &mut I, part: Span) -> Result<(), Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
        I: Install,
    {
        let mut slots = Slots::<L>::of(part);
        while let Some((whole, here)) = slots.next() {
            // The last one may be covered in part.
            let more =
                part.last().0.wrapping_sub(here.last().0).wrapping_shr(L::LEVEL.span_lg2.into());
            if here == whole {
                let most = usize::try_from(more).unwrap_or(0).saturating_add(1);
                if let Some((count, word)) = self.leaves::<L, I>(what, here.first(), most)? {
                    table.extend(count, word);
                    slots.skip_over(count.saturating_sub(1));
                    continue;
                }
            }
            let word = self.built_table::<L, I>(what, here)?;
            table.extend(1, || word);
        }
        Ok(())
    }
}

/// Dropped with something staged, by an error or by a closure of the caller's that panics, it takes that
/// back.
struct Stage<'a, 'r, C: Config, H: Host, I> {
    tree: &'a Tree<'r, C, H>,
    what: &'a mut I,
    span: Span,
    /// The last byte of what has been staged.
    staged: Option<VirtAddr>,
}

impl<C: Config, H: Host, I> Drop for Stage<'_, '_, C, H, I> {
    fn drop(&mut self) {
        let staged = self.staged.and_then(|last| Span::inclusive(self.span.first(), last));
        if let Some(staged) = staged {
            // The same walk has come this way, and it did not fail.
            let _ = self.tree.walk(staged, &mut Unstage { tree: self.tree });
        }
    }
}

impl<C: Config, H: Host, I: Install> Visitor<FormatOf<C>> for Stage<'_, '_, C, H, I> {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        match spot.seen.entry() {
            Entry::Table(_) => Ok(Step::Into),
            Entry::Empty => {
                let word = self.tree.built::<L, I>(self.what, spot.whole, spot.part)?;
                if spot.part == self.span {
                    self.tree.occupy(spot, word);
                } else {
                    spot.table.live().store(spot.index, word & !L::Format::PRESENT);
                    self.staged = Some(spot.part.last());
                }
                Ok(Step::Over)
            }
            _ => Err(spot.in_the_way()),
        }
    }

    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
        _: Table<L::Below>,
    ) -> Result<(), Error> {
        if self.staged.is_none() {
            self.tree.widen(spot, self.what.rights());
        }
        Ok(())
    }
}

struct Unstage<'a, 'r, C, H> {
    tree: &'a Tree<'r, C, H>,
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Unstage<'_, '_, C, H> {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        if let Entry::NonPresent(staged) = spot.seen.entry() {
            // In every root: one that was made meanwhile has copied it.
            self.tree.ground().put(spot, 0);
            discard::<L, H>(&self.tree.host, &self.tree.sight.limits, staged | L::Format::PRESENT);
        }
        Ok(Step::Into)
    }
}

struct Commit<'a, 'r, C, H> {
    tree: &'a Tree<'r, C, H>,
    rights: Rights,
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Commit<'_, '_, C, H> {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        if let Entry::Table(_) = spot.seen.entry() {
            return Ok(Step::Into);
        }
        // What was staged.
        self.tree.occupy(spot, spot.seen.raw | L::Format::PRESENT);
        Ok(Step::Over)
    }

    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
        _: Table<L::Below>,
    ) -> Result<(), Error> {
        self.tree.widen(spot, self.rights);
        Ok(())
    }
}
