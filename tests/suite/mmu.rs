//! The model MMU, judged by what the manual says of hand-made tables (Intel SDM volume 3A, chapter 4).

mod caches;
mod made;
mod registers;
mod threads;

use made::{Made, cpu, levels, made};
use pgtable::model::{
    Access, Bus, Control, Cpu, Fault, KeepAll, KeepNothing, Memory, Mode, Violation,
};
use std::cell::Cell;

#[test]
fn a_walk_sets_accessed_on_the_way_and_dirty_at_its_end() {
    for mode in Mode::ALL {
        let made = made(mode);
        let last = *made.tables.last().unwrap() + 3 * u64::from(mode.word);
        made.memory.store(last, 0x5_5007);
        let mut cpu = cpu(mode, &made, KeepNothing);
        let read = cpu.access(&made.memory, 0x3abc, Access::READ).unwrap();
        assert_eq!((read.physical, read.size_lg2, read.cached), (0x5_5abc, 12, false));
        assert_eq!(made.memory.load(last), Some(0x5_5027));
        for (level, &table) in made.tables.iter().enumerate().take(levels(mode) - 1) {
            let register = mode.name == "x86-pae" && level == 0;
            let word = made.memory.load(table).unwrap();
            assert_eq!(word & 0x60, if register { 0 } else { 0x20 }, "{} {level}", mode.name);
        }
        cpu.access(&made.memory, 0x3000, Access::WRITE.user()).unwrap();
        assert_eq!(made.memory.load(last), Some(0x5_5067));
        assert_eq!(cpu.access(&made.memory, 0x4000, Access::READ), Err(Fault::NotPresent));
        assert_eq!(made.memory.violations(), []);
    }
}

#[test]
fn large_pages() {
    // 4 MiB with PSE-36: bits 20:13 are address bits 39:32, bit 12 is PAT, bit 21 is reserved.
    let Made { memory, tables } = made(&Mode::X86_32);
    memory.store(tables[0] + 4, 0x8040_0000 | 0x5 << 13 | 1 << 12 | 0x83);
    let mut cpu = Cpu::new(&Mode::X86_32, KeepNothing);
    cpu.load_root(&memory, tables[0]).unwrap();
    let found = cpu.access(&memory, 0x41_2345, Access::READ).unwrap();
    assert_eq!((found.physical, found.size_lg2), (0x5_8041_2345, 22));
    memory.store(tables[0] + 8, 1 << 21 | 0x83);
    assert_eq!(cpu.access(&memory, 0x80_0000, Access::READ), Err(Fault::Reserved));
    // Without CR4.PSE, bit 7 says nothing: the entry names a table.
    memory.store(tables[1], 0x5003);
    memory.store(tables[0] + 4, tables[1] | 0x83);
    cpu.set_control(&memory, Control::USUAL - Control::LARGE_PAGES).unwrap();
    assert_eq!(cpu.access(&memory, 0x40_0000, Access::READ).unwrap().physical, 0x5000);
}

#[test]
fn large_pages_of_64_bit_entries() {
    // 1 GiB and 2 MiB; address bits below the size, but for PAT, are reserved.
    let Made { memory, tables } = made(&Mode::X86_64);
    memory.store(tables[1] + 8, 0x40_0000_0000 | 1 << 12 | 0x83);
    memory.store(tables[2] + 8, 0x60_0000 | 0x83);
    let mut cpu = Cpu::new(&Mode::X86_64, KeepNothing);
    cpu.load_root(&memory, tables[0]).unwrap();
    let giant = cpu.access(&memory, 0x4000_0000 + 0x123_4567, Access::READ).unwrap();
    assert_eq!((giant.physical, giant.size_lg2), (0x40_0123_4567, 30));
    let huge = cpu.access(&memory, 0x20_0000 + 0x1_2345, Access::READ).unwrap();
    assert_eq!((huge.physical, huge.size_lg2), (0x61_2345, 21));
    memory.store(tables[2] + 8, 0x61_0000 | 0x83);
    assert_eq!(cpu.access(&memory, 0x20_0000, Access::READ), Err(Fault::Reserved));
}

/// Bit 7 in an entry that maps nothing, address bits that the CPU lacks, bits 62:52 of PAE, and bit 63
/// without EFER.NXE.
#[test]
fn reserved_bits_fault() {
    for mode in Mode::ALL {
        let made = made(mode);
        let (memory, last) = (&made.memory, levels(mode) - 1);
        memory.store(made.tables[last], 0x5003);
        let mut cpu = cpu(mode, &made, KeepNothing);
        (cpu.phys_bits, cpu.keeps_unrelated) = (40, false);
        let bits = |level: usize| match (mode.name, level) {
            ("x86-32", _) | ("x86-pae", 0) => vec![],
            ("x86-pae", _) => vec![40, 51, 52, 62],
            ("x86-64", 0) | ("x86-64-la57", 0 | 1) => vec![7, 40, 51],
            _ => vec![40, 51],
        };
        for level in 0..=last {
            let word = memory.load(made.tables[level]).unwrap();
            for bit in bits(level) {
                memory.store(made.tables[level], word | 1 << bit);
                let found = cpu.access(memory, 0, Access::READ);
                assert_eq!(found, Err(Fault::Reserved), "{} {level} {bit}", mode.name);
                assert_eq!(memory.load(made.tables[level]), Some(word | 1 << bit), "no A is set");
            }
            memory.store(made.tables[level], word);
        }
        assert!(cpu.access(memory, 0, Access::READ).is_ok());
        if mode.word == 8 {
            memory.store(made.tables[last], 0x5003 | 1 << 63);
            assert!(cpu.access(memory, 0, Access::READ).is_ok());
            cpu.set_control(memory, Control::USUAL - Control::NO_EXECUTE).unwrap();
            assert_eq!(cpu.access(memory, 0, Access::READ), Err(Fault::Reserved));
        }
    }
}

#[test]
fn rights_are_those_of_all_entries_together() {
    let made = made(&Mode::X86_64);
    let memory = &made.memory;
    memory.store(made.tables[3], 0x5007);
    let mut cpu = cpu(&Mode::X86_64, &made, KeepNothing);
    let all = [Access::READ.user(), Access::WRITE.user(), Access::FETCH.user()];
    assert!(all.iter().all(|&access| cpu.access(memory, 0, access).is_ok()));
    for (bits, refused) in [(2, all[1]), (4, all[0])] {
        for &table in &made.tables {
            let word = memory.load(table).unwrap();
            memory.store(table, word & !bits);
            assert_eq!(cpu.access(memory, 0, refused), Err(Fault::Rights));
            memory.store(table, word);
        }
    }
    for &table in &made.tables {
        let word = memory.load(table).unwrap();
        memory.store(table, word | 1 << 63);
        assert_eq!(cpu.access(memory, 0, Access::FETCH), Err(Fault::Rights));
        memory.store(table, word);
    }
}

/// CR0.WP, CR4.SMEP and CR4.SMAP, each of which is about the kernel alone.
#[test]
fn rights_of_the_kernel() {
    let made = made(&Mode::X86_64);
    let (memory, leaf) = (&made.memory, made.tables[3]);
    let mut cpu = cpu(&Mode::X86_64, &made, KeepNothing);
    memory.store(leaf, 0x5005);
    assert_eq!(cpu.access(memory, 0, Access::WRITE), Err(Fault::Rights));
    assert_eq!(memory.load(leaf), Some(0x5005), "a fault leaves A and D alone");
    cpu.set_control(memory, Control::USUAL - Control::WRITE_PROTECT).unwrap();
    assert!(cpu.access(memory, 0, Access::WRITE).is_ok());
    assert_eq!(memory.load(leaf), Some(0x5065));
    assert_eq!(cpu.access(memory, 0, Access::WRITE.user()), Err(Fault::Rights));
    memory.store(leaf, 0x5007);
    for (bit, refused, allowed) in [
        (Control::NO_KERNEL_FETCH, vec![Access::FETCH], vec![Access::READ, Access::WRITE]),
        (Control::NO_KERNEL_ACCESS, vec![Access::READ, Access::WRITE], vec![Access::FETCH]),
    ] {
        cpu.set_control(memory, Control::USUAL | bit).unwrap();
        for access in refused {
            assert_eq!(cpu.access(memory, 0, access), Err(Fault::Rights), "{access:?}");
            assert!(cpu.access(memory, 0, access.user()).is_ok());
        }
        assert!(allowed.iter().all(|&access| cpu.access(memory, 0, access).is_ok()));
    }
}

#[test]
fn addresses_of_a_mode() {
    for (mode, yes, no) in [
        (&Mode::X86_32, [0, 0xffff_ffff], [1 << 32, u64::MAX]),
        (&Mode::X86_64, [(1 << 47) - 1, 0xffff_8000_0000_0000], [1 << 47, 0xffff_7fff_ffff_ffff]),
        (&Mode::X86_64_LA57, [(1 << 56) - 1, 0xff00_0000_0000_0000], [1 << 56, 0xfeff << 48]),
    ] {
        assert!(yes.iter().all(|&at| mode.is_address(at)), "{}", mode.name);
        assert!(no.iter().all(|&at| !mode.is_address(at)), "{}", mode.name);
        let made = made(mode);
        let found = cpu(mode, &made, KeepNothing).access(&made.memory, no[0], Access::READ);
        assert_eq!(found, Err(Fault::NotCanonical));
    }
}

/// Memory where the kernel writes at the worst moment: after the CPU has read the last entry, and
/// before it has set A and D in it.
struct Meddled<'m> {
    memory: &'m Memory,
    entry: u64,
    word: u64,
    times: Cell<u32>,
}

impl Bus for Meddled<'_> {
    fn load(&self, at: u64) -> Option<u64> {
        self.memory.load(at)
    }
    fn replace(&self, at: u64, was: u64, value: u64) -> bool {
        if at == self.entry && self.times.replace(0) != 0 {
            self.memory.store(at, self.word);
        }
        Bus::replace(self.memory, at, was, value)
    }
    fn is_table(&self, at: u64) -> bool {
        self.memory.is_table(at)
    }
    fn is_forbidden(&self, at: u64) -> bool {
        self.memory.is_forbidden(at)
    }
    fn complain(&self, violation: Violation) {
        self.memory.complain(violation);
    }
}

#[test]
fn accessed_and_dirty_are_set_in_one_step_with_a_look_at_the_entry() {
    for (word, expected, then) in [
        (0, Err(Fault::NotPresent), 0),
        (0xabc0, Err(Fault::NotPresent), 0xabc0),
        (0x5001, Err(Fault::Rights), 0x5001),
        (0x6003, Ok(0x6000), 0x6063),
    ] {
        let made = made(&Mode::X86_64);
        let (memory, entry) = (&made.memory, made.tables[3]);
        memory.store(entry, 0x5003);
        let mut cpu = cpu(&Mode::X86_64, &made, KeepAll);
        let meddled = Meddled { memory, entry, word, times: Cell::new(1) };
        let found = cpu.access(&meddled, 0, Access::WRITE).map(|found| found.physical);
        assert_eq!((found, memory.load(entry)), (expected, Some(then)));
        assert_eq!(cpu.translations().len(), usize::from(found.is_ok()), "no fault is cached");
    }
}

#[test]
fn freed_tables_and_handed_back_frames_are_found_out() {
    let made = made(&Mode::X86_64);
    let (memory, leaf) = (&made.memory, made.tables[3]);
    memory.store(leaf, 0x5003);
    let mut cpu = cpu(&Mode::X86_64, &made, KeepAll);
    memory.forbid(0x5000, 12);
    cpu.access(memory, 0x10, Access::READ).unwrap();
    let [Violation::HandedBack { physical: 0x5010, history }] = &memory.violations()[..] else {
        panic!("{:?}", memory.violations());
    };
    // The whole way: the root and when it was loaded, and each entry with what it said.
    assert!(history.contains(&format!("root {:#x}, loaded at step 1", made.tables[0])));
    for &table in &made.tables {
        let word = memory.load(table).unwrap();
        let read = format!("entry at {table:#x}, read at step 2: {word:#x}");
        assert!(history.contains(&read), "{read}: {history}");
    }
    memory.permit(0x5000);
    memory.free(leaf, 12);
    cpu.access(memory, 0x10, Access::READ).unwrap(); // its translation is its own
    assert_eq!(memory.violations().len(), 1);
    let _ = cpu.access(memory, 0x1000, Access::READ);
    let found = memory.violations();
    let Violation::NoTable { entry, history } = &found[1] else { panic!("{found:?}") };
    assert_eq!(*entry, leaf + 8);
    let read = format!("entry at {:#x}, read at step 2", made.tables[2]);
    assert!(history.contains(&read) && history.contains("address 0x1000"), "{history}");
    memory.free(leaf, 12);
    assert_eq!(memory.violations().last(), Some(&Violation::Freed { frame: leaf }));
    assert_ne!(memory.allocate(12, u64::MAX, None), Some(leaf), "not handed out again");
}

#[test]
fn without_paging_an_address_is_physical() {
    let made = made(&Mode::X86_64);
    let mut cpu = cpu(&Mode::X86_64, &made, KeepAll);
    cpu.set_control(&made.memory, Control::empty()).unwrap();
    assert_eq!(cpu.access(&made.memory, 0x1234, Access::WRITE).unwrap().physical, 0x1234);
    assert_eq!(cpu.translations(), []);
}

#[test]
fn the_allocator_keeps_to_the_request() {
    let memory = Memory::new(8, &[(0x1000, 0x4000, 0), (0x1_0000_0000, 0x4000, 1)]);
    assert_eq!(memory.allocate(12, 0xffff_ffff, Some(1)), None);
    let far = memory.allocate(12, u64::MAX, Some(1)).unwrap();
    assert_eq!((memory.node(far), memory.node(0x1000)), (Some(1), Some(0)));
    let roots = [(); 2].map(|()| memory.allocate(5, u64::MAX, Some(0)).unwrap());
    assert_eq!(roots[1] - roots[0], 32, "two small tables in one page");
    memory.fail_after(Some(1));
    assert!(memory.allocate(12, u64::MAX, None).is_some());
    assert_eq!(memory.allocate(12, u64::MAX, None), None);
}
