//! Addresses, spans and pages: plain numbers with their kind in the type.
//!
//! Both kinds of address are 64 bits wide on every host, also on a 32-bit one whose tables reach
//! further than its pointers (PAE, PSE-36). Whether an address fits a paging mode is asked when it
//! is used: a mode refuses what is too wide for it, and never cuts it down.

mod page;
mod span;

pub use page::{Frame, Page, PageSize, Size1GiB, Size2MiB, Size4KiB, Size4MiB};
pub use span::Span;

use core::fmt;

/// A physical address.
///
/// ```
/// use pgtable::PhysAddr;
/// assert!(PhysAddr(0x20_0000).is_aligned(21));
/// assert_eq!(PhysAddr(0x20_0000).to_string(), "0x200000");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PhysAddr(pub u64);

/// A virtual address.
///
/// It is written as the CPU uses it: in a mode that sign-extends (x86-64), the upper half starts at
/// `0xffff_8000_0000_0000`; in a 32-bit mode nothing lies above `0xffff_ffff`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VirtAddr(pub u64);

impl PhysAddr {
    /// Whether the address is a multiple of 2 to the `size_lg2`.
    #[must_use]
    #[inline]
    pub const fn is_aligned(self, size_lg2: u8) -> bool {
        self.0 & low_bits(size_lg2) == 0
    }

    /// Whether the address is below 2 to the `bits`.
    #[must_use]
    #[inline]
    pub const fn fits(self, bits: u8) -> bool {
        self.0 & !low_bits(bits) == 0
    }
}

impl VirtAddr {
    /// Whether the address is a multiple of 2 to the `size_lg2`.
    #[must_use]
    #[inline]
    pub const fn is_aligned(self, size_lg2: u8) -> bool {
        self.0 & low_bits(size_lg2) == 0
    }

    /// The next lower multiple of 2 to the `size_lg2`, or the address itself.
    #[must_use]
    #[inline]
    pub const fn align_down(self, size_lg2: u8) -> Self {
        Self(self.0 & !low_bits(size_lg2))
    }
}

/// A word with its lowest `bits` set: an offset mask, or the last byte of a size.
///
/// Every width is meant, 0 and 64 included, where a plain shift would overflow.
#[must_use]
#[inline]
pub const fn low_bits(bits: u8) -> u64 {
    match 1u64.checked_shl(bits as u32) {
        Some(one) => one.wrapping_sub(1),
        None => u64::MAX,
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhysAddr({:#x})", self.0)
    }
}

impl fmt::Display for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtAddr({:#x})", self.0)
    }
}

impl fmt::Display for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
