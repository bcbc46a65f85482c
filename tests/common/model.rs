//! What a space should be: a map from addresses to pages, in the words of the documentation, with no
//! tables at all. The number of tables follows from it.

use super::{canonical, mapping_levels, root_level};
use pgtable::{Arch, Attrs, Flushed, Format, Gone, Level, Mapped, levels};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

/// What one entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    Page { frame: u64, attrs: Attrs },
    NonPresent(u64),
}

/// An entry: 2 to this many bytes, and what it holds.
pub type Slot = (u8, Is);

/// Addresses are offsets into the address space, without sign extension.
#[derive(Debug)]
pub struct Model<A> {
    pub slots: BTreeMap<u64, Slot>,
    /// Pages of 2 to more than this many bytes are not made.
    pub largest_lg2: u8,
    arch: PhantomData<A>,
}

impl<A> Clone for Model<A> {
    fn clone(&self) -> Self {
        Self { slots: self.slots.clone(), ..*self }
    }
}

/// The verb refuses.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

pub type Answer<T> = Result<T, Refused>;

impl<A: Arch> Model<A> {
    pub fn new() -> Self {
        Self { slots: BTreeMap::new(), largest_lg2: u8::MAX, arch: PhantomData }
    }

    /// The entries that have a byte of `from..=last`.
    pub fn touching(&self, from: u64, last: u64) -> Vec<(u64, Slot)> {
        let before = self.slots.range(..from).next_back();
        let reaches = before.filter(|(at, slot)| *at + (1u64 << slot.0) > from);
        reaches.into_iter().chain(self.slots.range(from..=last)).map(|(&a, &s)| (a, s)).collect()
    }

    pub fn at(&self, at: u64) -> Option<(u64, Slot)> {
        self.touching(at, at).first().copied()
    }

    fn sizes_down(&self) -> Vec<u8> {
        let sizes = mapping_levels::<A>().into_iter().rev().map(|level| level.span_lg2);
        sizes.filter(|&lg2| lg2 <= self.largest_lg2).collect()
    }

    pub fn map(&mut self, at: u64, lg2: u8, frame: u64, attrs: Attrs) -> Answer<()> {
        let last = at + ((1 << lg2) - 1);
        if !self.touching(at, last).is_empty() {
            return Err(Refused);
        }
        self.slots.insert(at, (lg2, Is::Page { frame, attrs }));
        Ok(())
    }

    /// The largest pages that fit: aligned on both sides, and no table stands there yet.
    pub fn map_range(&mut self, at: u64, bytes: u64, frame: u64, attrs: Attrs) -> Answer<()> {
        let before = self.clone();
        if !before.touching(at, at + (bytes - 1)).is_empty() {
            return Err(Refused);
        }
        let mut done = 0;
        while done < bytes {
            let (at, frame) = (at + done, frame + done);
            let fits = |&lg2: &u8| {
                let mask = (1u64 << lg2) - 1;
                let free = before.touching(at & !mask, at | mask).is_empty();
                (at | frame) & mask == 0 && bytes - done > mask && free
            };
            let lg2 = self.sizes_down().into_iter().find(fits).ok_or(Refused)?;
            self.slots.insert(at, (lg2, Is::Page { frame, attrs }));
            done += 1 << lg2;
        }
        Ok(())
    }

    /// One page into those of the next smaller size.
    fn cut_up(&mut self, at: u64, lg2: u8, frame: u64, attrs: Attrs) -> Answer<()> {
        let next = self.sizes_down().into_iter().find(|&size| size < lg2).ok_or(Refused)?;
        for offset in (0..1u64 << lg2).step_by(1 << next) {
            self.slots.insert(at + offset, (next, Is::Page { frame: frame + offset, attrs }));
        }
        Ok(())
    }

    /// Makes pages begin at `from`, and end at `last`.
    fn cut(&mut self, from: u64, last: u64) -> Answer<()> {
        let before = self.clone();
        for cut in [Some(from), last.checked_add(1)].into_iter().flatten() {
            while let Some((at, (lg2, is))) = self.at(cut).filter(|found| found.0 != cut) {
                let done = match is {
                    Is::Page { frame, attrs } => self.cut_up(at, lg2, frame, attrs),
                    Is::NonPresent(_) => Err(Refused),
                };
                if done.is_err() {
                    *self = before;
                    return done;
                }
            }
        }
        Ok(())
    }

    /// Checks that exactly one entry of this size is there, or a larger page, which is cut.
    fn single(&mut self, at: u64, lg2: u8) -> Answer<Slot> {
        let (_, (found, _)) = self.at(at).ok_or(Refused)?;
        if found < lg2 {
            return Err(Refused);
        }
        self.cut(at, at + ((1 << lg2) - 1))?;
        self.slots.get(&at).copied().ok_or(Refused)
    }

    pub fn unmap(&mut self, at: u64, lg2: u8) -> Answer<Slot> {
        let slot = self.single(at, lg2)?;
        self.slots.remove(&at);
        Ok(slot)
    }

    pub fn unmap_range(&mut self, at: u64, last: u64) -> Answer<Vec<(u64, Slot)>> {
        self.cut(at, last)?;
        let gone = self.touching(at, last);
        for (at, _) in &gone {
            self.slots.remove(at);
        }
        Ok(gone)
    }

    pub fn protect(&mut self, at: u64, lg2: u8, to: Attrs) -> Answer<()> {
        let before = self.clone();
        let slot = self.single(at, lg2)?;
        if let (lg2, Is::Page { frame, attrs }) = slot {
            self.slots.insert(at, (lg2, Is::Page { frame, attrs: keep_used(to, attrs) }));
            return Ok(());
        }
        *self = before;
        Err(Refused)
    }

    pub fn protect_range(&mut self, at: u64, last: u64, to: Attrs) -> Answer<()> {
        self.cut(at, last)?;
        for (at, (lg2, is)) in self.touching(at, last) {
            if let Is::Page { frame, attrs } = is {
                self.slots.insert(at, (lg2, Is::Page { frame, attrs: keep_used(to, attrs) }));
            }
        }
        Ok(())
    }

    pub fn split(&mut self, at: u64) -> Answer<()> {
        match self.at(at) {
            Some((at, (lg2, Is::Page { frame, attrs }))) => self.cut_up(at, lg2, frame, attrs),
            _ => Err(Refused),
        }
    }

    pub fn promote(&mut self, at: u64, lg2: u8) -> Answer<()> {
        let of = |level: &Level| level.span_lg2 == lg2;
        let height = levels::<A>().find(of).ok_or(Refused)?.height;
        let lower = levels::<A>().find(|level| level.height + 1 == height).ok_or(Refused)?;
        let pieces = self.touching(at, at + ((1 << lg2) - 1));
        if !lower.maps || pieces.len() as u64 != 1 << (lg2 - lower.span_lg2) {
            return Err(Refused);
        }
        let Some((_, (_, Is::Page { frame: first, attrs: all }))) = pieces.first().copied() else {
            return Err(Refused);
        };
        let mut all = all;
        for (piece, (size, is)) in pieces {
            let Is::Page { frame, attrs } = is else { return Err(Refused) };
            if size != lower.span_lg2
                || frame != first + (piece - at)
                || keep_used(attrs, all) != all
            {
                return Err(Refused);
            }
            all = all.with_used(all.accessed || attrs.accessed, all.dirty || attrs.dirty);
        }
        if first & ((1 << lg2) - 1) != 0 {
            return Err(Refused);
        }
        self.unmap_range(at, at + ((1 << lg2) - 1))?;
        self.map(at, lg2, first, all)
    }

    /// The pages of a span of which a bit was set that is cleared now.
    pub fn scan(&mut self, at: u64, last: u64, accessed: bool, dirty: bool) -> Vec<u64> {
        let mut used = Vec::new();
        for (at, (lg2, is)) in self.touching(at, last) {
            let Is::Page { frame, attrs } = is else { continue };
            if accessed && attrs.accessed || dirty && attrs.dirty {
                used.push(at);
                let clear = attrs.with_used(attrs.accessed && !accessed, attrs.dirty && !dirty);
                self.slots.insert(at, (lg2, Is::Page { frame, attrs: clear }));
            }
        }
        used
    }

    /// What a CPU does to the page at `at`.
    pub fn touch(&mut self, at: u64, write: bool) {
        if let Some((at, (lg2, Is::Page { frame, attrs }))) = self.at(at) {
            let attrs = attrs.with_used(true, attrs.dirty || write);
            self.slots.insert(at, (lg2, Is::Page { frame, attrs }));
        }
    }

    /// Puts a raw entry of the user's own where there is nothing, or the other way round.
    pub fn exchange(&mut self, at: u64, lg2: u8, was: u64, raw: u64) -> Answer<()> {
        let last = at + ((1 << lg2) - 1);
        match self.touching(at, last).as_slice() {
            [] if was == 0 => {}
            [(there, (size, Is::NonPresent(found)))]
                if (*there, *size, *found) == (at, lg2, was) => {}
            _ => return Err(Refused),
        }
        self.slots.remove(&at);
        if raw != 0 {
            self.slots.insert(at, (lg2, Is::NonPresent(raw)));
        }
        Ok(())
    }

    /// What iterating over the space should show.
    pub fn mappings(&self) -> Vec<(u64, Slot)> {
        self.slots.iter().map(|(&at, &slot)| (canonical::<A>(at).0, slot)).collect()
    }

    /// How many tables there are: those on the way to an entry, and the root.
    pub fn tables(&self) -> usize {
        let mut tables = BTreeSet::from([(root_level::<A>().height, 0)]);
        for (at, (lg2, _)) in &self.slots {
            for level in levels::<A>().filter(|level| level.span_lg2 >= *lg2) {
                tables
                    .insert((level.height, at.checked_shr(level.reach_lg2().into()).unwrap_or(0)));
            }
        }
        tables.len()
    }
}

/// The crate's own view of an entry, in the model's words.
pub fn seen(mapped: Mapped) -> (u64, Slot) {
    match mapped {
        Mapped::Page(page) => {
            (page.at.0, (page.size_lg2, Is::Page { frame: page.frame.0, attrs: page.attrs }))
        }
        Mapped::NonPresent { at, size_lg2, raw } => (at.0, (size_lg2, Is::NonPresent(raw))),
        other => panic!("{other:?}"),
    }
}

/// What unmap answered, in the model's words.
pub fn opened<'g>(gone: Gone<'g>, flushed: &Flushed<'g>) -> (u64, Slot) {
    match gone {
        Gone::Page(page) => {
            let (at, lg2, attrs) = (page.at.0, page.size_lg2, page.attrs);
            (at, (lg2, Is::Page { frame: page.open(flushed).0, attrs }))
        }
        Gone::NonPresent { at, size_lg2, raw } => (at.0, (size_lg2, Is::NonPresent(raw))),
        other => panic!("{other:?}"),
    }
}

/// `to`, with what hardware noted in `attrs`.
pub fn keep_used(to: Attrs, attrs: Attrs) -> Attrs {
    to.with_used(attrs.accessed, attrs.dirty)
}

/// The base page's size.
pub const fn page_lg2<A: Arch>() -> u8 {
    <A::Format as Format>::PAGE_LG2
}
