//! Table frames, as the explorer hands them out.

use super::sabotage::Sabotage;
use super::search::Explorer;
use super::stage::{Complaint, Frame, TABLE_FRAMES, TABLES, table_frame};
use super::world::{Event, KeepingCpu};
use pgtable::WordAccess;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a frame holds before it is filled: it looks present, and leads astray.
const POISON: u64 = 0x0000_0dea_d0de_a067;

impl Explorer {
    pub(crate) fn memory() -> Vec<AtomicU64> {
        (0..TABLE_FRAMES * 512).map(|_| AtomicU64::new(POISON)).collect()
    }

    /// Where a frame is; a kernel that is misled may ask for any.
    pub(crate) fn pointer(&self, at: u64) -> Option<NonNull<u8>> {
        let offset = usize::try_from(at.checked_sub(TABLES)?).ok()?;
        let word = self.raw.get(offset / 8)?;
        NonNull::new(std::ptr::from_ref(word).cast::<u8>().cast_mut())
    }

    /// What the crate has written into a frame while it was private.
    fn private_word(&self, at: u64) -> u64 {
        let offset = usize::try_from(at - TABLES).unwrap();
        let word = self.raw[offset / 8].load(Ordering::SeqCst);
        if self.stage.word == 8 { word } else { word >> (offset % 8 * 8) & 0xffff_ffff }
    }

    /// A frame for a table: the next one, or the one that was freed last.
    pub(crate) fn allocate(&mut self, reuse: bool) -> u64 {
        let freed = self.stage.frames.iter().rposition(|&frame| frame == Frame::Freed);
        let frame = freed.filter(|_| reuse).unwrap_or(self.stage.frames.len());
        assert!(frame < TABLE_FRAMES, "a longer list of frames is needed");
        if frame == self.stage.frames.len() {
            self.stage.frames.push(Frame::Spare);
        }
        self.stage.frames[frame] = Frame::Spare;
        self.fill(frame);
        TABLES + ((frame as u64) << 12)
    }

    pub(crate) fn free(&mut self, table: u64) {
        let frame = table_frame(table).unwrap();
        let state = std::mem::replace(&mut self.stage.frames[frame], Frame::Freed);
        if state == Frame::Freed {
            self.complain(Complaint::new(format!("{table:#x} is freed twice")));
        }
        self.spoil.limbo.remove(&table);
        self.fill(frame);
    }

    /// A frame that is nobody's any more leads astray.
    fn fill(&mut self, frame: usize) {
        self.raw[frame * 512..][..512].iter().for_each(|word| word.store(POISON, Ordering::SeqCst));
        let entries = self.stage.entries;
        let poison = if self.stage.word == 8 { POISON } else { POISON & 0xffff_ffff };
        let event = Event::Garbage { frame };
        self.each(&event, |_, world| {
            let words = world.words.len().max((frame + 1) * entries);
            world.words.resize(words, poison);
            world.words[frame * entries..][..entries].fill(poison);
        });
    }

    fn is_garbage(&self, word: u64) -> bool {
        word == POISON
            || self.stage.word == 4 && word == POISON & 0xffff_ffff
            || self.stage.word == 4 && word == POISON >> 32
    }

    /// A frame that was filled while it was private becomes a table.
    pub(crate) fn import(&mut self, table: u64, height: u8) {
        let frame = table_frame(table).unwrap();
        let (entries, word) = (self.stage.entries, self.stage.word);
        let words: Vec<u64> =
            (0..entries).map(|index| self.private_word(table + index as u64 * word)).collect();
        // A copy was written word by word, through the explorer.
        if !words.iter().all(|&word| self.is_garbage(word)) {
            for (slot, raw) in (frame * entries..).zip(words) {
                if self.spoil.is(Sabotage::FillLate) {
                    self.spoil.late.push((slot, raw));
                } else {
                    self.apply(slot, WordAccess::Store(raw), 0);
                }
            }
        }
        self.stage.frames[frame] = Frame::Table(height);
    }

    /// A table is one no more, and the crate may read it once again, plainly: word by word it gets what
    /// is there now, after all that CPUs may do before it.
    pub(crate) fn export(&mut self, table: u64) {
        let frame = table_frame(table).unwrap();
        let (entries, word) = (self.stage.entries, self.stage.word);
        for index in 0..entries {
            let raw = self.step(frame * entries + index, WordAccess::Load);
            let offset = frame * 4096 + index * usize::try_from(word).unwrap();
            let (place, shift) = (&self.raw[offset / 8], offset % 8 * 8);
            let rest =
                if word == 8 { 0 } else { place.load(Ordering::SeqCst) & !(0xffff_ffff << shift) };
            place.store(rest | raw << shift, Ordering::SeqCst);
        }
    }

    /// CPUs come on, and load the root.
    pub(crate) fn power_on(&mut self, cpus: &[KeepingCpu]) {
        let root = self.stage.root().unwrap();
        self.each(&Event::PowerOn, |stage, world| {
            world.cpus = cpus.to_vec();
            for cpu in 0..world.cpus.len() {
                world.with_cpu(stage, cpu, |cpu, bus| cpu.load_root(bus, root)).0.unwrap();
            }
        });
    }
}
