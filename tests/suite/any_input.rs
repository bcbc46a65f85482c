//! No safe function panics, whatever it is given, and what it refuses has changed nothing.

use crate::common::memory::Memory;
use pgtable::{
    Arch, Attrs, Change, Config, Format, Frame, FrameRun, Gather, Limits, MemoryType, Page,
    PageSize, PhysAddr, Rights, RootCell, Setup, Space, Span, Used, View, VirtAddr, levels,
};
use proptest::prelude::*;

#[derive(Clone, Copy)]
struct Sized<const LG2: u8>;
impl<const LG2: u8> PageSize for Sized<LG2> {
    const SIZE_LG2: u8 = LG2;
}

/// Numbers with a liking for the ends, for powers of two, and for their neighbours.
fn number() -> impl Strategy<Value = u64> {
    let near = (0..64u32, -2..3i64).prop_map(|(bit, by)| (1u64 << bit).wrapping_add_signed(by));
    let aligned = (any::<u64>(), 0..40u32).prop_map(|(raw, bits)| raw >> bits << bits);
    let signed = (0..0x1000u64).prop_map(|page| 0xffff_8000_0000_0000 | page << 12);
    let small = (0..0x40_0000u64).prop_map(|page| page << 12);
    prop_oneof![any::<u64>(), near, aligned, signed, small, Just(0), Just(u64::MAX)]
}

fn attrs() -> impl Strategy<Value = Attrs> {
    let numbers = (any::<u8>(), 0..8u8, any::<u16>(), any::<u8>());
    (numbers, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(numbers, g, a, d)| {
        let (rights, memory, software, key) = numbers;
        let plain = key < 200;
        let rights = Rights::from_bits_truncate(if plain { rights | 5 } else { rights });
        Attrs::new(rights)
            .with_memory(MemoryType::new(memory).unwrap())
            .with_global(g)
            .with_used(a, d)
            .with_software(if plain { software & 7 } else { software })
            .with_key(if plain { 0 } else { key })
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let bits = prop_oneof![Just(52u8), any::<u8>()];
    (bits, prop_oneof![Just(30u8), any::<u8>()], flags).prop_map(
        |(phys_bits, largest_leaf_lg2, (no_execute, global, keys))| Limits {
            phys_bits,
            largest_leaf_lg2,
            no_execute,
            global,
            keys,
        },
    )
}

/// One call of a verb.
type Call = (u8, u64, u64, u64, Attrs, bool);

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = (any::<u8>(), number(), number(), number(), attrs(), any::<bool>());
    prop::collection::vec(call, 1..24)
}

/// Spans stay short where a verb maps every page of them: tests have little memory and time.
fn span(at: u64, bytes: u64, short: bool) -> Option<Span> {
    Span::new(VirtAddr(at), if short { (bytes % 0x40_0000) & !0x3ff } else { bytes })
}

fn sized<S: PageSize, A: Arch>(space: &mut Space<'_, A, &Memory>, call: Call) -> bool {
    let (verb, at, to, raw, attrs, _) = call;
    let page = Page::<S>::containing(VirtAddr(at));
    assert!(page.span().contains(VirtAddr(at)));
    let Some(frame) = Frame::<S>::new(PhysAddr(to)) else { return false };
    Gather::scope(|mut gather| {
        let gather = &mut gather;
        match verb % 5 {
            0 => space.map(page, frame, attrs).is_err(),
            1 => space.unmap(page, gather).is_err(),
            2 => space.protect(page, Change::all(attrs), gather).is_err(),
            3 => space.promote(page).is_err(),
            _ => space.exchange(page, to, raw, gather).is_err(),
        }
    })
}

/// Makes the call; whether it was refused.
fn make<A: Arch>(space: &mut Space<'_, A, &Memory>, call: Call) -> bool {
    let (verb, at, to, raw, attrs, flag) = call;
    let some = span(at, to, true);
    let any = span(at, to, false);
    match (verb % 16, some, any) {
        (0, ..) => sized::<Sized<0>, A>(space, call),
        (1, ..) => sized::<Sized<10>, A>(space, call),
        (2, ..) => sized::<Sized<12>, A>(space, call),
        (3, ..) => sized::<Sized<21>, A>(space, call),
        (4, ..) => sized::<Sized<22>, A>(space, call),
        (5, ..) => sized::<Sized<30>, A>(space, call),
        (6, ..) => sized::<Sized<63>, A>(space, call),
        (7, ..) => sized::<Sized<255>, A>(space, call),
        (8, Some(span), _) => space.map_range(span, PhysAddr(raw), attrs).is_err(),
        (9, Some(span), _) => {
            let mut bytes = raw;
            let next = |_, _| {
                bytes = bytes.rotate_left(7);
                Some(FrameRun { start: PhysAddr(raw), bytes })
            };
            space.map_frames(span, attrs, next).is_err()
        }
        (10, _, Some(span)) => {
            Gather::scope(|mut gather| space.unmap_range(span, &mut gather, |_| {})).is_err()
        }
        (11, _, Some(span)) => {
            Gather::scope(|mut gather| space.protect_range(span, Change::all(attrs), &mut gather))
                .is_err()
        }
        (12, _, Some(span)) => Gather::scope(|mut gather| {
            let used = if flag { Used::DIRTY } else { Used::all() };
            space.test_and_clear(span, used, &mut gather, |_| {})
        })
        .is_err(),
        (13, ..) => Gather::scope(|mut gather| space.split(VirtAddr(at), &mut gather)).is_err(),
        (14, _, Some(span)) => {
            space.mappings(span).take(10).for_each(drop);
            space.translate(VirtAddr(at)).is_err()
        }
        _ => {
            cursor(space, call);
            false
        }
    }
}

fn cursor<A: Arch>(space: &mut Space<'_, A, &Memory>, call: Call) {
    let (verb, at, to, _, attrs, _) = call;
    let mut cursor = space.cursor(VirtAddr(at));
    Gather::scope(|mut gather| {
        let gather = &mut gather;
        for step in 0..4 {
            match (verb >> 4) + step {
                0 | 4 => drop(cursor.map(PhysAddr(to), attrs)),
                1 | 5 => drop(cursor.unmap(gather).map(drop)),
                2 => drop(cursor.protect(attrs.rights, gather)),
                3 => drop(cursor.test_and_clear(Used::all(), gather)),
                6 => cursor.seek(VirtAddr(to)),
                _ => drop(cursor.translate()),
            }
        }
    });
}

fn run<A: Arch>(calls: &[Call], limits: Limits, self_map: Option<usize>) {
    let (host, cell) = (Memory::with(0x10_0000, 1 << 19, false), RootCell::new());
    let setup = self_map.iter().fold(Setup::new().limits(limits), |s, &index| s.self_map(index));
    let Ok(mut space) = Space::<A, _>::new(&host, &cell, setup) else {
        assert_eq!((host.tables_in_use(), cell.root()), (0, None));
        return;
    };
    for &call in calls {
        let before = host.picture();
        if make(&mut space, call) {
            assert_eq!(before, host.picture(), "{call:?}");
        }
        check_words::<A>(&host, &limits);
    }
    // Gathers that were not finished have leaked their tables: no more than that.
    space.tear_down().map_err(|(_, error)| error).unwrap();
}

/// No entry of any table has a reserved bit set, whatever was asked for.
fn check_words<A: Arch>(host: &Memory, limits: &Limits) {
    let limits = A::LIMITS.narrowed(*limits);
    for (table, (height, _)) in host.in_use() {
        let level = levels::<A>().find(|level| level.height == height).unwrap();
        let lg2 = <<A::Format as Format>::Word as pgtable::Word>::BYTES_LG2;
        for index in 0..level.entries() as u64 {
            let raw = host.read(table + (index << lg2), lg2);
            let entry = <A::Format as Format>::decode(level, raw, &limits);
            assert!(!matches!(entry, pgtable::Entry::Malformed(_)), "{entry:?} in {level:?}");
        }
    }
}

proptest! {
    #![proptest_config(crate::common::cases(150))]

    #[test]
    fn x86_32(calls in calls(), limits in limits(), map in prop::option::of(0..1200usize)) {
        run::<pgtable::arch::x86::X86_32>(&calls, limits, map);
    }
    #[test]
    fn x86_pae(calls in calls(), limits in limits(), map in prop::option::of(0..6usize)) {
        run::<pgtable::arch::x86::X86Pae>(&calls, limits, map);
    }
    #[test]
    fn x86_64(calls in calls(), limits in limits(), map in prop::option::of(0..600usize)) {
        run::<pgtable::arch::x86::X86_64>(&calls, limits, map);
    }
    #[test]
    fn x86_64_la57(calls in calls(), limits in limits(), map in prop::option::of(any::<usize>())) {
        run::<pgtable::arch::x86::X86_64La57>(&calls, limits, map);
    }

    /// Any memory at all, read as tables: an error or an answer, and never an endless walk.
    #[test]
    fn any_memory(seed: u64, words in prop::collection::vec(number(), 32), at in number()) {
        any_tables::<pgtable::arch::x86::X86_32>(seed, &words, at);
        any_tables::<pgtable::arch::x86::X86Pae>(seed, &words, at);
        any_tables::<pgtable::arch::x86::X86_64>(seed, &words, at);
        any_tables::<pgtable::arch::x86::X86_64La57>(seed, &words, at);
    }
}

fn any_tables<C: Config>(seed: u64, words: &[u64], at: u64) {
    let host = Memory::with(0x1_0000, 0x8000, false);
    for word in 0..0x1000 {
        let index = (seed.rotate_left(word as u32) ^ word) as usize % words.len();
        let frame = 0x1_0000 + (words[index] & 0x7000);
        let raw = if word % 3 == 0 { words[index] } else { frame | words[index] & 0xfff };
        host.clear_bits(0x1_0000 + word * 8, u64::MAX);
        host.set_bits(0x1_0000 + word * 8, 3, raw);
    }
    // SAFETY: the host reaches its own memory only.
    let view = unsafe { View::<C, _>::new(&host, PhysAddr(0x1_0000), C::Arch::LIMITS) }.unwrap();
    let _ = view.translate(VirtAddr(at));
    view.mappings(Span::ALL).take(100).for_each(drop);
}
