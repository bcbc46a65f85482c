//! x86 and x86-64: four paging modes (Intel SDM volume 3A, chapter 4).
//!
//! | mode | levels | entry | leaves | section |
//! |---|---|---|---|---|
//! | [`X86_32`], no PAE | 2 | 32 bits | 4 KiB, 4 MiB | 4.3 |
//! | [`X86Pae`] | 3 | 64 bits | 4 KiB, 2 MiB | 4.4 |
//! | [`X86_64`] | 4 | 64 bits | 4 KiB, 2 MiB, 1 GiB | 4.5 |
//! | [`X86_64La57`] | 5 | 64 bits | 4 KiB, 2 MiB, 1 GiB | 4.5 |

mod bits;
mod legacy;
mod pat;

pub use legacy::{LegacyPgd, LegacyPte, X86_32, X86Legacy};
pub use pat::{PAT_AT_POWER_ON, memory_types_from_msr};

#[cfg(target_has_atomic = "64")]
mod long;
#[cfg(target_has_atomic = "64")]
mod pae;
#[cfg(target_has_atomic = "64")]
pub use long::{LongP4d, LongPgd5, LongPmd, LongPte, LongPud, X86_64, X86_64La57, X86Long};
#[cfg(target_has_atomic = "64")]
pub use pae::{PaePmd, PaePte, PaeRoot, PaeWord, X86Pae};

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub mod cpu;
