//! Every format at every level: one body for all of them, the made-up one included.

use crate::common::memory::Memory;
use crate::common::shape::{all_attrs, frames};
use crate::common::{canonical, mapping_levels, plain, root_level, virt_bits};
use pgtable::{
    Arch, Attrs, Config, Entry, Error, Feature, Fields, Format, Gather, Limits, MemoryType,
    PhysAddr, Rights, RootCell, Setup, Space, Span, VirtAddr, levels,
};
use proptest::prelude::*;

type F<A> = <A as Arch>::Format;

/// Each address bit that the mode translates picks an entry at exactly one level, or a byte of the
/// page.
fn indices_cover_each_bit_once<A: Arch>() {
    for bit in 0..64 {
        let with = VirtAddr(1 << bit);
        let moved = levels::<A>().filter(|level| level.index(with) != level.index(VirtAddr(0)));
        let expected = usize::from(bit >= F::<A>::PAGE_LG2 && bit < virt_bits::<A>());
        assert_eq!(moved.count(), expected, "bit {bit}");
    }
    let widths: u8 = levels::<A>().map(|level| level.index_lg2).sum();
    assert_eq!(F::<A>::PAGE_LG2 + widths, virt_bits::<A>());
    let heights: Vec<u8> = levels::<A>().rev().map(|level| level.height).collect();
    assert_eq!(heights, (0..heights.len() as u8).collect::<Vec<_>>());
}

/// What a mode has, as the manuals say: NX, keys, software bits of leaves.
fn features<A: Arch>() -> (bool, u8, u16) {
    match A::NAME {
        "x86-32" => (false, 0, 7),
        "x86-pae" => (true, 0, 7),
        "x86-64" | "x86-64-la57" => (true, 15, 1023),
        _ => (true, 0, 15),
    }
}

fn decode_undoes_encode<A: Arch>() {
    let (no_execute, keys, software) = features::<A>();
    for level in mapping_levels::<A>() {
        let frames = frames::<A>(level);
        for (count, attrs) in all_attrs().enumerate() {
            let frame = frames[count % frames.len()];
            let lacking = !attrs.rights.contains(Rights::READ)
                || (!no_execute && !attrs.rights.contains(Rights::EXECUTE))
                || attrs.key > keys
                || attrs.software > software;
            let raw = F::<A>::leaf(level, frame, &attrs);
            assert_eq!(raw.is_err(), lacking, "{attrs:?}");
            let Ok(raw) = raw else { continue };
            assert_eq!(F::<A>::decode(level, raw, &A::LIMITS), Entry::Leaf(frame), "{raw:#x}");
            assert_eq!(F::<A>::attrs(level, raw), attrs, "{raw:#x}");
        }
    }
}

/// Each frame comes back at each level, whatever else the leaf says.
fn every_frame_comes_back<A: Arch>() {
    for level in mapping_levels::<A>() {
        for frame in frames::<A>(level) {
            for memory in 0..8 {
                let attrs = plain().with_memory(MemoryType::new(memory).unwrap());
                let raw = F::<A>::leaf(level, frame, &attrs).unwrap();
                assert_eq!(F::<A>::decode(level, raw, &A::LIMITS), Entry::Leaf(frame));
                assert_eq!(F::<A>::attrs(level, raw).memory.index(), memory);
            }
        }
    }
}

/// Each bit of a field's mask is a bit of that field, and of no other one.
fn masks_are_apart<A: Arch>() {
    for level in mapping_levels::<A>() {
        let masks = Fields::all().iter().map(|field| F::<A>::mask(level, field));
        let sum = masks.fold(0u64, |sum, mask| {
            assert_eq!(sum & mask, 0);
            sum | mask
        });
        let frame = frames::<A>(level).last().copied().unwrap();
        let least = F::<A>::leaf(level, frame, &plain()).unwrap();
        for attrs in all_attrs().step_by(7) {
            if let Ok(raw) = F::<A>::leaf(level, frame, &attrs) {
                assert_eq!((raw ^ least) & !sum, 0, "a bit outside all masks: {raw:#x}");
            }
        }
    }
}

fn tables_are_named<A: Arch>() {
    for level in levels::<A>().filter(|level| level.height != 0) {
        let bits = F::<A>::phys_bits(level, false, &A::LIMITS);
        for bit in 12..bits {
            for user in [false, true] {
                let frame = PhysAddr(1 << bit);
                let raw = F::<A>::table(level, frame, user);
                assert_eq!(F::<A>::decode(level, raw, &A::LIMITS), Entry::Table(frame));
                let marked = raw | F::<A>::LOCK | F::<A>::TWIN;
                assert_eq!(F::<A>::decode(level, marked, &A::LIMITS), Entry::Table(frame));
                assert_eq!(raw & (F::<A>::LOCK | F::<A>::TWIN), 0);
                assert_ne!(raw & !F::<A>::PRESENT, 0, "a staged table must not look empty");
                let hidden = F::<A>::decode(level, raw & !F::<A>::PRESENT, &A::LIMITS);
                assert!(matches!(hidden, Entry::NonPresent(_)));
                let rights = F::<A>::rights(F::<A>::grants(level, raw));
                assert!(rights.contains(plain().rights));
            }
        }
    }
    let (last, table) = (levels::<A>().last().unwrap(), PhysAddr(0x10_0000));
    let above = levels::<A>().nth_back(1).unwrap();
    let raw = F::<A>::table(above, table, true);
    assert!(!matches!(F::<A>::decode(last, raw, &A::LIMITS), Entry::Table(_)));
}

/// A page of every size: its tables are installed at every level, read back, and given back.
fn tables_of_every_level<A: Arch>() {
    let host = Memory::new();
    let cell = RootCell::new();
    let mut space = Space::<A, _>::new(&host, &cell, Setup::new()).unwrap();
    for level in mapping_levels::<A>() {
        for slot in 0..root_level::<A>().entries() as u64 {
            let offset = (slot << root_level::<A>().span_lg2) | (1 << level.span_lg2);
            let offset = if level.span_lg2 == root_level::<A>().span_lg2 {
                offset & !(1 << level.span_lg2)
            } else {
                offset
            };
            let page = Span::around(canonical::<A>(offset), level.span_lg2);
            let bits = F::<A>::phys_bits(level, true, &A::LIMITS);
            let frame = PhysAddr((1 << (bits - 1)) | ((slot % 4) << level.span_lg2));
            space.map_range(page, frame, plain()).unwrap();
            let found = space.translate(page.first()).unwrap();
            assert_eq!((found.frame, found.size_lg2), (frame, level.span_lg2));
            check_heights::<A>(&host, level.height);
            Gather::scope(|mut gather| {
                space.unmap_range(page, &mut gather, |_| {}).unwrap();
                let _ = space.finish(gather).unwrap();
            });
            assert_eq!(host.tables_in_use(), 1, "the root alone is left");
        }
    }
    space.tear_down().map_err(|(_, error)| error).unwrap();
    assert_eq!(host.tables_in_use(), 0);
}

/// One table of every height above the leaf's own, each of its level's size.
fn check_heights<A: Arch>(host: &Memory, leaf: u8) {
    let mut tables: Vec<(u8, u8)> = host.in_use().into_values().collect();
    tables.sort_unstable();
    let used = levels::<A>().rev().filter(|level| level.height >= leaf);
    let expected: Vec<_> = used.map(|level| (level.height, level.table_lg2::<F<A>>())).collect();
    assert_eq!(tables, expected);
}

/// The first and the last page of the address space, and of both halves.
fn ends_of_the_address_space<A: Arch>() {
    let host = Memory::new();
    let cell = RootCell::new();
    let mut space = Space::<A, _>::new(&host, &cell, Setup::new()).unwrap();
    let (bits, page) = (virt_bits::<A>(), F::<A>::PAGE_LG2);
    let (size, half) = (1u64 << page, 1u64 << (bits - 1));
    let ends = [0, half - size, half, (half - size) + half];
    for (count, offset) in ends.into_iter().enumerate() {
        let span = Span::around(canonical::<A>(offset), page);
        space.map_range(span, PhysAddr((count as u64) << page), plain()).unwrap();
        assert_eq!(space.translate(span.last()).unwrap().frame, PhysAddr((count as u64) << page));
    }
    assert_eq!(space.mappings(Span::ALL).count(), 4);
    Gather::scope(|mut gather| {
        for offset in ends {
            let span = Span::around(canonical::<A>(offset), page);
            let mut gone = 0;
            space.unmap_range(span, &mut gather, |_| gone += 1).unwrap();
            assert_eq!(gone, 1);
        }
        let _ = space.finish(gather).unwrap();
    });
    assert_eq!(host.tables_in_use(), 1);
    let beyond = [VirtAddr(1 << bits), VirtAddr(1 << (bits - 1) | 1 << 63)];
    for at in beyond {
        assert_eq!(space.translate(at), Err(Error::NoSuchAddress(at)));
    }
}

/// Pages for user mode beside one for the kernel: the tables above both let user mode in.
fn tables_are_widened<A: Arch>() {
    let page = 1 << F::<A>::PAGE_LG2;
    for pages in [1, 2] {
        let (host, cell) = (Memory::new(), RootCell::new());
        let mut space = Space::<A, _>::new(&host, &cell, Setup::new()).unwrap();
        let kernel = Span::new(VirtAddr(0), page).unwrap();
        let user = Span::new(VirtAddr(page), pages * page).unwrap();
        space.map_range(kernel, PhysAddr(page), plain()).unwrap();
        space.map_range(user, PhysAddr(page), plain().user()).unwrap();
        let effective = |span: Span| space.translate(span.first()).unwrap().effective;
        assert_eq!(effective(user), plain().user().rights);
        assert_eq!(effective(kernel), plain().rights);
    }
}

each_arch!(tables_are_widened);
each_arch!(indices_cover_each_bit_once);
each_arch!(decode_undoes_encode);
each_arch!(every_frame_comes_back);
each_arch!(masks_are_apart);
each_arch!(tables_are_named);
each_arch!(tables_of_every_level);
each_arch!(ends_of_the_address_space);

/// The reserved bits of a leaf and of a table's name, from the tables of the manual, with a CPU that
/// has `phys` address bits and NX or not. `None`: such an entry does not exist.
fn reserved(mode: &str, height: u8, leaf: bool, phys: u32, nx: bool) -> Option<u64> {
    let above = |from: u32, to: u32| ((1u128 << to) - (1u128 << from.min(to))) as u64;
    let xd = if nx { 0 } else { 1 << 63 };
    Some(match (mode, height, leaf) {
        ("x86-32", 0, true) | ("x86-32", 1, false) => above(phys, 32),
        // Bits 20:13 hold address bits 39:32; bit 21 is reserved.
        ("x86-32", 1, true) => 1 << 21 | above(phys.clamp(32, 40) - 19, 21),
        // Bit 5 is reserved, too, but emulators set it.
        ("x86-pae", 2, false) => 0x1c6 | above(phys, 63) | 1 << 63,
        ("x86-pae", 0, true) | ("x86-pae", 1, false) => above(phys, 63) | xd,
        ("x86-pae", 1, true) => above(phys, 63) | xd | above(13, 21),
        ("x86-32", ..) | ("x86-pae", ..) => return None,
        (_, 0, true) | (_, 1 | 2, false) => above(phys, 52) | xd,
        (_, 1, true) => above(phys, 52) | xd | above(13, 21),
        (_, 2, true) => above(phys, 52) | xd | above(13, 30),
        (_, 3 | 4, false) => above(phys, 52) | xd | 1 << 7,
        _ => return None,
    })
}

/// Every single bit, in leaves and table entries of all heights: refused exactly where the manual
/// says that it is reserved.
fn reserved_bits_are_the_manuals<A: Arch>() {
    for (phys, nx) in
        [(20, true), (32, true), (36, true), (36, false), (40, true), (52, true), (52, false)]
    {
        let limits = A::LIMITS.narrowed(Limits { phys_bits: phys, no_execute: nx, ..A::LIMITS });
        for level in levels::<A>() {
            for leaf in [false, true] {
                let width = limits.phys_bits.into();
                let Some(mask) = reserved(A::NAME, level.height, leaf, width, limits.no_execute)
                else {
                    continue;
                };
                let size = if leaf && level.height != 0 { 0x80 } else { 0 };
                let bits = if A::NAME == "x86-32" { 32 } else { 64 };
                for bit in 1..bits {
                    let raw = 1 | size | 1u64 << bit;
                    let other_kind = bit == 7 && !leaf && level.maps && level.height != 0;
                    let no_nx = A::NAME == "x86-32" && bit == 63;
                    if other_kind || no_nx {
                        continue;
                    }
                    let bad = matches!(F::<A>::decode(level, raw, &limits), Entry::Malformed(_));
                    let place = (level.height, leaf, phys, nx);
                    assert_eq!(bad, mask & (1 << bit) != 0, "bit {bit} of {place:?}");
                }
            }
        }
    }
}

#[test]
fn reserved_bits() {
    use pgtable::arch::x86::{X86_32, X86_64, X86_64La57, X86Pae};
    reserved_bits_are_the_manuals::<X86_32>();
    reserved_bits_are_the_manuals::<X86Pae>();
    reserved_bits_are_the_manuals::<X86_64>();
    reserved_bits_are_the_manuals::<X86_64La57>();
}

/// Whatever a word says as a leaf, saying it again gives the word.
fn raw_words_survive<A: Arch>(raw: u64) {
    let word = if A::NAME == "x86-32" { raw & 0xffff_ffff } else { raw };
    for level in levels::<A>() {
        match F::<A>::decode(level, word, &A::LIMITS) {
            Entry::Leaf(frame) => {
                let attrs = F::<A>::attrs(level, word);
                assert_eq!(F::<A>::leaf(level, frame, &attrs), Ok(word), "{level:?}");
            }
            Entry::Empty => assert_eq!(word, 0),
            Entry::NonPresent(raw) | Entry::Malformed(raw) => assert_eq!(raw, word),
            Entry::Table(table) => assert_ne!((level.height, table.0), (0, 0)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn words_survive(raw: u64, present: bool, small: bool) {
        use pgtable::arch::x86::{X86_32, X86_64, X86_64La57, X86Pae};
        let low = if small { raw & 0x000f_ffff_c000_1fff } else { raw };
        let raw = if present { low | 1 } else { low };
        raw_words_survive::<X86_32>(raw);
        raw_words_survive::<X86Pae>(raw & !(0x7ff << 52));
        raw_words_survive::<X86_64>(raw);
        raw_words_survive::<X86_64La57>(raw);
        raw_words_survive::<crate::common::odd::Odd>(raw);
    }
}

#[test]
fn flags_of_a_config() {
    use pgtable::arch::x86::X86_64;
    enum Fixed {}
    impl Config for Fixed {
        type Arch = X86_64;
        const MIGRATE_PAGETABLE_PGD: bool = false;
    }
    const {
        assert!(!Fixed::MIGRATE_PAGETABLE_PGD && Fixed::MIGRATE_PAGETABLE_PTE);
        assert!(<X86_64 as Config>::MIGRATE_PAGETABLE_PGD && Fixed::RELOCATABLE);
    }
}

#[test]
fn features_that_a_mode_lacks() {
    use pgtable::arch::x86::X86Legacy;
    let level = levels::<pgtable::arch::x86::X86_32>().last().unwrap();
    let attrs = Attrs::DATA;
    assert_eq!(X86Legacy::leaf(level, PhysAddr(0), &attrs), Err(Feature::NoExecute));
}
