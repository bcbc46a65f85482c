//! Everybody, under a name.

use crate::perform::{Check, Wrong, perform};
use crate::row::{Load, Row};
use crate::subject::ours::Ours;
use crate::subject::reference::Reference;
use crate::subject::{Mode, Subject};
use pgtable::arch::x86::{X86_32, X86_64, X86Pae};
use std::time::Duration;

/// Does a row.
type Do = fn(Row, &Load, Check) -> Result<Duration, Wrong>;

/// One who is measured.
pub struct Contestant {
    /// Its name, on the command line and in tables.
    pub name: &'static str,
    /// The mode of its tables.
    pub mode: Mode,
    /// Whether it does a row.
    pub does: fn(Row) -> bool,
    /// Does it.
    pub perform: Do,
}

/// This crate, in the kind of space that a row asks for.
fn ours<A: crate::subject::ours::Moded, const RELOCATABLE: bool>(
    row: Row,
    load: &Load,
    check: Check,
) -> Result<Duration, Wrong> {
    match row {
        Row::UnmapPage | Row::MapUnmap => {
            perform::<Ours<A, RELOCATABLE, false, false>>(row, load, check)
        }
        Row::UnmapPageFreed => perform::<Ours<A, RELOCATABLE, true, true>>(row, load, check),
        _ => perform::<Ours<A, RELOCATABLE, true, false>>(row, load, check),
    }
}

fn reference<const KEEPS: bool>(row: Row, load: &Load, check: Check) -> Result<Duration, Wrong> {
    match row {
        Row::UnmapPageFreed => perform::<Reference<KEEPS, true>>(row, load, check),
        _ => perform::<Reference<KEEPS, false>>(row, load, check),
    }
}

const fn any(_: Row) -> bool {
    true
}

/// The rows that must keep what hardware writes.
pub fn keeps(row: Row) -> bool {
    matches!(
        row,
        Row::UnmapPage | Row::UnmapPageFreed | Row::UnmapRange | Row::ProtectRange | Row::MapUnmap
    )
}

const fn entry(name: &'static str, mode: Mode, perform: Do) -> Contestant {
    Contestant { name, mode, does: any, perform }
}

/// All of them; this crate and the reference first.
pub fn all() -> Vec<Contestant> {
    vec![
        entry("pgtable", Mode::Long, ours::<X86_64, false>),
        entry("pgtable-relocatable", Mode::Long, ours::<X86_64, true>),
        entry("reference", Mode::Long, reference::<false>),
        Contestant {
            name: "reference-keeping",
            mode: Reference::<true, false>::MODE,
            does: keeps,
            perform: reference::<true>,
        },
        entry("pgtable-pae", Mode::Pae, ours::<X86Pae, false>),
        entry("pgtable-legacy", Mode::Legacy, ours::<X86_32, false>),
    ]
}
