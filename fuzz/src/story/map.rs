//! What maps.

use super::*;

impl<'c, A: Arch> Both<'c, A> {
    pub(super) fn map(&mut self, at: u64, lg2: u8, frame: u64, attrs: Attrs) {
        sized!(lg2, |S| {
            let Some(frame) = Frame::<S>::new(PhysAddr(frame)) else { return };
            self.call(
                at,
                |rules, model| {
                    Self::check(rules.attrs(&attrs) && rules.frame(frame.start().0, lg2))?;
                    model.map(Self::page(rules, at, lg2)?, lg2, frame.start().0, attrs)
                },
                |space| space.map(Page::<S>::containing(VirtAddr(at)), frame, attrs),
            );
        });
    }

    pub(super) fn map_range(&mut self, span: Span, frame: u64, attrs: Attrs) {
        self.call(
            span.first().0,
            |rules, model| {
                let (first, last) = rules.span(span).ok_or(crate::common::model::Refused)?;
                let end = frame.checked_add(last - first);
                Self::check(rules.attrs(&attrs) && frame & 0xfff == 0 && end.is_some())?;
                model.map_range(first, last - first + 1, frame, attrs)
            },
            |space| space.map_range(span, PhysAddr(frame), attrs),
        );
    }

    /// Runs of so many bytes, from two places by turns: each run by itself, so no page is of two.
    pub(super) fn map_frames(&mut self, span: Span, frames: [u64; 2], bytes: u64, attrs: Attrs) {
        let run = |done: u64| {
            let turn = (done.checked_div(bytes)? & 1) as usize;
            Some(pgtable::FrameRun { start: PhysAddr(frames[turn].checked_add(done)?), bytes })
        };
        self.call(
            span.first().0,
            |rules, model| {
                let (first, last) = rules.span(span).ok_or(crate::common::model::Refused)?;
                Self::check(rules.attrs(&attrs) && bytes != 0)?;
                Self::runs(model, first, last, run, attrs)
            },
            |space| {
                let start = span.first().0;
                space.map_frames(span, attrs, |at, _| run(at.0 - start))
            },
        );
    }

    /// The whole span must be free before the first run is mapped: which pages are large depends on it.
    pub(super) fn runs(
        model: &mut Model<A>,
        first: u64,
        last: u64,
        run: impl Fn(u64) -> Option<pgtable::FrameRun>,
        attrs: Attrs,
    ) -> Answer<()> {
        Self::check(model.touching(first, last).is_empty())?;
        let before = model.clone();
        let (mut at, end) = (first, last - first + 1 + first);
        while at < end {
            let run = run(at - first).ok_or(crate::common::model::Refused)?;
            let (start, bytes) = (run.start.0, run.bytes.min(end - at));
            Self::check(start & 0xfff == 0 && start.checked_add(bytes - 1).is_some())?;
            let mut alone = before.clone();
            alone.map_range(at, bytes, start, attrs)?;
            let new = alone.touching(at, at + (bytes - 1));
            model.slots.extend(new);
            at += bytes;
        }
        Ok(())
    }

    pub(super) fn map_cursor(&mut self, at: u64, steps: u8, frame: u64, attrs: Attrs) {
        let lg2 = page_lg2::<A>();
        let start = VirtAddr(at).align_down(lg2).0;
        // A cursor borrows the space: what it does is compared as one call a step.
        for step in 0..u64::from(steps) {
            let Some(at) = start.checked_add(step << lg2) else { return };
            let frame = frame.wrapping_add(step << lg2);
            self.call(
                at,
                |rules, model| {
                    Self::check(rules.attrs(&attrs) && rules.frame(frame, lg2))?;
                    model.map(Self::page(rules, at, lg2)?, lg2, frame, attrs)
                },
                |space| {
                    let mut cursor = space.cursor(VirtAddr(at));
                    // So that it has the table at hand, or knows that there is none.
                    let _ = cursor.translate();
                    cursor.seek(VirtAddr(at));
                    cursor.map(PhysAddr(frame), attrs)?;
                    let next = at.checked_add(1 << lg2).map(VirtAddr);
                    assert_eq!(cursor.at(), next);
                    Ok(())
                },
            );
        }
    }
}
