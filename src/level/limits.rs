//! What this CPU can do of what the mode allows.

use super::attrs::{Attrs, Rights};
use super::error::{Error, Feature};

/// What the CPU at hand supports, known only at run time. The mode's maximum is
/// [`Arch::LIMITS`](super::Arch::LIMITS); a kernel narrows it to what CPUID says.
///
/// A leaf that breaks a limit is refused, so no reserved bit is ever set.
///
/// ```
/// use pgtable::{Arch, arch::x86::X86_64};
/// let mut limits = X86_64::LIMITS;
/// limits.phys_bits = 39;            // CPUID 8000_0008h, EAX 7:0
/// limits.largest_leaf_lg2 = 21;     // no 1 GiB pages
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Width of a physical address. Where a mode has several (x86 without PAE: 40 bits for 4 MiB
    /// leaves, 32 for everything else) this is the widest, and the others are as wide at most.
    pub phys_bits: u8,
    /// The largest leaf is 2 to this many bytes.
    pub largest_leaf_lg2: u8,
    /// Pages can be made not executable (x86: EFER.NXE).
    pub no_execute: bool,
    /// Translations can be global (x86: CR4.PGE).
    pub global: bool,
    /// Pages can have protection keys (x86: CR4.PKE or CR4.PKS).
    pub keys: bool,
}

impl Limits {
    /// What both allow.
    #[must_use]
    pub const fn narrowed(self, other: Self) -> Self {
        Self {
            phys_bits: min(self.phys_bits, other.phys_bits),
            largest_leaf_lg2: min(self.largest_leaf_lg2, other.largest_leaf_lg2),
            no_execute: self.no_execute && other.no_execute,
            global: self.global && other.global,
            keys: self.keys && other.keys,
        }
    }

    /// Refuses attributes that this CPU does not have.
    #[inline]
    pub(crate) fn permit(&self, attrs: &Attrs) -> Result<(), Error> {
        let lacking = if !self.no_execute && !attrs.rights.contains(Rights::EXECUTE) {
            Feature::NoExecute
        } else if !self.global && attrs.global {
            Feature::Global
        } else if !self.keys && attrs.key != 0 {
            Feature::Key(attrs.key)
        } else {
            return Ok(());
        };
        Err(Error::Unsupported(lacking))
    }
}

pub(crate) const fn min(a: u8, b: u8) -> u8 {
    if a < b { a } else { b }
}
