//! The memory of a stopped machine, as a host: its tables can be read, changed and freed, and there
//! is no memory for new ones.

use pgtable::{Host, PhysAddr, Request, Roots, Stale};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of one word.
const WORD: usize = 8;

/// Bytes without a gap, on their way into memory.
#[derive(Debug)]
pub(crate) struct Bytes {
    start: u64,
    bytes: Vec<u8>,
}

impl Bytes {
    /// None yet, to begin at the physical address `start`.
    pub(crate) fn new(start: u64) -> Self {
        // A piece begins at a whole word, so that what is aligned in the machine's memory is
        // aligned here.
        let before = usize::try_from(start & 7).unwrap_or_default();
        Self { start, bytes: vec![0; before] }
    }

    /// Adds what follows.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// Memory without a gap. Only `start..=last` is the machine's; the words around may have more.
#[derive(Debug)]
struct Piece {
    start: u64,
    last: u64,
    words: Vec<AtomicU64>,
}

impl Piece {
    /// `None` if there are no bytes, or more than addresses.
    fn new(from: &Bytes) -> Option<Self> {
        let padded = u64::try_from(from.bytes.len()).ok()?;
        let last = (from.start & !7).checked_add(padded.checked_sub(1)?)?;
        let words = from.bytes.chunks(WORD).map(word).collect();
        (last >= from.start).then_some(Self { start: from.start, last, words })
    }

    /// Where the bytes `at..=last` are, if they all are here.
    fn find(&self, at: u64, last: u64) -> Option<NonNull<u8>> {
        if at < self.start || last > self.last {
            return None;
        }
        let offset = usize::try_from(at.checked_sub(self.start & !7)?).ok()?;
        let base = NonNull::from(self.words.as_slice()).cast::<u8>();
        NonNull::new(base.as_ptr().wrapping_add(offset))
    }
}

/// The word of up to eight bytes.
fn word(bytes: &[u8]) -> AtomicU64 {
    let mut whole = [0; WORD];
    whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    AtomicU64::new(u64::from_ne_bytes(whole))
}

/// A table that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freed {
    /// Its height.
    pub(crate) height: u8,
    /// Its size in bytes is 2 to this.
    pub(crate) size_lg2: u8,
    /// How often it was freed: once, if all is well.
    pub(crate) times: usize,
}

/// The list of roots.
#[derive(Debug, Default)]
struct RootList(Vec<PhysAddr>);

impl Roots for RootList {
    fn insert(&mut self, root: PhysAddr) -> bool {
        self.0.push(root);
        true
    }
    fn remove(&mut self, root: PhysAddr) -> bool {
        let before = self.0.len();
        self.0.retain(|&listed| listed != root);
        self.0.len() != before
    }
    fn each(&self, show: &mut dyn FnMut(PhysAddr)) {
        self.0.iter().copied().for_each(show);
    }
}

/// All memory that a core holds.
#[derive(Debug, Default)]
pub(crate) struct CoreMemory {
    /// In ascending order, with gaps in between.
    pieces: Vec<Piece>,
    freed: Mutex<BTreeMap<PhysAddr, Freed>>,
    roots: Mutex<RootList>,
}

impl CoreMemory {
    /// Memory of these pieces, which are in ascending order and do not touch each other.
    pub(crate) fn new(pieces: &[Bytes]) -> Self {
        Self { pieces: pieces.iter().filter_map(Piece::new).collect(), ..Self::default() }
    }

    /// Where each piece starts, and its words, as they are now.
    pub(crate) fn picture(&self) -> Vec<(PhysAddr, Vec<u64>)> {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let words = |piece: &Piece| piece.words.iter().map(load).collect();
        self.pieces.iter().map(|piece| (PhysAddr(piece.start), words(piece))).collect()
    }

    /// How many pieces without a gap there are, and how many bytes they have together.
    pub(crate) fn extent(&self) -> (usize, u64) {
        let bytes = |piece: &Piece| piece.last.abs_diff(piece.start).saturating_add(1);
        (self.pieces.len(), self.pieces.iter().map(bytes).fold(0, u64::saturating_add))
    }

    /// Every table that was freed.
    pub(crate) fn freed(&self) -> BTreeMap<PhysAddr, Freed> {
        lock(&self.freed).clone()
    }

    /// The roots that are listed.
    pub(crate) fn listed(&self) -> Vec<PhysAddr> {
        lock(&self.roots).0.clone()
    }
}

/// What a panicking holder leaves behind is whole all the same: each change is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: nothing is ever allocated. A pointer from `reach` is to words that live as long as the
// host does, are atomic, and hold the whole table; `picture` reads them atomically, too. The machine
// is stopped: no CPU of it holds anything that could be stale. The list is behind a lock, and only
// spaces change it.
unsafe impl Host for CoreMemory {
    fn allocate(&self, _: &Request) -> Option<PhysAddr> {
        None
    }

    unsafe fn free(&self, table: PhysAddr, height: u8, size_lg2: u8) {
        let mut freed = lock(&self.freed);
        let entry = freed.entry(table).or_insert(Freed { height, size_lg2, times: 0 });
        entry.times = entry.times.saturating_add(1);
    }

    /// A table that was freed is one no more: whoever goes there is told so.
    fn reach(&self, table: PhysAddr, size_lg2: u8) -> Option<NonNull<u8>> {
        if lock(&self.freed).contains_key(&table) {
            return None;
        }
        let bytes = 1_u64.checked_shl(size_lg2.into())?;
        let last = table.0.checked_add(bytes.checked_sub(1)?)?;
        let after = self.pieces.partition_point(|piece| piece.start <= table.0);
        self.pieces.get(after.checked_sub(1)?)?.find(table.0, last)
    }

    fn shoot_down(&self, _: &Stale) {}

    unsafe fn roots(&self, edit: &mut dyn FnMut(&mut dyn Roots)) {
        edit(&mut *lock(&self.roots));
    }
}
