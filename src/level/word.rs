//! The two widths of an entry.

use core::sync::atomic::{AtomicU32, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    #[cfg(target_has_atomic = "64")]
    impl Sealed for u64 {}
    #[cfg(feature = "model")]
    impl<W: Sealed, S> Sealed for crate::level::Stepped<W, S> {}
}

/// The raw value of an entry: `u32` or `u64`.
///
/// Everything but the memory access itself handles raw values as `u64`; a format of 32-bit words
/// never sets the upper half. `u64` is a word only where the CPU has 64-bit atomics: an entry
/// written as two halves would show a mixed entry to the MMU.
pub trait Word: sealed::Sealed + Copy + 'static {
    /// The width in bytes is 2 to this.
    const BYTES_LG2: u8;
    /// The word as memory that the MMU reads and writes too.
    type Atomic: 'static;
    /// The word as memory that nobody else knows of yet.
    type Plain: Word + FromBytes + IntoBytes + KnownLayout + Immutable;

    /// The word for `raw`, whose bits above the width are clear.
    fn from_raw(raw: u64) -> Self;
    /// The word's value.
    fn raw(self) -> u64;
    /// Reads (Acquire).
    fn load(at: &Self::Atomic) -> u64;
    /// Reads a word that nobody else touches now: the compiler may read several at once.
    fn get(at: &mut Self::Atomic) -> u64;
    /// Writes (Release), for words that the MMU does not write: those that are not present.
    fn store(at: &Self::Atomic, raw: u64);
    /// Writes, and tells what was there, with what hardware had set by then.
    fn swap(at: &Self::Atomic, raw: u64) -> u64;
    /// Writes if `was` is there; if not, tells what is.
    ///
    /// # Errors
    /// The value found, if it was not `was`.
    fn compare_exchange(at: &Self::Atomic, was: u64, raw: u64) -> Result<u64, u64>;
    /// Sets bits, and tells what was there.
    fn fetch_or(at: &Self::Atomic, bits: u64) -> u64;
    /// Keeps only the bits of a mask, and tells what was there.
    fn fetch_and(at: &Self::Atomic, mask: u64) -> u64;
}

impl Word for u32 {
    const BYTES_LG2: u8 = 2;
    type Atomic = AtomicU32;
    type Plain = Self;

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the upper half is clear by contract
    fn from_raw(raw: u64) -> Self {
        raw as Self
    }
    #[inline]
    fn raw(self) -> u64 {
        self.into()
    }
    #[inline]
    fn load(at: &AtomicU32) -> u64 {
        at.load(Ordering::Acquire).raw()
    }
    #[inline]
    fn get(at: &mut AtomicU32) -> u64 {
        at.get_mut().raw()
    }
    #[inline]
    fn store(at: &AtomicU32, raw: u64) {
        at.store(Self::from_raw(raw), Ordering::Release);
    }
    #[inline]
    fn swap(at: &AtomicU32, raw: u64) -> u64 {
        at.swap(Self::from_raw(raw), Ordering::AcqRel).raw()
    }
    #[inline]
    fn compare_exchange(at: &AtomicU32, was: u64, raw: u64) -> Result<u64, u64> {
        let (was, raw) = (Self::from_raw(was), Self::from_raw(raw));
        at.compare_exchange(was, raw, Ordering::AcqRel, Ordering::Acquire)
            .map(Self::raw)
            .map_err(Self::raw)
    }
    #[inline]
    fn fetch_or(at: &AtomicU32, bits: u64) -> u64 {
        at.fetch_or(Self::from_raw(bits), Ordering::AcqRel).raw()
    }
    #[inline]
    fn fetch_and(at: &AtomicU32, mask: u64) -> u64 {
        at.fetch_and(Self::from_raw(mask), Ordering::AcqRel).raw()
    }
}

#[cfg(target_has_atomic = "64")]
impl Word for u64 {
    const BYTES_LG2: u8 = 3;
    type Atomic = core::sync::atomic::AtomicU64;
    type Plain = Self;

    #[inline]
    fn from_raw(raw: u64) -> Self {
        raw
    }
    #[inline]
    fn raw(self) -> u64 {
        self
    }
    #[inline]
    fn load(at: &Self::Atomic) -> u64 {
        at.load(Ordering::Acquire)
    }
    #[inline]
    fn get(at: &mut Self::Atomic) -> u64 {
        *at.get_mut()
    }
    #[inline]
    fn store(at: &Self::Atomic, raw: u64) {
        at.store(raw, Ordering::Release);
    }
    #[inline]
    fn swap(at: &Self::Atomic, raw: u64) -> u64 {
        at.swap(raw, Ordering::AcqRel)
    }
    #[inline]
    fn compare_exchange(at: &Self::Atomic, was: u64, raw: u64) -> Result<u64, u64> {
        at.compare_exchange(was, raw, Ordering::AcqRel, Ordering::Acquire)
    }
    #[inline]
    fn fetch_or(at: &Self::Atomic, bits: u64) -> u64 {
        at.fetch_or(bits, Ordering::AcqRel)
    }
    #[inline]
    fn fetch_and(at: &Self::Atomic, mask: u64) -> u64 {
        at.fetch_and(mask, Ordering::AcqRel)
    }
}
