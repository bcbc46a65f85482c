//! Everybody, under a name.

use crate::perform::{Check, Wrong, perform};
use crate::row::{Load, Row};
use crate::subject::Mode;
#[cfg(feature = "others")]
use crate::subject::Subject;
use crate::subject::ours::Ours;
use crate::subject::reference::Reference;
use pgtable::arch::x86::X86_64;
#[cfg(feature = "modes")]
use pgtable::arch::x86::{X86_32, X86Pae};
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
    /// Whether it is another crate.
    pub foreign: bool,
}

impl Contestant {
    /// Does a row once, if it does it at all.
    pub fn once(&self, row: Row, load: &Load, check: Check) -> Result<Option<Duration>, Wrong> {
        if !(self.does)(row) {
            return Ok(None);
        }
        let done = (self.perform)(row, load, check);
        done.map(Some).map_err(|wrong| format!("{}, {}: {wrong}", self.name, row.name()))
    }
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
    Contestant { name, mode, does: any, perform, foreign: false }
}

/// All of them: this crate and the reference first.
pub fn all() -> Vec<Contestant> {
    let mut all = vec![
        entry("pgtable", Mode::Long, ours::<X86_64, false>),
        entry("pgtable-relocatable", Mode::Long, ours::<X86_64, true>),
        entry("reference", Mode::Long, reference::<false>),
        Contestant { does: keeps, ..entry("reference-keeping", Mode::Long, reference::<true>) },
    ];
    #[cfg(feature = "others")]
    all.extend(others());
    #[cfg(feature = "modes")]
    all.extend([
        entry("pgtable-pae", Mode::Pae, ours::<X86Pae, false>),
        entry("pgtable-legacy", Mode::Legacy, ours::<X86_32, false>),
    ]);
    all
}

/// Other crates, each with the rows that it has a call for.
#[cfg(feature = "others")]
fn others() -> Vec<Contestant> {
    use crate::subject::others::{aarch64_paging, multiarch, page_table_generic, patina, x86_64};
    const fn does<S: Subject>(name: &'static str, does: fn(Row) -> bool) -> Contestant {
        Contestant { name, mode: S::MODE, does, perform: perform::<S>, foreign: true }
    }
    vec![
        does::<x86_64::Mapped>("x86_64", x86_64::does),
        does::<multiarch::Multiarch>("page_table_multiarch", multiarch::does),
        does::<page_table_generic::Generic>("page-table-generic", page_table_generic::does),
        does::<aarch64_paging::Aarch64>("aarch64-paging", aarch64_paging::does),
        does::<patina::Patina>("patina_paging", patina::does),
    ]
}
