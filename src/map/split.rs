//! Huge leaves into smaller ones.
//!
//! The table that takes a leaf's place is filled before anybody can see it, and takes it in one
//! write. What hardware set in the leaf until that write is in the write's answer, and goes into
//! every piece. A CPU that still holds the large translation reaches the same frames by it.

use super::tree::{Tree, leaf_word};
use crate::addr::{PhysAddr, Span, VirtAddr, low_bits};
use crate::gather::Gather;
use crate::level::{Attrs, Config, Entry, Error, Fields, Format, PageTableLevel, Rights};
use crate::table::{Fresh, Host};
use crate::walk::{FormatOf, Slots, Spot, Step, Visitor};

/// Which leaves to take apart.
#[derive(Clone, Copy)]
enum Cuts {
    /// The one that the walk ends at, by one level.
    Here,
    /// Those that have one of these addresses inside, and not at their start.
    At([Option<VirtAddr>; 2]),
}

impl Cuts {
    fn inside(self, span: Span) -> bool {
        match self {
            Self::Here => false,
            Self::At(cuts) => {
                let inside = |at: VirtAddr| span.contains(at) && at != span.first();
                cuts.into_iter().flatten().any(inside)
            }
        }
    }
}

/// Goes to the leaf at one address, and takes it apart where that is asked for.
struct Cutter<'a, 'r, 'g, C, H> {
    tree: &'a Tree<'r, C, H>,
    gather: &'a mut Gather<'g>,
    cuts: Cuts,
    /// If this leaf does not hold the other end, too, that is cut before this leaf is changed: both
    /// can fail.
    other_end: Option<VirtAddr>,
}

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Splits the leaf at an address into those of the next level.
    pub(crate) fn split(&self, at: VirtAddr, gather: &mut Gather<'_>) -> Result<(), Error> {
        let page = Span::around(at, FormatOf::<C>::PAGE_LG2);
        self.admit_with(page, gather)?;
        let (cuts, other_end) = (Cuts::Here, None);
        self.descend(page, &mut Cutter { tree: self, gather, cuts, other_end })
    }

    /// Splits the leaves that a span covers only in part, so that it ends where pages end.
    pub(super) fn cut(&self, span: Span, gather: &mut Gather<'_>) -> Result<(), Error> {
        let end = span.last().0.checked_add(1).map(VirtAddr);
        let cuts = Cuts::At([Some(span.first()), end]);
        let page = |at| Span::around(at, FormatOf::<C>::PAGE_LG2);
        let mut cutter = Cutter { tree: self, gather, cuts, other_end: Some(span.last()) };
        self.descend(page(span.first()), &mut cutter)?;
        match cutter.other_end.take() {
            Some(at) => self.descend(page(at), &mut cutter),
            None => Ok(()),
        }
    }
}

impl<'a, C: Config, H: Host> Cutter<'a, '_, '_, C, H> {
    /// The table to stand in for a leaf of level `L`, with smaller pages below where a cut asks for
    /// them, and where the level below has no leaves.
    fn pieces<L>(
        &self,
        whole: Span,
        frame: PhysAddr,
        attrs: &Attrs,
    ) -> Result<Fresh<'a, L::Below, H>, Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let level = <L::Below as PageTableLevel>::LEVEL;
        let sight = &self.tree.sight;
        let highest = sight.highest_table::<L>();
        let mut table = Fresh::new(&self.tree.host, &sight.limits, highest, whole)?;
        for (part, _) in Slots::<L::Below>::of(whole) {
            let frame = PhysAddr(frame.0 | (part.first().0 & low_bits(L::LEVEL.span_lg2)));
            let word = if level.maps && !self.cuts.inside(part) {
                // What the CPU lacks was not asked of the large leaf either.
                leaf_word::<L::Below>(&self.tree.sight, frame, attrs)?
            } else {
                let below = self.pieces::<L::Below>(part, frame, attrs)?.into_live();
                L::Format::table(level, below.frame(), attrs.rights.contains(Rights::USER))
            };
            table.extend(1, || word);
        }
        Ok(table)
    }

    fn take_apart<L>(&mut self, spot: &Spot<'_, L>, frame: PhysAddr) -> Result<(), Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        let attrs = L::Format::attrs(L::LEVEL, spot.seen.raw);
        let pieces = self.pieces::<L>(spot.whole, frame, &attrs)?;
        if let Some(at) = self.other_end.take().filter(|&at| !spot.whole.contains(at)) {
            let page = Span::around(at, FormatOf::<C>::PAGE_LG2);
            self.tree.descend(page, self)?;
        }
        // Under another name the same leaf may have been the other end, and was cut there only.
        if spot.table.see(spot.index, &self.tree.sight).entry() != spot.seen.entry() {
            drop(pieces);
            return self.tree.descend(Span::around(spot.at(), FormatOf::<C>::PAGE_LG2), self);
        }
        // From here on nothing fails.
        let table = pieces.into_live();
        let user = attrs.rights.contains(Rights::USER);
        let was = self.tree.ground().replace(spot, L::Format::table(L::LEVEL, table.frame(), user));
        let then = L::Format::attrs(L::LEVEL, was);
        let mut late = Fields::empty();
        late.set(Fields::ACCESSED, then.accessed && !attrs.accessed);
        late.set(Fields::DIRTY, then.dirty && !attrs.dirty);
        self.tree.note::<L>(self.gather, spot.whole, was);
        if late.is_empty() {
            return Ok(());
        }
        self.tree.ground().walk(table, spot.whole, &mut Mark(late))
    }
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Cutter<'_, '_, '_, C, H> {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        let here = matches!(self.cuts, Cuts::Here);
        match spot.seen.entry() {
            Entry::Table(_) => return Ok(Step::Into),
            Entry::Leaf(frame)
                if L::LEVEL.height != 0 && (here || self.cuts.inside(spot.whole)) =>
            {
                self.take_apart(spot, frame)?;
            }
            Entry::NonPresent(raw) if here || self.cuts.inside(spot.whole) => {
                return Err(Error::NonPresent { at: spot.at(), raw });
            }
            _ if here => return Err(spot.in_the_way()),
            _ => {}
        }
        Ok(Step::Over)
    }
}

/// Sets bits in every leaf of a table: what hardware noted of them before they were apart.
pub(super) struct Mark(pub(super) Fields);

impl<F: Format> Visitor<F> for Mark {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = F>>(&mut self, spot: &Spot<'_, L>) -> Result<Step, Error> {
        if let Entry::Leaf(_) = spot.seen.entry() {
            // It was linked a moment ago, and no copy of it is in limbo.
            spot.table.live().modify(spot.index, 0, L::Format::mask(L::LEVEL, self.0));
        }
        Ok(Step::Into)
    }
}
