#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "model")]
extern crate std;

pub mod addr;
pub mod gather;
pub mod level;
mod limbo;
mod map;
#[cfg(feature = "model")]
pub mod model;
mod relocate;
pub mod space;
pub mod table;
mod walk;

#[path = "../arch/mod.rs"]
pub mod arch;

pub use addr::{
    Frame, Page, PageSize, PhysAddr, Size1GiB, Size2MiB, Size4KiB, Size4MiB, Span, VirtAddr,
};
pub use gather::{Flushed, Gather, Gone, Unmapped};
pub use level::{
    Above, Arch, Attrs, Caching, Change, Config, Entry, Error, Extent, Feature, Fields, Format,
    Found, Glance, HasP4d, HasPmd, HasPud, Last, Level, Limits, MemoryType, MemoryTypes,
    NamesTables, PageTableLevel, Reload, Request, Rights, SpaceId, Stale, Strategy, Word, levels,
};
#[cfg(feature = "model")]
pub use level::{Stepped, SteppedFormat, Steps, WordAccess};
pub use map::{FrameRun, Used, UsedPage};
pub use relocate::{Moved, Placement, Statistics, TableAt};
pub use space::{Cursor, KernelHalf, Mappings, Session, Setup, Space, View, Visited};
pub use table::{CopyTable, Host, NoRoots, RootCell, Roots};
pub use walk::{Mapped, Mapping, Names, Step};
