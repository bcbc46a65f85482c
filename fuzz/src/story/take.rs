//! What unmaps.

use super::*;

impl<'c, A: Arch> Both<'c, A> {
    /// What unmap answered must be what the model has, and no write may be missing in it.
    pub(super) fn answered(&mut self, gone: &Gone<'_>, expected: (u64, Slot)) {
        let (at, (lg2, is)) = expected;
        let va = canonical::<A>(at);
        match (gone, is) {
            (Gone::Page(page), Is::Page { frame, attrs }) => {
                assert_eq!((page.at, page.size_lg2, page.peek().0), (va, lg2, frame));
                let last = at + ((1u64 << lg2) - 1);
                let mut world = self.host.world.borrow_mut();
                assert_eq!(keep_used(attrs, page.attrs), page.attrs);
                let written = world.was_written(at, last, frame);
                assert!(page.attrs.dirty || !attrs.dirty && !written, "{va} was written");
                if !world.is_lively() {
                    assert_eq!(page.attrs, attrs);
                }
                let dirty = page.attrs.dirty;
                world.gone.push(Told { first: at, last, frame, dirty });
            }
            (Gone::NonPresent { at, size_lg2, raw }, Is::NonPresent(expected)) => {
                assert_eq!((*at, *size_lg2, *raw), (va, lg2, expected));
            }
            (gone, expected) => panic!("{gone:?}, not {expected:?}"),
        }
    }

    pub(super) fn unmap<'g>(
        &mut self,
        at: u64,
        lg2: u8,
        gather: &mut Gather<'g>,
        gone: &mut Vec<(Gone<'g>, u64)>,
    ) {
        let found = sized!(lg2, |S| self.call(
            at,
            |rules, model| {
                let at = Self::page(rules, at, lg2)?;
                model.unmap(at, lg2).map(|slot| (at, slot))
            },
            |space| space.unmap(Page::<S>::containing(VirtAddr(at)), gather),
        ));
        self.all_gone(found.into_iter().collect(), gone);
    }

    pub(super) fn all_gone<'g>(
        &mut self,
        found: Vec<(Gone<'g>, (u64, Slot))>,
        gone: &mut Vec<(Gone<'g>, u64)>,
    ) {
        for (one, expected) in found {
            self.answered(&one, expected);
            let frame = match expected.1.1 {
                Is::Page { frame, .. } => frame,
                Is::NonPresent(raw) => raw,
            };
            gone.push((one, frame));
        }
    }

    pub(super) fn unmap_range<'g>(
        &mut self,
        span: Span,
        gather: &mut Gather<'g>,
        gone: &mut Vec<(Gone<'g>, u64)>,
    ) {
        let mut found = Vec::new();
        let done = self.call(
            span.first().0,
            |rules, model| {
                let (first, last) = rules.span(span).ok_or(crate::common::model::Refused)?;
                model.unmap_range(first, last)
            },
            |space| space.unmap_range(span, gather, |one| found.push(one)),
        );
        let expected = done.map(|(_, expected)| expected).unwrap_or_default();
        assert_eq!(found.len(), expected.len());
        self.all_gone(found.into_iter().zip(expected).collect(), gone);
    }

    pub(super) fn unmap_cursor<'g>(
        &mut self,
        at: u64,
        steps: u8,
        gather: &mut Gather<'g>,
        gone: &mut Vec<(Gone<'g>, u64)>,
    ) {
        let lg2 = page_lg2::<A>();
        let start = VirtAddr(at).align_down(lg2).0;
        for step in 0..u64::from(steps) {
            let Some(at) = start.checked_add(step << lg2) else { return };
            let found = self.call(
                at,
                |rules, model| {
                    let at = Self::page(rules, at, lg2)?;
                    model.unmap(at, lg2).map(|slot| (at, slot))
                },
                |space| space.cursor(VirtAddr(at)).unmap(gather),
            );
            self.all_gone(found.into_iter().collect(), gone);
        }
    }
}
