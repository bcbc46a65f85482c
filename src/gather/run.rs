//! The span that grows while pages go one after the other.

use crate::addr::{Span, VirtAddr};
use crate::level::{Extent, SpaceId, Stale};

/// A run of pages whose translations are stale, before it is one of the spans of a [`Stale`].
#[derive(Clone, Copy)]
pub(super) struct Run {
    first: u64,
    /// The first address after it, which is 0 after the last one: a run that goes on there is two spans.
    /// [`NOWHERE`](Self::NOWHERE) if there is no run.
    next: u64,
}

impl Run {
    /// Where no page begins.
    const NOWHERE: u64 = 1;
    pub(super) const NONE: Self = Self { first: Self::NOWHERE, next: Self::NOWHERE };

    fn of(span: Span) -> Self {
        Self { first: span.first().0, next: span.last().0.wrapping_add(1) }
    }

    fn spans(&self) -> [Option<Span>; 2] {
        let (first, last) = (VirtAddr(self.first), VirtAddr(self.next.wrapping_sub(1)));
        match Span::inclusive(first, last) {
            _ if self.next == Self::NOWHERE => [None, None],
            Some(span) => [Some(span), None],
            None => {
                [Span::inclusive(first, VirtAddr(u64::MAX)), Span::inclusive(VirtAddr(0), last)]
            }
        }
    }

    /// Takes the pages from `first` on, of so many bytes, if they are the next piece of it. Answers
    /// whether it has them now, as its end.
    #[inline(always)]
    pub(super) fn goes_on(&mut self, first: VirtAddr, bytes: u64) -> bool {
        let next = first.0.wrapping_add(bytes);
        if first.0 == self.next {
            self.next = next;
            return true;
        }
        next == self.next && first.0 >= self.first
    }

    /// Takes a span: at its end or its beginning, or as the beginning of another run. What then is not
    /// a part of it any more is one of the stale spans.
    pub(super) fn take(&mut self, span: Span, stale: &mut Stale, space: SpaceId) {
        let joined = match self.spans() {
            [None, _] => Some(span),
            [Some(run), None] => run.join(span),
            [Some(_), Some(_)] => None,
        };
        if joined.is_none() {
            self.end(stale, space);
        }
        *self = Self::of(joined.unwrap_or(span));
    }

    /// Makes it one of the stale spans.
    pub(super) fn end(&self, stale: &mut Stale, space: SpaceId) {
        for span in self.spans().into_iter().flatten() {
            stale.add(Extent::Spans, span, Some(space), false);
        }
    }
}
