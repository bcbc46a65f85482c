//! Hand-made tables, and a CPU that walks them.

use pgtable::model::{Choices, Cpu, Memory, Mode};

pub(crate) const ROOT: u64 = 0x1_0000;

/// Tables of a mode, one for each level, from the root down, that lead to the page at address 0.
pub(crate) struct Made {
    pub(crate) memory: Memory,
    pub(crate) tables: Vec<u64>,
}

pub(crate) fn levels(mode: &Mode) -> usize {
    match mode.name {
        "x86-32" => 2,
        "x86-pae" => 3,
        "x86-64" => 4,
        _ => 5,
    }
}

/// Tables that grant everything; the last one is empty.
pub(crate) fn made(mode: &'static Mode) -> Made {
    let memory = Memory::new(mode.word, &[(ROOT, 0x10_0000, 0)]);
    let tables = chain(mode, &memory);
    Made { memory, tables }
}

/// One more such chain in a memory.
pub(crate) fn chain(mode: &'static Mode, memory: &Memory) -> Vec<u64> {
    let pae = mode.name == "x86-pae";
    let mut tables = Vec::new();
    for level in 0..levels(mode) {
        let lg2 = if pae && level == 0 { 5 } else { 12 };
        let table = memory.allocate(lg2, u64::MAX, None).unwrap();
        memory.zero(table, lg2);
        tables.push(table);
    }
    for level in 1..levels(mode) {
        let rights = if pae && level == 1 { 1 } else { 7 };
        memory.store(tables[level - 1], tables[level] | rights);
    }
    tables
}

pub(crate) fn cpu<C: Choices>(mode: &'static Mode, made: &Made, choices: C) -> Cpu<C> {
    let mut cpu = Cpu::new(mode, choices);
    cpu.load_root(&made.memory, made.tables[0]).unwrap();
    cpu
}
