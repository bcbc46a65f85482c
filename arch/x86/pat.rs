//! The page attribute table (Intel SDM volume 3A, section 12.12).

use crate::level::{Caching, MemoryTypes};

/// What the eight indices mean until a kernel programs the PAT: no write-combining (table 12-12).
pub const PAT_AT_POWER_ON: MemoryTypes = MemoryTypes([
    Caching::WriteBack,
    Caching::WriteThrough,
    Caching::UncachedMinus,
    Caching::Uncached,
    Caching::WriteBack,
    Caching::WriteThrough,
    Caching::UncachedMinus,
    Caching::Uncached,
]);

/// What the eight indices mean with this value of `IA32_PAT` (MSR 277h): one byte for each, the
/// lowest first (table 12-10). `None` if a byte has a reserved value, which the MSR cannot hold.
///
/// ```
/// use pgtable::arch::x86::{PAT_AT_POWER_ON, memory_types_from_msr};
/// assert_eq!(memory_types_from_msr(0x0007_0406_0007_0406), Some(PAT_AT_POWER_ON));
/// ```
#[must_use]
pub fn memory_types_from_msr(msr: u64) -> Option<MemoryTypes> {
    let mut names = [Caching::WriteBack; 8];
    for (name, byte) in names.iter_mut().zip(msr.to_le_bytes()) {
        *name = match byte {
            0 => Caching::Uncached,
            1 => Caching::WriteCombining,
            4 => Caching::WriteThrough,
            5 => Caching::WriteProtected,
            6 => Caching::WriteBack,
            7 => Caching::UncachedMinus,
            _ => return None,
        };
    }
    Some(MemoryTypes(names))
}
