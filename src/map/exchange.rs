//! Raw entries.

use super::install::Install;
use super::tree::Tree;
use crate::addr::{Span, VirtAddr};
use crate::gather::Gather;
use crate::level::{Config, Entry, Error, Format, Limits, PageTableLevel, Rights, Sight, Word};
use crate::table::{Host, Table};
use crate::walk::{FormatOf, Spot, Step, Visitor};

/// Puts one raw entry in place of another.
struct Exchange<'a, 'r, 'g, C, H> {
    tree: &'a Tree<'r, C, H>,
    gather: &'a mut Gather<'g>,
    size_lg2: u8,
    was: u64,
    raw: u64,
    /// What the tables above must grant for `raw`.
    rights: Rights,
    found: Found,
}

enum Found {
    /// A table is missing on the way.
    NoTable,
    /// It is done, and this was there.
    Was(u64),
}

impl<C: Config, H: Host> Tree<'_, C, H> {
    /// Puts `raw` where `was` is, in the entry for one page of exactly this size.
    pub(crate) fn exchange(
        &self,
        page: Span,
        size_lg2: u8,
        (was, raw): (u64, u64),
        gather: &mut Gather<'_>,
    ) -> Result<u64, Error> {
        self.admit_with(page, gather)?;
        self.admit_size(size_lg2)?;
        self.expect(raw & FormatOf::<C>::PRESENT != 0);
        let found = Found::NoTable;
        let mut exchange =
            Exchange { tree: self, gather, size_lg2, was, raw, rights: Rights::empty(), found };
        self.descend(page, &mut exchange)?;
        match exchange.found {
            Found::Was(was) => Ok(was),
            Found::NoTable if was != 0 => Err(Error::Changed { at: page.first(), raw: 0 }),
            Found::NoTable if raw == 0 => Ok(0),
            Found::NoTable => {
                self.install(page, &mut Raw { raw, size_lg2, rights: Rights::empty() })?;
                Ok(0)
            }
        }
    }
}

/// The width of an entry, as the values that it can have.
fn fits<F: Format>(raw: u64) -> bool {
    <F::Word as Word>::from_raw(raw).raw() == raw
}

/// Whether `raw` may be put into a table of this level by hand.
fn allowed<L: PageTableLevel>(raw: u64, limits: &Limits) -> Result<(), Error> {
    let entry = L::Format::decode(L::LEVEL, raw, limits);
    if fits::<L::Format>(raw) && !matches!(entry, Entry::Table(_) | Entry::Malformed(_)) {
        Ok(())
    } else {
        Err(Error::BadRaw(raw))
    }
}

/// What the tables above must grant for a raw entry.
fn rights_of<L: PageTableLevel>(raw: u64) -> Rights {
    if raw & L::Format::PRESENT == 0 {
        return Rights::empty();
    }
    L::Format::attrs(L::LEVEL, raw).rights
}

impl<C: Config, H: Host> Exchange<'_, '_, '_, C, H> {
    fn here<L>(&mut self, spot: &Spot<'_, L>) -> Result<(), Error>
    where
        L: PageTableLevel<Format = FormatOf<C>>,
    {
        allowed::<L>(self.raw, &self.tree.sight.limits)?;
        if let Entry::Table(_) = spot.seen.entry() {
            return Err(spot.in_the_way());
        }
        let (at, found) = (spot.at(), spot.seen.raw);
        if !fits::<L::Format>(self.was) {
            return Err(Error::Changed { at, raw: found });
        }
        let done = self.tree.ground().replace_if(spot, self.was, self.raw);
        let was = done.map_err(|raw| Error::Changed { at, raw })?;
        match (was == 0, self.raw == 0) {
            (true, false) => spot.table.one_more(&self.tree.host),
            (false, true) => spot.table.one_less(&self.tree.host),
            _ => {}
        }
        if was & L::Format::PRESENT != 0 {
            self.tree.note::<L>(self.gather, spot.whole, was);
        }
        self.rights = rights_of::<L>(self.raw);
        self.found = Found::Was(was);
        Ok(())
    }
}

impl<C: Config, H: Host> Visitor<FormatOf<C>> for Exchange<'_, '_, '_, C, H> {
    type Stop = Error;

    fn entry<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
    ) -> Result<Step, Error> {
        if L::LEVEL.span_lg2 == self.size_lg2 {
            self.here(spot)?;
            return Ok(Step::Over);
        }
        match spot.seen.entry() {
            Entry::Table(_) => Ok(Step::Into),
            Entry::Empty => Ok(Step::Over),
            _ => Err(spot.in_the_way()),
        }
    }

    fn left<L: PageTableLevel<Format = FormatOf<C>>>(
        &mut self,
        spot: &Spot<'_, L>,
        below: Table<L::Below>,
    ) -> Result<(), Error> {
        if let Found::Was(_) = self.found {
            if self.raw == 0 {
                return self.tree.prune(spot, below, self.gather);
            }
            self.tree.widen(spot, self.rights);
        }
        Ok(())
    }
}

/// A raw entry as something to install.
struct Raw {
    raw: u64,
    size_lg2: u8,
    rights: Rights,
}

impl Install for Raw {
    const SINGLE: bool = true;

    fn rights(&self) -> Rights {
        self.rights
    }

    fn leaves<L: PageTableLevel>(
        &mut self,
        sight: &Sight,
        _: VirtAddr,
        _: usize,
    ) -> Result<Option<(usize, impl FnMut() -> u64)>, Error> {
        if L::LEVEL.span_lg2 != self.size_lg2 {
            return Ok(None);
        }
        allowed::<L>(self.raw, &sight.limits)?;
        self.rights = rights_of::<L>(self.raw);
        let raw = self.raw;
        Ok(Some((1, move || raw)))
    }
}
