//! What unmap answers with.

use super::Brand;
use crate::addr::{PhysAddr, VirtAddr};
use crate::level::Attrs;
use core::marker::PhantomData;

/// The proof that every CPU has dropped what its gather had collected.
#[derive(Debug)]
pub struct Flushed<'g>(Brand<'g>);

impl Flushed<'_> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

/// A page that was unmapped. CPUs may still hold its translation, so its frame is shut until the
/// gather of the call is finished.
#[must_use = "the frame is lost if nobody takes it"]
#[derive(Debug)]
pub struct Unmapped<'g> {
    /// Its first address.
    pub at: VirtAddr,
    /// It had 2 to this many bytes.
    pub size_lg2: u8,
    /// What the leaf said at the end, accessed and dirty included: what a CPU does later faults, or
    /// goes through a translation whose dirty bit is in this answer.
    pub attrs: Attrs,
    frame: PhysAddr,
    brand: Brand<'g>,
}

impl<'g> Unmapped<'g> {
    pub(crate) const fn new(at: VirtAddr, size_lg2: u8, attrs: Attrs, frame: PhysAddr) -> Self {
        Self { at, size_lg2, attrs, frame, brand: PhantomData }
    }

    /// The frame, for any use.
    #[must_use]
    pub fn open(self, _: &Flushed<'g>) -> PhysAddr {
        self.frame
    }

    /// The frame's address, to be looked at: for a page that other spaces map as well, say, whose
    /// reference count decides. A CPU can still reach it.
    #[must_use]
    pub const fn peek(&self) -> PhysAddr {
        self.frame
    }
}

/// What unmap found, entry by entry.
#[derive(Debug)]
#[non_exhaustive]
pub enum Gone<'g> {
    /// A page, unmapped now.
    Page(Unmapped<'g>),
    /// An entry of the user's own, cleared now.
    NonPresent {
        /// The first address that it stood for.
        at: VirtAddr,
        /// It stood for 2 to this many bytes.
        size_lg2: u8,
        /// Its raw value.
        raw: u64,
    },
    /// An entry with reserved bits. It was left where it is.
    Malformed {
        /// The first address that it stands for.
        at: VirtAddr,
        /// It stands for 2 to this many bytes.
        size_lg2: u8,
        /// Its raw value.
        raw: u64,
    },
}

impl<'g> Gone<'g> {
    /// The page, if it was one.
    #[must_use]
    pub fn page(self) -> Option<Unmapped<'g>> {
        match self {
            Self::Page(page) => Some(page),
            Self::NonPresent { .. } | Self::Malformed { .. } => None,
        }
    }
}
