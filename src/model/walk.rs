//! The walk, by the manual: Intel SDM volume 3A, sections 4.3 to 4.8.

use super::cache::{Granted, Page, Pointer, Source};
use super::cpu::permits;
use super::{Access, Choices, Cpu, Fault, Memory};
use std::format;
use std::vec::Vec;

/// Bits of entries (section 4.5, tables 4-15 to 4-20; the same in all modes).
const PRESENT: u64 = 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const PAGE_SIZE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;

impl<C: Choices> Cpu<C> {
    /// Translates by reading tables; without an access it is one ahead of time, which sets no D.
    pub(super) fn walk(
        &mut self,
        memory: &Memory,
        at: u64,
        access: Option<Access>,
    ) -> Result<Page, Fault> {
        let mut pointer = self.start(memory, at)?;
        loop {
            match self.step_down(memory, at, &pointer, access)? {
                Next::Table(below) => {
                    pointer = below;
                    if self.choices.choose(3) != 0 {
                        self.pointers.push(below);
                    }
                }
                Next::Page(page) => {
                    if self.choices.choose(4) != 0 {
                        self.pages.push(page);
                    }
                    return Ok(page);
                }
            }
        }
    }

    /// Where the walk begins: at the root, or at any table that a cached pointer leads to (section
    /// 4.10.3.2 has it that any one may be used).
    fn start(&mut self, memory: &Memory, at: u64) -> Result<Pointer, Fault> {
        let pcid = self.pcid;
        let serves = |pointer: &&Pointer| pointer.pcid == pcid && pointer.serves(at);
        let known: Vec<Pointer> = self.pointers.iter().filter(serves).copied().collect();
        let among = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let chosen = usize::try_from(self.choices.choose(among + 1)).unwrap_or(0);
        if let Some(&pointer) = known.get(chosen) {
            return Ok(pointer);
        }
        let source = Source { entry: self.root, step: self.step };
        let (granted, table) = (Granted::ALL, self.root);
        let root = Pointer { level: 0, prefix: 0, below: 63, table, granted, pcid, source };
        if self.mode.registers { self.through_register(memory, at, root) } else { Ok(root) }
    }

    /// PAE: the root entries were read when CR3 was loaded (section 4.4.1). They grant everything.
    fn through_register(&self, memory: &Memory, at: u64, root: Pointer) -> Result<Pointer, Fault> {
        let registers = if self.rereads_registers {
            self.root_entries(memory, self.root)?
        } else {
            self.registers
        };
        let entry = registers[usize::try_from(at >> 30 & 3).unwrap_or(0)];
        if entry & PRESENT == 0 {
            return Err(Fault::NotPresent);
        }
        Ok(Pointer { level: 1, prefix: at >> 30, below: 30, table: self.mode.table(entry), ..root })
    }

    /// Reads one entry, sets what the CPU sets in it, and says what it names. An entry that has
    /// changed before A or D could be set is looked at anew (section 4.8: as if by a locked cycle).
    fn step_down(
        &self,
        memory: &Memory,
        at: u64,
        from: &Pointer,
        access: Option<Access>,
    ) -> Result<Next, Fault> {
        let level = self.mode.levels[from.level];
        let index = (at >> level.shift) & ((1 << level.bits) - 1);
        let place = from.table + index * u64::from(self.mode.word);
        let last = from.level + 1 == self.mode.levels.len();
        loop {
            let by = format!("address {at:#x}, {}", from.source);
            let entry = self.read(memory, place, &by).ok_or(Fault::Reserved)?;
            let leaf = last || level.huge && entry & PAGE_SIZE != 0;
            self.check(entry, leaf, level.shift)?;
            let granted = from.granted.through(entry, self.mode.word == 8);
            let mut set = ACCESSED;
            if let (true, Some(access)) = (leaf, access) {
                if !permits(granted, access, self.write_protect) {
                    return Err(Fault::Rights);
                }
                set |= if access.write { DIRTY } else { 0 };
            }
            if entry | set == entry || memory.replace(place, entry, entry | set) {
                let source = Source { entry: place, step: self.step };
                return Ok(self.named(at, *from, (entry | set, leaf), granted, source));
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
        source: Source,
    ) -> Next {
        let shift = self.mode.levels[from.level].shift;
        let prefix = at >> shift;
        if !leaf {
            let (level, table) = (from.level + 1, self.mode.table(entry));
            return Next::Table(Pointer {
                level,
                prefix,
                below: shift,
                table,
                granted,
                source,
                ..from
            });
        }
        Next::Page(Page {
            prefix,
            shift,
            frame: self.mode.page(entry, shift).0,
            granted,
            dirty: entry & DIRTY != 0,
            global: self.global_pages && entry & GLOBAL != 0,
            pcid: from.pcid,
            source,
        })
    }

    fn check(&self, entry: u64, leaf: bool, shift: u32) -> Result<(), Fault> {
        if entry & PRESENT == 0 {
            return Err(Fault::NotPresent);
        }
        let by_kind = if leaf {
            self.mode.page(entry, shift).1
        } else {
            let top = self.mode.levels[0].shift == shift;
            if top { entry & self.mode.reserved_in_tables } else { 0 }
        };
        if by_kind | (entry & self.mode.reserved) != 0 { Err(Fault::Reserved) } else { Ok(()) }
    }
}

/// What an entry leads to.
enum Next {
    Table(Pointer),
    Page(Page),
}
