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
//! Another space that looks at the kernel's half meanwhile sees a staged word as what it is, an entry
//! that is not present. A root that is made meanwhile copies it, and is on the list for the commit.
//!
//! A staged word can be zero (a leaf for frame 0 that says nothing but "present"). That is why the
//! commit takes an empty entry for a staged one; rolling back leaves it as it is.

use super::tree::Tree;
use crate::addr::{Span, VirtAddr};
use crate::level::{Config, Entry, Error, Feature, Format, Limits, PageTableLevel, Rights};
use crate::table::{Fresh, Host, Table, discard};
use crate::walk::{FormatOf, Slots, Spot, Step, Visitor};

/// What a span is filled with.
pub(crate) trait Install {
    /// If the span is one page of exactly this size, its size.
    fn exact(&self) -> Option<u8>;

    /// The word for the entry of level `L` that stands for what begins at `at`; `None` if it must
    /// be filled with smaller pages.
    fn word<L: PageTableLevel>(
        &mut self,
        limits: &Limits,
        at: VirtAddr,
    ) -> Result<Option<u64>, Error>;

    /// What the tables above must grant.
    fn rights(&self) -> Rights;
}

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Fills a span. The caller has asked [`admit`](Self::admit).
    pub(crate) fn install(&self, span: Span, what: &mut impl Install) -> Result<(), Error> {
        let mut stage = Stage { tree: self, what, first: span.first(), staged: None };
        self.walk(span, &mut stage)?;
        let rights = stage.what.rights();
        stage.staged = None;
        self.walk(span, &mut Commit { tree: self, rights })
    }
}

/// Dropped with something staged, by an error or by a closure of the caller's that panics, it takes that
/// back.
struct Stage<'a, 'r, C: Config, H: Host, I> {
    tree: &'a Tree<'r, C, H>,
    what: &'a mut I,
    /// The first byte of the span.
    first: VirtAddr,
    /// The last byte of what has been staged.
    staged: Option<VirtAddr>,
}

impl<C: Config, H: Host, I: Install> Stage<'_, '_, C, H, I> {
    /// The word for an entry of level `L`, after making and filling what it names.
    fn word<L>(&mut self, whole: Span, part: Span) -> Result<u64, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let limits = self.tree.limits;
        if L::LEVEL.maps && part == whole && L::LEVEL.span_lg2 <= limits.largest_leaf_lg2 {
            if let Some(word) = self.what.word::<L>(&limits, part.first())? {
                return Ok(word);
            }
        }
        if L::LEVEL.height == 0 {
            return Err(Error::Unsupported(Feature::PageSize(L::LEVEL.span_lg2)));
        }
        let bits = L::Format::phys_bits(L::LEVEL, false, &limits);
        let mut table = Fresh::<L::Below, H>::new(&self.tree.host, limits, bits, part.first())?;
        for (whole, part) in Slots::<L::Below>::of(part) {
            let index = <L::Below as PageTableLevel>::LEVEL.index(part.first());
            table.set(index, self.word::<L::Below>(whole, part)?);
        }
        let user = self.what.rights().contains(Rights::USER);
        Ok(L::Format::table(L::LEVEL, table.into_live().frame(), user))
    }
}

impl<C: Config, H: Host, I> Drop for Stage<'_, '_, C, H, I> {
    fn drop(&mut self) {
        let staged = self.staged.and_then(|last| Span::inclusive(self.first, last));
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
        spot: &Spot<L>,
    ) -> Result<Step, Error> {
        match spot.seen.entry() {
            Entry::Table(_) if self.what.exact() != Some(L::LEVEL.span_lg2) => Ok(Step::Into),
            Entry::Empty => {
                let word = self.word::<L>(spot.whole, spot.part)?;
                spot.table.live().store(spot.index, word & !L::Format::PRESENT);
                self.staged = Some(spot.part.last());
                Ok(Step::Over)
            }
            _ => Err(spot.in_the_way()),
        }
    }
}

struct Unstage<'a, 'r, C, H> {
    tree: &'a Tree<'r, C, H>,
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Unstage<'_, '_, C, H> {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<L>,
    ) -> Result<Step, Error> {
        if let Entry::NonPresent(staged) = spot.seen.entry() {
            // In every root: one that was made meanwhile has copied it.
            self.tree.ground().put(spot, 0);
            discard::<L, H>(&self.tree.host, &self.tree.limits, staged | L::Format::PRESENT);
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
        spot: &Spot<L>,
    ) -> Result<Step, Error> {
        match spot.seen.entry() {
            Entry::Table(_) => return Ok(Step::Into),
            // By another name the walk has been here.
            Entry::Leaf(_) => return Ok(Step::Over),
            _ => {}
        }
        self.tree.ground().put(spot, spot.seen.raw | L::Format::PRESENT);
        spot.table.one_more(&self.tree.host);
        self.tree.ground().announce::<L>(spot.part);
        Ok(Step::Over)
    }

    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<L>,
        _: Table<L::Below>,
    ) -> Result<(), Error> {
        self.tree.widen(spot, self.rights);
        Ok(())
    }
}
