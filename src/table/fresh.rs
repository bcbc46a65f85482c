//! Tables that nobody names yet.

use super::spare::Spare;
use super::{Host, PlainOf, Table, Words, give_back, table_lg2};
use crate::addr::{PhysAddr, VirtAddr};
use crate::level::{Entry, Error, Format, Limits, PageTableLevel, Word};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use zerocopy::FromBytes;

/// A new table, with all that hangs below it: private until its word is written into a live table.
///
/// Dropped before that, it gives itself and everything below back to the host: never linked, it
/// needs no shootdown.
pub(crate) struct Fresh<'h, L: PageTableLevel, H: Host> {
    host: &'h H,
    limits: Limits,
    frame: PhysAddr,
    /// What the host answered for the frame.
    first: NonNull<u8>,
    words: &'h mut [PlainOf<L>],
}

impl<'h, L: PageTableLevel, H: Host> Fresh<'h, L, H> {
    /// Asks the host for a frame with addresses of at most `phys_bits`, and zeroes it.
    pub(crate) fn new(
        host: &'h H,
        limits: Limits,
        phys_bits: u8,
        serving: VirtAddr,
    ) -> Result<Self, Error> {
        let spare = ManuallyDrop::new(Spare::<L, H>::new(host, phys_bits, None, serving)?);
        let (frame, size) =
            (spare.frame, size_of::<PlainOf<L>>().saturating_mul(L::LEVEL.entries()));
        // SAFETY: by the contract of `Host`, the pointer is valid for writes of the table's `size`
        // bytes, and the frame, just allocated, is nobody else's.
        unsafe { spare.first.write_bytes(0, size) };
        // SAFETY: the same bytes, initialised above, and nobody else's until this table is linked
        // or freed, which consumes the slice.
        let bytes = unsafe { core::slice::from_raw_parts_mut(spare.first.as_ptr(), size) };
        match <[PlainOf<L>]>::mut_from_bytes(bytes) {
            Ok(words) => Ok(Self { host, limits, frame, first: spare.first, words }),
            // The host's pointer is aligned: `Spare` has looked.
            Err(_) => Err(Error::Unreachable { table: frame, height: L::LEVEL.height }),
        }
    }

    /// Takes back a table that [`into_live`](Self::into_live) let go, and that nobody has linked or
    /// seen.
    pub(crate) fn taken_back(host: &'h H, limits: Limits, frame: PhysAddr) -> Option<Self> {
        host.table_gone(frame, L::LEVEL.height);
        let first: NonNull<u8> = host.reach(frame, table_lg2::<L>())?;
        let size = 1usize.checked_shl(table_lg2::<L>().into())?;
        // SAFETY: callers give the frame of a table that `new` accepted and zeroed and that no live,
        // present entry names, so it is as private as it was then.
        let bytes = unsafe { core::slice::from_raw_parts_mut(first.as_ptr(), size) };
        let words = <[PlainOf<L>]>::mut_from_bytes(bytes).ok()?;
        Some(Self { host, limits, frame, first, words })
    }

    /// The frame it is in.
    pub(crate) fn frame(&self) -> PhysAddr {
        self.frame
    }

    /// Writes an entry: a leaf, or the word of another fresh table.
    #[inline]
    pub(crate) fn set(&mut self, index: usize, raw: u64) {
        if let Some(word) = self.words.get_mut(index) {
            *word = Word::from_raw(raw);
        }
    }

    /// Reads an entry.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> u64 {
        self.words.get(index).map_or(0, |word| word.raw())
    }

    /// Ends its being private: it is filled now, and whoever gets the handle links it.
    pub(crate) fn into_live(self) -> Table<L> {
        let fresh = ManuallyDrop::new(self);
        let (host, frame) = (fresh.host, fresh.frame);
        // Not by way of the slice, which nobody uses any more: others have the host's pointer as well.
        let live = Words::from_reached(fresh.first);
        let table = Table { live, frame, twin: None };
        table.recount(host);
        host.table_made(frame, L::LEVEL.height);
        table
    }
}

impl<L: PageTableLevel, H: Host> Drop for Fresh<'_, L, H> {
    fn drop(&mut self) {
        for index in 0..self.words.len() {
            discard::<L, H>(self.host, &self.limits, self.get(index));
        }
        give_back(self.host, self.frame, L::LEVEL.height, table_lg2::<L>());
    }
}

/// Gives back the fresh table that the word `raw` of a table of level `L` names, if it names one.
///
/// For words that [`Fresh::into_live`] stood behind and that never were present in a live table.
pub(crate) fn discard<L: PageTableLevel, H: Host>(host: &H, limits: &Limits, raw: u64) {
    if L::LEVEL.height == 0 {
        return;
    }
    if let Entry::Table(frame) = L::Format::decode(L::LEVEL, raw, limits) {
        drop(Fresh::<L::Below, H>::taken_back(host, *limits, frame));
    }
}
