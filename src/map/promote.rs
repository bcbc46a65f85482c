//! Smaller pages into a huge one.
//!
//! The leaf takes the table's place in one write, with the accessed and dirty bits that were in the
//! table. CPUs that still hold the old pointer may set more of them there, so the table is read again
//! when every CPU has acknowledged the shootdown, and what is new goes into the leaf. Only then is
//! it freed. At no time is the memory unmapped.

use super::tree::{Tree, leaf_word};
use crate::addr::{PhysAddr, Span};
use crate::gather::Gather;
use crate::level::{Attrs, Change, Config, Entry, Error, Fields, Format, PageTableLevel, Rights};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, Slots, Spot, Step, Visitor};

struct Promote<'a, 'r, 'g, C, H> {
    tree: &'a Tree<'r, C, H>,
    gather: &'a mut Gather<'g>,
    size_lg2: u8,
}

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Makes one page of 2 to the `size_lg2` bytes of the pages that lie there.
    pub(crate) fn promote(&self, page: Span, size_lg2: u8) -> Result<(), Error> {
        self.admit(page)?;
        self.admit_size(size_lg2)?;
        Gather::scope(|mut gather| {
            // What is stale is so in this space.
            gather.bind(self.owner)?;
            let gather = &mut gather;
            self.descend(page, &mut Promote { tree: self, gather, size_lg2 })
        })
    }
}

/// A run of leaves as one: the first frame, what all say, and what hardware noted of any.
struct Joined {
    frame: PhysAddr,
    attrs: Attrs,
}

impl<C: Config, H: Host> Promote<'_, '_, '_, C, H> {
    /// What the leaves of a table have in common, if they are the pieces of one page.
    fn joined<L>(&self, table: Table<L>, whole: Span) -> Result<Joined, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let mut joined: Option<Joined> = None;
        for (part, _) in Slots::<L>::of(whole) {
            let at = part.first();
            let seen = self.tree.ground().see(table, L::LEVEL.index(at), part);
            let frame = match seen.entry() {
                Entry::Leaf(frame) => frame,
                Entry::Empty => return Err(Error::NotMapped { at, size_lg2: L::LEVEL.span_lg2 }),
                Entry::NonPresent(raw) => return Err(Error::NonPresent { at, raw }),
                Entry::Malformed(raw) => {
                    return Err(Error::Malformed { at, height: L::LEVEL.height, raw });
                }
                Entry::Table(_) => return Err(Error::NotOnePage { at }),
            };
            let attrs = L::Format::attrs(L::LEVEL, seen.raw);
            let sofar = joined.get_or_insert(Joined { frame, attrs });
            let offset = at.0.wrapping_sub(whole.first().0);
            let next = sofar.frame.0.checked_add(offset).map(PhysAddr);
            if next != Some(frame) || Change::all(attrs) != Change::all(sofar.attrs) {
                return Err(Error::NotOnePage { at });
            }
            sofar.attrs.accessed |= attrs.accessed;
            sofar.attrs.dirty |= attrs.dirty;
        }
        let aligned = joined.filter(|joined| joined.frame.is_aligned(self.size_lg2));
        aligned.ok_or(Error::NotOnePage { at: whole.first() })
    }

    fn collapse<L>(&mut self, spot: &Spot<'_, L>, below: Table<L::Below>) -> Result<(), Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let Joined { frame, mut attrs } = self.joined::<L::Below>(below, spot.whole)?;
        // What the table entry took away, the leaf must not give back.
        let granted = L::Format::grants(L::LEVEL, spot.seen.raw);
        attrs.rights &= L::Format::rights(granted) | Rights::READ;
        let leaf = leaf_word::<L>(&self.tree.sight, frame, &attrs)?;
        let shared = self.tree.has_other_name(spot, below.frame());
        // From here on nothing fails.
        let was = self.tree.ground().replace(spot, leaf);
        self.tree.note::<L>(self.gather, spot.whole, was);
        // What is stale is the smaller pages, global as they were.
        self.tree.note::<L>(self.gather, spot.whole, leaf);
        self.gather.add_tables();
        self.gather.flush(&self.tree.host);
        let mut late = Late(Fields::empty());
        self.tree.ground().walk(below, spot.whole, &mut late)?;
        self.tree.ground().modify(spot, 0, L::Format::mask(L::LEVEL, late.0));
        if !shared {
            self.tree.forsake::<L>(was, below);
            self.gather.unlinked(below, &self.tree.host);
            self.gather.flush(&self.tree.host);
        }
        Ok(())
    }
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Promote<'_, '_, '_, C, H> {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        match self.tree.ground().below(&spot.seen)? {
            None => Err(spot.in_the_way()),
            Some(below) if L::LEVEL.span_lg2 == self.size_lg2 => {
                self.collapse(spot, below)?;
                Ok(Step::Over)
            }
            Some(_) => Ok(Step::Into),
        }
    }
}

/// Collects what hardware noted in the leaves of a table that is a table no more.
struct Late(Fields);

impl<F: Format> Visitor<F> for Late {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = F>>(&mut self, spot: &Spot<'_, L>) -> Result<Step, Error> {
        let attrs = L::Format::attrs(L::LEVEL, spot.seen.raw);
        let leaf = matches!(spot.seen.entry(), Entry::Leaf(_));
        self.0.set(Fields::ACCESSED, self.0.contains(Fields::ACCESSED) || leaf && attrs.accessed);
        self.0.set(Fields::DIRTY, self.0.contains(Fields::DIRTY) || leaf && attrs.dirty);
        Ok(Step::Over)
    }
}
