//! Addresses, spans and memory types: what needs no space.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use pgtable::arch::x86::{PAT_AT_POWER_ON, memory_types_from_msr};
use pgtable::{Caching, Frame, MemoryTypes, Page, PhysAddr, Size2MiB, Span, VirtAddr};

#[test]
fn alignment_is_asked_of_both_kinds_of_address() {
    for lg2 in 0..64 {
        let one = 1_u64 << lg2;
        assert!(VirtAddr(one).is_aligned(lg2) && PhysAddr(one).is_aligned(lg2));
        assert!(!VirtAddr(one).is_aligned(lg2 + 1) && !PhysAddr(one).is_aligned(lg2 + 1));
        assert!(VirtAddr(0).is_aligned(lg2) && PhysAddr(0).is_aligned(lg2));
    }
    assert!(Page::<Size2MiB>::new(VirtAddr(0x20_1000)).is_none());
    assert!(Frame::<Size2MiB>::new(PhysAddr(0x20_1000)).is_none());
}

#[test]
fn spans_are_joined_where_they_touch_or_overlap() {
    let span = |first, last| Span::inclusive(VirtAddr(first), VirtAddr(last)).unwrap();
    let (low, high) = (span(0x1000, 0x1fff), span(0x2000, 0x2fff));
    for (one, other) in [(low, high), (high, low), (low, span(0x1800, 0x2fff))] {
        assert_eq!(one.join(other), Some(span(0x1000, 0x2fff)));
    }
    for apart in [span(0x2001, 0x2fff), span(0, 0xffe), span(u64::MAX, u64::MAX)] {
        assert_eq!((low.join(apart), apart.join(low)), (None, None));
    }
    let top = span(0x2000, u64::MAX);
    assert_eq!(top.join(low), Some(span(0x1000, u64::MAX)));
}

/// Intel SDM volume 3A, table 12-10.
#[test]
fn every_byte_of_the_pat_register_has_its_name() {
    let names = [
        (0, Caching::Uncached),
        (1, Caching::WriteCombining),
        (4, Caching::WriteThrough),
        (5, Caching::WriteProtected),
        (6, Caching::WriteBack),
        (7, Caching::UncachedMinus),
    ];
    for byte in 0..=u8::MAX {
        let name = names.iter().find(|name| name.0 == byte).map(|name| name.1);
        for index in 0..8 {
            let all_uncached = [Caching::Uncached; 8];
            let expected = name.map(|name| {
                let mut types = all_uncached;
                types[index] = name;
                MemoryTypes(types)
            });
            assert_eq!(memory_types_from_msr(u64::from(byte) << (8 * index)), expected);
        }
    }
    assert_eq!(memory_types_from_msr(0x0007_0406_0007_0406), Some(PAT_AT_POWER_ON));
}
