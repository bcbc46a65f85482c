//! The bits of CR0, CR4 and EFER that paging has to do with.

use super::{Bus, Choices, Cpu, Fault};
use bitflags::bitflags;

bitflags! {
    /// Bits of the control registers. PAE and LA57 are the CPU's [`Mode`](super::Mode), which does not
    /// change.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Control: u16 {
        /// CR0.PG: addresses are translated.
        const PAGING = 1 << 0;
        /// CR0.WP: the kernel may not write to what is not writable (section 4.6.1).
        const WRITE_PROTECT = 1 << 1;
        /// CR0.CD.
        const CACHE_DISABLE = 1 << 2;
        /// CR0.NW.
        const NOT_WRITE_THROUGH = 1 << 3;
        /// CR4.PSE: 4 MiB pages without PAE (section 4.3).
        const LARGE_PAGES = 1 << 4;
        /// CR4.PGE: global pages outlive a load of CR3 (section 4.10.2.4).
        const GLOBAL_PAGES = 1 << 5;
        /// CR4.PCIDE: translations are tagged (section 4.10.1). With 4 and 5 levels only.
        const TAGS = 1 << 6;
        /// CR4.SMEP: the kernel executes no page of user mode (section 4.6.1).
        const NO_KERNEL_FETCH = 1 << 7;
        /// CR4.SMAP, with EFLAGS.AC clear: the kernel reads and writes no page of user mode.
        const NO_KERNEL_ACCESS = 1 << 8;
        /// EFER.NXE: bit 63 forbids to execute; without it, the bit is reserved.
        const NO_EXECUTE = 1 << 9;
    }
}

impl Control {
    /// What a kernel of today sets: all but the bits about caches and about user pages.
    pub const USUAL: Self = Self::PAGING
        .union(Self::WRITE_PROTECT)
        .union(Self::LARGE_PAGES)
        .union(Self::GLOBAL_PAGES)
        .union(Self::NO_EXECUTE);

    /// Bits whose change makes a CPU with PAE read its four root entries again (section 4.4.1).
    pub const LOADS_ROOT_ENTRIES: Self = Self::PAGING
        .union(Self::CACHE_DISABLE)
        .union(Self::NOT_WRITE_THROUGH)
        .union(Self::LARGE_PAGES)
        .union(Self::GLOBAL_PAGES)
        .union(Self::NO_KERNEL_FETCH);
}

impl<C: Choices> Cpu<C> {
    /// The control bits.
    #[must_use]
    pub const fn control(&self) -> Control {
        self.control
    }

    /// Changes control bits, with all that follows: root entries of PAE are loaded (section 4.4.1),
    /// and caches are dropped (section 4.10.4.1).
    ///
    /// # Errors
    /// [`Fault::Reserved`] for tags in a mode that has none, or while the PCID is not 0; and if a root
    /// entry of PAE that would be loaded has a reserved bit set. Nothing has changed then.
    pub fn set_control(&mut self, memory: &impl Bus, control: Control) -> Result<(), Fault> {
        let (was, changed) = (self.control, self.control ^ control);
        let tags = control.contains(Control::TAGS);
        let begins = tags && changed.contains(Control::TAGS);
        if tags && !self.mode.has_tags() || begins && self.pcid != 0 {
            return Err(Fault::Reserved);
        }
        let paging = control.contains(Control::PAGING);
        if self.mode.registers && paging && changed.intersects(Control::LOADS_ROOT_ENTRIES) {
            self.registers = self.root_entries(memory, self.root)?;
        }
        self.control = control;
        let ended = |bit| changed.contains(bit) && was.contains(bit);
        if ended(Control::PAGING) || ended(Control::TAGS) || changed.contains(Control::GLOBAL_PAGES)
        {
            self.flush_everything();
        } else if changed.contains(Control::NO_KERNEL_FETCH) && !ended(Control::NO_KERNEL_FETCH) {
            let pcid = self.pcid;
            self.translations.retain(|page| page.pcid != pcid);
            self.pointers.retain(|pointer| pointer.pcid != pcid);
        }
        Ok(())
    }
}
