//! Whether all is as the model has it.

use super::*;

impl<'c, A: Arch> Both<'c, A> {
    pub(super) fn translate(&mut self, at: u64) {
        let found = self.look().translate(VirtAddr(at));
        let model = self.now();
        let is_map = self.rules.self_map.is_some_and(|map| map.contains(VirtAddr(at)));
        let there = self.rules.has(at) && !is_map;
        let slot = there.then(|| model.at(self.rules.offset(at))).flatten();
        match (found, slot) {
            (Ok(found), Some((first, (lg2, Is::Page { frame, attrs })))) => {
                let place = (found.at, found.size_lg2, found.frame.0);
                assert_eq!(place, (canonical::<A>(first), lg2, frame));
                assert_eq!(found.attrs, keep_used(attrs, found.attrs));
                assert_eq!(found.effective, attrs.rights);
            }
            (Err(Error::NonPresent { raw, .. }), Some((_, (_, Is::NonPresent(there))))) => {
                assert_eq!(raw, there);
            }
            (Err(Error::NotMapped { .. }), None) if there => {}
            (Err(Error::NoSuchAddress(_)), None) => assert!(!self.rules.has(at)),
            (Err(Error::SelfMap { .. }), None) => assert!(is_map),
            (found, slot) => panic!("{found:?}, not {slot:?}"),
        }
    }

    pub(super) fn in_limbo(&self) -> usize {
        let tables = self.host.tables();
        tables.into_iter().filter(|&table| self.look().in_limbo(PhysAddr(table))).count()
    }

    /// Everything is as the model has it, entry by entry, and by the manual. So many tables wait for
    /// a gather to be finished.
    pub(super) fn compare(&mut self, waiting: usize) {
        let tables = self.host.tables().len();
        let limbo = self.in_limbo();
        let mut world = self.host.world.borrow_mut();
        assert_eq!(tables, world.now.tables() + limbo + waiting, "{limbo} of them in limbo");
        let mut found = Vec::new();
        let manual = self.rules.manual;
        let limits = pgtable::Limits { no_execute: true, ..self.rules.limits };
        let visit = |seen: &Visited| {
            let (height, raw) = (seen.level.height, seen.raw);
            let is = match (seen.entry, manual.says(height, raw, &self.rules.limits)) {
                (Entry::Empty, Word::Nothing) => return pgtable::Step::Into,
                (Entry::Table(table), Word::Table(expected)) if table.0 == expected => {
                    assert_eq!(raw & 1 << 9, 0, "nobody holds a lock now");
                    assert!(limbo > 0 || raw & 1 << 10 == 0, "{raw:#x} has a copy in limbo");
                    return pgtable::Step::Into;
                }
                (Entry::Leaf(frame), Word::Page(expected)) if frame.0 == expected => {
                    let attrs = <A::Format as Format>::attrs(seen.level, raw);
                    let said = manual.fields(height, raw);
                    assert_eq!((attrs.dirty, attrs.accessed), (said.dirty, said.accessed));
                    Is::Page { frame: frame.0, attrs }
                }
                (Entry::NonPresent(entry), Word::NotPresent) if entry == raw => Is::NonPresent(raw),
                (entry, says) => panic!("{entry:?}, not {says:?}: {raw:#x} of {limits:?}"),
            };
            found.push((self.rules.offset(seen.at.0), (seen.level.span_lg2, is)));
            pgtable::Step::Over
        };
        let space = self.space.as_ref().expect("there is one between calls");
        space.view().visit(Span::ALL, visit).expect("all is reached");
        if world.is_lively() {
            world.agree(&found);
        } else {
            let expected: Vec<_> = world.now.slots.iter().map(|(&at, &slot)| (at, slot)).collect();
            assert_eq!(found, expected);
        }
        let violations = self.host.memory.violations();
        assert!(violations.is_empty(), "{violations:?}");
        world.writes.clear();
        world.maybe.clear();
    }

    /// Nothing is left, and everything that was mapped is told of.
    pub(super) fn end(mut self) {
        let mut found = Vec::new();
        let space = self.space.take().expect("there is one between calls");
        let rules = self.rules;
        let done = space.tear_down_with(|gone, flushed| {
            found.push(match gone {
                Gone::Page(page) => {
                    let (at, lg2, attrs) = (rules.offset(page.at.0), page.size_lg2, page.attrs);
                    (at, (lg2, Is::Page { frame: page.open(flushed).0, attrs }))
                }
                Gone::NonPresent { at, size_lg2, raw } => {
                    (rules.offset(at.0), (size_lg2, Is::NonPresent(raw)))
                }
                other => panic!("{other:?}"),
            });
        });
        done.map_err(|(_, error)| error).expect("it shares nothing");
        assert!(self.host.tables().is_empty());
        let mut world = self.host.world.borrow_mut();
        if world.is_lively() {
            world.agree(&found);
        } else {
            let expected: Vec<_> = world.now.slots.iter().map(|(&at, &slot)| (at, slot)).collect();
            assert_eq!(found, expected);
        }
        let violations = self.host.memory.violations();
        assert!(violations.is_empty(), "{violations:?}");
    }
}

pub(super) fn open<'g>(gone: Vec<(Gone<'g>, u64)>, flushed: &Flushed<'g>) {
    for (one, frame) in gone {
        if let Gone::Page(page) = one {
            assert_eq!(page.open(flushed).0, frame);
        }
    }
}

impl<A: Arch> World<A> {
    /// What is found is what is mapped; of what CPUs set, nothing is missing, and no page is dirty that
    /// nobody wrote. Then the model has what was found.
    pub(super) fn agree(&mut self, found: &[(u64, Slot)]) {
        assert_eq!(found.len(), self.now.slots.len());
        let expected: Vec<_> = self.now.slots.iter().map(|(&at, &slot)| (at, slot)).collect();
        for (&(at, slot), &(expected_at, expected)) in found.iter().zip(&expected) {
            let (Is::Page { frame, attrs }, Is::Page { frame: there, attrs: known }) =
                (slot.1, expected.1)
            else {
                assert_eq!((at, slot), (expected_at, expected));
                continue;
            };
            assert_eq!((at, slot.0, frame), (expected_at, expected.0, there));
            assert_eq!(keep_used(known, attrs), attrs, "{at:#x}");
            assert!(attrs.dirty || !known.dirty, "{at:#x} was written, and is clean");
            if attrs.dirty && !known.dirty {
                let last = at + ((1u64 << slot.0) - 1);
                let maybe = within(&self.maybe, at)
                    || self.maybe.iter().any(|range| at <= range.0 && range.0 <= last);
                assert!(maybe, "{at:#x} is dirty, and nobody wrote it");
            }
            self.now.slots.insert(at, slot);
        }
    }
}
