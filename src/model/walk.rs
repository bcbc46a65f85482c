//! The walk, by the manual: Intel SDM volume 3A, sections 4.3 to 4.8.

use super::cache::{Granted, keep};
use super::cpu::permits;
use super::{Access, Bus, Choices, Control, Cpu, Decision, Fault, History, Pointer, Translation};
use std::format;
use std::vec::Vec;

/// Bits of entries (section 4.5, tables 4-15 to 4-20; the same in all modes).
const PRESENT: u64 = 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const PAGE_SIZE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;

/// What an entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// A table of the next level.
    Table(Pointer),
    /// A page.
    Page(Translation),
}

/// One step of a walk at a time, for tests that decide themselves what a CPU does next: an explorer,
/// which tries everything. A walk is nothing but a pointer that is held, so between two steps
/// anything else may happen, as it does.
impl<C: Choices> Cpu<C> {
    /// Every pointer that a walk for an address can begin at: the cached ones that serve it, and the
    /// root, or PAE's register.
    ///
    /// # Errors
    /// [`Fault::NotPresent`] if the register says so, and [`Fault::Reserved`] if it cannot be read.
    pub fn pointers_for(&self, memory: &impl Bus, at: u64) -> Result<Vec<Pointer>, Fault> {
        let mut pointers = self.cached_pointers(at);
        pointers.push(self.at_root(memory, at)?);
        Ok(pointers)
    }

    /// Every translation that an access to an address can use, without a look at any table.
    #[must_use]
    pub fn translations_for(&self, at: u64) -> Vec<Translation> {
        let serves = |page: &&Translation| page.serves(at, self.pcid);
        self.translations.iter().filter(serves).copied().collect()
    }

    /// Whether a translation lets this CPU do something; a write wants a dirty one.
    #[must_use]
    pub fn can_use(&self, page: &Translation, access: Access) -> bool {
        permits(page.granted, access, self.control) && (page.dirty || !access.write)
    }

    /// Reads one entry of the table that a pointer leads to, sets A in it, and D if it is a leaf and
    /// the access a write, and keeps what it leads to. Without an access it is a walk ahead of time,
    /// which sets no D.
    ///
    /// # Errors
    /// The fault that the CPU would raise. It drops nothing yet.
    pub fn advance(
        &mut self,
        memory: &impl Bus,
        from: &Pointer,
        at: u64,
        access: Option<Access>,
    ) -> Result<Next, Fault> {
        self.step += 1;
        let next = self.step_down(memory, at, from, access)?;
        if self.is_read_entry(from) {
            keep(&mut self.pointers, *from);
        }
        match next {
            Next::Table(below) => keep(&mut self.pointers, below),
            Next::Page(page) => keep(&mut self.translations, page),
        }
        Ok(next)
    }

    /// Translates by reading tables; without an access it is a walk ahead of time.
    pub(super) fn walk(
        &mut self,
        memory: &impl Bus,
        at: u64,
        access: Option<Access>,
    ) -> Result<Translation, Fault> {
        let mut pointer = self.start(memory, at)?;
        loop {
            match self.step_down(memory, at, &pointer, access)? {
                Next::Table(below) => {
                    pointer = below;
                    if self.choices.decide(Decision::KeepPointer, 4) != 1 {
                        keep(&mut self.pointers, below);
                    }
                }
                Next::Page(page) => {
                    self.keep_page(at, page);
                    return Ok(page);
                }
            }
        }
    }

    /// Keeps a translation: for all of its page or, of a large one, for a part.
    fn keep_page(&mut self, at: u64, page: Translation) {
        if self.choices.decide(Decision::KeepTranslation, 4) == 1 {
            return;
        }
        let base = self.mode.page_lg2();
        let part = page.shift > base && self.choices.decide(Decision::Fragment, 2) == 1;
        keep(&mut self.translations, if part { page.fragment(at, base) } else { page });
    }

    /// Cached pointers that serve an address, the one furthest down first.
    fn cached_pointers(&self, at: u64) -> Vec<Pointer> {
        let serves = |pointer: &&Pointer| pointer.pcid == self.pcid && pointer.serves(at);
        let mut known: Vec<Pointer> = self.pointers.iter().filter(serves).copied().collect();
        let newest = |pointer: &Pointer| (pointer.level, pointer.history.last_step());
        known.sort_by_key(|pointer| std::cmp::Reverse(newest(pointer)));
        known
    }

    /// Where a walk begins: at the root, or at any table that a cached pointer leads to (section
    /// 4.10.3.2).
    fn start(&mut self, memory: &impl Bus, at: u64) -> Result<Pointer, Fault> {
        let known = self.cached_pointers(at);
        let among = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let chosen = self.choices.decide(Decision::Start, among + 1);
        let chosen = usize::try_from(chosen).unwrap_or(0);
        match known.get(chosen) {
            Some(&pointer) => Ok(pointer),
            None => {
                let pointer = self.at_root(memory, at)?;
                if self.is_read_entry(&pointer)
                    && self.choices.decide(Decision::KeepPointer, 4) != 1
                {
                    keep(&mut self.pointers, pointer);
                }
                Ok(pointer)
            }
        }
    }

    /// A root entry of PAE that is no register, but an entry like others.
    const fn is_read_entry(&self, pointer: &Pointer) -> bool {
        self.mode.registers && self.rereads_registers && pointer.level == 1
    }

    fn at_root(&self, memory: &impl Bus, at: u64) -> Result<Pointer, Fault> {
        let history = History::of_root(self.root, self.loaded);
        let (granted, table, pcid) = (Granted::ALL, self.root, self.pcid);
        let below = self.mode.virt_bits;
        let root = Pointer { level: 0, prefix: at >> below, below, table, granted, pcid, history };
        if self.mode.registers { self.through_register(memory, at, root) } else { Ok(root) }
    }

    /// PAE: the root entries were read when CR3 was loaded (section 4.4.1). They grant everything.
    fn through_register(
        &self,
        memory: &impl Bus,
        at: u64,
        root: Pointer,
    ) -> Result<Pointer, Fault> {
        let registers = if self.rereads_registers {
            self.root_entries(memory, self.root)?
        } else {
            self.registers
        };
        let index = at >> 30 & 3;
        let entry = registers[usize::try_from(index).unwrap_or(0)];
        if entry & PRESENT == 0 {
            return Err(Fault::NotPresent);
        }
        let step = if self.rereads_registers { self.step } else { self.loaded };
        let history = root.history.then(self.root + 8 * index, entry, step);
        let (level, prefix, below) = (1, at >> 30, 30);
        Ok(Pointer { level, prefix, below, table: self.mode.table(entry), history, ..root })
    }

    /// Reads one entry, sets what the CPU sets in it, and says what it names. An entry that has
    /// changed before A or D could be set is looked at anew (section 4.8: as if by a locked cycle).
    fn step_down(
        &self,
        memory: &impl Bus,
        at: u64,
        from: &Pointer,
        access: Option<Access>,
    ) -> Result<Next, Fault> {
        let level = self.mode.levels[from.level];
        let index = (at >> level.shift) & ((1 << level.bits) - 1);
        let place = from.table + index * u64::from(self.mode.word);
        let last = from.level + 1 == self.mode.levels.len();
        let huge =
            level.huge && (self.mode.word == 8 || self.control.contains(Control::LARGE_PAGES));
        loop {
            let by = || format!("address {at:#x}; {}", from.history);
            let entry = self.fetch_by(memory, place, by).ok_or(Fault::Reserved)?;
            let leaf = last || huge && entry & PAGE_SIZE != 0;
            self.check(entry, leaf, from.level)?;
            let granted = from.granted.through(entry, self.mode.word == 8);
            let mut set = ACCESSED;
            if let (true, Some(access)) = (leaf, access) {
                if !permits(granted, access, self.control) {
                    return Err(Fault::Rights);
                }
                set |= if access.write { DIRTY } else { 0 };
            }
            if entry | set == entry || memory.replace(place, entry, entry | set) {
                let history = from.history.then(place, entry | set, self.step);
                return Ok(self.named(at, *from, (entry | set, leaf), granted, history));
            }
        }
    }

    /// What an entry leads to, as the caches have it.
    fn named(
        &self,
        at: u64,
        from: Pointer,
        (entry, leaf): (u64, bool),
        granted: Granted,
        history: History,
    ) -> Next {
        let shift = self.mode.levels[from.level].shift;
        let prefix = at >> shift;
        if !leaf {
            let (level, below, table) = (from.level + 1, shift, self.mode.table(entry));
            return Next::Table(Pointer { level, prefix, below, table, granted, history, ..from });
        }
        Next::Page(Translation {
            prefix,
            shift,
            page_lg2: shift,
            frame: self.mode.page(entry, shift).0,
            granted,
            dirty: entry & DIRTY != 0,
            global: self.control.contains(Control::GLOBAL_PAGES) && entry & GLOBAL != 0,
            pcid: from.pcid,
            history,
        })
    }

    fn check(&self, entry: u64, leaf: bool, level: usize) -> Result<(), Fault> {
        if entry & PRESENT == 0 {
            return Err(Fault::NotPresent);
        }
        let level = self.mode.levels[level];
        let by_kind = if leaf {
            self.mode.page(entry, level.shift).1
        } else if level.huge || self.mode.word == 4 {
            0
        } else {
            // PML5 and PML4 entries map nothing: bit 7 is reserved (table 4-14).
            entry & PAGE_SIZE
        };
        let no_execute = self.mode.word == 8 && !self.control.contains(Control::NO_EXECUTE);
        let reserved =
            self.mode.reserved | self.too_wide() | if no_execute { NO_EXECUTE } else { 0 };
        if by_kind | (entry & reserved) != 0 { Err(Fault::Reserved) } else { Ok(()) }
    }

    /// Address bits that this CPU does not have.
    pub(super) fn too_wide(&self) -> u64 {
        let wide = self.mode.word == 8 && self.phys_bits < 52;
        if wide { (1 << 52) - (1 << self.phys_bits) } else { 0 }
    }

    /// As `fetch`, and says by whom only if it is asked.
    fn fetch_by(
        &self,
        memory: &impl Bus,
        entry: u64,
        by: impl FnOnce() -> std::string::String,
    ) -> Option<u64> {
        if memory.is_table(entry) { memory.load(entry) } else { self.fetch(memory, entry, &by()) }
    }
}
