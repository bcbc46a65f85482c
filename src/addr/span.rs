//! Runs of virtual addresses.

use super::{VirtAddr, low_bits};
use core::fmt;

/// A run of bytes in an address space, from its first byte to its last one.
///
/// Both ends belong to it, so a span can end at the last byte of the address space, and none is
/// empty.
///
/// ```
/// use pgtable::{Span, VirtAddr};
/// let top = Span::new(VirtAddr(0xffff_ffff_ffff_f000), 0x1000).unwrap();
/// assert_eq!(top.last(), VirtAddr(u64::MAX));
/// assert_eq!(Span::new(VirtAddr(0x1000), 0), None);      // nothing
/// assert_eq!(Span::new(VirtAddr(u64::MAX), 2), None);    // past the end
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    first: u64,
    last: u64,
}

impl Span {
    /// The span of `bytes` bytes from `start`; `None` if that is nothing, or reaches past the last
    /// 64-bit address.
    #[must_use]
    #[inline]
    pub const fn new(start: VirtAddr, bytes: u64) -> Option<Self> {
        match bytes.checked_sub(1) {
            None => None,
            Some(rest) => match start.0.checked_add(rest) {
                None => None,
                Some(last) => Some(Self { first: start.0, last }),
            },
        }
    }

    /// The span from the byte at `first` to the byte at `last`, both included; `None` if `last`
    /// comes before `first`.
    #[must_use]
    #[inline]
    pub const fn inclusive(first: VirtAddr, last: VirtAddr) -> Option<Self> {
        if first.0 <= last.0 { Some(Self { first: first.0, last: last.0 }) } else { None }
    }

    /// The aligned block of 2 to the `size_lg2` bytes that holds `at`.
    #[must_use]
    #[inline]
    pub const fn around(at: VirtAddr, size_lg2: u8) -> Self {
        let mask = low_bits(size_lg2);
        Self { first: at.0 & !mask, last: at.0 | mask }
    }

    /// Every 64-bit address.
    pub const ALL: Self = Self { first: 0, last: u64::MAX };

    /// The first byte.
    #[must_use]
    #[inline]
    pub const fn first(self) -> VirtAddr {
        VirtAddr(self.first)
    }

    /// The last byte.
    #[must_use]
    #[inline]
    pub const fn last(self) -> VirtAddr {
        VirtAddr(self.last)
    }

    /// The number of bytes less one: the whole 64-bit space has 2 to the 64 bytes.
    #[must_use]
    #[inline]
    pub const fn bytes_less_one(self) -> u64 {
        self.last.wrapping_sub(self.first)
    }

    /// Whether both ends lie on a boundary of 2 to the `size_lg2` bytes.
    #[must_use]
    #[inline]
    pub const fn is_aligned(self, size_lg2: u8) -> bool {
        let mask = low_bits(size_lg2);
        self.first & mask == 0 && self.last & mask == mask
    }

    /// Whether every byte of `other` is in this span.
    #[must_use]
    #[inline]
    pub const fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether the byte at `at` is in this span.
    #[must_use]
    #[inline]
    pub const fn contains(self, at: VirtAddr) -> bool {
        self.first <= at.0 && at.0 <= self.last
    }

    /// What of it lies from `first`, a byte of it, to `last`, which does not come before that.
    #[inline]
    pub(crate) fn cut(self, first: VirtAddr, last: VirtAddr) -> Self {
        Self { first: first.0, last: self.last.min(last.0) }
    }

    /// The bytes that both spans have.
    #[must_use]
    #[inline]
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::inclusive(VirtAddr(self.first.max(other.first)), VirtAddr(self.last.min(other.last)))
    }

    /// The smallest span that has the bytes of both, where these touch or overlap.
    #[must_use]
    #[inline]
    pub fn join(self, other: Self) -> Option<Self> {
        let apart = |a: Self, b: Self| a.last.checked_add(1).is_some_and(|next| next < b.first);
        if apart(self, other) || apart(other, self) {
            return None;
        }
        Some(Self { first: self.first.min(other.first), last: self.last.max(other.last) })
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..={:#x}", self.first, self.last)
    }
}
