//! Frames that are to become tables.

use super::words::private;
use super::{AtomicOf, Host, PlainOf, Table, Words, give_back, table_lg2};
use crate::addr::{PhysAddr, VirtAddr};
use crate::level::{Error, Format, PageTableLevel, Request, Word};
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;

/// A frame for a table of level `L`, which keeps to what was asked for. It is no table yet; dropped,
/// it goes back to the host.
pub(crate) struct Spare<'h, L: PageTableLevel, H: Host> {
    host: &'h H,
    pub(super) frame: PhysAddr,
    pub(super) first: NonNull<u8>,
    level: PhantomData<L>,
}

impl<'h, L: PageTableLevel, H: Host> Spare<'h, L, H> {
    /// Asks the host for a frame with addresses of at most `highest`.
    #[inline]
    pub(crate) fn new(
        host: &'h H,
        highest: PhysAddr,
        node: Option<u32>,
        serving: VirtAddr,
    ) -> Result<Self, Error> {
        let request =
            Request { height: L::LEVEL.height, size_lg2: table_lg2::<L>(), highest, node, serving };
        let frame = host.allocate(&request).ok_or(Error::OutOfMemory(request))?;
        match accept::<L, H>(host, frame, &request) {
            Some(first) => Ok(Self { host, frame, first, level: PhantomData }),
            None => {
                give_back(host, frame, request.height, request.size_lg2);
                Err(Error::BadTable { table: frame, request })
            }
        }
    }

    /// The frame.
    pub(crate) fn frame(&self) -> PhysAddr {
        self.frame
    }

    /// Fills it with the words of a live table, and tells the sum of these, modulo 2 to the 64. Hardware
    /// may write to the original meanwhile: what it sets is found there, and neither in the sum nor, it
    /// may be, in the copy.
    #[inline]
    pub(crate) fn copy(&mut self, of: Table<L>) -> u64 {
        let from = of.live();
        let sum = match self.host.copy_table() {
            Some(copy_table) => {
                // Before the copy: what is in the sum is in the copy, too.
                let sum = from.sum();
                // SAFETY: both are valid for a table's bytes, by the contract of `Host::reach`; the first
                // is a live table, and the other frame is nobody else's yet.
                unsafe { copy_table(from.first, self.first, table_lg2::<L>()) };
                sum
            }
            None => self.copy_words(from),
        };
        for word in self.words() {
            // SAFETY: written right above, one way or the other.
            let raw = unsafe { word.assume_init() }.raw();
            word.write(Word::from_raw(L::Format::copied(L::LEVEL, raw)));
        }
        sum
    }

    fn copy_words(&mut self, from: Words<L>) -> u64 {
        let mut sum = 0_u64;
        for (index, word) in self.words().iter_mut().enumerate() {
            let raw = from.load(index);
            sum = sum.wrapping_add(raw);
            word.write(Word::from_raw(raw));
        }
        sum
    }

    fn words(&mut self) -> &mut [MaybeUninit<PlainOf<L>>] {
        // SAFETY: `accept` has seen to the alignment, and the frame is nobody else's while it is spare.
        unsafe { private::<L>(self.first) }
    }

    /// It is filled now, and a table: it stands in for `of`.
    pub(crate) fn into_live(self, of: Table<L>) -> Table<L> {
        let spare = ManuallyDrop::new(self);
        let live = Words::from_reached(spare.first);
        let table = Table { live, frame: spare.frame, twin: None };
        table.count_as(of, spare.host);
        spare.host.table_made(spare.frame, L::LEVEL.height);
        table
    }
}

impl<L: PageTableLevel, H: Host> Drop for Spare<'_, L, H> {
    fn drop(&mut self) {
        give_back(self.host, self.frame, L::LEVEL.height, table_lg2::<L>());
    }
}

/// Where a frame is reached, if it keeps to the request.
#[inline]
fn accept<L: PageTableLevel, H: Host>(
    host: &H,
    frame: PhysAddr,
    request: &Request,
) -> Option<NonNull<u8>> {
    // A word that names frame 0 could be zero but for its present bits, and look empty when staged.
    let nowhere = frame.0 == 0 || !frame.is_aligned(table_lg2::<L>());
    let elsewhere =
        request.node.is_some() && host.node(frame).is_some_and(|node| request.node != Some(node));
    // The highest address ends a run of a table's size: an aligned frame is below it as a whole.
    if nowhere || elsewhere || frame.0 > request.highest.0 {
        return None;
    }
    host.reach(frame, request.size_lg2).filter(|first| first.cast::<AtomicOf<L>>().is_aligned())
}
