//! What formats promise of entries that are known at a glance, and of leaves in a row.

use crate::common::shape::{all_attrs, frames};
use crate::common::{mapping_levels, plain};
use pgtable::{Arch, Entry, Format, Glance, Limits, PhysAddr, Rights, Word, levels};

type F<A> = <A as Arch>::Format;
type W<A> = <F<A> as Format>::Word;

/// Whether a word is one that a format knows at a glance.
fn known(glance: Glance, raw: u64) -> bool {
    (raw ^ glance.want) & glance.mask == 0
}

/// Limits to try: those of the mode, and others that have less in every way.
fn some_limits<A: Arch>() -> [Limits; 2] {
    let mut limits = A::LIMITS;
    limits.phys_bits -= 3;
    limits.largest_leaf_lg2 = F::<A>::PAGE_LG2;
    limits.no_execute = false;
    [A::LIMITS, limits]
}

/// What is known at a glance is what a long look finds.
fn a_glance_is_right<A: Arch>() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for limits in some_limits::<A>() {
        for level in levels::<A>() {
            for leaf in [false, true] {
                let glance = F::<A>::glance(level, leaf, &limits);
                assert_eq!(glance.want, F::<A>::glance(level, leaf, &A::LIMITS).want);
                assert_eq!(F::<A>::address(level, leaf, glance.want), PhysAddr(0));
                let fits = level.maps && level.span_lg2 <= limits.largest_leaf_lg2;
                if if leaf { !fits } else { level.height == 0 } {
                    continue;
                }
                for _ in 0..10_000 {
                    // Marsaglia's xorshift.
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    // All that the glance does not look at may be anything.
                    let raw = W::<A>::from_raw(state & !glance.mask | glance.want).raw();
                    let address = F::<A>::address(level, leaf, raw);
                    let found = if leaf { Entry::Leaf(address) } else { Entry::Table(address) };
                    assert_eq!(F::<A>::decode(level, raw, &limits), found, "{level:?} {raw:#x}");
                }
            }
        }
    }
}

/// The words that a format makes are known at a glance: most of all, those of leaves and of tables that
/// nobody holds and that have no copy. Those with reserved bits, or with the marks, are not.
fn a_glance_is_enough<A: Arch>() {
    let frame_bits = |level, leaf| F::<A>::phys_bits(level, leaf, &A::LIMITS);
    for level in levels::<A>() {
        let (leaf, table) =
            [true, false].map(|leaf| F::<A>::glance(level, leaf, &A::LIMITS)).into();
        for attrs in all_attrs().filter(|_| level.maps) {
            let frame = PhysAddr(1 << (frame_bits(level, true) - 1));
            if let Ok(raw) = F::<A>::leaf(level, frame, &attrs) {
                assert!(known(leaf, raw), "{level:?} {raw:#x}");
                assert!(level.height == 0 || !known(table, raw), "{level:?} {raw:#x}");
            }
        }
        for user in [false, true].into_iter().filter(|_| level.height != 0) {
            let frame = PhysAddr(1 << (frame_bits(level, false) - 1));
            let raw = F::<A>::table(level, frame, user);
            assert!(known(table, raw), "{level:?} {raw:#x}");
            assert!(!level.maps || !known(leaf, raw), "{level:?} {raw:#x}");
            let other = raw ^ F::<A>::table(level, PhysAddr(0), !user);
            assert_eq!(F::<A>::address(level, false, other), frame, "user mode is apart");
            for mark in [F::<A>::LOCK, F::<A>::TWIN, F::<A>::PRESENT] {
                assert!(!known(table, raw ^ mark), "{level:?} {raw:#x}");
            }
            let (clear, _) = F::<A>::widening(level, Rights::all());
            assert!(clear == 0 || !known(table, raw | clear), "{level:?} {raw:#x}");
        }
    }
}

/// Where a format says how leaves of frames in a row differ, they do.
fn leaves_go_up_in_steps<A: Arch>() {
    for level in mapping_levels::<A>() {
        let Some(step) = F::<A>::step(level) else {
            assert!(A::NAME == "made-up" || A::NAME == "x86-32" && level.height == 1, "{level:?}");
            continue;
        };
        let (size, frames) = (1 << level.span_lg2, frames::<A>(level));
        let all = frames.last().copied().unwrap();
        let word = |frame| F::<A>::leaf(level, frame, &plain()).unwrap();
        for frame in frames.into_iter().filter(|&frame| frame != all) {
            let next = PhysAddr(frame.0 + size);
            assert_eq!(word(next), word(frame) + step, "{level:?} {frame}");
            let before = PhysAddr(frame.0.saturating_sub(size));
            assert!(frame.0 == 0 || word(before) + step == word(frame), "{level:?} {frame}");
        }
    }
}

each_arch!(a_glance_is_right);
each_arch!(a_glance_is_enough);
each_arch!(leaves_go_up_in_steps);
