//! Frames that are to become tables.

use super::{AtomicOf, Host, Table, Words, give_back, table_lg2};
use crate::addr::{PhysAddr, VirtAddr};
use crate::level::{Error, Format, PageTableLevel, Request};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// What was in the words of a table when they were copied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copied {
    /// The bitwise OR of them all.
    pub(crate) any: u64,
    /// Their sum, modulo 2 to the 64.
    pub(crate) sum: u64,
}

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

    /// Fills it with the words of a live table, and tells what these were. Hardware may write to the
    /// original meanwhile: what it sets is found there.
    #[inline]
    pub(crate) fn copy(&mut self, of: Table<L>) -> Copied {
        let (from, to) = (of.live(), Words::<L>::from_reached(self.first));
        let mut copied = Copied::default();
        for index in 0..L::LEVEL.entries() {
            let raw = from.load(index);
            copied.any |= raw;
            copied.sum = copied.sum.wrapping_add(raw);
            to.store(index, L::Format::copied(L::LEVEL, raw));
        }
        copied
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
