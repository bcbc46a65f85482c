//! Addresses, spans and memory types: what needs no space.

use pgtable::arch::x86::{PAT_AT_POWER_ON, X86_64, memory_types_from_msr};
use pgtable::{
    Arch, Attrs, Caching, Change, Error, Feature, Fields, Found, Frame, Limits, MemoryType,
    MemoryTypes, Page, PhysAddr, Rights, Size2MiB, Span, VirtAddr,
};
use std::collections::BTreeSet;

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

#[test]
fn memory_types_are_found_by_name() {
    for index in 0..8 {
        let memory = MemoryType::new(index).unwrap();
        let mut names = [Caching::WriteBack; 8];
        names[usize::from(index)] = Caching::WriteCombining;
        assert_eq!(MemoryTypes(names).find(Caching::WriteCombining), Some(memory));
        assert_eq!(MemoryTypes(names).name(memory), Caching::WriteCombining);
        assert_eq!(MemoryTypes(names).find(Caching::Uncached), None);
    }
    assert_eq!(MemoryType::new(8), None);
}

#[test]
fn limits_are_narrowed_by_each_other() {
    let little = Limits {
        phys_bits: 32,
        largest_leaf_lg2: 12,
        no_execute: false,
        global: false,
        keys: false,
    };
    let much = X86_64::LIMITS;
    assert_eq!([much.narrowed(little), little.narrowed(much)], [little; 2]);
    assert_eq!(much.narrowed(much), much);
}

/// Each part of a change says its field and its value, and leaves what was said before.
#[test]
fn a_change_is_put_together_from_its_parts() {
    let memory = MemoryType::new(5).unwrap();
    let all = Change::NOTHING.memory(memory).global(true).software(0b101).key(9);
    let fields = Fields::MEMORY | Fields::GLOBAL | Fields::SOFTWARE | Fields::KEY;
    assert_eq!(all.fields(), fields);
    let to = all.to();
    assert_eq!((to.memory, to.global, to.software, to.key), (memory, true, 0b101, 9));
    for (one, field) in [
        (Change::NOTHING.memory(memory), Fields::MEMORY),
        (Change::NOTHING.global(true), Fields::GLOBAL),
        (Change::NOTHING.software(1), Fields::SOFTWARE),
        (Change::NOTHING.key(1), Fields::KEY),
        (Rights::READ.into(), Fields::RIGHTS),
    ] {
        assert_eq!(one.fields(), field);
    }
    let whole = Change::all(Attrs::ALL.with_used(true, true)).key(3);
    assert_eq!(whole.fields(), Fields::all() - Fields::ACCESSED - Fields::DIRTY);
    assert_eq!((whole.to().rights, whole.to().key), (Attrs::ALL.rights, 3));
    assert!(!whole.to().accessed && !whole.to().dirty);
}

/// An error is one line with what was found in it, and no two say the same.
#[test]
fn errors_say_what_was_found() {
    let (at, table, raw) = (VirtAddr(0xabc_d000), PhysAddr(0x123_4000), 0x5678);
    let found = [
        Found::Leaf { frame: table, size_lg2: 21 },
        Found::Table { table, height: 1 },
        Found::NonPresent { raw },
    ];
    let features = [
        Feature::PageSize(30),
        Feature::NoRead,
        Feature::NoExecute,
        Feature::Global,
        Feature::Key(7),
        Feature::Software(0x200),
        Feature::SelfMap,
    ];
    let others = [
        (Error::NoSuchAddress(at), "0xabcd000"),
        (Error::BadSpan(Span::around(at, 12)), "0xabcd000"),
        (Error::TooWide { frame: table, bits: 32 }, "32 bits"),
        (Error::BadFrame { at, frame: Some(table) }, "0x1234000"),
        (Error::NotMapped { at, size_lg2: 21 }, "2^21"),
        (Error::NonPresent { at, raw }, "0x5678"),
        (Error::Malformed { at, height: 1, raw }, "0x5678"),
        (Error::Changed { at, raw }, "0x5678"),
        (Error::BadRaw(raw), "0x5678"),
        (Error::NotOnePage { at }, "0xabcd000"),
        (Error::Unreachable { table, height: 1 }, "0x1234000"),
        (Error::Shared { at }, "0xabcd000"),
        (Error::SelfMap { at }, "0xabcd000"),
        (Error::SoftwareBits { at, raw }, "0x5678"),
        (Error::Cycle { at, table }, "0x1234000"),
        (Error::BadRoot(table), "0x1234000"),
        (Error::RootList(table), "0x1234000"),
        (Error::Refused { height: 4 }, "height 4"),
        (Error::NoTable(table), "0x1234000"),
        (Error::OtherGather, "gather"),
    ];
    let occupied = found.map(|found| (Error::Occupied { at, found }, "0xabcd000"));
    let lacking = features.map(|feature| (Error::Unsupported(feature), "not to be had"));
    let mut lines = BTreeSet::new();
    for (error, says) in others.into_iter().chain(occupied).chain(lacking) {
        let line = error.to_string();
        assert!(line.contains(says) && !line.contains('\n'), "{line}");
        assert!(lines.insert(line), "{error:?} says what another one says");
    }
}
