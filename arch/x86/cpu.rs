//! The instructions: root register, invalidation.
//!
//! The one place with `asm!`. What they do to a running CPU is the kernel's to know; everything
//! here runs at privilege level 0, and only there.

use crate::addr::{PhysAddr, low_bits};
use crate::level::{Extent, Stale};
use core::arch::asm;

/// Where CR3 has the address of the root: PAE's root is aligned to 32 bytes, all others to a page.
/// What lies below are PWT, PCD, or the PCID.
fn root_in(cr3: usize, aligned_lg2: u8) -> PhysAddr {
    // Bits 62:61 (LAM) and 63 (no flush) are no address bits.
    PhysAddr(cr3 as u64 & low_bits(52) & !low_bits(aligned_lg2))
}

/// The root that this CPU has loaded; `size_lg2` is that of the mode's root table.
///
/// # Safety
/// At privilege level 0.
#[must_use]
pub unsafe fn root(size_lg2: u8) -> PhysAddr {
    let cr3: usize;
    // SAFETY: reading CR3 has no effect; the caller is privileged.
    unsafe { asm!("mov {}, cr3", out(reg) cr3, options(nomem, nostack, preserves_flags)) };
    root_in(cr3, size_lg2)
}

/// Loads a root, with the host's flags (PCD, PWT, a PCID) in the low bits. Every translation that is
/// not global goes, or with PCIDs those of this one; PAE's root entries are read.
///
/// # Safety
/// At privilege level 0, with a root whose tree maps what runs.
pub unsafe fn load_root(root: PhysAddr, flags: usize) {
    // On a 32-bit CPU every root lies below 4 GiB: nothing is cut off.
    #[allow(clippy::cast_possible_truncation)]
    let cr3 = root.0 as usize | flags;
    // SAFETY: the caller promises a tree that maps what runs. Memory is not `nomem`: what was
    // written to tables before must be written before.
    unsafe { asm!("mov cr3, {}", in(reg) cr3, options(nostack, preserves_flags)) };
}

/// Drops the translation of one page, and all cached table pointers of the current PCID (Intel SDM
/// volume 3A, section 4.10.4.1).
///
/// # Safety
/// At privilege level 0.
pub unsafe fn invalidate_page(at: usize) {
    // SAFETY: INVLPG takes any address; the caller is privileged.
    unsafe { asm!("invlpg [{}]", in(reg) at, options(nostack, preserves_flags)) };
}

/// Drops every translation and every cached table pointer of every PCID, global ones included:
/// CR4.PGE is changed and changed back, which does so if it was set and if it was not.
///
/// # Safety
/// At privilege level 0, with interrupts off: CR4 is read and written.
pub unsafe fn invalidate_everything() {
    const PGE: usize = 1 << 7;
    let cr4: usize;
    // SAFETY: reading CR4 has no effect; the caller is privileged.
    unsafe { asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack, preserves_flags)) };
    // SAFETY: only PGE differs, and only until the next instruction.
    unsafe { asm!("mov cr4, {}", in(reg) cr4 ^ PGE, options(nostack, preserves_flags)) };
    // SAFETY: the value that was there.
    unsafe { asm!("mov cr4, {}", in(reg) cr4, options(nostack, preserves_flags)) };
}

/// Makes this CPU drop what is stale of the space it runs: one's own part in a shootdown.
///
/// `root` and `flags` are what CR3 shall have: read the root from its cell now, since it may have
/// moved. A kernel with PCIDs uses it for the space that is loaded only, and keeps a generation for
/// the others.
///
/// # Safety
/// At privilege level 0, with interrupts off, and as [`load_root`].
pub unsafe fn drop_stale(stale: &Stale, root: PhysAddr, flags: usize) {
    /// Up to this many pages are invalidated one by one.
    const FEW: u64 = 64;
    let pages = |span: &crate::addr::Span| span.bytes_less_one() >> 12;
    let many = stale.spans().iter().map(pages).fold(0, u64::saturating_add) > FEW;
    if stale.extent() == Extent::Spans && !many {
        for span in stale.spans() {
            for page in 0..=pages(span) {
                let at = span.first().0.wrapping_add(page << 12);
                // In 32-bit modes every address has 32 bits.
                #[allow(clippy::cast_possible_truncation)]
                // SAFETY: as the caller promises.
                unsafe {
                    invalidate_page(at as usize);
                };
            }
        }
        return;
    }
    if stale.extent() == Extent::Nothing {
        return;
    }
    // SAFETY: as the caller promises.
    unsafe { load_root(root, flags) };
    if stale.global() {
        // SAFETY: as the caller promises.
        unsafe { invalidate_everything() };
    }
}
