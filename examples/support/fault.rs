//! Why a file is of no use as a core: what is wrong with it, and where.

use std::{fmt, io};

/// Why a file is of no use as a core.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It cannot be read.
    Io(io::Error),
    /// It is not a file with an end.
    NotAFile,
    /// A part of it is no ELF.
    Elf { what: &'static str, offset: u64, error: object::read::Error },
    /// It is an ELF file of 32 bits.
    Class,
    /// It is an ELF file, but not a core.
    NotACore(u16),
    /// It is the core of another machine.
    Machine(u16),
    /// This machine would read every word the wrong way round.
    BigEndian,
    /// No note tells of a CPU.
    NoCpu,
    /// The registers of a CPU are not all there.
    Registers { cpu: usize, offset: u64, bytes: usize },
    /// The registers of a CPU are in another form.
    Version { cpu: usize, offset: u64, version: u32 },
    /// A segment cannot be used.
    Segment { segment: usize, why: Why },
}

/// Why a segment cannot be used.
#[derive(Debug)]
pub(crate) enum Why {
    /// It ends after the file does.
    Short { offset: u64, bytes: u64, file: u64 },
    /// It ends after the last address.
    Wraps { start: u64, bytes: u64 },
    /// Another one holds the same memory, at another place of the file.
    Overlap { start: u64 },
    /// It names bytes that others name as well, until they are too many to hold.
    TooMuch { file: u64 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::Elf { what, offset, error } => write!(f, "{what} at offset {offset:#x}: {error}"),
            Self::Class => {
                f.write_str("an ELF file of 32 bits and not a core of 64 (EI_CLASS at offset 0x4)")
            }
            Self::NotACore(kind) => {
                write!(f, "an ELF file of type {kind} and not a core (e_type at offset 0x10)")
            }
            Self::Machine(machine) => {
                write!(f, "a core of machine {machine} and not of x86 (e_machine at offset 0x12)")
            }
            Self::BigEndian => f.write_str("tables of x86 cannot be read on a big-endian machine"),
            Self::NoCpu => f.write_str("no note tells the registers of a CPU"),
            Self::Registers { cpu, offset, bytes } => {
                write!(
                    f,
                    "the note on CPU {cpu}, in the segment at offset {offset:#x}, has only "
                )?;
                write!(f, "{bytes:#x} bytes")
            }
            Self::Version { cpu, offset, version } => {
                write!(f, "the note on CPU {cpu}, in the segment at offset {offset:#x}, is of ")?;
                write!(f, "version {version}")
            }
            Self::Segment { segment, why } => write!(f, "segment {segment} {why}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { offset, bytes, file } => {
                write!(f, "is cut short: {bytes:#x} bytes at offset {offset:#x}, ")?;
                write!(f, "and the file ends at {file:#x}")
            }
            Self::Wraps { start, bytes } => {
                write!(f, "has {bytes:#x} bytes at address {start:#x}, past the last address")
            }
            Self::Overlap { start } => {
                write!(f, "holds memory at address {start:#x} that another segment holds, too")
            }
            Self::TooMuch { file } => {
                write!(f, "makes it more memory than the {file:#x} bytes of the file")
            }
        }
    }
}
