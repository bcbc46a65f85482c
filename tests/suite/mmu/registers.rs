//! PAE's four root entries: when they are read, and when they are not (section 4.4.1).

use super::made::{cpu, made};
use pgtable::model::{Access, Control, Fault, KeepAll, KeepNothing, Mode};

#[test]
fn root_entries_are_read_with_the_root() {
    let made = made(&Mode::X86_PAE);
    let (memory, root) = (&made.memory, made.tables[0]);
    memory.store(made.tables[2], 0x5003);
    let mut cpu = cpu(&Mode::X86_PAE, &made, KeepNothing);
    let entry = memory.load(root).unwrap();
    memory.store(root, 0);
    cpu.invalidate_page(0);
    cpu.flush();
    cpu.flush_everything();
    assert!(cpu.access(memory, 0, Access::READ).is_ok(), "the register is what counts");
    assert_eq!(cpu.root_registers(), [entry, 0, 0, 0]);
    cpu.load_root(memory, root).unwrap();
    assert_eq!(cpu.access(memory, 0, Access::READ), Err(Fault::NotPresent));
    // The other way round: an entry that was not present is not looked for again either.
    memory.store(root, entry);
    assert_eq!(cpu.access(memory, 0, Access::READ), Err(Fault::NotPresent));
    cpu.load_root(memory, root).unwrap();
    assert!(cpu.access(memory, 0, Access::READ).is_ok());
    assert_eq!(memory.load(root), Some(entry), "no A is set in them");
}

#[test]
fn a_reserved_bit_refuses_all_four() {
    let made = made(&Mode::X86_PAE);
    let (memory, root) = (&made.memory, made.tables[0]);
    let mut cpu = cpu(&Mode::X86_PAE, &made, KeepNothing);
    let (good, before) = (memory.load(root).unwrap(), cpu.root_registers());
    cpu.phys_bits = 40;
    memory.store(root, good | 0xe18); // PWT, PCD, and what is ignored
    for bit in [1, 2, 5, 6, 7, 8, 40, 51, 52, 63] {
        memory.store(root + 24, 0x9001 | 1 << bit);
        assert_eq!(cpu.load_root(memory, root), Err(Fault::Reserved), "bit {bit}");
        let more = Control::USUAL | Control::CACHE_DISABLE;
        assert_eq!(cpu.set_control(memory, more), Err(Fault::Reserved), "bit {bit}");
        assert_eq!((cpu.root_registers(), cpu.control()), (before, Control::USUAL));
        memory.store(root + 24, 0x9000 | 1 << bit); // not present: nothing is reserved
        assert_eq!(cpu.load_root(memory, root), Ok(()));
        memory.store(root, good);
        memory.store(root + 24, 0);
        cpu.load_root(memory, root).unwrap();
        memory.store(root, good | 0xe18);
    }
}

/// CR0.CD, CR0.NW, CR0.PG, CR4.PGE, CR4.PSE and CR4.SMEP, set or cleared; and no other bit.
#[test]
fn some_control_bits_read_them_again() {
    for bit in Control::all().iter() {
        let made = made(&Mode::X86_PAE);
        let (memory, root) = (&made.memory, made.tables[0]);
        let mut cpu = cpu(&Mode::X86_PAE, &made, KeepNothing);
        if bit == Control::TAGS {
            assert_eq!(cpu.set_control(memory, Control::USUAL | bit), Err(Fault::Reserved));
            continue;
        }
        for round in [0x1000, 0x2000] {
            memory.store(root + 8, round | 1);
            cpu.set_control(memory, cpu.control() ^ bit).unwrap();
            let loads = Control::LOADS_ROOT_ENTRIES.contains(bit);
            // With paging off, nothing is loaded; it is when paging comes on.
            let off = !cpu.control().contains(Control::PAGING);
            let loaded = cpu.root_registers()[1] == (round | 1);
            assert_eq!(loaded, loads && !off, "{bit:?} {round:#x}");
        }
    }
    use Control as C;
    let named =
        [C::PAGING, C::CACHE_DISABLE, C::NOT_WRITE_THROUGH, C::LARGE_PAGES, C::GLOBAL_PAGES];
    let named = named.into_iter().fold(C::NO_KERNEL_FETCH, |all, bit| all | bit);
    assert_eq!(C::LOADS_ROOT_ENTRIES, named);
}

/// The registers change, and what was translated before stays: a CPU may use both for a while.
#[test]
fn they_change_under_what_is_cached() {
    let made = made(&Mode::X86_PAE);
    let (memory, root) = (&made.memory, made.tables[0]);
    memory.store(made.tables[2], 0x5003);
    memory.store(made.tables[2] + 8, 0x6003);
    let mut cpu = cpu(&Mode::X86_PAE, &made, KeepAll);
    cpu.access(memory, 0, Access::READ).unwrap();
    memory.store(root, 0);
    cpu.set_control(memory, Control::USUAL | Control::CACHE_DISABLE).unwrap();
    assert_eq!(cpu.root_registers(), [0; 4]);
    assert!(cpu.access(memory, 0, Access::READ).unwrap().cached);
    assert!(cpu.access(memory, 0x1000, Access::READ).is_ok(), "by the cached pointer");
    cpu.flush();
    assert_eq!(cpu.access(memory, 0, Access::READ), Err(Fault::NotPresent));
}

/// Processors that read root entries like all others: at any walk, and what they have read they keep.
#[test]
fn some_processors_have_no_such_registers() {
    let made = made(&Mode::X86_PAE);
    let (memory, root) = (&made.memory, made.tables[0]);
    memory.store(made.tables[2], 0x5003);
    memory.store(made.tables[2] + 8, 0x6003);
    let entry = memory.load(root).unwrap();
    let mut forgetful = cpu(&Mode::X86_PAE, &made, KeepNothing);
    forgetful.rereads_registers = true;
    memory.store(root, 0);
    assert_eq!(forgetful.access(memory, 0, Access::READ), Err(Fault::NotPresent));
    memory.store(root, entry);
    assert!(forgetful.access(memory, 0, Access::READ).is_ok());
    let mut keen = cpu(&Mode::X86_PAE, &made, KeepAll);
    keen.rereads_registers = true;
    keen.access(memory, 0, Access::READ).unwrap();
    let directory = |keen: &pgtable::model::Cpu<KeepAll>| {
        keen.pointers().iter().any(|pointer| pointer.table() == made.tables[1])
    };
    assert!(directory(&keen));
    memory.store(root, 0);
    assert!(keen.access(memory, 0x20_0000, Access::READ).is_err());
    let empty = memory.load(made.tables[1] + 8).unwrap();
    assert_eq!(empty, 0, "it got as far as the page directory, by what it kept");
    keen.invalidate_page(0x4000_0000);
    assert!(!directory(&keen), "INVLPG drops it");
}
