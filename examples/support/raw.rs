//! Cores read by hand, byte by byte and without the crate: what tests judge it by. And cores made by
//! hand, for tests that need one that no machine has been in.

use std::collections::BTreeMap;

/// Entries of one level: how far the index stands from the right, how many bits it has, and whether
/// bit 7 makes a leaf.
type Level = (u32, u32, bool);

const LEGACY: &[Level] = &[(22, 10, true), (12, 10, true)];
const PAE: &[Level] = &[(30, 2, false), (21, 9, true), (12, 9, true)];
const LA57: &[Level] =
    &[(48, 9, false), (39, 9, false), (30, 9, true), (21, 9, true), (12, 9, true)];

const HEADERS: usize = 64;
const HEADER: usize = 56;
const LOAD: u64 = 1;
const NOTE: u64 = 4;
/// Where CR0, CR3 and CR4 are in the description of a note, and how long that is.
const CR0: usize = 392;
const CR3: usize = 416;
const CR4: usize = 424;
const DESCRIPTION: usize = 440;

/// A core, taken apart.
pub(crate) struct Raw {
    pub(crate) file: Vec<u8>,
    /// Physical address, place in the file, size.
    pub(crate) segments: Vec<(u64, usize, usize)>,
    pub(crate) cpus: Vec<RawCpu>,
}

/// A CPU, as its note has it.
pub(crate) struct RawCpu {
    /// Where its note's description is in the file.
    pub(crate) note: usize,
    pub(crate) root: u64,
    pub(crate) levels: &'static [Level],
    /// Bytes of an entry.
    pub(crate) width: u64,
}

/// What one table holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) bytes: u64,
    /// Place and word of each entry that names a table, with that table.
    pub(crate) tables: Vec<(u64, u64)>,
    /// Places of empty entries.
    pub(crate) empty: Vec<u64>,
    pub(crate) leaves: u64,
    pub(crate) non_present: u64,
}

fn number(file: &[u8], at: usize, bytes: usize) -> u64 {
    file[at..at + bytes].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

impl Raw {
    pub(crate) fn parse(file: Vec<u8>) -> Self {
        let mut raw = Self { segments: Vec::new(), cpus: Vec::new(), file };
        let machine = number(&raw.file, 18, 2);
        for header in 0..number(&raw.file, 56, 2) as usize {
            let at = HEADERS + header * HEADER;
            let field = |offset| number(&raw.file, at + offset, 8);
            let (place, size) = (field(8) as usize, field(32) as usize);
            match number(&raw.file, at, 4) {
                LOAD => raw.segments.push((field(24), place, size)),
                NOTE => raw.notes(machine, place, place + size),
                _ => {}
            }
        }
        raw
    }

    fn notes(&mut self, machine: u64, mut at: usize, end: usize) {
        while at < end {
            let sizes =
                (number(&self.file, at, 4) as usize, number(&self.file, at + 4, 4) as usize);
            let name = &self.file[at + 12..at + 12 + sizes.0];
            let note = at + 12 + sizes.0.next_multiple_of(4);
            if name == b"QEMU\0" {
                let cr = |offset| number(&self.file, note + offset, 8);
                self.cpus.push(RawCpu::new(note, machine, cr(CR3), cr(CR4)));
            }
            at = note + sizes.1.next_multiple_of(4);
        }
    }

    /// Where in the file a physical address is.
    pub(crate) fn place(&self, at: u64) -> usize {
        let holds =
            |&&(start, _, size): &&(u64, usize, usize)| start <= at && at < start + size as u64;
        let (start, place, _) = *self.segments.iter().find(holds).expect("in the file");
        place + (at - start) as usize
    }

    /// Every table that can be reached from a CPU's root, by height and address.
    pub(crate) fn tables(&self, cpu: &RawCpu) -> BTreeMap<(usize, u64), Counts> {
        let mut found = BTreeMap::new();
        let mut ahead = vec![(cpu.levels.len() - 1, cpu.root)];
        while let Some((height, table)) = ahead.pop() {
            if found.contains_key(&(height, table)) {
                continue;
            }
            let counts = self.count(cpu, height, table);
            ahead.extend(counts.tables.iter().map(|&(_, below)| (height - 1, below)));
            found.insert((height, table), counts);
        }
        found
    }

    fn count(&self, cpu: &RawCpu, height: usize, table: u64) -> Counts {
        let (_, bits, huge) = cpu.levels[cpu.levels.len() - 1 - height];
        let mut counts = Counts { bytes: cpu.width << bits, ..Counts::default() };
        for index in 0..1 << bits {
            let at = table + index * cpu.width;
            let word = number(&self.file, self.place(at), cpu.width as usize);
            if word == 0 {
                counts.empty.push(at);
            } else if word & 1 == 0 {
                counts.non_present += 1;
            } else if height == 0 || huge && word & 1 << 7 != 0 {
                counts.leaves += 1;
            } else {
                counts.tables.push((at, word & 0x000f_ffff_ffff_f000));
            }
        }
        counts
    }

    /// How many paths from the root lead to each table.
    pub(crate) fn paths(&self, cpu: &RawCpu) -> BTreeMap<(usize, u64), u64> {
        let tables = self.tables(cpu);
        let mut paths = BTreeMap::from([((cpu.levels.len() - 1, cpu.root), 1)]);
        for (&(height, table), counts) in tables.iter().rev() {
            let to_here = paths[&(height, table)];
            for &(_, below) in &counts.tables {
                *paths.entry((height - 1, below)).or_default() += to_here;
            }
        }
        paths
    }
}

impl RawCpu {
    fn new(note: usize, machine: u64, cr3: u64, cr4: u64) -> Self {
        let (long, pae, la57) = (machine == 62, cr4 >> 5 & 1 == 1, cr4 >> 12 & 1 == 1);
        let levels = match (long, pae, la57) {
            (true, _, true) => LA57,
            (true, _, false) => &LA57[1..],
            (false, true, _) => PAE,
            (false, false, _) => LEGACY,
        };
        let root = match (long, pae) {
            (true, _) => cr3 & 0x000f_ffff_ffff_f000,
            (false, true) => cr3 & 0xffff_ffe0,
            (false, false) => cr3 & 0xffff_f000,
        };
        Self { note, root, levels, width: if long || pae { 8 } else { 4 } }
    }
}

/// A core of an x86-64 machine with one CPU: its CR3, and memory segment by segment.
pub(crate) fn made(cr3: u64, memory: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let note = HEADERS + (memory.len() + 1) * HEADER;
    let note_bytes = 12 + 8 + DESCRIPTION;
    let mut file = vec![0; note + note_bytes];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    for (at, value) in [(16, 4), (18, 62), (20, 1), (54, HEADER), (56, memory.len() + 1)] {
        put(at, &(value as u16).to_le_bytes());
    }
    put(32, &HEADERS.to_le_bytes());
    put(HEADERS, &(NOTE as u32).to_le_bytes());
    put(HEADERS + 8, &note.to_le_bytes());
    put(HEADERS + 32, &note_bytes.to_le_bytes());
    put(HEADERS + 40, &note_bytes.to_le_bytes());
    put(note, &5_u32.to_le_bytes());
    put(note + 4, &(DESCRIPTION as u32).to_le_bytes());
    put(note + 12, b"QEMU");
    let description = note + 20;
    put(description, &1_u32.to_le_bytes());
    put(description + 4, &(DESCRIPTION as u32).to_le_bytes());
    put(description + CR0, &0x8000_0001_u64.to_le_bytes());
    put(description + CR3, &cr3.to_le_bytes());
    put(description + CR4, &0x20_u64.to_le_bytes());
    for (index, (start, bytes)) in memory.iter().enumerate() {
        let header = HEADERS + (index + 1) * HEADER;
        let mut field = |at: usize, value: u64| {
            file[header + at..][..8].copy_from_slice(&value.to_le_bytes());
        };
        field(0, LOAD);
        field(24, *start);
        field(32, bytes.len() as u64);
        field(40, bytes.len() as u64);
        let place = file.len() as u64;
        file[header + 8..][..8].copy_from_slice(&place.to_le_bytes());
        file.extend(bytes);
    }
    file
}

/// A page of entries.
pub(crate) fn page(entry: impl Fn(u64) -> u64) -> Vec<u8> {
    (0..512).flat_map(|index| entry(index).to_le_bytes()).collect()
}

/// A tree of four tables, the last of which maps two pages; each at its address.
pub(crate) fn four() -> Vec<(u64, Vec<u8>)> {
    let only = |word: u64| page(move |index| if index == 0 { word } else { 0 });
    let pages = page(|index| if index < 2 { (0x9000 + (index << 12)) | 0x63 } else { 0 });
    vec![(0x1000, only(0x2003)), (0x2000, only(0x3003)), (0x3000, only(0x4003)), (0x4000, pages)]
}
