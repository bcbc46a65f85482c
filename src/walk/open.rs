//! Addresses that nothing forbids.

use super::{Half, Reach, RootOf};
use crate::addr::{Span, VirtAddr};
use crate::level::{Config, PageTableLevel};

/// A run of whole root entries that a space can do with as it likes: all addresses in it exist, none
/// belongs to the kernel's own space, unless this is that, and none to a self-map. Most addresses that
/// a space is asked about are among these; others may be as good, and are looked at one by one.
///
/// After the highest address comes the lowest: so two halves of an address space are one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    first: u64,
    /// None of them, if this is zero.
    bytes: u64,
}

impl Open {
    /// The largest such run; for the kernel's own space, one in its half.
    pub(crate) fn new<C: Config>(half: Half, self_map: Option<usize>) -> Self {
        let halves = match half {
            Half::Owner(shared) => [Some(shared), None],
            Half::Apart | Half::Guest(_) => Reach::<C::Arch>::halves(),
        };
        let foreign = if let Half::Guest(shared) = half { Some(shared) } else { None };
        let entry =
            |index| Span::around(Reach::<C::Arch>::root_entry(index), RootOf::<C>::LEVEL.span_lg2);
        let runs = halves.into_iter().flatten();
        let runs = runs.flat_map(|run| beside(run, foreign)).flatten();
        let runs = runs.flat_map(|run| beside(run, self_map.map(entry))).flatten().map(Self::of);
        let lowest = runs.clone().find(|run| run.first == 0);
        let highest = runs.clone().find(|run| run.first.wrapping_add(run.bytes) == 0);
        let around = highest.zip(lowest).and_then(|(highest, lowest)| {
            let bytes = highest.bytes.checked_add(lowest.bytes)?;
            Some(Self { first: highest.first, bytes })
        });
        // The lower one of two alike.
        let larger = |one: Self, other: Self| if other.bytes > one.bytes { other } else { one };
        runs.chain(around).reduce(larger).unwrap_or(Self { first: 0, bytes: 0 })
    }

    /// All of a span but, if that is every 64-bit address, the last byte.
    fn of(span: Span) -> Self {
        Self { first: span.first().0, bytes: span.bytes_less_one().saturating_add(1) }
    }

    /// How far an address is from the first one.
    #[inline]
    fn offset(self, at: VirtAddr) -> u64 {
        at.0.wrapping_sub(self.first)
    }

    /// Whether an address is among them.
    #[inline]
    pub(crate) fn contains(self, at: VirtAddr) -> bool {
        self.offset(at) < self.bytes
    }

    /// Whether all addresses of a span are.
    #[inline]
    pub(crate) fn covers(self, span: Span) -> bool {
        let (first, last) = (self.offset(span.first()), self.offset(span.last()));
        first <= last && last < self.bytes
    }
}

/// What of a run is before a hole, and what is after it.
fn beside(run: Span, hole: Option<Span>) -> [Option<Span>; 2] {
    let Some(hole) = hole.and_then(|hole| hole.intersect(run)) else { return [Some(run), None] };
    let before = hole.first().0.checked_sub(1).map(VirtAddr);
    let after = hole.last().0.checked_add(1).map(VirtAddr);
    [
        before.and_then(|last| Span::inclusive(run.first(), last)),
        after.and_then(|first| Span::inclusive(first, run.last())),
    ]
}
