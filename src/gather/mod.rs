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
mod run;
mod token;

pub use token::{Flushed, Gone, Unmapped};

use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::level::{Error, Extent, PageTableLevel, SpaceId, Stale};
use crate::table::{Host, Table, give_back, table_lg2};
use arrayvec::ArrayVec;
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering, fence};
use run::Run;

/// A lifetime that can be neither stretched nor shrunk.
pub(crate) type Brand<'g> = PhantomData<fn(&'g ()) -> &'g ()>;

/// Whose a gather is: a number that no other space of this program has, before or after. (The place of
/// a root cell, by which a host knows a space, is that of the next one as well.)
///
/// Where numbers have 32 bits, a gather would have to outlive two billion spaces to meet its own again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    number: usize,
    /// By this its host knows it.
    space: SpaceId,
}

impl Owner {
    /// Numbers are odd.
    const NOBODY: Self = Self { number: 0, space: SpaceId::NONE };

    pub(crate) fn new(space: SpaceId) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Self { number: NEXT.fetch_add(2, Ordering::Relaxed), space }
    }
}

impl PartialEq for Owner {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
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
    /// Whose it is, if it is somebody's yet.
    owner: Owner,
    run: Run,
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
            owner: Owner::NOBODY,
            run: Run::NONE,
            brand: PhantomData,
        })
    }
}

impl<'g> Gather<'g> {
    /// What is stale so far.
    #[must_use]
    pub fn stale(&self) -> Stale {
        let mut stale = self.stale.clone();
        self.run.end(&mut stale, self.owner.space);
        stale
    }

    /// How many unlinked tables wait to be freed.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Makes it the gather of one space; refused if it is another one's, whose host would not be told.
    #[inline]
    pub(crate) fn bind(&mut self, owner: Owner) -> Result<(), Error> {
        if self.owner == owner { Ok(()) } else { self.bind_anew(owner) }
    }

    #[cold]
    fn bind_anew(&mut self, owner: Owner) -> Result<(), Error> {
        if self.owner != Owner::NOBODY {
            return Err(Error::OtherGather);
        }
        self.owner = owner;
        Ok(())
    }

    /// Whether the pages from `first` on, of so many bytes, begin where the last span ended, or are its
    /// end, of those whose translations are stale in the space that it belongs to, and not global. Then
    /// they have been added.
    #[inline(always)]
    pub(crate) fn goes_on(&mut self, first: VirtAddr, bytes: u64) -> bool {
        self.run.goes_on(first, bytes)
    }

    /// Such a span is stale.
    pub(crate) fn add_local(&mut self, span: Span) {
        self.run.take(span, &mut self.stale, self.owner.space);
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
        self.run.end(&mut self.stale, self.owner.space);
        self.run = Run::NONE;
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
            .field("stale", &self.stale())
            .field("tables", &self.tables.len())
            .finish()
    }
}
