//! A CPU, and what it does with an address.

use super::cache::Granted;
use super::{Bus, Choices, Control, Decision, Mode, Pointer, Translation, Violation};
use std::format;
use std::vec::Vec;

/// What a CPU wants of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// A reserved bit is set; or a control register refuses the value.
    Reserved,
}

/// One CPU: what it was told, and what it holds.
#[derive(Clone, Debug)]
pub struct Cpu<C> {
    pub(super) mode: &'static Mode,
    pub(super) choices: C,
    pub(super) control: Control,
    pub(super) root: u64,
    pub(super) pcid: u16,
    /// The step at which the root was loaded.
    pub(super) loaded: u64,
    pub(super) registers: [u64; 4],
    pub(super) translations: Vec<Translation>,
    pub(super) pointers: Vec<Pointer>,
    pub(super) step: u64,
    recent: [u64; 8],
    /// Physical addresses have so many bits (MAXPHYADDR); those above are reserved in entries.
    pub phys_bits: u32,
    /// The root entries of PAE are no registers: they are read, and cached, like all other entries, as
    /// by AMD processors with nested paging (AMD64 manual, volume 2, section 15.25).
    pub rereads_registers: bool,
    /// INVLPG keeps pointers to tables that do not serve the address (AMD's translation cache
    /// extension, EFER.TCE; AMD64 manual, volume 2, section 5.5.3).
    pub keeps_unrelated: bool,
}

impl<C: Choices> Cpu<C> {
    /// A CPU in this mode, with [`Control::USUAL`], that has no root yet.
    #[must_use]
    pub const fn new(mode: &'static Mode, choices: C) -> Self {
        Self {
            mode,
            choices,
            control: Control::USUAL,
            root: 0,
            pcid: 0,
            loaded: 0,
            registers: [0; 4],
            translations: Vec::new(),
            pointers: Vec::new(),
            step: 0,
            recent: [0; 8],
            phys_bits: 52,
            rereads_registers: false,
            keeps_unrelated: false,
        }
    }

    /// The root that is loaded.
    #[must_use]
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// The current PCID.
    #[must_use]
    pub const fn pcid(&self) -> u16 {
        self.pcid
    }

    /// The translations that it holds, of all PCIDs.
    #[must_use]
    pub fn translations(&self) -> &[Translation] {
        &self.translations
    }

    /// The pointers to tables that it holds, of all PCIDs, in registers not included.
    #[must_use]
    pub fn pointers(&self) -> &[Pointer] {
        &self.pointers
    }

    /// The four root entries of PAE, as they were loaded.
    #[must_use]
    pub const fn root_registers(&self) -> [u64; 4] {
        self.registers
    }

    /// Uses a page as a program would, or a kernel whose fault handler tries once more after it has
    /// dropped what the CPU holds of that page: a fault may come from what it held.
    ///
    /// # Errors
    /// The fault, if it comes again.
    pub fn use_page(
        &mut self,
        memory: &impl Bus,
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
    /// The fault that the CPU would raise. What it held of the address is dropped then (section
    /// 4.10.4.1), so that a fault comes again only if memory says so.
    pub fn access(
        &mut self,
        memory: &impl Bus,
        at: u64,
        access: Access,
    ) -> Result<Translated, Fault> {
        self.step += 1;
        if !self.control.contains(Control::PAGING) {
            return Ok(Translated { physical: at, size_lg2: self.mode.page_lg2(), cached: false });
        }
        if !self.mode.is_address(at) {
            return Err(Fault::NotCanonical);
        }
        self.speculate(memory, at);
        let result = self.translate(memory, at, access);
        if result.is_err() {
            self.forget(at);
        }
        let (page, cached) = result?;
        self.touch(memory, at, &page);
        Ok(Translated { physical: page.physical(at), size_lg2: page.page_lg2, cached })
    }

    /// The translation, and whether it was cached. A cached one that does not permit the access faults,
    /// whatever memory says by now; one that is not dirty does not serve a write.
    fn translate(
        &mut self,
        memory: &impl Bus,
        at: u64,
        access: Access,
    ) -> Result<(Translation, bool), Fault> {
        match self.cached(at) {
            Some(page) if !permits(page.granted, access, self.control) => Err(Fault::Rights),
            Some(page) if page.dirty || !access.write => Ok((page, true)),
            _ => self.walk(memory, at, Some(access)).map(|page| (page, false)),
        }
    }

    /// One of the translations that serve an address, or none.
    fn cached(&mut self, at: u64) -> Option<Translation> {
        let serves = |page: &&Translation| page.serves(at, self.pcid);
        let mut found: Vec<Translation> =
            self.translations.iter().filter(serves).copied().collect();
        found.sort_by_key(|page| std::cmp::Reverse(page.history.last_step()));
        let among = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let chosen = self.choices.decide(Decision::Translation, among + 1);
        found.get(usize::try_from(chosen).ok()?).copied()
    }

    /// Walks for an address that nobody asked for, and drops something that nobody asked to drop: both
    /// at any time (sections 4.10.2.3 and 4.10.4.1).
    fn speculate(&mut self, memory: &impl Bus, at: u64) {
        let slot = usize::try_from(self.step % 8).unwrap_or(0);
        if self.choices.decide(Decision::WalkAhead, 8) == 0 {
            let guess = self.recent[slot];
            let _ = self.walk(memory, guess, None);
        }
        self.recent[slot] = at;
        let full = self.translations.len() > 64;
        if self.choices.decide(Decision::DropTranslation, 64) == 0 || full {
            drop_one(&mut self.translations, &mut self.choices);
        }
        let full = self.pointers.len() > 32;
        if self.choices.decide(Decision::DropPointer, 64) == 0 || full {
            drop_one(&mut self.pointers, &mut self.choices);
        }
    }

    /// Uses the page: complains if its frame was handed back.
    fn touch(&self, memory: &impl Bus, at: u64, page: &Translation) {
        let physical = page.physical(at);
        if memory.is_forbidden(physical) {
            let history = format!("step {}, address {at:#x}; {}", self.step, page.history);
            memory.complain(Violation::HandedBack { physical, history });
        }
    }

    /// Reads an entry, and complains if it is none of a table.
    pub(super) fn fetch(&self, memory: &impl Bus, entry: u64, by: &str) -> Option<u64> {
        if !memory.is_table(entry) {
            let history = format!("step {}, {by}", self.step);
            memory.complain(Violation::NoTable { entry, history });
        }
        memory.load(entry)
    }
}

fn drop_one<T>(cached: &mut Vec<T>, choices: &mut impl Choices) {
    if let Ok(among @ 1..) = u32::try_from(cached.len()) {
        let chosen = choices.decide(Decision::Which, among);
        cached.remove(usize::try_from(chosen).unwrap_or(0));
    }
}

/// Whether a page that grants this may be used like that (section 4.6.1).
pub(super) fn permits(granted: Granted, access: Access, control: Control) -> bool {
    let kernel = !access.user;
    let unprotected = kernel && !control.contains(Control::WRITE_PROTECT);
    let kept_off = kernel && granted.user;
    let fetch = granted.execute && !(kept_off && control.contains(Control::NO_KERNEL_FETCH));
    let data = !(kept_off && control.contains(Control::NO_KERNEL_ACCESS));
    (granted.write || !access.write || unprotected)
        && (granted.user || kernel)
        && if access.fetch { fetch } else { data }
}
