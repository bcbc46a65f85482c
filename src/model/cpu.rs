//! A CPU: what it caches, and what makes it drop that.

use super::cache::{Granted, Page, Pointer};
use super::{Choices, Memory, Mode, Violation};
use std::format;
use std::vec::Vec;

/// What a CPU wants of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Access {
    /// To write.
    pub write: bool,
    /// To execute.
    pub fetch: bool,
    /// In user mode.
    pub user: bool,
}

impl Access {
    /// A read by the kernel.
    pub const READ: Self = Self { write: false, fetch: false, user: false };
    /// A write by the kernel.
    pub const WRITE: Self = Self { write: true, fetch: false, user: false };
    /// An instruction of the kernel.
    pub const FETCH: Self = Self { write: false, fetch: true, user: false };

    /// The same, in user mode.
    #[must_use]
    pub const fn user(self) -> Self {
        Self { user: true, ..self }
    }
}

/// Where an access went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Translated {
    /// The byte.
    pub physical: u64,
    /// The page has 2 to this many bytes.
    pub size_lg2: u32,
    /// It came from the TLB, and no table was read.
    pub cached: bool,
}

/// Why an access was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The mode has no such address.
    NotCanonical,
    /// An entry is not present.
    NotPresent,
    /// The page may not be used like that.
    Rights,
    /// A reserved bit is set.
    Reserved,
}

/// One CPU.
#[derive(Debug)]
pub struct Cpu<C> {
    pub(super) mode: &'static Mode,
    pub(super) choices: C,
    pub(super) root: u64,
    pub(super) pcid: u16,
    pub(super) registers: [u64; 4],
    pub(super) pages: Vec<Page>,
    pub(super) pointers: Vec<Pointer>,
    pub(super) step: u64,
    recent: [u64; 8],
    /// CR0.WP: the kernel may not write to what is not writable (section 4.6.1).
    pub write_protect: bool,
    /// CR4.PGE: global pages outlive a load of CR3 (section 4.10.2.4).
    pub global_pages: bool,
    /// The root entries of PAE are read again at any walk, as some processors do.
    pub rereads_registers: bool,
    /// INVLPG keeps pointers to tables that do not serve the address (AMD's translation cache
    /// extension; AMD64 manual, volume 2, section 5.5.3).
    pub keeps_unrelated: bool,
}

impl<C: Choices> Cpu<C> {
    /// A CPU in this mode that has no root yet.
    #[must_use]
    pub const fn new(mode: &'static Mode, choices: C) -> Self {
        Self {
            mode,
            choices,
            root: 0,
            pcid: 0,
            registers: [0; 4],
            pages: Vec::new(),
            pointers: Vec::new(),
            step: 0,
            recent: [0; 8],
            write_protect: true,
            global_pages: true,
            rereads_registers: false,
            keeps_unrelated: false,
        }
    }

    /// Loads CR3: a root, and nothing below its alignment. Drops what is not global of the current
    /// PCID (section 4.10.4.1).
    ///
    /// # Errors
    /// [`Fault::Reserved`] if a present root entry of PAE has a reserved bit set; the old root stays.
    pub fn load_root(&mut self, memory: &Memory, root: u64) -> Result<(), Fault> {
        self.switch(memory, root, self.pcid, false)
    }

    /// Loads CR3 with a PCID; with `keep` (bit 63), nothing is dropped.
    ///
    /// # Errors
    /// As [`load_root`](Self::load_root).
    pub fn switch(
        &mut self,
        memory: &Memory,
        root: u64,
        pcid: u16,
        keep: bool,
    ) -> Result<(), Fault> {
        if self.mode.registers {
            self.registers = self.root_entries(memory, root)?;
        }
        (self.root, self.pcid) = (root, pcid);
        if !keep {
            self.flush();
        }
        Ok(())
    }

    pub(super) fn root_entries(&self, memory: &Memory, root: u64) -> Result<[u64; 4], Fault> {
        let mut registers = [0; 4];
        for (register, index) in registers.iter_mut().zip(0..) {
            *register = self.read(memory, root + 8 * index, "CR3").unwrap_or(0);
            if *register & 1 != 0 && *register & Mode::PDPTE_RESERVED != 0 {
                return Err(Fault::Reserved);
            }
        }
        Ok(registers)
    }

    /// Drops all translations of the current PCID that are not global, and all its pointers.
    pub fn flush(&mut self) {
        let pcid = self.pcid;
        self.pages.retain(|page| page.global || page.pcid != pcid);
        self.pointers.retain(|pointer| pointer.pcid != pcid);
    }

    /// Drops everything, of all PCIDs, global translations included (INVPCID of type 2, or CR4.PGE
    /// changed; section 4.10.4.1).
    pub fn flush_everything(&mut self) {
        self.pages.clear();
        self.pointers.clear();
    }

    /// INVLPG: drops translations of one page, global ones included, and pointers to tables of the
    /// current PCID, whatever they serve (section 4.10.4.1).
    pub fn invalidate_page(&mut self, at: u64) {
        let (pcid, keeps) = (self.pcid, self.keeps_unrelated);
        self.pages.retain(|page| !page.serves(at, pcid));
        self.pointers.retain(|pointer| pointer.pcid != pcid || keeps && !pointer.serves(at));
    }

    /// Uses a page as a program would, or a kernel whose fault handler tries once more after it has
    /// dropped what the CPU holds of that page: a fault may come from what it held.
    ///
    /// # Errors
    /// The fault, if it comes again.
    pub fn use_page(
        &mut self,
        memory: &Memory,
        at: u64,
        access: Access,
    ) -> Result<Translated, Fault> {
        self.access(memory, at, access).or_else(|_| {
            self.invalidate_page(at);
            self.access(memory, at, access)
        })
    }

    /// Translates an address, through whatever is cached or by a walk.
    ///
    /// # Errors
    /// The fault that the CPU would raise.
    pub fn access(
        &mut self,
        memory: &Memory,
        at: u64,
        access: Access,
    ) -> Result<Translated, Fault> {
        self.step += 1;
        if !self.mode.is_address(at) {
            return Err(Fault::NotCanonical);
        }
        self.speculate(memory, at);
        if let Some(page) = self.cached(at, access) {
            self.check_frame(memory, at, &page);
            let (physical, size_lg2) = (page.physical(at), page.shift);
            return Ok(Translated { physical, size_lg2, cached: true });
        }
        let page = self.walk(memory, at, Some(access))?;
        self.check_frame(memory, at, &page);
        Ok(Translated { physical: page.physical(at), size_lg2: page.shift, cached: false })
    }

    /// What may be used of the TLB: any one that serves the address and permits the access, dirty
    /// already if it is to be written.
    fn cached(&mut self, at: u64, access: Access) -> Option<Page> {
        let (pcid, protect) = (self.pcid, self.write_protect);
        let fits = |page: &&Page| {
            let ready = page.dirty || !access.write;
            page.serves(at, pcid) && ready && permits(page.granted, access, protect)
        };
        let found: Vec<Page> = self.pages.iter().filter(fits).copied().collect();
        let among = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let chosen = self.choices.choose(among + 1);
        found.get(usize::try_from(chosen).ok()?).copied()
    }

    /// Walks for an address that nobody asked for, and drops something that nobody asked to drop: both
    /// at any time (sections 4.10.2.3 and 4.10.4.1).
    fn speculate(&mut self, memory: &Memory, at: u64) {
        let slot = usize::try_from(self.step % 8).unwrap_or(0);
        if self.choices.one_in(8) {
            let guess = self.recent[slot];
            let _ = self.walk(memory, guess, None);
        }
        self.recent[slot] = at;
        if self.pages.len() > 64 || self.choices.one_in(64) {
            drop_one(&mut self.pages, &mut self.choices);
        }
        if self.pointers.len() > 32 || self.choices.one_in(64) {
            drop_one(&mut self.pointers, &mut self.choices);
        }
    }

    fn check_frame(&self, memory: &Memory, at: u64, page: &Page) {
        let physical = page.physical(at);
        if memory.is_forbidden(physical) {
            let history = format!("step {}, address {at:#x}, {}", self.step, page.source);
            memory.complain(Violation::HandedBack { physical, history });
        }
    }

    /// Reads an entry, and complains if it is none of a table.
    pub(super) fn read(&self, memory: &Memory, entry: u64, by: &str) -> Option<u64> {
        if !memory.is_table(entry) {
            let history = format!("step {}, {by}", self.step);
            memory.complain(Violation::NoTable { entry, history });
        }
        memory.load(entry)
    }
}

fn drop_one<T>(cached: &mut Vec<T>, choices: &mut impl Choices) {
    if let Ok(among @ 1..) = u32::try_from(cached.len()) {
        let chosen = choices.choose(among);
        cached.swap_remove(usize::try_from(chosen).unwrap_or(0));
    }
}

/// Whether a page that grants this may be used like that (section 4.6.1).
pub(super) const fn permits(granted: Granted, access: Access, write_protect: bool) -> bool {
    let write = granted.write || !access.write || !access.user && !write_protect;
    write && (granted.user || !access.user) && (granted.execute || !access.fetch)
}
