//! What all worlds have in common at one time, and what must be true in each of them.

use super::world::{DIRTY, DUE, Event, FRAMES, TOLD, WRITTEN, World};
use pgtable::RootCell;
use pgtable::model::{Access, Fault};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Table frames begin here, one to a page.
pub(crate) const TABLES: u64 = 0x10_0000;
/// At most so many in one run.
pub(crate) const TABLE_FRAMES: usize = 48;
/// LOCK and TWIN, in all modes. Leaves have nothing there in these tests.
const MARKS: u64 = 3 << 9;
/// Data frames begin here.
const DATA: u64 = 0x50_0000;

/// What is in a table frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Allocated, and private.
    Spare,
    /// A table of this height.
    Table(u8),
    Freed,
}

/// What a page may be found to be: nothing, or a frame and whether it can be written.
pub(crate) type Is = Option<(u64, bool)>;

/// Something that must not happen.
#[derive(Clone, Debug)]
pub(crate) struct Complaint {
    pub(crate) what: String,
    /// The world it happened in, and the last thing that happened there.
    pub(crate) place: Option<(usize, Option<Event>)>,
}

impl Complaint {
    pub(crate) const fn new(what: String) -> Self {
        Self { what, place: None }
    }
    pub(crate) const fn of(world: &World, what: String) -> Self {
        Self { what, place: Some((world.trace, None)) }
    }
    pub(crate) fn after(self, world: &World, event: Event) -> Self {
        Self { place: Some((world.trace, Some(event))), ..self }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// What CPUs use, and whether they write there.
    pub(crate) addresses: Vec<(u64, bool)>,
    /// So many pages are explored, from address 0 on.
    pub(crate) pages: u64,
    pub(crate) entries: usize,
    pub(crate) word: u64,
    pub(crate) spans: Vec<u8>,
    /// The root can be loaded without a flush.
    pub(crate) tags: bool,
    /// PAE's four root entries are registers.
    pub(crate) registers: bool,
    pub(crate) frames: Vec<Frame>,
    pub(crate) forbidden: BTreeSet<u64>,
    /// For each page, what it was since the last acknowledged flush.
    pub(crate) allowed: BTreeMap<u64, BTreeSet<Is>>,
    /// Holes may be seen everywhere: a name is broken.
    pub(crate) may_fault: bool,
    pub(crate) cell: Option<Rc<RootCell>>,
}

/// Data frames of 64-bit modes are above 4 GiB, each pair elsewhere, so that both halves of their
/// entries say something.
pub(crate) const fn data(frame: u64, word: u64) -> u64 {
    DATA + (frame << 12) + if word == 8 { (1 + frame / 2) << 32 } else { 0 }
}

/// Which data frame holds a byte.
pub(crate) fn data_frame(physical: u64) -> Option<usize> {
    let low = physical & 0xffff_ffff;
    let frame = usize::try_from(low.checked_sub(DATA)? >> 12).ok()?;
    (frame < FRAMES).then_some(frame)
}

/// The number of a table frame.
pub(crate) fn table_frame(at: u64) -> Option<usize> {
    let frame = usize::try_from(at.checked_sub(TABLES)? >> 12).ok()?;
    (frame < TABLE_FRAMES).then_some(frame)
}

impl Stage {
    pub(crate) fn begin(&mut self, cell: Rc<RootCell>) {
        self.frames.clear();
        self.forbidden.clear();
        self.allowed.clear();
        self.may_fault = false;
        self.cell = Some(cell);
    }

    pub(crate) fn root(&self) -> Option<u64> {
        self.cell.as_ref()?.root().map(|root| root.0)
    }

    /// Which explored word it is, if it is one.
    pub(crate) fn slot(&self, at: u64) -> Option<usize> {
        let (frame, index) = (table_frame(at)?, usize::try_from((at & 0xfff) / self.word).ok()?);
        (index < self.entries).then_some(frame * self.entries + index)
    }

    /// Where an explored word is.
    pub(crate) fn place(&self, slot: usize) -> u64 {
        let (frame, index) = (slot / self.entries, slot % self.entries);
        TABLES + ((frame as u64) << 12) + index as u64 * self.word
    }

    pub(crate) fn state(&self, at: u64) -> Option<Frame> {
        self.frames.get(table_frame(at)?).copied()
    }

    pub(crate) fn is_table(&self, at: u64) -> bool {
        matches!(self.state(at), Some(Frame::Table(_)))
    }

    /// A fault is right if the page was a hole, or read-only, since the last flush.
    pub(crate) fn judge_fault(
        &self,
        at: u64,
        access: Option<Access>,
        fault: Fault,
    ) -> Result<(), Complaint> {
        // Where the space is torn down, nobody uses a page any more.
        let Some(allowed) = self.allowed.get(&(at & !0xfff)) else { return Ok(()) };
        let read_only = || allowed.iter().flatten().any(|page| !page.1);
        let writes = access.is_some_and(|access| access.write);
        let right = match fault {
            Fault::NotPresent => self.may_fault || allowed.contains(&None),
            Fault::Rights => writes && read_only(),
            _ => false,
        };
        if right { Ok(()) } else { Err(Complaint::new(format!("a fault at {at:#x}: {fault:?}"))) }
    }

    /// What CPUs hold must have been true since the last flush, and must lead to no frame that was
    /// handed back.
    pub(crate) fn judge(&self, world: &World) -> Result<(), Complaint> {
        for page in world.cpus.iter().flat_map(|cpu| cpu.translations()) {
            for (&at, allowed) in self.allowed.iter().filter(|(at, _)| page.serves(**at, 0)) {
                let is = (page.physical(at), page.writable());
                if self.forbidden.contains(&is.0) {
                    let what = format!("{at:#x} leads to {:#x}, which was handed back", is.0);
                    return Err(Complaint::of(world, what));
                }
                if !allowed.contains(&Some(is)) {
                    let what = format!("{at:#x} is translated to {is:x?}, and was {allowed:x?}");
                    return Err(Complaint::of(world, what));
                }
            }
        }
        Ok(())
    }

    /// What leaves say of a data frame, in all tables, live ones and others.
    fn in_memory(&self, world: &World, frame: usize) -> u8 {
        let mut found = 0;
        for (slot, &word) in world.words.iter().enumerate() {
            let Some(Frame::Table(height)) = self.frames.get(slot / self.entries) else { continue };
            if word & 1 == 0 || *height > 0 && word & 0x80 == 0 {
                continue;
            }
            let span = self.spans[usize::from(*height)];
            let first = word & 0x000f_ffff_ffff_f000 & !((1u64 << span) - 1);
            let frames = 1u64 << (span - 12);
            if (0..frames).any(|part| data_frame(first + (part << 12)) == Some(frame)) {
                found |= (word >> 5 & 3) as u8;
            }
        }
        found
    }

    /// Between two verbs: what hardware has noted is in memory, or the kernel was told of it; and
    /// after a scan the kernel was told of all that was noted before it.
    pub(crate) fn judge_notes(&self, world: &World) -> Result<(), Complaint> {
        for (frame, &noted) in world.noted.iter().enumerate().filter(|(_, noted)| **noted != 0) {
            let (there, bits) = (self.in_memory(world, frame), noted & 3);
            let written = noted & WRITTEN != 0 && noted & TOLD == 0 && there & DIRTY == 0;
            if bits & !there != 0 || written {
                let what = format!("data frame {frame}: noted {noted:#b}, in memory {there:#b}");
                return Err(Complaint::of(world, what));
            }
            if noted & DUE != 0 {
                let what = format!("data frame {frame}: noted {noted:#b}, and a scan saw it clean");
                return Err(Complaint::of(world, what));
            }
        }
        Ok(())
    }

    /// Looks at a world between two verbs.
    pub(crate) fn judge_at_rest(&self, world: &World) -> Result<(), Complaint> {
        self.judge(world)?;
        self.judge_notes(world)
    }

    /// With nothing in limbo, no entry says that its table is held, or has a copy.
    pub(crate) fn judge_marks(&self, world: &World) -> Result<(), Complaint> {
        let marked = |&slot: &usize| {
            let table = matches!(self.frames.get(slot / self.entries), Some(Frame::Table(_)));
            table && world.words[slot] & MARKS != 0
        };
        match (0..world.words.len()).find(marked) {
            Some(slot) => {
                let (at, word) = (self.place(slot), world.words[slot]);
                Err(Complaint::of(world, format!("at {at:#x} is {word:#x}, after the batch")))
            }
            None => Ok(()),
        }
    }
}
