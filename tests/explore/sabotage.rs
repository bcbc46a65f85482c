//! Mistakes that a host, or the crate, could make: each is put between the crate and its memory, or
//! its CPUs, and must be found out.

use super::scenario::Do;
use super::search::Explorer;
use super::stage::{Frame, data_frame};
use super::world::{ACCESSED, DIRTY, Event};
use pgtable::{Stale, WordAccess};
use std::collections::BTreeSet;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// A shootdown returns, and no CPU was told.
    NoShootdown,
    /// A shootdown returns before CPUs have acknowledged it; they do it later.
    EarlyReturn,
    /// A shootdown returns before CPUs have acknowledged it; they have done it when a table is freed.
    MergeEarly,
    /// Only the first CPU is told.
    FirstCpuOnly,
    /// Where the root, or an entry that is read with it, has changed, addresses are invalidated, and
    /// the root register is not loaded.
    NoRootReload,
    /// After a move one address is invalidated, and not the whole context.
    OneAddress,
    /// A frame is used again before the gather was finished.
    FrameEarly,
    /// What hardware has noted in a limbo copy is not merged.
    NoMerge,
    /// It is merged by a read and a store.
    MergeByStore,
    /// What is written into a live table is not written into its limbo copy.
    NoMirror,
    /// It is: the live result is stored there.
    MirrorByStore,
    /// A table is filled after it was named.
    FillLate,
    /// Entries are changed by a read and a store.
    NotAtomic,
    /// CPUs set A and D where they have looked, whatever is there by now.
    NoRecheck,
    /// 64-bit entries are written as two halves, the lower one first.
    TwoHalves,
    /// Verbs do not ask the limbo copy what hardware has noted there.
    ForgetTwin,
    /// Split takes what hardware has noted from its first look at the leaf.
    ForgetSplit,
    /// Promote does not look at the table again when the shootdown is done.
    ForgetPromote,
}

/// What the crate is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No mistakes are made: before CPUs come on, and at the end.
    #[default]
    Sound,
    Split,
    Promote,
    End,
    Other,
}

impl Phase {
    pub(crate) const fn of(verb: Do) -> Self {
        match verb {
            Do::Split(_) => Self::Split,
            Do::Promote(_) => Self::Promote,
            Do::EndBatch => Self::End,
            _ => Self::Other,
        }
    }
}

/// The mistake at work.
#[derive(Debug)]
pub(crate) struct Spoil {
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) phase: Phase,
    /// Tables that were moved away from.
    pub(crate) limbo: BTreeSet<u64>,
    /// Shootdowns in this phase.
    pub(crate) told: u32,
    /// What CPUs will be told later.
    pub(crate) owed: Vec<Stale>,
    /// What will be written into private tables later.
    pub(crate) late: Vec<(usize, u64)>,
    /// What was written last into a live table.
    last: u64,
}

impl Spoil {
    pub(crate) fn new(sabotage: Option<Sabotage>) -> Self {
        let (limbo, owed, late) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { sabotage, phase: Phase::Sound, limbo, told: 0, owed, late, last: 0 }
    }

    pub(crate) fn begin(&mut self) {
        *self = Self::new(self.sabotage);
    }

    pub(crate) fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage) && self.phase != Phase::Sound
    }
}

const USED: u64 = 0x60;
const LOW: u64 = 0xffff_ffff;

impl Explorer {
    /// One access of the crate, with the mistake if it is about it.
    pub(crate) fn spoiled(&mut self, slot: usize, at: u64, access: WordAccess) -> u64 {
        use Sabotage::{
            FillLate, MergeByStore, MirrorByStore, NoMerge, NoMirror, NoRecheck, NotAtomic,
            TwoHalves,
        };
        let Some(sabotage) = self.spoil.sabotage.filter(|_| self.spoil.phase != Phase::Sound)
        else {
            return self.step(slot, access);
        };
        let ends = self.spoil.phase == Phase::End;
        let limbo = self.spoil.limbo.contains(&(at & !0xfff));
        let table = self.stage.is_table(at);
        let writes = access != WordAccess::Load;
        let modifies = writes && !matches!(access, WordAccess::Store(_));
        let merges =
            ends && self.spoil.told > 0 && matches!(access, WordAccess::Or(0x20 | 0x40 | USED));
        match sabotage {
            NoMerge if merges => self.read(slot),
            MergeByStore if merges => self.by_store(slot, access),
            NotAtomic if table && modifies => self.by_store(slot, access),
            NoRecheck if table && modifies => self.marked_late(slot, access),
            NoMirror if limbo && modifies && !ends => self.read(slot),
            NoMirror if limbo && writes && !ends => 0,
            MirrorByStore if limbo && modifies => {
                let found = self.read(slot);
                self.apply(slot, WordAccess::Store(self.spoil.last), found);
                found
            }
            FillLate => self.fill_late(slot, at, access),
            TwoHalves if table && writes => self.by_halves(slot, access),
            _ => {
                let found = self.step(slot, access);
                if writes && !limbo {
                    self.spoil.last = access.after(found);
                }
                if self.forgets(sabotage, limbo, access) { found & !USED } else { found }
            }
        }
    }

    /// Whether the crate does not see what hardware has noted where this access is.
    fn forgets(&self, sabotage: Sabotage, limbo: bool, access: WordAccess) -> bool {
        let phase = self.spoil.phase;
        match sabotage {
            Sabotage::ForgetTwin => {
                limbo
                    && phase != Phase::End
                    && matches!(access, WordAccess::Load | WordAccess::Swap(_))
            }
            Sabotage::ForgetSplit => phase == Phase::Split && matches!(access, WordAccess::Swap(_)),
            Sabotage::ForgetPromote => {
                phase == Phase::Promote && self.spoil.told > 0 && access == WordAccess::Load
            }
            _ => false,
        }
    }

    /// A read, what CPUs do then, and a store.
    fn by_store(&mut self, slot: usize, access: WordAccess) -> u64 {
        let found = self.read(slot);
        self.close();
        self.apply(slot, WordAccess::Store(access.after(found)), found);
        found
    }

    /// A change, and a CPU that has looked before it, and sets A and D after it, or does not.
    fn marked_late(&mut self, slot: usize, access: WordAccess) -> u64 {
        let found = self.step(slot, access);
        if found & 1 != 0 {
            let before = self.worlds.clone();
            self.each(&Event::MarkedLate { at: self.stage.place(slot) }, |_, world| {
                world.words[slot] |= USED;
                data_frame(found)
                    .into_iter()
                    .for_each(|frame| world.noted[frame] |= ACCESSED | DIRTY);
            });
            self.worlds.extend(before);
        }
        found
    }

    /// The lower half, what CPUs do then, and the upper half.
    fn by_halves(&mut self, slot: usize, access: WordAccess) -> u64 {
        let found = if let WordAccess::Store(_) = access {
            self.close();
            0
        } else {
            self.read(slot)
        };
        self.each(&Event::HalfWritten, |_, world| {
            let word = &mut world.words[slot];
            *word = (*word & !LOW) | (access.after(*word) & LOW);
        });
        self.close();
        self.each(&Event::HalfWritten, |_, world| {
            let word = &mut world.words[slot];
            let low = *word & LOW;
            // A write that depends on what was there has the upper half that it saw.
            let after = access.after(if let WordAccess::Store(_) = access { *word } else { found });
            *word = (after & !LOW) | low;
        });
        found
    }

    fn fill_late(&mut self, slot: usize, at: u64, access: WordAccess) -> u64 {
        let private = self.stage.state(at) == Some(Frame::Spare);
        if let (true, WordAccess::Store(raw)) = (private, access) {
            self.spoil.late.push((slot, raw));
            return 0;
        }
        let found = self.step(slot, access);
        // Once something names it.
        if access != WordAccess::Load && access.after(found) & 1 != 0 {
            self.close();
            for (slot, raw) in std::mem::take(&mut self.spoil.late) {
                self.apply(slot, WordAccess::Store(raw), 0);
            }
        }
        found
    }
}
