//! What changes pages that are there.

use super::*;

impl<'c, A: Arch> Both<'c, A> {
    pub(super) fn protect(&mut self, at: u64, lg2: u8, attrs: Attrs, gather: &mut Gather<'_>) {
        sized!(lg2, |S| {
            self.call(
                at,
                |rules, model| {
                    Self::check(rules.attrs(&attrs))?;
                    model.protect(Self::page(rules, at, lg2)?, lg2, attrs)
                },
                |space| {
                    let page = Page::<S>::containing(VirtAddr(at));
                    space.protect(page, Change::all(attrs), gather)
                },
            );
        });
    }

    pub(super) fn protect_range(&mut self, span: Span, attrs: Attrs, gather: &mut Gather<'_>) {
        self.call(
            span.first().0,
            |rules, model| {
                let (first, last) = rules.span(span).ok_or(crate::common::model::Refused)?;
                Self::check(rules.attrs(&attrs))?;
                model.protect_range(first, last, attrs)
            },
            |space| space.protect_range(span, Change::all(attrs), gather),
        );
    }

    pub(super) fn protect_cursor(
        &mut self,
        at: u64,
        steps: u8,
        says: Says,
        gather: &mut Gather<'_>,
    ) {
        let (lg2, attrs) = (page_lg2::<A>(), says.attrs());
        let start = VirtAddr(at).align_down(lg2).0;
        for step in 0..u64::from(steps) {
            let Some(at) = start.checked_add(step << lg2) else { return };
            self.call(
                at,
                |rules, model| {
                    Self::check(rules.attrs(&attrs))?;
                    model.protect(Self::page(rules, at, lg2)?, lg2, attrs)
                },
                |space| {
                    let mut cursor = space.cursor(VirtAddr(at));
                    let _ = cursor.translate();
                    cursor.seek(VirtAddr(at));
                    cursor.protect(Change::all(attrs), gather)
                },
            );
        }
    }

    pub(super) fn split(&mut self, at: u64, gather: &mut Gather<'_>) {
        self.call(
            at,
            |rules, model| {
                let at = Self::page_of(rules, at)?;
                model.split(at)
            },
            |space| space.split(VirtAddr(at), gather),
        );
    }

    /// The base page of an address.
    pub(super) fn page_of(rules: &Rules, at: u64) -> Answer<u64> {
        Self::page(rules, at, page_lg2::<A>())
    }

    pub(super) fn promote(&mut self, at: u64, lg2: u8) {
        sized!(lg2, |S| {
            self.call(
                at,
                |rules, model| model.promote(Self::page(rules, at, lg2)?, lg2),
                |space| space.promote(Page::<S>::containing(VirtAddr(at))),
            );
        });
    }

    /// The raw entry of this size at an address.
    pub(super) fn raw_at(&self, at: u64, lg2: u8) -> Option<u64> {
        let mut found = None;
        let visit = |seen: &Visited| {
            if seen.level.span_lg2 == lg2 {
                found = Some(seen.raw);
            }
            pgtable::Step::Into
        };
        self.look().view().visit(Span::around(VirtAddr(at), 0), visit).expect("it is reached");
        found
    }

    pub(super) fn exchange(
        &mut self,
        at: u64,
        lg2: u8,
        (was, raw): (Raw, Raw),
        gather: &mut Gather<'_>,
    ) {
        let found = self.raw_at(at, lg2).unwrap_or(0);
        let [was, raw] = [was, raw].map(|raw| match raw {
            Raw::Nothing => 0,
            Raw::Found => found,
            Raw::Own(number) => 0xa00 | u64::from(number) << 12,
            Raw::Any(raw) => raw,
            Raw::Leaf(frame, says) => self.leaf(rules::memory(frame, at), lg2, &says.attrs()),
        });
        let manual = Manual::of(A::NAME);
        let done = sized!(lg2, |S| self.call(
            at,
            |rules, model| {
                let at = Self::page(rules, at, lg2)?;
                let height = rules.height(lg2).ok_or(crate::common::model::Refused)?;
                let says = manual.says(height, raw, &rules.limits);
                let allowed = !matches!(says, Word::Table(_) | Word::Reserved);
                Self::check(allowed && manual.word(raw) == raw || was == 0 && raw == 0)?;
                let there = model.touching(at, at + ((1 << lg2) - 1));
                let alone = match there.as_slice() {
                    [] => true,
                    [(first, (size, _))] => (*first, *size) == (at, lg2),
                    _ => false,
                };
                Self::check(alone && was == found)?;
                model.slots.remove(&at);
                match says {
                    Word::Page(frame) => {
                        let level = levels::<A>().find(|level| level.height == height);
                        let level = level.ok_or(crate::common::model::Refused)?;
                        let attrs = <A::Format as Format>::attrs(level, raw);
                        model.slots.insert(at, (lg2, Is::Page { frame, attrs }));
                    }
                    Word::NotPresent => drop(model.slots.insert(at, (lg2, Is::NonPresent(raw)))),
                    _ => {}
                }
                Ok(there)
            },
            |space| space.exchange(Page::<S>::containing(VirtAddr(at)), was, raw, gather),
        ));
        let Some((answer, there)) = done else { return };
        assert_eq!(answer & !0x60, was & !0x60);
        if let Some((first, (lg2, Is::Page { frame, .. }))) = there.first().copied() {
            let dirty = answer & 0x40 != 0;
            let told = Told { first, last: first + ((1u64 << lg2) - 1), frame, dirty };
            self.host.world.borrow_mut().gone.push(told);
        }
    }

    /// The word of a leaf, if it can be said; if not, one that cannot.
    pub(super) fn leaf(&self, frame: u64, lg2: u8, attrs: &Attrs) -> u64 {
        let level = levels::<A>().find(|level| level.span_lg2 == lg2);
        let fits = self.rules.frame(frame, lg2);
        let word = level
            .filter(|_| fits)
            .map(|level| <A::Format as Format>::leaf(level, PhysAddr(frame), attrs));
        word.and_then(Result::ok).unwrap_or(frame | 1)
    }

    pub(super) fn scan(
        &mut self,
        span: Span,
        accessed: bool,
        dirty: bool,
        gather: &mut Gather<'_>,
    ) {
        let mut used = Used::empty();
        used.set(Used::ACCESSED, accessed);
        used.set(Used::DIRTY, dirty);
        let mut found = Vec::new();
        let done = self.call(
            span.first().0,
            |rules, model| {
                let (first, last) = rules.span(span).ok_or(crate::common::model::Refused)?;
                let before = model.clone();
                Ok((model.scan(first, last, accessed, dirty), before))
            },
            |space| space.test_and_clear(span, used, gather, |page| found.push(page)),
        );
        let Some((_, (expected, before))) = done else { return };
        let mut world = self.host.world.borrow_mut();
        let found: Vec<_> = found
            .into_iter()
            .map(|page| (self.rules.offset(page.at.0), page.size_lg2, page.frame.0, page.attrs))
            .collect();
        for &(at, lg2, frame, attrs) in &found {
            let Some((lg2_there, Is::Page { frame: there, attrs: was })) =
                before.slots.get(&at).copied()
            else {
                panic!("{at:#x} is no page");
            };
            assert_eq!((lg2, frame), (lg2_there, there));
            assert_eq!(keep_used(was, attrs), attrs);
            assert!(attrs.dirty || !was.dirty, "{at:#x} was written");
            let noted = (at, at + ((1u64 << lg2) - 1));
            // What it had, and was not asked to clear, is there still.
            if dirty && attrs.dirty {
                world.scanned.push(noted);
            }
            if world.is_lively() {
                world.maybe.push(noted);
            } else {
                assert_eq!(attrs, was);
            }
        }
        let pages: Vec<u64> = found.iter().map(|page| page.0).collect();
        if world.is_lively() {
            let known = |at: &&u64| {
                let slot = before.slots.get(at);
                dirty && matches!(slot, Some((_, Is::Page { attrs, .. })) if attrs.dirty)
            };
            expected
                .iter()
                .filter(known)
                .for_each(|at| assert!(pages.contains(at), "{at:#x} was written"));
        } else {
            assert_eq!(pages, expected);
        }
    }
}
