//! Why printing ends early.

use crate::support::fault::Fault;
use pgtable::{Error, PhysAddr, VirtAddr};
use std::{fmt, io};

/// Why printing ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The file is no core.
    Core(Fault),
    /// A CPU's tables cannot be walked.
    Walk { cpu: usize, error: Error },
    /// An entry names a table outside the file's memory.
    Outside(Outside),
    /// The output takes no more.
    Output(io::Error),
}

/// An entry that names a table outside the file's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside {
    /// Whose tables these are.
    pub(crate) cpu: usize,
    /// The level of the named table.
    pub(crate) level: &'static str,
    /// The table that it names.
    pub(crate) table: PhysAddr,
    /// The level of the table that holds the entry.
    pub(crate) holder_level: &'static str,
    /// The table that holds the entry.
    pub(crate) holder: PhysAddr,
    /// The place of the entry there.
    pub(crate) index: usize,
    /// The first address that it stands for.
    pub(crate) at: VirtAddr,
}

impl Stop {
    /// Whether it ends since the reader has seen enough.
    pub(crate) fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(fault) => write!(f, "{fault}"),
            Self::Walk { cpu, error: Error::Unreachable { table, .. } } => {
                write!(f, "CPU {cpu}: the root at {table} is not in the file's memory")
            }
            Self::Walk { cpu, error } => write!(f, "CPU {cpu}: {error}"),
            Self::Outside(outside) => write!(f, "{outside}"),
            Self::Output(error) => write!(f, "cannot write: {error}"),
        }
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, level, table, holder_level, holder, index, at } = self;
        write!(
            f,
            "CPU {cpu}: the {level} table at {table} is not in the file's memory (named by entry \
             {index} of the {holder_level} table at {holder}, for address {at})"
        )
    }
}
