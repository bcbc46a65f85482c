// Simulated physical memory with a frame allocator: the host of tests and of the documentation's
// examples. It checks what it is asked to do: a frame that is freed twice, or never was a table, or
// is freed with another size, is a failed test.

use std::alloc::{Layout, alloc_zeroed};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use pgtable::{Host, PhysAddr, Request, Roots, Stale};

/// Memory from `base` on, of which tables are allocated. Fresh frames hold garbage.
pub struct Memory {
    base: u64,
    words: Vec<AtomicU64>,
    counts: Option<Vec<AtomicU16>>,
    state: Mutex<State>,
    roots: Mutex<RootList>,
}

/// What the allocator knows.
#[derive(Default)]
struct State {
    /// Frames in use: address to (height, size_lg2).
    used: BTreeMap<u64, (u8, u8)>,
    /// Frames given back, by size.
    free: BTreeMap<u8, Vec<u64>>,
    next: u64,
    requests: usize,
    fail_from: Option<usize>,
    answer: Option<u64>,
    stale: Vec<Stale>,
    hooks: BTreeMap<u64, u8>,
    /// What is in frames that nobody uses was put there, and stays.
    left: bool,
}

#[derive(Default)]
pub struct RootList {
    pub roots: Vec<u64>,
    pub full: bool,
}

impl Roots for RootList {
    fn insert(&mut self, root: PhysAddr) -> bool {
        if !self.full {
            self.roots.push(root.0);
        }
        !self.full
    }
    fn remove(&mut self, root: PhysAddr) -> bool {
        let before = self.roots.len();
        self.roots.retain(|&listed| listed != root.0);
        self.roots.len() != before
    }
    fn each(&self, show: &mut dyn FnMut(PhysAddr)) {
        self.roots.iter().for_each(|&root| show(PhysAddr(root)));
    }
}

#[allow(dead_code)]
impl Memory {
    const GARBAGE: u8 = 0xdb;

    pub fn new() -> Self {
        Self::with(0x10_0000, 4 << 20, false)
    }

    /// Memory of `bytes` bytes at `base`, with or without a count of entries for each table.
    pub fn with(base: u64, bytes: usize, counting: bool) -> Self {
        let words = zeroed(bytes / 8);
        let counts = counting.then(|| (0..bytes / 32).map(|_| AtomicU16::new(0)).collect());
        let state = Mutex::new(State { next: base, ..State::default() });
        Self { base, words, counts, state, roots: Mutex::default() }
    }

    pub fn tables_in_use(&self) -> usize {
        self.state.lock().unwrap().used.len()
    }

    /// Frames in use, with their height and size.
    pub fn in_use(&self) -> BTreeMap<u64, (u8, u8)> {
        self.state.lock().unwrap().used.clone()
    }

    /// Tables as the hooks have it: made and not gone, with their height.
    pub fn hooked(&self) -> BTreeMap<u64, u8> {
        self.state.lock().unwrap().hooks.clone()
    }

    /// Lets the next `good` requests succeed and every later one fail; `None` ends that.
    pub fn fail_after(&self, good: Option<usize>) {
        let mut state = self.state.lock().unwrap();
        state.fail_from = good.map(|good| state.requests + good);
    }

    /// Answers the next request with this frame, whatever it asks for.
    pub fn answer_next(&self, frame: u64) {
        self.state.lock().unwrap().answer = Some(frame);
    }

    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    /// Everything that was shot down so far.
    pub fn stale(&self) -> Vec<Stale> {
        self.state.lock().unwrap().stale.clone()
    }

    pub fn listed(&self) -> Vec<u64> {
        // Also after a panic under its lock.
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).roots.clone()
    }

    /// Whether the list of roots has no room.
    pub fn set_list_full(&self, full: bool) {
        self.roots.lock().unwrap().full = full;
    }

    /// The word of 2 to the `lg2` bytes at `at`, as the MMU would read it.
    pub fn read(&self, at: u64, lg2: u8) -> u64 {
        let at = self.pointer(at);
        match lg2 {
            2 => {
                u64::from(unsafe { AtomicU32::from_ptr(at.cast().as_ptr()) }.load(Ordering::SeqCst))
            }
            _ => unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }.load(Ordering::SeqCst),
        }
    }

    /// Writes a word of 8 bytes of memory that nobody uses yet, for whoever gets it next to find.
    pub fn leave(&self, at: u64, raw: u64) {
        let below = |(table, (_, lg2)): (&u64, &(u8, u8))| table + (1 << lg2) <= at;
        let mut state = self.state.lock().unwrap();
        assert!(state.used.range(..=at).last().is_none_or(below), "{at:#x}");
        state.left = true;
        drop(state);
        unsafe { AtomicU64::from_ptr(self.pointer(at).cast().as_ptr()) }
            .store(raw, Ordering::SeqCst);
    }

    /// Sets bits in a word, as the MMU would, and tells what was there.
    pub fn set_bits(&self, at: u64, lg2: u8, bits: u64) -> u64 {
        let at = self.pointer(at);
        match lg2 {
            2 => u64::from(
                unsafe { AtomicU32::from_ptr(at.cast().as_ptr()) }
                    .fetch_or(bits as u32, Ordering::SeqCst),
            ),
            _ => {
                unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }.fetch_or(bits, Ordering::SeqCst)
            }
        }
    }

    /// Sets bits in a word that is present (bit 0), in one step, as the MMU would.
    pub fn set_bits_if_present(&self, at: u64, lg2: u8, bits: u64) -> Option<u64> {
        let at = self.pointer(at);
        let set = |was: u64| (was & 1 == 1).then_some(was | bits);
        let order = Ordering::SeqCst;
        match lg2 {
            2 => unsafe { AtomicU32::from_ptr(at.cast().as_ptr()) }
                .fetch_update(order, order, |was| set(was.into()).map(|word| word as u32))
                .ok()
                .map(u64::from),
            _ => unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }
                .fetch_update(order, order, set)
                .ok(),
        }
    }

    /// Counts in the bits of a word that are set in `mask`, in one step, as if somebody else kept a
    /// number there. Other bits stay.
    pub fn count_up(&self, at: u64, lg2: u8, mask: u64) {
        let at = self.pointer(at);
        let up = |was: u64| was & !mask | was.wrapping_add(mask & mask.wrapping_neg()) & mask;
        let order = Ordering::SeqCst;
        let counted = match lg2 {
            2 => unsafe { AtomicU32::from_ptr(at.cast().as_ptr()) }
                .fetch_update(order, order, |was| Some(up(was.into()) as u32))
                .is_ok(),
            _ => unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }
                .fetch_update(order, order, |was| Some(up(was)))
                .is_ok(),
        };
        assert!(counted);
    }

    /// Clears bits in a word, and tells what was there.
    pub fn clear_bits(&self, at: u64, bits: u64) -> u64 {
        let at = self.pointer(at);
        unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }.fetch_and(!bits, Ordering::SeqCst)
    }

    /// The tables in use, each with a hash of every byte of it, and the list of roots: what must be
    /// the same before and after a verb that fails.
    pub fn picture(&self) -> (BTreeMap<u64, u64>, BTreeMap<u64, u8>, Vec<u64>) {
        use std::hash::{DefaultHasher, Hasher};
        let hash = |(&at, &(_, lg2)): (&u64, &(u8, u8))| {
            let mut hash = DefaultHasher::new();
            let words = (0..1u64 << lg2).step_by(8).map(|offset| self.read(at + offset, 3));
            words.for_each(|word| hash.write_u64(word));
            (at, hash.finish())
        };
        (self.in_use().iter().map(hash).collect(), self.hooked(), self.listed())
    }

    fn pointer(&self, at: u64) -> NonNull<u8> {
        let offset = usize::try_from(at - self.base).unwrap();
        assert!(offset < self.words.len() * 8, "{at:#x} is outside memory");
        NonNull::new(self.words.as_ptr().cast::<u8>().cast_mut())
            .unwrap()
            .map_addr(|base| base.checked_add(offset).unwrap())
    }

    fn fill(&self, at: u64, size_lg2: u8) {
        let _ = self.pointer(at + (1 << size_lg2) - 1);
        // Nobody uses the frame: it is not given to anybody yet, or not any more.
        unsafe { self.pointer(at).write_bytes(Self::GARBAGE, 1 << size_lg2) };
    }
}

/// Words that take no time to make, as those of a loop would in an unoptimised build.
fn zeroed(words: usize) -> Vec<AtomicU64> {
    let layout = Layout::array::<AtomicU64>(words).unwrap();
    let start = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
    // It is all of an allocation with the layout of so many words, and zero is a word.
    unsafe { Vec::from_raw_parts(start.cast().as_ptr(), words, words) }
}

unsafe impl Host for Memory {
    fn allocate(&self, request: &Request) -> Option<PhysAddr> {
        let size = 1u64 << request.size_lg2;
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        if state.fail_from.is_some_and(|from| state.requests > from) {
            return None;
        }
        let reused = state.free.get_mut(&request.size_lg2).and_then(Vec::pop);
        let fresh = state.next.next_multiple_of(size);
        let frame = state.answer.take().or(reused).unwrap_or(fresh);
        if frame == fresh {
            state.next = fresh + size;
        }
        let end = self.base + (self.words.len() * 8) as u64;
        if frame == fresh && fresh + size > end {
            return None;
        }
        state.used.insert(frame, (request.height, request.size_lg2));
        let inside = frame >= self.base && frame.checked_add(size).is_some_and(|to| to <= end);
        if inside && frame % size == 0 {
            if !state.left {
                self.fill(frame, request.size_lg2);
            }
            if let Some(counts) = &self.counts {
                counts[((frame - self.base) / 32) as usize].store(0, Ordering::SeqCst);
            }
        }
        Some(PhysAddr(frame))
    }

    unsafe fn free(&self, table: PhysAddr, height: u8, size_lg2: u8) {
        let mut state = self.state.lock().unwrap();
        let was = state.used.remove(&table.0);
        assert_eq!(was, Some((height, size_lg2)), "{table} freed as of height {height}");
        assert!(!state.hooks.contains_key(&table.0), "{table} freed while a table");
        let end = self.base + (self.words.len() * 8) as u64;
        if table.0 >= self.base && table.0 < end && table.is_aligned(size_lg2) {
            self.fill(table.0, size_lg2);
            state.free.entry(size_lg2).or_default().push(table.0);
        }
    }

    fn reach(&self, table: PhysAddr, size_lg2: u8) -> Option<NonNull<u8>> {
        let end = self.base + (self.words.len() * 8) as u64;
        let last = table.0.checked_add(1 << size_lg2)?;
        (table.0 >= self.base && last <= end).then(|| self.pointer(table.0))
    }

    fn shoot_down(&self, stale: &Stale) {
        self.state.lock().unwrap().stale.push(stale.clone());
    }

    fn count(&self, table: PhysAddr) -> Option<&AtomicU16> {
        self.counts.as_ref().map(|counts| &counts[((table.0 - self.base) / 32) as usize])
    }

    unsafe fn roots(&self, edit: &mut dyn FnMut(&mut dyn Roots)) {
        edit(&mut *self.roots.lock().unwrap());
    }

    fn table_made(&self, table: PhysAddr, height: u8) {
        let was = self.state.lock().unwrap().hooks.insert(table.0, height);
        assert_eq!(was, None, "{table} made a table twice");
    }

    fn table_gone(&self, table: PhysAddr, height: u8) {
        let was = self.state.lock().unwrap().hooks.remove(&table.0);
        assert_eq!(was, Some(height), "{table} was no table of height {height}");
    }
}
