//! One of the states that memory and CPUs can be in.

use super::stage::{Complaint, Stage, data_frame};
use pgtable::WordAccess;
use pgtable::model::{Access, Bus, Control, Cpu, KeepAll, Next, Translation, Violation};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::fmt;
use zerocopy::IntoBytes;

/// What hardware has noted of a data frame.
pub(crate) const ACCESSED: u8 = 1;
pub(crate) const DIRTY: u8 = 2;
/// A write has gone there, of which nobody was told.
pub(crate) const WRITTEN: u8 = 4;
/// The kernel was told that it is dirty; what is written before the next shootdown has ended is
/// covered by that.
pub(crate) const TOLD: u8 = 8;
/// What was noted when a scan began, which has to tell of it: A and D.
pub(crate) const DUE: u8 = 3 << DUE_SHIFT;
pub(crate) const DUE_SHIFT: u8 = 4;

/// Data frames that are watched.
pub(crate) const FRAMES: usize = 8;

/// A CPU that keeps all it reads.
pub(crate) type KeepingCpu = Cpu<KeepAll>;

#[derive(Clone, Debug)]
pub(crate) struct World {
    /// The explored words of every table frame.
    pub(crate) words: Vec<u64>,
    pub(crate) cpus: Vec<KeepingCpu>,
    /// CPUs that run something else by now, and hold nothing of this space: a bit for each.
    pub(crate) gone: u8,
    pub(crate) noted: [u8; FRAMES],
    /// How it came about: a place in the explorer's list of events.
    pub(crate) trace: usize,
}

impl World {
    pub(crate) const NOTHING: Self =
        Self { words: vec![], cpus: vec![], gone: 0, noted: [0; FRAMES], trace: usize::MAX };
}

/// Worlds are the same if nothing can come of one that cannot come of the other: how they came about
/// does not matter. The order is there for sets that are gone through in the same way each time.
impl Ord for World {
    fn cmp(&self, other: &Self) -> Ordering {
        // Bytes are compared many at a time.
        let words = self.words.as_bytes().cmp(other.words.as_bytes());
        words
            .then_with(|| (self.gone, self.noted).cmp(&(other.gone, other.noted)))
            .then_with(|| self.cpus.iter().map(holds).cmp(other.cpus.iter().map(holds)))
    }
}
impl PartialOrd for World {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for World {}

/// All of a CPU that has to do with what it may do next.
fn holds(cpu: &KeepingCpu) -> impl Ord + '_ {
    (cpu.root(), cpu.root_registers(), cpu.pointers(), cpu.translations())
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    PowerOn,
    Walk { cpu: usize, at: u64, table: u64, write: bool },
    Write { cpu: usize, at: u64 },
    LoadRoot { cpu: usize },
    LoadRootEntries { cpu: usize },
    Told { cpu: usize },
    Acknowledged,
    Kernel { at: u64, access: WordAccess, found: u64 },
    Garbage { frame: usize },
    KernelTold { frame: usize },
    HalfWritten,
    MarkedLate { at: u64 },
    Verb(super::scenario::Do),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOn => write!(f, "CPUs come on"),
            Self::Walk { cpu, at, table, write } => {
                let why = if *write { "to write" } else { "to read" };
                write!(f, "CPU {cpu} looks up {at:#x} in the table {table:#x} {why}")
            }
            Self::Write { cpu, at } => write!(f, "CPU {cpu} writes at {at:#x}"),
            Self::LoadRoot { cpu } => write!(f, "CPU {cpu} loads the root, and drops nothing"),
            Self::LoadRootEntries { cpu } => write!(f, "CPU {cpu} reads the four root entries"),
            Self::Told { cpu } => write!(f, "CPU {cpu} drops what is stale"),
            Self::Acknowledged => write!(f, "the shootdown returns"),
            Self::Kernel { at, access, found } => {
                write!(f, "kernel at {at:#x}: {access:x?}, found {found:#x}")
            }
            Self::Garbage { frame } => write!(f, "table frame {frame} is filled with garbage"),
            Self::KernelTold { frame } => write!(f, "the kernel is told of data frame {frame}"),
            Self::HalfWritten => write!(f, "half of it is written"),
            Self::MarkedLate { at } => {
                write!(f, "a CPU sets A and D at {at:#x}, not looking again")
            }
            Self::Verb(verb) => write!(f, "{verb:?}:"),
        }
    }
}

/// Memory as one world has it.
pub(crate) struct View<'a> {
    words: &'a [Cell<u64>],
    stage: &'a Stage,
    wrong: RefCell<Option<String>>,
}

impl<'a> View<'a> {
    fn new(words: &'a mut [u64], stage: &'a Stage) -> Self {
        let words = Cell::from_mut(words).as_slice_of_cells();
        Self { words, stage, wrong: RefCell::new(None) }
    }

    fn word(&self, at: u64) -> Option<&Cell<u64>> {
        self.words.get(self.stage.slot(at)?)
    }
}

impl Bus for View<'_> {
    fn load(&self, at: u64) -> Option<u64> {
        self.word(at).map(Cell::get)
    }
    fn replace(&self, at: u64, was: u64, value: u64) -> bool {
        self.word(at).is_some_and(|word| word.get() == was && word.replace(value) == was)
    }
    fn is_table(&self, at: u64) -> bool {
        self.stage.is_table(at)
    }
    fn is_forbidden(&self, at: u64) -> bool {
        self.stage.forbidden.contains(&(at & !0xfff))
    }
    fn complain(&self, violation: Violation) {
        self.wrong.borrow_mut().get_or_insert_with(|| violation.to_string());
    }
}

/// Takes a new world, and what has led to it.
type Found<'a> = &'a mut dyn FnMut(World, &Event);

impl World {
    /// Everything that a CPU may do next, each in a world of its own.
    pub(crate) fn successors(&self, stage: &Stage, found: Found<'_>) -> Result<(), Complaint> {
        for cpu in (0..self.cpus.len()).filter(|cpu| self.gone >> cpu & 1 == 0) {
            for &(at, written) in &stage.addresses {
                self.walks(stage, (cpu, at), written, found)?;
                if written {
                    self.writes((cpu, at), found);
                }
            }
            self.reloads(stage, cpu, found)?;
        }
        Ok(())
    }

    /// One entry is read, and marked, through any pointer that the CPU has.
    fn walks(
        &self,
        stage: &Stage,
        (cpu, at): (usize, u64),
        written: bool,
        found: Found<'_>,
    ) -> Result<(), Complaint> {
        let mut words = self.words.clone();
        let view = View::new(&mut words, stage);
        let pointers = self.cpus[cpu].pointers_for(&view, at);
        let wrong = view.wrong.into_inner();
        let event = Event::LoadRootEntries { cpu };
        if let Some(wrong) = wrong {
            return Err(Complaint::new(wrong).after(self, event));
        }
        let pointers = match pointers {
            Ok(pointers) => pointers,
            Err(fault) => {
                stage.judge_fault(at, None, fault).map_err(|what| what.after(self, event))?;
                let held = self.cpus[cpu].pointers().iter();
                held.filter(|pointer| pointer.serves(at)).copied().collect()
            }
        };
        for pointer in pointers {
            for access in [None, Some(Access::WRITE)].into_iter().take(1 + usize::from(written)) {
                let write = access.is_some();
                let event = Event::Walk { cpu, at, table: pointer.table(), write };
                let mut next = self.clone();
                match next.advance(stage, cpu, &pointer, at, access) {
                    Err(what) => return Err(what.after(self, event)),
                    Ok(None) => {}
                    Ok(Some(Next::Page(_))) => found(next, &event),
                    Ok(Some(_)) => {
                        found(next, &event);
                        // What names a table is read alike, whatever it is read for.
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// A step of a walk, and where it leads to. `None`: it faults, and rightly so.
    fn advance(
        &mut self,
        stage: &Stage,
        cpu: usize,
        from: &pgtable::model::Pointer,
        at: u64,
        access: Option<Access>,
    ) -> Result<Option<Next>, Complaint> {
        let (result, wrong) =
            self.with_cpu(stage, cpu, |cpu, bus| cpu.advance(bus, from, at, access));
        if let Some(wrong) = wrong {
            return Err(Complaint::new(wrong));
        }
        match result {
            Ok(next) => {
                if let Next::Page(page) = &next {
                    self.note(page, if access.is_some() { ACCESSED | DIRTY } else { ACCESSED });
                    stage.judge(self)?;
                }
                Ok(Some(next))
            }
            Err(fault) => stage.judge_fault(at, access, fault).map(|()| None),
        }
    }

    /// A program writes through a translation that needs no walk.
    fn writes(&self, (cpu, at): (usize, u64), found: Found<'_>) {
        let held = self.cpus[cpu].translations_for(at);
        let usable = held.iter().filter(|page| self.cpus[cpu].can_use(page, Access::WRITE));
        for frame in usable.filter_map(|page| data_frame(page.physical(at))) {
            if self.noted[frame] & WRITTEN == 0 {
                let mut next = self.clone();
                next.noted[frame] |= WRITTEN;
                found(next, &Event::Write { cpu, at });
            }
        }
    }

    /// A context switch away and back, which reads the root anew, and, with a tag, drops nothing; in
    /// PAE, a change of a control bit that reads the four root entries.
    fn reloads(&self, stage: &Stage, cpu: usize, found: Found<'_>) -> Result<(), Complaint> {
        let Some(root) = stage.root() else { return Ok(()) };
        if stage.tags && self.cpus[cpu].root() != root {
            let mut next = self.clone();
            let (result, _) = next.with_cpu(stage, cpu, |cpu, bus| cpu.switch(bus, root, 0, true));
            result.map_err(|fault| Complaint::new(format!("loading the root: {fault:?}")))?;
            found(next, &Event::LoadRoot { cpu });
        }
        if stage.registers {
            let mut next = self.clone();
            let toggled = self.cpus[cpu].control() ^ Control::CACHE_DISABLE;
            let (result, wrong) =
                next.with_cpu(stage, cpu, |cpu, bus| cpu.set_control(bus, toggled));
            let event = Event::LoadRootEntries { cpu };
            let wrong = wrong.or(result.err().map(|fault| format!("{fault:?}")));
            if let Some(wrong) = wrong {
                return Err(Complaint::new(wrong).after(self, event));
            }
            found(next, &event);
        }
        Ok(())
    }

    /// Lets a CPU do something with this world's memory; what it complains of.
    pub(crate) fn with_cpu<R>(
        &mut self,
        stage: &Stage,
        cpu: usize,
        work: impl FnOnce(&mut KeepingCpu, &View<'_>) -> R,
    ) -> (R, Option<String>) {
        let view = View::new(&mut self.words, stage);
        let result = work(&mut self.cpus[cpu], &view);
        (result, view.wrong.into_inner())
    }

    /// Hardware has set bits in the leaf that a translation is of.
    fn note(&mut self, page: &Translation, bits: u8) {
        let first = page.physical(page.first());
        for part in 0..1u64 << (page.size_lg2() - 12) {
            if let Some(frame) = data_frame(first + (part << 12)) {
                self.noted[frame] |= bits;
            }
        }
    }
}
