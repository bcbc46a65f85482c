//! Tables nobody names any more, and CPUs may still use.
//!
//! A table that was moved leaves its old words behind, to which CPUs get through pointers that they
//! have cached. A record says which live table they are the copy of. It is found by the live table's
//! frame, and only by walks that have met the TWIN bit beside that frame's address.
//!
//! A record is *live* from before the new table is named until every CPU has dropped the old one and
//! the bits that hardware set there were merged; *settled* from then until the old frame is given
//! back. A table that is freed while a copy of it is in limbo *forsakes* that: the frame stays until
//! the batch ends, and there is nothing to merge.
//!
//! Everything here is `#[inline]`, so that a kernel whose spaces are not relocatable has none of it.

use crate::addr::{PhysAddr, VirtAddr};
use crate::level::{Extent, PageTableLevel};
use crate::table::{Host, Twins, give_back, table_lg2};
use arrayvec::ArrayVec;
use core::cell::UnsafeCell;
use core::fmt;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A table that was moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Where it was.
    pub(crate) old: PhysAddr,
    /// Where it is.
    pub(crate) new: PhysAddr,
    /// The first address that it serves, by one of its names.
    pub(crate) at: VirtAddr,
    /// Its height.
    pub(crate) height: u8,
    /// It has 2 to this many bytes.
    pub(crate) size_lg2: u8,
    /// What its words added up to when they were copied, if nobody but hardware can have written to
    /// them since.
    pub(crate) sum: Option<u64>,
}

impl Record {
    /// The table of level `L` at `old`, to be moved to `new`.
    #[inline]
    pub(crate) const fn new<L: PageTableLevel>(
        (old, new): (PhysAddr, PhysAddr),
        at: VirtAddr,
        sum: Option<u64>,
    ) -> Self {
        let (height, size_lg2) = (L::LEVEL.height, table_lg2::<L>());
        Self { old, new, at, height, size_lg2, sum }
    }
}

/// What CPUs must drop at the end of the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) extent: Extent,
    /// In every space, and global translations, too.
    pub(crate) everywhere: bool,
}

struct State {
    /// First those whose copies are still to be kept like the live tables, and merged into them.
    records: ArrayVec<Record, { Limbo::MAX_RECORDS }>,
    /// How many these are.
    live: usize,
    due: Due,
}

impl State {
    const NOTHING: Due = Due { extent: Extent::Nothing, everywhere: false };

    #[inline]
    fn live(&self) -> &[Record] {
        self.records.get(..self.live).unwrap_or_default()
    }

    /// The place of the record of the table that is live at `new`. Most often the last one is settled
    /// first, and so is found at once.
    #[inline]
    fn place(&self, new: PhysAddr) -> Option<usize> {
        self.live().iter().rposition(|record| record.new == new)
    }
}

/// The tables of one space that are in limbo.
pub(crate) struct Limbo {
    busy: AtomicBool,
    /// A shootdown has begun, and not come back.
    interrupted: AtomicBool,
    /// How many records there are.
    held: AtomicUsize,
    state: UnsafeCell<State>,
}

// SAFETY: `with` alone touches the state, one thread at a time, and the state is `Send`.
unsafe impl Sync for Limbo {}

impl fmt::Debug for Limbo {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (live, due) = self.with(|state| (state.live, state.due));
        let limbo = &mut f.debug_struct("Limbo");
        limbo.field("live", &live).field("due", &due).field("records", &Records(self)).finish()
    }
}

/// The records, each as it is when it is written.
struct Records<'l>(&'l Limbo);

impl fmt::Debug for Records<'_> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = |index| self.0.with(|state| state.records.get(index).copied());
        f.debug_list().entries((0..).map_while(record)).finish()
    }
}

impl Limbo {
    /// How many tables can be in limbo at once: as many are moved between two shootdowns.
    pub(crate) const MAX_RECORDS: usize = 64;

    #[inline]
    pub(crate) const fn new() -> Self {
        let state = State { records: ArrayVec::new_const(), live: 0, due: State::NOTHING };
        let (busy, interrupted) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { busy, interrupted, held: AtomicUsize::new(0), state: UnsafeCell::new(state) }
    }

    /// Does something short with the state, which nobody else touches meanwhile.
    #[inline]
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let order = Ordering::Acquire;
        while self.busy.compare_exchange_weak(false, true, order, Ordering::Relaxed).is_err() {
            spin_loop();
        }
        // SAFETY: `busy` was ours to set, so this is the only reference; `work` cannot keep it, and
        // does not come here again, since none of this file's closures calls anything but the state.
        let state = unsafe { &mut *self.state.get() };
        let result = work(state);
        self.held.store(state.records.len(), Ordering::Relaxed);
        self.busy.store(false, Ordering::Release);
        result
    }

    /// Notes that a shootdown begins, or that it has come back.
    #[inline]
    pub(crate) fn set_interrupted(&self, interrupted: bool) {
        self.interrupted.store(interrupted, Ordering::Relaxed);
    }

    /// Whether a shootdown has begun, and not come back: it has panicked.
    #[inline]
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Whether there is room for one more: for whoever alone holds tables here.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.held.load(Ordering::Relaxed) < Self::MAX_RECORDS
    }

    /// Holds a table that is about to lose its names. There is room for it.
    #[inline]
    pub(crate) fn hold(&self, record: Record, due: Due) {
        self.with(|state| {
            let pushed = state.records.try_push(record);
            debug_assert!(pushed.is_ok(), "room was asked for");
            // Before those that are settled.
            let last = state.records.len().saturating_sub(1);
            state.records.swap(state.live.min(last), last);
            state.live = state.live.saturating_add(1).min(state.records.len());
            state.due.extent = state.due.extent.max(due.extent);
            state.due.everywhere |= due.everywhere;
        });
    }

    /// The table that is live at `new` is freed: its copy is no copy of anything any more.
    #[inline]
    pub(crate) fn forsake(&self, new: PhysAddr) {
        self.settled(new);
    }

    /// The copy of the table that is live at `new` is not needed any more.
    #[inline]
    pub(crate) fn settled(&self, new: PhysAddr) {
        self.with(|state| {
            if let Some(place) = state.place(new) {
                // A place says that there is one.
                state.live = state.live.saturating_sub(1);
                state.records.swap(place, state.live);
            }
        });
    }

    /// Whether `frame` holds a copy that is in limbo.
    #[inline]
    pub(crate) fn holds(&self, frame: PhysAddr) -> bool {
        self.with(|state| state.records.iter().any(|record| record.old == frame))
    }

    /// A global page is mapped: a CPU may come by it in a copy that is in limbo.
    #[inline]
    pub(crate) fn has_global(&self) {
        self.with(|state| state.due.everywhere |= !state.records.is_empty());
    }

    /// What CPUs must drop, if anything is in limbo.
    #[inline]
    pub(crate) fn due(&self) -> Option<Due> {
        self.with(|state| (!state.records.is_empty()).then_some(state.due))
    }

    /// A record whose copy is still to be merged. What it says of its words may be another thing after
    /// the next one was settled.
    #[inline]
    pub(crate) fn unsettled(&self) -> Option<Record> {
        self.with(|state| state.live().last().copied())
    }

    /// Gives back all frames whose records are settled, and tells of each. Every CPU has dropped
    /// them.
    #[inline]
    pub(crate) fn give_back<H: Host>(&self, host: &H, mut tell: impl FnMut(&Record)) {
        let next = |state: &mut State| {
            if state.records.len() > state.live { state.records.pop() } else { None }
        };
        while let Some(record) = self.with(next) {
            host.table_gone(record.old, record.height);
            give_back(host, record.old, record.height, record.size_lg2);
            tell(&record);
        }
        self.with(|state| {
            if state.records.is_empty() {
                state.due = State::NOTHING;
            }
        });
    }
}

// SAFETY: a record is made for a table that was moved, with its level and host; its frame is given
// back by `give_back` alone, when it is settled and this answers with it no more, at the end of a
// batch, which is no part of any verb.
unsafe impl Twins for Limbo {
    #[inline]
    fn twin_of(&self, live: PhysAddr) -> Option<PhysAddr> {
        self.with(|state| {
            let place = state.place(live)?;
            let record = state.records.get_mut(place)?;
            // Who asks may be about to write to both.
            record.sum = None;
            Some(record.old)
        })
    }
}
