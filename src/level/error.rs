//! What a verb says when it refuses.

use crate::addr::{PhysAddr, Span, VirtAddr};
use core::fmt;

/// What the crate asks of a frame that is to become a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The height of the level that the table will be of.
    pub height: u8,
    /// Its size in bytes is 2 to this, and it is aligned to as much. Not always a page: a PAE root
    /// has 32 bytes, and two of them may lie in one page.
    pub size_lg2: u8,
    /// The highest address its last byte can have.
    pub highest: PhysAddr,
    /// The node it should lie on, if that matters.
    pub node: Option<u32>,
    /// The first address that it is to serve.
    pub serving: VirtAddr,
}

/// What was in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// A page of 2 to the `size_lg2` bytes.
    Leaf {
        /// The frame that is mapped.
        frame: PhysAddr,
        /// Its size in bytes is 2 to this.
        size_lg2: u8,
    },
    /// A table with smaller pages.
    Table {
        /// The frame of the table.
        table: PhysAddr,
        /// Its height.
        height: u8,
    },
    /// An entry of the user's own.
    NonPresent {
        /// Its raw value.
        raw: u64,
    },
}

/// Something that the mode, or this CPU, cannot say of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// Pages of 2 to this many bytes.
    PageSize(u8),
    /// Pages that cannot be read.
    NoRead,
    /// Pages that cannot be executed.
    NoExecute,
    /// Global pages.
    Global,
    /// This protection key.
    Key(u8),
    /// These software bits.
    Software(u16),
    /// A root entry that names the root.
    SelfMap,
}

/// Why a verb has done nothing.
///
/// Whatever it says, tables and frame counts are as they were before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The mode has no such virtual address (x86-64: it is not canonical).
    NoSuchAddress(VirtAddr),
    /// The ends of the span are not on page boundaries, or no half of the address space holds both.
    BadSpan(Span),
    /// The mode, or this CPU, does not have this.
    Unsupported(Feature),
    /// The frame lies above what an entry of this mode, on this CPU, can hold.
    TooWide {
        /// The frame.
        frame: PhysAddr,
        /// How many bits there are.
        bits: u8,
    },
    /// The frames given for `at` are none, or are not aligned for a page.
    BadFrame {
        /// The address to be mapped.
        at: VirtAddr,
        /// The frame given, if one was.
        frame: Option<PhysAddr>,
    },
    /// Nothing is mapped at `at`.
    NotMapped {
        /// The address.
        at: VirtAddr,
        /// The empty entry stands for 2 to this many bytes.
        size_lg2: u8,
    },
    /// An entry of the user's own is there.
    NonPresent {
        /// The address.
        at: VirtAddr,
        /// The entry.
        raw: u64,
    },
    /// An entry with reserved bits is there; only `exchange` changes it.
    Malformed {
        /// The address.
        at: VirtAddr,
        /// The height of the table that holds it.
        height: u8,
        /// The entry.
        raw: u64,
    },
    /// Something else is there.
    Occupied {
        /// The first address that is in the way.
        at: VirtAddr,
        /// What it is.
        found: Found,
    },
    /// The entry is not the one expected.
    Changed {
        /// The address.
        at: VirtAddr,
        /// The entry that is there.
        raw: u64,
    },
    /// This raw value cannot be put there: it names a table, sets reserved bits, or is too wide.
    BadRaw(u64),
    /// The pages at `at` are not one huge page in pieces.
    NotOnePage {
        /// The first page that does not fit the ones before it.
        at: VirtAddr,
    },
    /// The host has no frame for a table.
    OutOfMemory(Request),
    /// The host gave a frame for a table that is not what was asked for. It was given back.
    BadTable {
        /// The frame.
        table: PhysAddr,
        /// What was asked for.
        request: Request,
    },
    /// The host cannot reach a table of the tree.
    Unreachable {
        /// The table.
        table: PhysAddr,
        /// Its height.
        height: u8,
    },
    /// The address, or the table in question, is not this space's to change: it belongs to the
    /// kernel's half, or has names that this space does not know.
    Shared {
        /// The address.
        at: VirtAddr,
    },
    /// The address belongs to the self-map.
    SelfMap {
        /// The address.
        at: VirtAddr,
    },
    /// A table entry has a bit set that is the crate's own (x86: bits 9 and 10).
    SoftwareBits {
        /// The first address that it serves.
        at: VirtAddr,
        /// The entry.
        raw: u64,
    },
    /// A table names itself, or one above it, and was not declared as a self-map.
    Cycle {
        /// The first address that the entry serves.
        at: VirtAddr,
        /// The table that it names.
        table: PhysAddr,
    },
    /// The root cell is in use, or, for a tree to adopt, empty or not able to be a root.
    BadRoot(PhysAddr),
    /// The host's list of roots does not take this root: it has no room, or there is a kernel's own
    /// space already; or this root, the kernel's, is not on it.
    RootList(PhysAddr),
    /// Tables of this height are not moved in such a space: its config says so.
    Refused {
        /// The height of the table.
        height: u8,
    },
    /// No table of the space is at this frame.
    NoTable(PhysAddr),
    /// The gather is another space's.
    OtherGather,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Leaf { frame, size_lg2 } => write!(f, "a page of 2^{size_lg2} bytes at {frame}"),
            Self::Table { table, height } => write!(f, "a table of height {height} at {table}"),
            Self::NonPresent { raw } => write!(f, "the non-present entry {raw:#x}"),
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PageSize(size_lg2) => write!(f, "pages of 2^{size_lg2} bytes"),
            Self::NoRead => f.write_str("pages that cannot be read"),
            Self::NoExecute => f.write_str("pages that cannot be executed"),
            Self::Global => f.write_str("global pages"),
            Self::Key(key) => write!(f, "protection key {key}"),
            Self::Software(bits) => write!(f, "the software bits {bits:#x}"),
            Self::SelfMap => f.write_str("a self-map"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoSuchAddress(at) => write!(f, "{at} is no address of this mode"),
            Self::BadSpan(span) => write!(f, "{span:?} is no run of pages of this mode"),
            Self::Unsupported(feature) => write!(f, "not to be had here: {feature}"),
            Self::TooWide { frame, bits } => write!(f, "{frame} has more than {bits} bits"),
            Self::BadFrame { at, frame } => write!(f, "for {at} there is no frame: {frame:?}"),
            Self::NotMapped { at, size_lg2 } => write!(f, "{at}: a hole of 2^{size_lg2} bytes"),
            Self::NonPresent { at, raw } => write!(f, "{at} has the non-present entry {raw:#x}"),
            Self::Malformed { at, height, raw } => {
                write!(f, "reserved bits in entry {raw:#x} of height {height} for {at}")
            }
            Self::Occupied { at, found } => write!(f, "at {at} there is {found}"),
            Self::Changed { at, raw } => write!(f, "{at} has the entry {raw:#x} by now"),
            Self::BadRaw(raw) => write!(f, "{raw:#x} is no leaf and no non-present entry"),
            Self::NotOnePage { at } => write!(f, "the page at {at} does not go on the one before"),
            Self::OutOfMemory(Request { height, serving, .. }) => {
                write!(f, "no frame for a table of height {height} to serve {serving}")
            }
            Self::BadTable { table, request } => write!(
                f,
                "{table} cannot be a table of 2^{} bytes up to {}",
                request.size_lg2, request.highest
            ),
            Self::Unreachable { table, height } => {
                write!(f, "the table of height {height} at {table} cannot be reached")
            }
            Self::Shared { at } => write!(f, "{at} is not this space's to change"),
            Self::SelfMap { at } => write!(f, "{at} belongs to the self-map"),
            Self::SoftwareBits { at, raw } => {
                write!(f, "table entry {raw:#x} for {at} uses software bits that are not its own")
            }
            Self::Cycle { at, table } => write!(f, "the entry for {at} names {table} above it"),
            Self::BadRoot(root) => write!(f, "{root} cannot be the root"),
            Self::Refused { height } => write!(f, "tables of height {height} are not moved here"),
            Self::NoTable(frame) => write!(f, "no table of the space is at {frame}"),
            Self::OtherGather => f.write_str("the gather is another space's"),
            Self::RootList(root) => write!(f, "the list of roots does not take {root}"),
        }
    }
}

impl core::error::Error for Error {}
