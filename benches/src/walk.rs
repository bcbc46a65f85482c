//! Reads tables word by word, with nothing of those who made them.

use crate::arena;
use crate::subject::Mode;
use std::collections::HashSet;

/// A page, as hardware would see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub at: u64,
    pub frame: u64,
    pub size: u64,
    pub writable: bool,
    pub executable: bool,
}

/// What a word says.
enum Said {
    Nothing,
    Table(u64),
    Leaf { frame: u64, writable: bool, executable: bool },
}

/// Bits of an address from `low` to `high`, the last included.
const fn bits(low: u32, high: u32) -> u64 {
    (u64::MAX >> (63 - high)) & (u64::MAX << low)
}

impl Mode {
    /// For each level, the root first: how far its index is shifted, and how many bits it has.
    const fn levels(self) -> &'static [(u32, u32)] {
        match self {
            Self::Long | Self::Aarch64 => &[(39, 9), (30, 9), (21, 9), (12, 9)],
            Self::Pae => &[(30, 2), (21, 9), (12, 9)],
            Self::Legacy => &[(22, 10), (12, 10)],
        }
    }

    /// Bytes of an entry.
    const fn word(self) -> usize {
        if matches!(self, Self::Legacy) { 4 } else { 8 }
    }

    /// What a word means in the level of this shift.
    fn say(self, raw: u64, shift: u32) -> Said {
        if raw & 1 == 0 {
            return Said::Nothing;
        }
        if matches!(self, Self::Aarch64) {
            return say_aarch64(raw, shift);
        }
        let pae_root = matches!(self, Self::Pae) && shift == 30;
        if pae_root || shift > 12 && raw & 1 << 7 == 0 {
            return Said::Table(raw & bits(12, 51));
        }
        let frame = match (self, shift) {
            (Self::Legacy, 22) => raw & bits(22, 31) | (raw >> 13 & 0xff) << 32,
            _ => raw & bits(shift, 51),
        };
        let executable = matches!(self, Self::Legacy) || raw >> 63 == 0;
        Said::Leaf { frame, writable: raw & 2 != 0, executable }
    }
}

/// Arm's Architecture Reference Manual, "VMSAv8-64 translation table format descriptors".
fn say_aarch64(raw: u64, shift: u32) -> Said {
    let table_or_page = raw & 2 != 0;
    if shift > 12 && table_or_page {
        return Said::Table(raw & bits(12, 47));
    }
    if shift == 12 && !table_or_page {
        return Said::Nothing;
    }
    Said::Leaf {
        frame: raw & bits(shift, 47),
        writable: raw & 1 << 7 == 0,
        executable: raw & 1 << 53 == 0,
    }
}

/// Reads a word.
pub fn load(mode: Mode, at: *mut u8) -> u64 {
    match mode.word() {
        // SAFETY: `leaves` asks for words of tables alone, and has checked where these are.
        4 => u64::from(unsafe { at.cast::<u32>().read() }),
        // SAFETY: as above.
        _ => unsafe { at.cast::<u64>().read() },
    }
}

/// Sets bits of a word, as hardware does.
pub fn set(mode: Mode, at: *mut u8, bits: u64) {
    store(mode, at, load(mode, at) | bits);
}

/// Clears bits of a word, as software does.
pub fn clear(mode: Mode, at: *mut u8, bits: u64) {
    store(mode, at, load(mode, at) & !bits);
}

fn store(mode: Mode, at: *mut u8, raw: u64) {
    match mode.word() {
        // SAFETY: as in `load`.
        4 => unsafe { at.cast::<u32>().write(raw as u32) },
        // SAFETY: as above.
        _ => unsafe { at.cast::<u64>().write(raw) },
    }
}

/// Shows every page of a tree in ascending order, with its word. Of the wide modes it looks at the lower
/// half, where all rows are: some crates keep tables of their own in the upper one.
pub fn leaves(mode: Mode, root: u64, visit: &mut dyn FnMut(Leaf, *mut u8)) {
    look(mode, root, 0, mode.levels(), Half::Lower, visit);
}

/// The same for both halves.
pub fn all_leaves(mode: Mode, root: u64, visit: &mut dyn FnMut(Leaf, *mut u8)) {
    look(mode, root, 0, mode.levels(), Half::Both, visit);
}

/// What of a tree is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Lower,
    Both,
}

fn look(
    mode: Mode,
    table: u64,
    start: u64,
    levels: &[(u32, u32)],
    half: Half,
    visit: &mut dyn FnMut(Leaf, *mut u8),
) {
    assert!(arena::holds(table), "{table:#x} is no table");
    let (&(shift, index_bits), below) = levels.split_first().unwrap();
    let left_out = if shift == 39 && half == Half::Lower { 1 } else { 0 };
    for index in 0..1_u64 << (index_bits - left_out) {
        let word = arena::reach(table + index * mode.word() as u64);
        let at = canonical(start + (index << shift), shift);
        match mode.say(load(mode, word), shift) {
            Said::Nothing => {}
            Said::Table(frame) => look(mode, frame, at, below, half, visit),
            Said::Leaf { frame, writable, executable } => {
                visit(Leaf { at, frame, size: 1 << shift, writable, executable }, word);
            }
        }
    }
}

/// Addresses of four levels have 48 bits, of which the last one is all those above it as well.
const fn canonical(at: u64, shift: u32) -> u64 {
    if shift == 39 { (at << 16).cast_signed().wrapping_shr(16).cast_unsigned() } else { at }
}

/// All tables, each once: those below before the one that names them, and the root last.
pub fn tables(mode: Mode, root: u64) -> Vec<u64> {
    let (mut found, mut known) = (Vec::new(), HashSet::new());
    collect(mode, root, mode.levels(), &mut found, &mut known);
    found
}

fn collect(
    mode: Mode,
    table: u64,
    levels: &[(u32, u32)],
    found: &mut Vec<u64>,
    known: &mut HashSet<u64>,
) {
    if !known.insert(table) {
        return;
    }
    assert!(arena::holds(table), "{table:#x} is no table");
    let (&(shift, index_bits), below) = levels.split_first().unwrap();
    // What the last level names is pages.
    let entries = if below.is_empty() { 0 } else { 1_u64 << index_bits };
    for index in 0..entries {
        let word = arena::reach(table + index * mode.word() as u64);
        if let Said::Table(frame) = mode.say(load(mode, word), shift) {
            collect(mode, frame, below, found, known);
        }
    }
    found.push(table);
}
