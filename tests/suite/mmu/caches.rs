//! What is kept, what is used, and what makes it go (section 4.10).

use super::made::{Made, chain, cpu, made};
use pgtable::model::{
    Access, Choices, Control, Cpu, Decision, Fault, Invpcid, KeepAll, Memory, Mode, Next, Random,
};
use std::collections::BTreeSet;

const FAR: u64 = 0x4000_0000;
const READ: Access = Access::READ;

/// A CPU that holds things of two spaces: of one that runs, under PCID 1, and of one under PCID 2.
struct Full {
    memory: Memory,
    cpu: Cpu<KeepAll>,
    one: Vec<u64>,
    two: Vec<u64>,
    /// The page directory and the page table that serve `FAR`.
    far: [u64; 2],
}

fn full() -> Full {
    let Made { memory, tables: one } = made(&Mode::X86_64);
    let two = chain(&Mode::X86_64, &memory);
    let far = [(); 2].map(|()| memory.allocate(12, u64::MAX, None).unwrap());
    far.iter().for_each(|&table| memory.zero(table, 12));
    memory.store(one[1] + 8, far[0] | 3);
    memory.store(far[0], far[1] | 3);
    memory.store(far[1], 0x9003);
    for (page, word) in [(0, 0x5003), (1, 0x6003), (2, 0x7103)] {
        memory.store(one[3] + 8 * page, word);
    }
    memory.store(two[3], 0xa003);
    memory.store(two[3] + 8 * 3, 0xb103);
    let mut cpu = Cpu::new(&Mode::X86_64, KeepAll);
    cpu.set_control(&memory, Control::USUAL | Control::TAGS).unwrap();
    cpu.switch(&memory, two[0], 2, true).unwrap();
    assert!([0, 0x3000].iter().all(|&at| cpu.access(&memory, at, READ).is_ok()));
    cpu.switch(&memory, one[0], 1, true).unwrap();
    assert!([0, 0x1000, 0x2000, FAR].iter().all(|&at| cpu.access(&memory, at, READ).is_ok()));
    Full { memory, cpu, one, two, far }
}

impl Full {
    /// What the CPU holds, by name.
    fn held(&self) -> BTreeSet<&'static str> {
        let translation = |page: &pgtable::model::Translation| match page.physical(page.first()) {
            0x5000 => "page",
            0x6000 => "beside",
            0x7000 => "global",
            0x9000 => "far",
            0xa000 => "page of 2",
            _ => "global of 2",
        };
        let pointer = |pointer: &pgtable::model::Pointer| match pointer.table() {
            table if self.two.contains(&table) => "way of 2",
            table if self.far.contains(&table) => "way far",
            _ => "way",
        };
        let translations = self.cpu.translations().iter().map(translation);
        translations.chain(self.cpu.pointers().iter().map(pointer)).collect()
    }
}

const ALL: [&str; 9] =
    ["page", "beside", "global", "far", "page of 2", "global of 2", "way", "way far", "way of 2"];

/// Each way to drop something, and what it must drop. All else stays: a kernel that relies on more is
/// found out.
#[test]
fn what_must_go_goes_and_all_else_stays() {
    type Work = fn(&mut Full);
    fn control(full: &mut Full, change: Control) {
        full.cpu.set_control(&full.memory, full.cpu.control() ^ change).unwrap();
    }
    fn load(full: &mut Full, pcid: u16, keep: bool) {
        let root = if pcid == 1 { full.one[0] } else { full.two[0] };
        full.cpu.switch(&full.memory, root, pcid, keep).unwrap();
    }
    const OF_1: [&str; 5] = ["page", "beside", "far", "way", "way far"];
    const OF_2: [&str; 2] = ["page of 2", "way of 2"];
    let cases: [(&str, Work, &[&str]); 22] = [
        ("nothing", |_| {}, &[]),
        ("INVLPG", |full| full.cpu.invalidate_page(0xfff), &["page", "way", "way far"]),
        (
            "INVLPG of a global page",
            |full| full.cpu.invalidate_page(0x2000),
            &["global", "way", "way far"],
        ),
        (
            "INVLPG of another space's global page",
            |full| full.cpu.invalidate_page(0x3000),
            &["global of 2", "way", "way far"],
        ),
        (
            "INVLPG with TCE",
            |full| {
                full.cpu.keeps_unrelated = true;
                full.cpu.invalidate_page(0);
            },
            &["page", "way"],
        ),
        (
            "INVPCID 0",
            |full| full.cpu.invalidate(Invpcid::Address { pcid: 1, at: 0 }),
            &["page", "way"],
        ),
        (
            "INVPCID 0 of a global page",
            |full| full.cpu.invalidate(Invpcid::Address { pcid: 1, at: 0x2000 }),
            &["way"],
        ),
        ("INVPCID 0 of 2", |full| full.cpu.invalidate(Invpcid::Address { pcid: 2, at: 0 }), &OF_2),
        ("INVPCID 1", |full| full.cpu.invalidate(Invpcid::Context { pcid: 1 }), &OF_1),
        ("INVPCID 1 of 2", |full| full.cpu.invalidate(Invpcid::Context { pcid: 2 }), &OF_2),
        ("INVPCID 2", |full| full.cpu.invalidate(Invpcid::AllWithGlobal), &ALL),
        (
            "INVPCID 3",
            |full| full.cpu.invalidate(Invpcid::All),
            &["page", "beside", "far", "way", "way far", "page of 2", "way of 2"],
        ),
        ("CR3", |full| load(full, 1, false), &OF_1),
        ("CR3, kept", |full| load(full, 1, true), &[]),
        ("CR3 of 2", |full| load(full, 2, false), &OF_2),
        ("CR3 of 2, kept", |full| load(full, 2, true), &[]),
        ("CR4.PGE", |full| control(full, Control::GLOBAL_PAGES), &ALL),
        ("CR4.PCIDE", |full| control(full, Control::TAGS), &ALL),
        ("CR0.PG", |full| control(full, Control::PAGING), &ALL),
        (
            "CR4.SMEP",
            |full| control(full, Control::NO_KERNEL_FETCH),
            &["page", "beside", "global", "far", "way", "way far"],
        ),
        ("CR0.WP", |full| control(full, Control::WRITE_PROTECT), &[]),
        ("CR0.CD", |full| control(full, Control::CACHE_DISABLE), &[]),
    ];
    for (name, work, gone) in cases {
        let mut full = full();
        assert_eq!(full.held(), ALL.into(), "before {name}");
        // A pointer that serves both is one to the page-directory-pointer table.
        work(&mut full);
        let mut left = BTreeSet::from(ALL);
        gone.iter().for_each(|name| assert!(left.remove(name)));
        assert_eq!(full.held(), left, "{name}");
    }
}

#[test]
fn bits_that_change_back_drop_as_the_manual_says() {
    let mut full = full();
    let smep = Control::NO_KERNEL_FETCH;
    full.cpu.set_control(&full.memory, full.cpu.control() | smep).unwrap();
    full.cpu.access(&full.memory, 0, READ).unwrap();
    let before = full.held();
    full.cpu.set_control(&full.memory, full.cpu.control() - smep).unwrap();
    assert_eq!(full.held(), before, "SMEP drops when it comes, not when it goes");
    full.cpu.set_control(&full.memory, full.cpu.control() - Control::GLOBAL_PAGES).unwrap();
    full.cpu.access(&full.memory, 0x2000, READ).unwrap();
    assert!(full.cpu.translations().iter().all(|page| !page.global()), "without PGE none is");
    full.cpu.set_control(&full.memory, full.cpu.control() | Control::GLOBAL_PAGES).unwrap();
    assert!(full.held().is_empty(), "PGE drops when it comes, too");
}

#[test]
fn tags_keep_spaces_apart() {
    let mut full = full();
    assert_eq!(full.cpu.access(&full.memory, 0, READ).unwrap().physical, 0x5000);
    full.memory.store(full.one[0], 0);
    full.memory.store(full.two[0], 0);
    full.cpu.switch(&full.memory, full.two[0], 2, true).unwrap();
    let kept = full.cpu.access(&full.memory, 0, READ).unwrap();
    assert_eq!((kept.physical, kept.cached), (0xa000, true));
    // What is global serves under every tag; what is not, does not; and a walk does not begin at the
    // other space's pointers.
    assert_eq!(full.cpu.access(&full.memory, 0x2000, READ).unwrap().physical, 0x7000);
    assert_eq!(full.cpu.access(&full.memory, FAR, READ), Err(Fault::NotPresent));
    // Without CR4.PCIDE there are no tags, and none is switched on while one is loaded.
    let off = full.cpu.control() - Control::TAGS;
    full.cpu.set_control(&full.memory, off).unwrap();
    let on = full.cpu.set_control(&full.memory, off | Control::TAGS);
    assert_eq!(on, Err(Fault::Reserved));
    for (pcid, keep) in [(1, false), (0, true)] {
        let result = full.cpu.switch(&full.memory, full.one[0], pcid, keep);
        assert_eq!(result, Err(Fault::Reserved));
    }
    full.cpu.load_root(&full.memory, full.one[0]).unwrap_err();
    full.cpu.switch(&full.memory, full.one[0], 0, false).unwrap();
    full.cpu.set_control(&full.memory, off | Control::TAGS).unwrap();
    let wide = full.cpu.switch(&full.memory, full.one[0], 0x1000, false);
    assert_eq!(wide, Err(Fault::Reserved));
}

/// What is held is used, whatever memory says by now; and a fault drops what it came from, so that it
/// does not come again.
#[test]
fn a_fault_drops_what_it_came_from() {
    let mut full = full();
    let (memory, cpu) = (&full.memory, &mut full.cpu);
    // Read-only when it was cached, and writable since.
    memory.store(full.one[3], 0x5001);
    cpu.invalidate_page(0);
    cpu.access(memory, 0, READ).unwrap();
    memory.store(full.one[3], 0x5003);
    assert_eq!(cpu.access(memory, 0, Access::WRITE), Err(Fault::Rights));
    assert!(cpu.translations_for(0).is_empty());
    let serving = cpu.pointers().iter().filter(|pointer| pointer.serves(0));
    assert_eq!(serving.filter(|pointer| !full.two.contains(&pointer.table())).count(), 0);
    assert!(full.held().is_superset(&["beside", "global", "page of 2", "way of 2"].into()));
    let cpu = &mut full.cpu;
    assert!(!cpu.access(memory, 0, Access::WRITE).unwrap().cached, "it does not come again");
    // A pointer to a table that is empty by now: a fault, and then the new way.
    let new = chain(&Mode::X86_64, memory);
    memory.store(new[3], 0x8003);
    memory.store(full.one[3], 0);
    cpu.invalidate(Invpcid::Context { pcid: 1 });
    assert_eq!(cpu.access(memory, 0x1000, READ).unwrap().physical, 0x6000);
    memory.store(full.one[2], new[3] | 7);
    assert_eq!(cpu.access(memory, 0, READ), Err(Fault::NotPresent), "by the old pointer");
    assert_eq!(cpu.access(memory, 0, READ).unwrap().physical, 0x8000);
}

/// Section 4.10.2.3: nothing is cached of an entry that is not present, or has a reserved bit; and
/// what is cached has A set on the whole way.
#[test]
fn only_what_is_present_and_accessed_is_cached() {
    let made = made(&Mode::X86_64);
    let (memory, tables) = (&made.memory, &made.tables);
    let mut cpu = cpu(&Mode::X86_64, &made, KeepAll);
    for word in [0, 0x5002, 0x61_0083] {
        memory.store(tables[2] + 8, word);
        assert!(cpu.access(memory, 0x20_0000, READ).is_err());
        assert_eq!((cpu.translations(), cpu.pointers()), (&[][..], &[][..]), "{word:#x}");
    }
    memory.store(tables[2] + 8, 0x60_0083);
    assert!(cpu.access(memory, 0x20_0000, READ).is_ok(), "not present to present: no flush");
    let words = [tables[0], tables[1], tables[2] + 8].map(|at| memory.load(at).unwrap());
    assert!(words.iter().all(|word| word & 0x20 != 0));
    assert_eq!((cpu.translations().len(), cpu.pointers().len()), (1, 2));
}

/// A write through a translation that is not dirty walks again, from wherever the CPU likes, and sets
/// D there; after that it writes, and looks no more.
#[test]
fn dirty_is_set_where_the_cpu_walked() {
    let made = made(&Mode::X86_64);
    let (memory, old) = (&made.memory, made.tables[3]);
    memory.store(old, 0x5003);
    let mut cpu = cpu(&Mode::X86_64, &made, KeepAll);
    cpu.access(memory, 0, READ).unwrap();
    let new = memory.allocate(12, u64::MAX, None).unwrap();
    memory.zero(new, 12);
    memory.store(new, memory.load(old).unwrap());
    memory.store(made.tables[2], new | 7);
    let written = cpu.access(memory, 0, Access::WRITE).unwrap();
    assert!(!written.cached);
    assert_eq!((memory.load(old), memory.load(new)), (Some(0x5063), Some(0x5023)));
    memory.store(old, 0x5003);
    assert!(cpu.access(memory, 0, Access::WRITE).unwrap().cached);
    assert_eq!(memory.load(old), Some(0x5003), "no second look");
    cpu.flush();
    assert!(!cpu.access(memory, 0, Access::WRITE).unwrap().cached);
    assert_eq!((memory.load(old), memory.load(new)), (Some(0x5003), Some(0x5063)));
}

/// A large page may be cached in parts, of which one may be stale and another not; INVLPG of any of
/// its addresses drops them all.
#[test]
fn a_large_page_may_be_cached_in_parts() {
    #[derive(Debug)]
    struct Parts;
    impl Choices for Parts {
        fn choose(&mut self, _: u32) -> u32 {
            0
        }
        fn decide(&mut self, what: Decision, among: u32) -> u32 {
            match what {
                Decision::Fragment => 1,
                Decision::WalkAhead | Decision::DropTranslation | Decision::DropPointer => 1,
                _ => KeepAll.decide(what, among),
            }
        }
    }
    let made = made(&Mode::X86_64);
    let (memory, entry) = (&made.memory, made.tables[2] + 8);
    memory.store(entry, 0x60_0083);
    let mut cpu = cpu(&Mode::X86_64, &made, Parts);
    let first = cpu.access(memory, 0x20_0123, READ).unwrap();
    assert_eq!((first.physical, first.size_lg2), (0x60_0123, 21));
    memory.store(entry, 0xa0_0083);
    let part = cpu.access(memory, 0x20_0fff, READ).unwrap();
    assert_eq!((part.physical, part.cached), (0x60_0fff, true));
    assert_eq!(cpu.access(memory, 0x20_1000, READ).unwrap().physical, 0xa0_1000);
    assert_eq!(cpu.translations().len(), 2);
    cpu.invalidate_page(0x3f_f000);
    assert_eq!(cpu.translations(), []);
    assert_eq!(cpu.access(memory, 0x20_0000, READ).unwrap().physical, 0xa0_0000);
}

/// Over many seeds, a CPU does all that it may: uses what it holds or not, begins at any table, keeps
/// or not, walks ahead, and drops unasked.
#[test]
fn a_random_cpu_does_all_that_it_may() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let made = made(&Mode::X86_64);
        let (memory, leaf) = (&made.memory, made.tables[3]);
        memory.store(leaf, 0x5003);
        memory.store(leaf + 8, 0x6003);
        let mut cpu = cpu(&Mode::X86_64, &made, Random::new(seed));
        cpu.access(memory, 0, READ).unwrap();
        seen.insert(("kept", cpu.translations().len()));
        seen.insert(("pointers", cpu.pointers().len()));
        seen.insert(("used", usize::from(cpu.access(memory, 0, READ).unwrap().cached)));
        // Where the walk begins shows in the A bits that come again.
        made.tables
            .iter()
            .for_each(|&table| memory.store(table, memory.load(table).unwrap() & !0x20));
        cpu.access(memory, 0x1000, READ).unwrap();
        let marked = |table: &&u64| memory.load(**table).unwrap() & 0x20 != 0;
        seen.insert(("levels", made.tables.iter().take(3).filter(marked).count()));
        seen.insert(("ahead", usize::from(memory.load(leaf).unwrap() & 0x20 != 0)));
        (0..50).for_each(|_| assert!(cpu.access(memory, 0x1000, READ).is_ok()));
        seen.insert(("dropped", usize::from(cpu.translations_for(0).is_empty())));
    }
    for (what, cases) in [
        ("kept", 0..2),
        ("pointers", 0..4),
        ("used", 0..2),
        ("levels", 0..4),
        ("ahead", 0..2),
        ("dropped", 0..2),
    ] {
        cases.for_each(|case| assert!(seen.contains(&(what, case)), "{what} {case}: {seen:?}"));
    }
}

/// One step at a time: every way that a walk can go is there to be taken.
#[test]
fn a_walk_goes_on_from_any_pointer() {
    let made = made(&Mode::X86_64);
    let (memory, leaf) = (&made.memory, made.tables[3]);
    memory.store(leaf, 0x5003);
    let mut cpu = cpu(&Mode::X86_64, &made, KeepAll);
    for (step, &table) in made.tables.iter().enumerate() {
        let from = cpu.pointers_for(memory, 0).unwrap();
        let tables: Vec<u64> = from.iter().map(pgtable::model::Pointer::table).collect();
        let known: Vec<u64> = made.tables[..=step].iter().rev().copied().collect();
        assert_eq!(tables, known, "the furthest down first, the root last");
        assert_eq!(tables[0], table);
        match cpu.advance(memory, &from[0], 0, None).unwrap() {
            Next::Table(below) => assert_eq!(below.table(), made.tables[step + 1]),
            Next::Page(page) => assert_eq!((page.physical(0), step), (0x5000, 3)),
            _ => panic!(),
        }
    }
    let clean = cpu.translations_for(0)[0];
    assert!(cpu.can_use(&clean, READ) && !cpu.can_use(&clean, Access::WRITE));
    assert_eq!(memory.load(leaf), Some(0x5023), "ahead of time: A, and no D");
    let from = cpu.pointers_for(memory, 0).unwrap();
    cpu.advance(memory, &from[0], 0, Some(Access::WRITE)).unwrap();
    assert_eq!((memory.load(leaf), cpu.translations_for(0).len()), (Some(0x5063), 2));
    let dirty = cpu.translations_for(0).into_iter().find(|page| page.dirty()).unwrap();
    assert!(cpu.can_use(&dirty, Access::WRITE) && dirty.writable() && dirty.size_lg2() == 12);
}
