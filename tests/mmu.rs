//! The model MMU, judged by what the manual says of hand-made tables (Intel SDM volume 3A, chapter 4).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use pgtable::model::{
    Access, Choices, Cpu, Fault, Machine, Memory, Mode, Random, Script, Violation,
};

const ROOT: u64 = 0x1_0000;

/// Uses the newest pointer or translation whenever there is one, caches everything, and never walks or
/// drops unasked: all that a test needs to know beforehand.
#[derive(Debug)]
struct Keen;

impl Choices for Keen {
    /// 0 takes the first cached thing, and means yes to `one_in`; so: only for choices "which one",
    /// which have at most as many cases as there are things in a small test.
    fn choose(&mut self, among: u32) -> u32 {
        match among {
            8 | 64 => 1, // neither walk ahead nor drop
            3 | 4 => 1,  // cache it; or take the second thing, if there are so many
            _ => 0,
        }
    }
}

/// Never uses what is cached.
#[derive(Debug)]
struct Forgetful;
impl Choices for Forgetful {
    fn choose(&mut self, among: u32) -> u32 {
        match among {
            8 | 64 => 1,
            last => last - 1,
        }
    }
}

/// Tables of a mode, one for each level, that lead to the page at address 0.
struct Made {
    memory: Memory,
    tables: Vec<u64>,
}

/// The number of entries of the tables from the root down, and bytes of an entry.
fn made(mode: &'static Mode, levels: usize) -> Made {
    let memory = Memory::new(mode.word, &[(ROOT, 0x10_0000, 0)]);
    let small = mode.name == "x86-pae";
    let mut tables = Vec::new();
    for level in 0..levels {
        let lg2 = if small && level == 0 { 5 } else { 12 };
        let table = memory.allocate(lg2, u64::MAX, None).unwrap();
        memory.zero(table, lg2);
        tables.push(table);
    }
    for level in 1..levels {
        let rights = if small && level == 1 { 1 } else { 7 };
        memory.store(tables[level - 1], tables[level] | rights);
    }
    Made { memory, tables }
}

fn levels(mode: &Mode) -> usize {
    match mode.name {
        "x86-32" => 2,
        "x86-pae" => 3,
        "x86-64" => 4,
        _ => 5,
    }
}

fn cpu<C: Choices>(mode: &'static Mode, made: &Made, choices: C) -> Cpu<C> {
    let mut cpu = Cpu::new(mode, choices);
    cpu.load_root(&made.memory, made.tables[0]).unwrap();
    cpu
}

#[test]
fn a_walk_sets_accessed_on_the_way_and_dirty_at_its_end() {
    for mode in Mode::ALL {
        let made = made(mode, levels(mode));
        let last = *made.tables.last().unwrap() + 3 * u64::from(mode.word);
        made.memory.store(last, 0x5_5007);
        let mut cpu = cpu(mode, &made, Forgetful);
        let read = cpu.access(&made.memory, 0x3abc, Access::READ).unwrap();
        assert_eq!((read.physical, read.size_lg2), (0x5_5abc, 12));
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
    let legacy = made(&Mode::X86_32, 2);
    legacy.memory.store(legacy.tables[0] + 4, 0x8040_0000 | 0x5 << 13 | 1 << 12 | 0x83);
    let mut walker = cpu(&Mode::X86_32, &legacy, Forgetful);
    let found = walker.access(&legacy.memory, 0x41_2345, Access::READ).unwrap();
    assert_eq!((found.physical, found.size_lg2), (0x5_8041_2345, 22));
    legacy.memory.store(legacy.tables[0] + 8, 1 << 21 | 0x83);
    assert_eq!(walker.access(&legacy.memory, 0x80_0000, Access::READ), Err(Fault::Reserved));
    // 1 GiB and 2 MiB; address bits below the size, but for PAT, are reserved.
    let long = made(&Mode::X86_64, 4);
    long.memory.store(long.tables[1] + 8, 0x40_0000_0000 | 1 << 12 | 0x83);
    long.memory.store(long.tables[2] + 8, 0x60_0000 | 0x83);
    let mut walker = cpu(&Mode::X86_64, &long, Forgetful);
    let giant = walker.access(&long.memory, 0x4000_0000 + 0x123_4567, Access::READ).unwrap();
    assert_eq!((giant.physical, giant.size_lg2), (0x40_0123_4567, 30));
    let huge = walker.access(&long.memory, 0x20_0000 + 0x1_2345, Access::READ).unwrap();
    assert_eq!((huge.physical, huge.size_lg2), (0x61_2345, 21));
    long.memory.store(long.tables[2] + 8, 0x61_0000 | 0x83);
    assert_eq!(walker.access(&long.memory, 0x20_0000, Access::READ), Err(Fault::Reserved));
    long.memory.store(long.tables[0], long.memory.load(long.tables[0]).unwrap() | 0x80);
    assert_eq!(walker.access(&long.memory, 0, Access::READ), Err(Fault::Reserved));
}

#[test]
fn rights_are_those_of_all_entries_together() {
    let made = made(&Mode::X86_64, 4);
    let (memory, leaf) = (&made.memory, made.tables[3]);
    memory.store(leaf, 0x5007);
    let mut cpu = cpu(&Mode::X86_64, &made, Forgetful);
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
    // CR0.WP: without it the kernel writes where nobody may.
    memory.store(leaf, 0x5005);
    assert_eq!(cpu.access(memory, 0, Access::WRITE), Err(Fault::Rights));
    assert_eq!(memory.load(leaf), Some(0x5005), "a fault leaves A and D alone");
    cpu.write_protect = false;
    assert!(cpu.access(memory, 0, Access::WRITE).is_ok());
    assert_eq!(cpu.access(memory, 0, Access::WRITE.user()), Err(Fault::Rights));
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
    }
}

#[test]
fn root_entries_of_pae_are_read_with_the_root() {
    let made = made(&Mode::X86_PAE, 3);
    let (memory, root) = (&made.memory, made.tables[0]);
    memory.store(made.tables[2], 0x5003);
    let mut cpu = cpu(&Mode::X86_PAE, &made, Forgetful);
    memory.store(root, 0);
    cpu.invalidate_page(0);
    cpu.flush_everything();
    assert!(cpu.access(memory, 0, Access::READ).is_ok(), "the register is what counts");
    cpu.rereads_registers = true;
    assert_eq!(cpu.access(memory, 0, Access::READ), Err(Fault::NotPresent));
    for bit in [1, 2, 5, 8, 52, 63] {
        memory.store(root, made.tables[1] | 1 | 1 << bit);
        assert_eq!(cpu.load_root(memory, root), Err(Fault::Reserved), "bit {bit}");
    }
    memory.store(root, made.tables[1] | 1 | 0xe00);
    assert_eq!(cpu.load_root(memory, root), Ok(()));
}

/// What is cached is used until it is dropped, and each way to drop it drops what it must.
#[test]
fn what_is_cached_is_used_until_it_is_dropped() {
    type Drop = fn(&mut Cpu<Keen>, &Memory, u64);
    let drops: [(Drop, bool); 5] = [
        (|cpu, _, _| cpu.invalidate_page(0), true),
        (|cpu, memory, root| cpu.load_root(memory, root).unwrap(), false),
        (|cpu, _, _| cpu.flush(), false),
        (|cpu, _, _| cpu.flush_everything(), true),
        (|cpu, memory, root| cpu.switch(memory, root, 0, true).unwrap(), false),
    ];
    for (nth, (drop, globals)) in drops.into_iter().enumerate() {
        for global in [0, 0x100] {
            let made = made(&Mode::X86_64, 4);
            let (memory, leaf) = (&made.memory, made.tables[3]);
            memory.store(leaf, 0x5003 | global);
            let mut cpu = cpu(&Mode::X86_64, &made, Keen);
            cpu.access(memory, 0, Access::READ).unwrap();
            memory.store(leaf, 0);
            assert!(cpu.access(memory, 0, Access::READ).unwrap().cached);
            drop(&mut cpu, memory, made.tables[0]);
            let kept = cpu.access(memory, 0, Access::READ).is_ok();
            assert_eq!(kept, nth == 4 || global != 0 && !globals, "{nth}, {global:#x}");
        }
    }
}

#[test]
fn tags_keep_spaces_apart() {
    let (one, two) = (made(&Mode::X86_64, 4), 0x2000);
    let memory = &one.memory;
    memory.store(one.tables[3], 0x5003);
    let mut cpu = cpu(&Mode::X86_64, &one, Keen);
    cpu.access(memory, 0, Access::READ).unwrap();
    let other = memory.allocate(12, u64::MAX, None).unwrap();
    memory.zero(other, 12);
    cpu.switch(memory, other, two, true).unwrap();
    assert_eq!(cpu.access(memory, 0, Access::READ), Err(Fault::NotPresent));
    memory.store(one.tables[3], 0);
    cpu.switch(memory, one.tables[0], 0, true).unwrap();
    assert!(cpu.access(memory, 0, Access::READ).is_ok(), "what was kept under the tag");
}

/// The heart of it: a CPU walks from a table that nothing names any more, and sets D there.
#[test]
fn a_stale_pointer_is_walked_and_marks_the_old_table() {
    let made = made(&Mode::X86_64, 4);
    let (memory, old) = (&made.memory, made.tables[3]);
    memory.store(old, 0x5003);
    let mut cpu = cpu(&Mode::X86_64, &made, Script::new(vec![1, 1, 1, 0, 1, 1, 1, 1, 0]));
    cpu.access(memory, 0, Access::READ).unwrap();
    let new = memory.allocate(12, u64::MAX, None).unwrap();
    memory.zero(new, 12);
    memory.store(new, 0x5003);
    memory.store(made.tables[2], new | 7);
    // Over many choices some write must go through the old table, and some through the new one.
    let mut seen = [false; 2];
    for seed in 0..64 {
        let mut cpu = Cpu::new(&Mode::X86_64, Random::new(seed));
        memory.store(made.tables[2], old | 7);
        cpu.load_root(memory, made.tables[0]).unwrap();
        for _ in 0..4 {
            let _ = cpu.access(memory, 0, Access::READ);
        }
        memory.store(made.tables[2], new | 7);
        [old, new].iter().for_each(|&table| memory.store(table, 0x5003));
        cpu.access(memory, 0, Access::WRITE).unwrap();
        for (seen, table) in seen.iter_mut().zip([old, new]) {
            *seen |= memory.load(table).unwrap() & 0x40 != 0;
        }
        cpu.flush();
        memory.store(old, 0x5003);
        for _ in 0..8 {
            let _ = cpu.access(memory, 0, Access::WRITE);
        }
        assert_eq!(memory.load(old).unwrap() & 0x60, 0, "not after a flush");
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn freed_tables_and_handed_back_frames_are_found_out() {
    let made = made(&Mode::X86_64, 4);
    let (memory, leaf) = (&made.memory, made.tables[3]);
    memory.store(leaf, 0x5003);
    let mut cpu = cpu(&Mode::X86_64, &made, Forgetful);
    memory.forbid(0x5000, 12);
    cpu.access(memory, 0x10, Access::READ).unwrap();
    let [Violation::HandedBack { physical: 0x5010, history }] = &memory.violations()[..] else {
        panic!("{:?}", memory.violations());
    };
    assert!(history.contains(&format!("{leaf:#x}")), "{history}");
    memory.permit(0x5000);
    memory.free(leaf, 12);
    let _ = cpu.access(memory, 0, Access::READ);
    let found = memory.violations();
    let Violation::NoTable { entry, history } = &found[1] else { panic!("{found:?}") };
    assert_eq!(*entry, leaf);
    assert!(history.contains(&format!("{:#x}", made.tables[2])), "{history}");
    memory.free(leaf, 12);
    assert_eq!(memory.violations().last(), Some(&Violation::Freed { frame: leaf }));
    assert_ne!(memory.allocate(12, u64::MAX, None), Some(leaf), "not handed out again");
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

/// Threads that use a page over and over, and an interrupt: after it nobody uses what was dropped.
#[test]
fn an_interrupt_is_answered_by_all() {
    let made = made(&Mode::X86_64, 4);
    let (memory, leaf) = (&made.memory, made.tables[3]);
    memory.store(leaf, 0x5003);
    let cpus = (0..2).map(|seed| cpu(&Mode::X86_64, &made, Random::new(seed)));
    let (machine, done) = (Machine::new(cpus), std::sync::atomic::AtomicBool::new(false));
    let order = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        for number in 0..2 {
            let (machine, done) = (&machine, &done);
            scope.spawn(move || {
                while !done.load(order) {
                    let _ = machine.run(number, |cpu| cpu.access(memory, 0, Access::WRITE));
                }
            });
        }
        for _ in 0..100 {
            memory.store(leaf, 0);
            machine.interrupt(|_, cpu| cpu.invalidate_page(0));
            memory.forbid(0x5000, 12);
            std::thread::yield_now();
            memory.permit(0x5000);
            memory.store(leaf, 0x5003);
        }
        done.store(true, order);
    });
    assert_eq!(memory.violations(), []);
}
