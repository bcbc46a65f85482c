//! Physical memory, with an allocator that does not forget.

use super::Bus;
use std::collections::BTreeMap;
use std::fmt;
use std::ptr::NonNull;
use std::string::String;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

/// Something that must not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A CPU read an entry of what is no table (any more).
    NoTable {
        /// Where the entry would be.
        entry: u64,
        /// How the CPU came there.
        history: String,
    },
    /// A CPU used a page whose frame was handed back.
    HandedBack {
        /// The byte.
        physical: u64,
        /// How the CPU came there.
        history: String,
    },
    /// A frame was freed that was not in use, or in use with another size.
    Freed {
        /// The frame.
        frame: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable { entry, history } => {
                write!(f, "a CPU read the entry at {entry:#x}, in what is no table: {history}")
            }
            Self::HandedBack { physical, history } => {
                write!(f, "a CPU used {physical:#x}, which was handed back: {history}")
            }
            Self::Freed { frame } => write!(f, "{frame:#x} was freed and not in use"),
        }
    }
}

/// Memory is told apart in units of this many bytes: the size of the smallest table.
const UNIT_LG2: u8 = 5;

#[derive(Debug)]
enum Words {
    Narrow(Vec<AtomicU32>),
    Wide(Vec<AtomicU64>),
}

#[derive(Debug)]
struct Range {
    base: u64,
    bytes: u64,
    node: u32,
    words: Words,
    /// 1 for each unit that is in use.
    used: Vec<AtomicU8>,
}

#[derive(Debug, Default)]
struct State {
    used: BTreeMap<u64, u8>,
    /// How far the allocator has come in each range.
    next: BTreeMap<u64, u64>,
    requests: usize,
    fail_from: Option<usize>,
    forbidden: BTreeMap<u64, u8>,
    violations: Vec<Violation>,
}

/// Simulated physical memory, on several nodes.
///
/// Frames that are freed are filled with words that look present, and are not handed out again: who
/// still walks there is found out.
#[derive(Debug)]
pub struct Memory {
    ranges: Vec<Range>,
    state: Mutex<State>,
}

const ORDER: Ordering = Ordering::SeqCst;
const POISON: u64 = 0x000d_ead0_dead_d067;

impl Memory {
    /// Memory of these ranges: base, bytes, node. All entries have `word` bytes, 4 or 8: the words of
    /// memory are atomic, and cannot be both.
    #[must_use]
    pub fn new(word: u8, ranges: &[(u64, u64, u32)]) -> Self {
        let range = |&(base, bytes, node): &(u64, u64, u32)| {
            let count = |unit: u64| usize::try_from(bytes / unit).unwrap_or(0);
            let words = if word == 4 {
                Words::Narrow((0..count(4)).map(|_| AtomicU32::new(0)).collect())
            } else {
                Words::Wide((0..count(8)).map(|_| AtomicU64::new(0)).collect())
            };
            let used = (0..count(1 << UNIT_LG2)).map(|_| AtomicU8::new(0)).collect();
            Range { base, bytes, node, words, used }
        };
        let mut ranges: Vec<Range> = ranges.iter().map(range).collect();
        ranges.sort_by_key(|range| range.base);
        Self { ranges, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The range that holds all of these bytes, and where in it they begin.
    fn find(&self, at: u64, bytes: u64) -> Option<(&Range, usize)> {
        let after = self.ranges.partition_point(|range| range.base <= at);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        let inside = at - range.base < range.bytes && range.bytes - (at - range.base) >= bytes;
        Some((range, usize::try_from(at - range.base).ok().filter(|_| inside)?))
    }

    /// Reads the entry at `at`.
    #[must_use]
    pub fn load(&self, at: u64) -> Option<u64> {
        match self.find(at, 1)? {
            (Range { words: Words::Narrow(words), .. }, offset) => {
                words.get(offset / 4).map(|word| word.load(ORDER).into())
            }
            (Range { words: Words::Wide(words), .. }, offset) => {
                words.get(offset / 8).map(|word| word.load(ORDER))
            }
        }
    }

    /// Writes the entry at `at`; of a wide value, a narrow entry takes the lower half.
    #[allow(clippy::cast_possible_truncation)]
    pub fn store(&self, at: u64, value: u64) {
        match self.find(at, 1) {
            Some((Range { words: Words::Narrow(words), .. }, offset)) => {
                words[offset / 4].store(value as u32, ORDER);
            }
            Some((Range { words: Words::Wide(words), .. }, offset)) => {
                words[offset / 8].store(value, ORDER);
            }
            None => {}
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn compare_exchange(&self, at: u64, was: u64, value: u64) -> bool {
        match self.find(at, 1) {
            Some((Range { words: Words::Narrow(words), .. }, offset)) => {
                words[offset / 4].compare_exchange(was as u32, value as u32, ORDER, ORDER).is_ok()
            }
            Some((Range { words: Words::Wide(words), .. }, offset)) => {
                words[offset / 8].compare_exchange(was, value, ORDER, ORDER).is_ok()
            }
            None => false,
        }
    }

    fn fill(&self, frame: u64, size_lg2: u8, value: u64) {
        (frame..frame + (1 << size_lg2)).step_by(4).for_each(|at| {
            if let Some((Range { words: Words::Narrow(_), .. }, _)) = self.find(at, 4) {
                self.store(at, value);
            } else if at % 8 == 0 {
                self.store(at, value);
            }
        });
    }

    /// Fills a frame with zeroes.
    pub fn zero(&self, frame: u64, size_lg2: u8) {
        self.fill(frame, size_lg2, 0);
    }

    /// Where 2 to the `size_lg2` bytes from `at` on are: for a host's `reach`.
    #[must_use]
    pub fn pointer(&self, at: u64, size_lg2: u8) -> Option<NonNull<u8>> {
        let (range, offset) = self.find(at, 1 << size_lg2)?;
        let base = match &range.words {
            Words::Narrow(words) => NonNull::from(words.as_slice()).cast::<u8>(),
            Words::Wide(words) => NonNull::from(words.as_slice()).cast::<u8>(),
        };
        NonNull::new(base.as_ptr().wrapping_add(offset))
    }

    /// The node that `at` is on.
    #[must_use]
    pub fn node(&self, at: u64) -> Option<u32> {
        self.find(at, 1).map(|(range, _)| range.node)
    }

    /// A frame that was never in use before, not above `highest` and not at 0; on this node, if one is
    /// asked for.
    #[must_use]
    pub fn allocate(&self, size_lg2: u8, highest: u64, node: Option<u32>) -> Option<u64> {
        let mut state = self.state();
        state.requests += 1;
        if state.fail_from.is_some_and(|from| state.requests > from) {
            return None;
        }
        let size = 1u64 << size_lg2;
        for range in self.ranges.iter().filter(|range| node.is_none_or(|node| node == range.node)) {
            let mut at = state.next.get(&range.base).copied().unwrap_or(range.base);
            at = at.next_multiple_of(size).max(size);
            while at + size <= range.base + range.bytes && at + (size - 1) <= highest {
                if self.is_unused(at, size_lg2) {
                    state.next.insert(range.base, at + size);
                    drop(state);
                    self.claim(at, size_lg2);
                    self.fill(at, size_lg2, POISON);
                    return Some(at);
                }
                at += size;
            }
        }
        None
    }

    fn units(&self, at: u64, size_lg2: u8) -> &[AtomicU8] {
        let Some((range, offset)) = self.find(at, 1 << size_lg2) else { return &[] };
        let first = offset >> UNIT_LG2;
        &range.used[first..(first + (1 << size_lg2.saturating_sub(UNIT_LG2))).min(range.used.len())]
    }

    fn is_unused(&self, at: u64, size_lg2: u8) -> bool {
        self.units(at, size_lg2).iter().all(|unit| unit.load(ORDER) == 0)
    }

    /// Notes that a table is at `frame`: one that was there before.
    pub fn claim(&self, frame: u64, size_lg2: u8) {
        self.units(frame, size_lg2).iter().for_each(|unit| unit.store(1, ORDER));
        self.state().used.insert(frame, size_lg2);
    }

    /// Takes a frame back.
    pub fn free(&self, frame: u64, size_lg2: u8) {
        let mut state = self.state();
        if state.used.get(&frame) != Some(&size_lg2) {
            state.violations.push(Violation::Freed { frame });
            return;
        }
        state.used.remove(&frame);
        drop(state);
        self.units(frame, size_lg2).iter().for_each(|unit| unit.store(2, ORDER));
        self.fill(frame, size_lg2, POISON);
    }

    /// Frames in use, with their sizes.
    #[must_use]
    pub fn in_use(&self) -> BTreeMap<u64, u8> {
        self.state().used.clone()
    }

    /// Lets the next `good` requests succeed and every later one fail; `None` ends that.
    pub fn fail_after(&self, good: Option<usize>) {
        let mut state = self.state();
        state.fail_from = good.map(|good| state.requests + good);
    }

    /// From now on no CPU may use this page: its frame was handed back.
    pub fn forbid(&self, frame: u64, size_lg2: u8) {
        self.state().forbidden.insert(frame, size_lg2);
    }

    /// The frame may be used again.
    pub fn permit(&self, frame: u64) {
        self.state().forbidden.remove(&frame);
    }

    /// Everything that happened and must not happen: the first thousand.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.state().violations.clone()
    }
}

impl Bus for Memory {
    fn load(&self, at: u64) -> Option<u64> {
        Self::load(self, at)
    }

    fn replace(&self, at: u64, was: u64, value: u64) -> bool {
        self.compare_exchange(at, was, value)
    }

    fn is_table(&self, at: u64) -> bool {
        self.units(at, 0).first().is_some_and(|unit| unit.load(ORDER) == 1)
    }

    fn is_forbidden(&self, at: u64) -> bool {
        let state = self.state();
        let before = state.forbidden.range(..=at).next_back();
        before.is_some_and(|(&frame, &size_lg2)| (at - frame) >> size_lg2 == 0)
    }

    fn complain(&self, violation: Violation) {
        let mut state = self.state();
        if state.violations.len() < 1000 {
            state.violations.push(violation);
        }
    }
}
