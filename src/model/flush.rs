//! What makes a CPU drop what it holds (section 4.10.4.1): what must go, and nothing else.

use super::{Bus, Choices, Control, Cpu, Fault, Mode};

/// What INVPCID drops. Its four types (Intel SDM volume 2, INVPCID).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invpcid {
    /// Type 0: what would translate one address under a PCID, but for global translations.
    Address {
        /// The PCID.
        pcid: u16,
        /// The address.
        at: u64,
    },
    /// Type 1: all of a PCID, but for global translations.
    Context {
        /// The PCID.
        pcid: u16,
    },
    /// Type 2: everything.
    AllWithGlobal,
    /// Type 3: everything but global translations.
    All,
}

impl<C: Choices> Cpu<C> {
    /// Loads CR3: a root, and nothing below its alignment. Drops what is not global of the current
    /// PCID, and reads the four root entries of PAE.
    ///
    /// # Errors
    /// [`Fault::Reserved`] if a present root entry of PAE has a reserved bit set; the old root, and the
    /// old entries, stay.
    pub fn load_root(&mut self, memory: &impl Bus, root: u64) -> Result<(), Fault> {
        self.switch(memory, root, self.pcid, false)
    }

    /// Loads CR3 with a PCID: drops what is not global of that one. With `keep` (bit 63), nothing is
    /// dropped.
    ///
    /// # Errors
    /// As [`load_root`](Self::load_root); and for a PCID above 4095, or anything but PCID 0 and a flush
    /// where [`Control::TAGS`] is clear.
    pub fn switch(
        &mut self,
        memory: &impl Bus,
        root: u64,
        pcid: u16,
        keep: bool,
    ) -> Result<(), Fault> {
        let tagged = self.control.contains(Control::TAGS);
        if pcid > 0xfff || !tagged && (pcid != 0 || keep) {
            return Err(Fault::Reserved);
        }
        if self.mode.registers && self.control.contains(Control::PAGING) {
            self.registers = self.root_entries(memory, root)?;
        }
        self.step += 1;
        (self.root, self.pcid, self.loaded) = (root, pcid, self.step);
        if !keep {
            self.flush();
        }
        Ok(())
    }

    pub(super) fn root_entries(&self, memory: &impl Bus, root: u64) -> Result<[u64; 4], Fault> {
        let mut registers = [0; 4];
        for (register, index) in registers.iter_mut().zip(0..) {
            *register = self.fetch(memory, root + 8 * index, "CR3").unwrap_or(0);
            let reserved = Mode::PDPTE_RESERVED | self.too_wide();
            if *register & 1 != 0 && *register & reserved != 0 {
                return Err(Fault::Reserved);
            }
        }
        Ok(registers)
    }

    /// Drops all translations of the current PCID that are not global, and all its pointers: what a
    /// load of CR3 does besides.
    pub fn flush(&mut self) {
        self.invalidate(Invpcid::Context { pcid: self.pcid });
    }

    /// Drops everything, of all PCIDs, global translations included.
    pub fn flush_everything(&mut self) {
        self.invalidate(Invpcid::AllWithGlobal);
    }

    /// INVLPG: drops the translations of the page that holds `at`, of the current PCID and global ones,
    /// and pointers to tables of the current PCID, whatever they serve.
    ///
    /// With [`keeps_unrelated`](Self::keeps_unrelated), only pointers that serve `at` go.
    pub fn invalidate_page(&mut self, at: u64) {
        let (pcid, keeps) = (self.pcid, self.keeps_unrelated);
        self.translations
            .retain(|page| !(page.is_of_page(at) && (page.global || page.pcid == pcid)));
        self.pointers.retain(|pointer| pointer.pcid != pcid || keeps && !pointer.serves(at));
    }

    /// INVPCID.
    pub fn invalidate(&mut self, what: Invpcid) {
        match what {
            Invpcid::Address { pcid, at } => {
                self.translations
                    .retain(|page| page.global || page.pcid != pcid || !page.is_of_page(at));
                self.pointers.retain(|pointer| pointer.pcid != pcid || !pointer.serves(at));
            }
            Invpcid::Context { pcid } => {
                self.translations.retain(|page| page.global || page.pcid != pcid);
                self.pointers.retain(|pointer| pointer.pcid != pcid);
            }
            Invpcid::AllWithGlobal => {
                self.translations.clear();
                self.pointers.clear();
            }
            Invpcid::All => {
                self.translations.retain(|page| page.global);
                self.pointers.clear();
            }
        }
    }

    /// A page fault drops what the address was translated with, so that it does not come again if
    /// memory does not say so.
    pub(super) fn forget(&mut self, at: u64) {
        let pcid = self.pcid;
        self.translations.retain(|page| !page.serves(at, pcid));
        self.pointers.retain(|pointer| pointer.pcid != pcid || !pointer.serves(at));
    }
}
