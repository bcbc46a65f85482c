//! What went stale, and what may be used again once it is not.
//!
//! Verbs that take something away are handed a [`Gather`]. It collects the spans whose translations
//! CPUs may still hold, and the tables that were unlinked. Finishing it makes every CPU drop them,
//! frees the tables, and gives a [`Flushed`]: the only thing that a frame which unmap has taken away
//! opens against. So no frame is used again while a CPU can still reach it.
//!
//! Which gather a frame belongs to is checked by the compiler. [`Gather::scope`] gives each one a
//! lifetime of its own, `'g`, that is equal to no other; the frames that its verbs answer with, and
//! its `Flushed`, carry the same one. Nothing of this exists at run time.
//!
//! ```
//! # use pgtable::{Unmapped, Flushed, PhysAddr};
//! fn take<'g>(frame: Unmapped<'g>, flushed: &Flushed<'g>) -> PhysAddr {
//!     frame.open(flushed)
//! }
//! ```
//!
//! ```compile_fail
//! # use pgtable::{Unmapped, Flushed, PhysAddr};
//! // A frame of one gather does not open against another one.
//! fn cheat<'a, 'b>(frame: Unmapped<'a>, other: &Flushed<'b>) -> PhysAddr {
//!     frame.open(other)
//! }
//! ```

mod note;
mod token;

pub use token::{Flushed, Gone, Unmapped};

use crate::addr::{PhysAddr, Span};
use crate::level::{Error, Extent, PageTableLevel, SpaceId, Stale};
use crate::table::{Host, Table, give_back, table_lg2};
use arrayvec::ArrayVec;
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

/// A lifetime that can be neither stretched nor shrunk.
pub(crate) type Brand<'g> = PhantomData<fn(&'g ()) -> &'g ()>;

/// Whose a gather is: a number that no other space of this program has, before or after. (The place of
/// a root cell, by which a host knows a space, is that of the next one as well.)
///
/// Where numbers have 32 bits, a gather would have to outlive four billion spaces to meet its own again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(usize);

impl Owner {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A table that no live table names any more.
#[derive(Clone, Copy)]
struct Unlinked {
    frame: PhysAddr,
    height: u8,
    size_lg2: u8,
}

/// Collects what went stale, until it is finished.
///
/// It belongs to the space that uses it first. One that is dropped unfinished leaks its tables and
/// never frees them, and its frames stay shut; what it knew to be stale stays so: pages protected or
/// scanned with it may be written through old translations for as long as CPUs keep these. When it is
/// full, the verb at work makes a shootdown of its own and goes on.
#[must_use = "nothing is flushed or freed until it is finished"]
pub struct Gather<'g> {
    stale: Stale,
    tables: ArrayVec<Unlinked, { Gather::MAX_TABLES }>,
    owner: Option<Owner>,
    brand: Brand<'g>,
}

impl Gather<'_> {
    /// How many unlinked tables it can hold.
    pub const MAX_TABLES: usize = 64;
}

impl Gather<'_> {
    /// Runs `work` with a new gather, whose lifetime is like no other.
    pub fn scope<R>(work: impl for<'g> FnOnce(Gather<'g>) -> R) -> R {
        work(Gather {
            stale: Stale::nothing(),
            tables: ArrayVec::new(),
            owner: None,
            brand: PhantomData,
        })
    }
}

impl<'g> Gather<'g> {
    /// What is stale so far.
    #[must_use]
    pub const fn stale(&self) -> &Stale {
        &self.stale
    }

    /// How many unlinked tables wait to be freed.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Makes it the gather of one space; refused if it is another one's, whose host would not be told.
    #[inline]
    pub(crate) fn bind(&mut self, owner: Owner) -> Result<(), Error> {
        if *self.owner.get_or_insert(owner) == owner { Ok(()) } else { Err(Error::OtherGather) }
    }

    /// Something is stale in one space, or (`None`) in every one.
    #[inline]
    pub(crate) fn add(&mut self, extent: Extent, span: Span, space: Option<SpaceId>, global: bool) {
        self.stale.add(extent, span, space, global);
    }

    /// Pointers to tables have gone stale, too.
    pub(crate) fn add_tables(&mut self) {
        self.stale.add_tables();
    }

    /// A table is named by nothing any more, and the span that it served has been added. A gather
    /// that is full now is flushed at once.
    pub(crate) fn unlinked<L: PageTableLevel, H: Host>(&mut self, table: Table<L>, host: &H) {
        self.stale.add_tables();
        let (frame, height, size_lg2) = (table.frame(), L::LEVEL.height, table_lg2::<L>());
        // There is always room for one: if not, the table would leak, which is safe.
        let _ = self.tables.try_push(Unlinked { frame, height, size_lg2 });
        if self.tables.is_full() {
            self.flush(host);
        }
    }

    /// Makes every CPU drop what is stale, then frees the tables.
    ///
    /// A shootdown that panics leaves them unfreed.
    pub(crate) fn flush<H: Host>(&mut self, host: &H) {
        if self.stale.extent() != Extent::Nothing {
            // Pairs with the fence of a CPU that marks itself active and then reads the root: it is
            // seen by the shootdown, or it sees what was written before.
            fence(Ordering::SeqCst);
            host.shoot_down(&self.stale);
            self.stale.clear();
        }
        while let Some(table) = self.tables.pop() {
            host.table_gone(table.frame, table.height);
            give_back(host, table.frame, table.height, table.size_lg2);
        }
    }

    pub(crate) fn flushed(self) -> Flushed<'g> {
        Flushed::new()
    }
}

impl fmt::Debug for Gather<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather")
            .field("stale", &self.stale)
            .field("tables", &self.tables.len())
            .finish()
    }
}
