//! The frame allocator: a bitmap over the runs of memory that the machine has.
//!
//! A frame that comes back is filled with a poison that no CPU can take for a present entry, and when
//! it is handed out again, the poison must still be there: so whoever uses a frame after it was given
//! back is found out, be it a CPU through a stale translation or a stale table.

use crate::acpi::Nodes;
use crate::lock::Lock;
use crate::memory::words;
use crate::mode::{PAGE, ROOT, ROOT_LG2, shared};
use pgtable::PhysAddr;

/// Not present, as an entry of 32 bits and as one of 64.
const POISON: u32 = 0x5eed_5e5c;
/// 1 GiB of frames.
const BITS: usize = 1 << 18;

/// A run of memory on one node.
#[derive(Clone, Copy, Default)]
struct Run {
    first: u64,
    frames: usize,
    node: u32,
    /// Its first bit.
    bit: usize,
}

/// All frames.
pub struct Frames {
    runs: [Run; 8],
    used: [u64; BITS / 64],
    /// Frames that are not filled with the poison: they were not used yet, or were roots.
    unpoisoned: [u64; BITS / 64],
    bits: usize,
    count: usize,
    /// Frames whose poison was gone.
    pub spoilt: usize,
}

static FRAMES: Lock<Frames> = Lock::new(Frames {
    runs: [Run { first: 0, frames: 0, node: 0, bit: 0 }; 8],
    used: [0; BITS / 64],
    unpoisoned: [!0; BITS / 64],
    bits: 0,
    count: 0,
    spoilt: 0,
});

fn get(bits: &[u64], bit: usize) -> bool {
    bits[bit / 64] >> (bit % 64) & 1 != 0
}

fn set(bits: &mut [u64], bit: usize, to: bool) {
    bits[bit / 64] = bits[bit / 64] & !(1 << (bit % 64)) | u64::from(to) << (bit % 64);
}

impl Frames {
    /// Adds memory, cut where nodes begin and end.
    fn add(&mut self, mut first: u64, end: u64, nodes: &Nodes) {
        while first < end {
            let (node, until) = nodes.of(first);
            let until = until.min(end);
            let frames = usize::try_from((until - first) / PAGE).unwrap_or(0).min(BITS - self.bits);
            if let Some(run) = self.runs.iter_mut().find(|run| run.frames == 0) {
                *run = Run { first, frames, node, bit: self.bits };
                self.bits += frames;
            }
            first = until;
        }
    }

    fn bit_of(&self, frame: u64) -> Option<(usize, u32)> {
        self.runs.iter().find_map(|run| {
            let index = usize::try_from(frame.checked_sub(run.first)? / PAGE).ok()?;
            (index < run.frames).then_some((run.bit + index, run.node))
        })
    }

    /// The first free place in a run for `frames` frames, aligned to as much.
    fn place_in(&self, run: &Run, frames: usize) -> Option<u64> {
        let bytes = frames as u64 * PAGE;
        let aligned = run.first.next_multiple_of(bytes);
        let mut index = usize::try_from((aligned - run.first) / PAGE).ok()?;
        while index + frames <= run.frames {
            let bit = run.bit + index;
            if frames == 1 && bit.is_multiple_of(64) && self.used[bit / 64] == !0 {
                index += 64;
                continue;
            }
            if (bit..bit + frames).all(|bit| !get(&self.used, bit)) {
                return Some(run.first + index as u64 * PAGE);
            }
            index += frames;
        }
        None
    }

    fn take(&mut self, size_lg2: u8, highest: PhysAddr, node: Option<u32>) -> Option<PhysAddr> {
        let frames = 1 << size_lg2.saturating_sub(12);
        let wanted = |run: &&Run| {
            let last = run.first + run.frames as u64 * PAGE - 1;
            last <= highest.0 && node.is_none_or(|node| run.node == node) && run.frames > 0
        };
        // The highest memory first: what cannot hold wide addresses shows.
        let found =
            self.runs.iter().rev().filter(wanted).find_map(|run| self.place_in(run, frames))?;
        for frame in (0..frames).map(|index| found + index as u64 * PAGE) {
            let (bit, _) = self.bit_of(frame)?;
            set(&mut self.used, bit, true);
            self.check_poison(frame, bit);
        }
        self.count += frames;
        Some(PhysAddr(found))
    }

    fn check_poison(&mut self, frame: u64, bit: usize) {
        if !get(&self.unpoisoned, bit) {
            // SAFETY: it was just taken.
            let words = unsafe { words(frame, PAGE as usize) };
            let spoilt = words.is_some_and(|words| words.iter().any(|&word| word != POISON));
            self.spoilt += usize::from(spoilt);
        }
    }

    fn give(&mut self, frame: u64, size_lg2: u8) {
        let frames = 1 << size_lg2.saturating_sub(12);
        for frame in (0..frames).map(|index| frame + index as u64 * PAGE) {
            let Some((bit, _)) = self.bit_of(frame) else { continue };
            // SAFETY: whoever gives it back does not use it.
            let words = unsafe { words(frame, PAGE as usize) };
            set(&mut self.unpoisoned, bit, words.is_none());
            words.into_iter().for_each(|words| words.fill(POISON));
            set(&mut self.used, bit, false);
        }
        self.count -= frames;
    }
}

/// Adds memory that is mapped by now.
pub fn add(memory: impl Iterator<Item = (u64, u64)>, nodes: &Nodes) {
    let mut frames = FRAMES.lock();
    for (first, end) in memory {
        frames.add(first.next_multiple_of(PAGE), end & !(PAGE - 1), nodes);
    }
}

/// What lies before `end` is in use already.
pub fn reserve(end: u64) {
    let mut frames = FRAMES.lock();
    for frame in (0..end).step_by(PAGE as usize) {
        if let Some((bit, _)) = frames.bit_of(frame) {
            set(&mut frames.used, bit, true);
            frames.count += 1;
        }
    }
}

/// Takes 2 to the `size_lg2` bytes; less than a frame is a frame.
pub fn take(size_lg2: u8, highest: PhysAddr, node: Option<u32>) -> Option<PhysAddr> {
    FRAMES.lock().take(size_lg2, highest, node)
}

/// Gives them back.
pub fn give(frame: PhysAddr, size_lg2: u8) {
    FRAMES.lock().give(frame.0, size_lg2);
}

/// Gives a table back. Of a root the kernel's half stays: a CPU that still uses it can say so.
pub fn give_table(table: PhysAddr, height: u8, size_lg2: u8) {
    if height != ROOT.height {
        return give(table, size_lg2);
    }
    let own = ROOT.index(shared().first()) << (ROOT_LG2 - ROOT.index_lg2);
    let mut frames = FRAMES.lock();
    // SAFETY: it is a table no more.
    let words = unsafe { words(table.0, own) };
    words.into_iter().for_each(|words| words.fill(POISON));
    if let Some((bit, _)) = frames.bit_of(table.0) {
        set(&mut frames.unpoisoned, bit, true);
        set(&mut frames.used, bit, false);
        frames.count -= 1;
    }
}

/// Which node a frame is on.
pub fn node(frame: PhysAddr) -> Option<u32> {
    FRAMES.lock().bit_of(frame.0).map(|(_, node)| node)
}

/// How many frames are in use, and in how many the poison was gone.
pub fn counts() -> (usize, usize) {
    let frames = FRAMES.lock();
    (frames.count, frames.spoilt)
}

/// Memory of a node, in MiB below 4 GiB and above.
pub fn mebibytes(node: u32) -> [u64; 2] {
    let frames = FRAMES.lock();
    let runs = frames.runs.iter().filter(|run| run.node == node);
    runs.fold([0; 2], |mut sums, run| {
        sums[usize::from(run.first >= crate::layout::HIGH)] += (run.frames as u64 * PAGE) >> 20;
        sums
    })
}
