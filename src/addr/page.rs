//! Pages and frames, with their size in the type.

use super::{PhysAddr, Span, VirtAddr};
use core::fmt;
use core::marker::PhantomData;

/// A page size. A mode that has no leaf of this size refuses it when it is used.
pub trait PageSize: Copy + 'static {
    /// The size in bytes is 2 to this.
    const SIZE_LG2: u8;
}

/// The base page of x86: 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size4KiB {}
/// The huge page of PAE and x86-64: 2 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size2MiB {}
/// The huge page of x86 without PAE: 4 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size4MiB {}
/// The largest page of x86-64: 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size1GiB {}

impl PageSize for Size4KiB {
    const SIZE_LG2: u8 = 12;
}
impl PageSize for Size2MiB {
    const SIZE_LG2: u8 = 21;
}
impl PageSize for Size4MiB {
    const SIZE_LG2: u8 = 22;
}
impl PageSize for Size1GiB {
    const SIZE_LG2: u8 = 30;
}

/// An aligned page of an address space.
///
/// ```
/// use pgtable::{Page, Size2MiB, VirtAddr};
/// assert!(Page::<Size2MiB>::new(VirtAddr(0x20_0000)).is_some());
/// assert!(Page::<Size2MiB>::new(VirtAddr(0x20_1000)).is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Page<S: PageSize = Size4KiB>(VirtAddr, PhantomData<S>);

/// An aligned frame of physical memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame<S: PageSize = Size4KiB>(PhysAddr, PhantomData<S>);

impl<S: PageSize> Page<S> {
    /// The page that starts at `start`; `None` if that is not aligned.
    #[must_use]
    #[inline]
    pub const fn new(start: VirtAddr) -> Option<Self> {
        if start.is_aligned(S::SIZE_LG2) { Some(Self(start, PhantomData)) } else { None }
    }

    /// The page that holds the byte at `at`.
    #[must_use]
    #[inline]
    pub const fn containing(at: VirtAddr) -> Self {
        Self(at.align_down(S::SIZE_LG2), PhantomData)
    }

    /// The first byte.
    #[must_use]
    #[inline]
    pub const fn start(self) -> VirtAddr {
        self.0
    }

    /// All bytes.
    #[must_use]
    #[inline]
    pub const fn span(self) -> Span {
        Span::around(self.0, S::SIZE_LG2)
    }
}

impl<S: PageSize> Frame<S> {
    /// The frame that starts at `start`; `None` if that is not aligned.
    #[must_use]
    #[inline]
    pub const fn new(start: PhysAddr) -> Option<Self> {
        if start.is_aligned(S::SIZE_LG2) { Some(Self(start, PhantomData)) } else { None }
    }

    /// The first byte.
    #[must_use]
    #[inline]
    pub const fn start(self) -> PhysAddr {
        self.0
    }
}

impl<S: PageSize> fmt::Debug for Page<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({}, 2^{} bytes)", self.0, S::SIZE_LG2)
    }
}

impl<S: PageSize> fmt::Debug for Frame<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}, 2^{} bytes)", self.0, S::SIZE_LG2)
    }
}
