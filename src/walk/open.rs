//! Addresses that nothing forbids.

use super::{Half, Reach, RootOf};
use crate::addr::{Span, VirtAddr};
use crate::level::{Config, PageTableLevel};

/// A run of whole root entries that a space can do with as it likes: all addresses in it exist, none
/// belongs to the kernel's own space, unless this is that, and none to a self-map. Most addresses that
/// a space is asked about are among these; others may be as good, and are looked at one by one.
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
        let runs = runs.flat_map(|run| beside(run, self_map.map(entry))).flatten();
        // The lower one of two alike.
        let largest =
            runs.reduce(
                |one, other| {
                    if other.bytes_less_one() > one.bytes_less_one() { other } else { one }
                },
            );
        let bytes = largest.map_or(0, |run| run.bytes_less_one().saturating_add(1));
        Self { first: largest.map_or(0, |run| run.first().0), bytes }
    }

    /// Whether an address is among them.
    #[inline]
    pub(crate) fn contains(self, at: VirtAddr) -> bool {
        at.0.wrapping_sub(self.first) < self.bytes
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
