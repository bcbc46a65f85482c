//! The instructions: root register, invalidation, and copying of tables.
//!
//! The one place with `asm!`. What they do to a running CPU is the kernel's to know; all but
//! [`copy_table`] runs at privilege level 0, and only there.

use crate::addr::{PhysAddr, low_bits};
use crate::level::{Extent, Limits, Stale};
use core::arch::asm;
use core::ptr::NonNull;

#[cfg(target_arch = "x86")]
use core::arch::x86::{__cpuid, CpuidResult};
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{__cpuid, CpuidResult};

/// Among the flags of [`load_root`]: what is cached under the PCID that is loaded stays. Every
/// shootdown must have reached it, also while this CPU ran something else. (Bit 63; a 32-bit CPU has
/// no PCIDs.)
pub const KEEP_TAGGED: usize = if usize::BITS == 64 { 1 << (usize::BITS - 1) } else { 0 };

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

/// Drops what is cached under one PCID, but for global translations (INVPCID, type 1). For a space
/// that this CPU does not run and keeps entries of.
///
/// # Safety
/// At privilege level 0, on a CPU that has INVPCID (CPUID leaf 7, EBX bit 10), and with a PCID of
/// twelve bits.
pub unsafe fn invalidate_tag(pcid: usize) {
    const ONE_PCID: usize = 1;
    let which = [pcid as u64, 0];
    // SAFETY: reads the 16 bytes of `which`; the caller is privileged and has the instruction.
    unsafe {
        asm!("invpcid {}, [{}]", in(reg) ONE_PCID, in(reg) &raw const which,
            options(nostack, preserves_flags));
    };
}

/// Drops every translation and every cached table pointer of every PCID, global ones included:
/// CR4.PGE is changed and changed back, which does so if it was set and if it was not.
///
/// # Safety
/// At privilege level 0, with interrupts off: CR4 is read and written.
pub unsafe fn invalidate_everything() {
    // SAFETY: the caller is privileged.
    let cr4 = unsafe { cr4() };
    // SAFETY: only PGE differs, and only until the next instruction.
    unsafe { asm!("mov cr4, {}", in(reg) cr4 ^ PGE, options(nostack, preserves_flags)) };
    // SAFETY: the value that was there.
    unsafe { asm!("mov cr4, {}", in(reg) cr4, options(nostack, preserves_flags)) };
}

const PGE: usize = 1 << 7;

/// # Safety
/// At privilege level 0.
unsafe fn cr4() -> usize {
    let cr4: usize;
    // SAFETY: reading CR4 has no effect; the caller is privileged.
    unsafe { asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack, preserves_flags)) };
    cr4
}

/// Copies a live table of 2 to the `size_lg2` bytes by one string instruction, for
/// [`Host::copy_table`](crate::Host::copy_table): the CPU moves whole cache lines, and need not read
/// what it writes over. At any privilege level.
///
/// # Safety
/// `from` is valid for reads of so many bytes, and `to` for writes, which is nobody else's; what others
/// do at `from` meanwhile is to set bits, by atomic accesses; and `size_lg2` is at least 3.
#[inline]
pub unsafe fn copy_table(from: NonNull<u8>, to: NonNull<u8>, size_lg2: u8) {
    let words = low_bits(size_lg2.saturating_sub(WORD_LG2)).wrapping_add(1);
    // A table has fewer bytes than a CPU has addresses.
    #[allow(clippy::cast_possible_truncation)]
    let words = words as usize;
    // SAFETY: the direction flag is clear where Rust code runs, so what is read and written are the bytes
    // that the caller speaks of. Whatever accesses the CPU makes of them, each byte of the copy is one
    // that was there; and no later store is seen before them (Intel SDM volume 3A, section 9.2.4.1).
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("rep movsq", inout("rcx") words => _, inout("rsi") from.as_ptr() => _,
            inout("rdi") to.as_ptr() => _, options(nostack, preserves_flags));
        // The compiler keeps ESI for itself.
        #[cfg(target_arch = "x86")]
        asm!("xchg esi, {from}", "rep movsd", "mov esi, {from}", from = inout(reg) from.as_ptr() => _,
            inout("ecx") words => _, inout("edi") to.as_ptr() => _, options(nostack, preserves_flags));
    };
}

/// What a string instruction moves at a time has 2 to this many bytes.
const WORD_LG2: u8 = if cfg!(target_arch = "x86_64") { 3 } else { 2 };

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

#[allow(unused_unsafe)] // newer compilers know that it is safe
fn cpuid(leaf: u32) -> CpuidResult {
    // SAFETY: every CPU that this crate is for has the instruction; a leaf that it does not have is
    // not asked for.
    unsafe { __cpuid(leaf) }
}

/// What this CPU can do, of what the kernel has switched on: EFER.NXE, CR4.PSE and PAE, PGE, PKE and
/// PKS. For [`Setup::limits`](crate::Setup::limits), after the kernel has set these registers; a
/// kernel whose CPUs differ takes what all of them have.
///
/// # Safety
/// At privilege level 0.
#[must_use]
pub unsafe fn limits() -> Limits {
    const PSE: usize = 1 << 4;
    const PAE: usize = 1 << 5;
    const KEYS: usize = 1 << 22 | 1 << 24;
    // SAFETY: the caller is privileged.
    let cr4 = unsafe { cr4() };
    let most = cpuid(EXTENDED).eax;
    let extended = if most > EXTENDED { cpuid(EXTENDED | 1).edx } else { 0 };
    let largest_leaf_lg2 = match (cr4 & PAE != 0, cr4 & PSE != 0) {
        (true, _) if extended & 1 << 26 != 0 => 30,
        (true, _) => 21,
        (false, true) => 22,
        (false, false) => 12,
    };
    Limits {
        phys_bits: phys_bits(cr4 & PAE != 0, most),
        largest_leaf_lg2,
        // SAFETY: the caller is privileged; where there is NX, there is EFER.
        no_execute: extended & 1 << 20 != 0 && unsafe { efer() } & NXE != 0,
        global: cr4 & PGE != 0,
        keys: cr4 & KEYS != 0,
    }
}

/// The first of the extended leaves, which says which is the last.
const EXTENDED: u32 = 0x8000_0000;
const NXE: u64 = 1 << 11;

/// The width of a physical address (CPUID leaf 8000_0008h, EAX 7:0; where there is none, bits 6, PAE,
/// and 17, PSE-36, of leaf 1, EDX, say 36). Without PAE it is that of a 4 MiB page, and without
/// PSE-36 that has 32 bits.
fn phys_bits(pae: bool, most: u32) -> u8 {
    let features = cpuid(1).edx;
    let wide = if pae { 1 << 6 } else { 1 << 17 };
    match features & wide != 0 {
        false => 32,
        true if most >= EXTENDED | 8 => cpuid(EXTENDED | 8).eax.to_le_bytes()[0],
        true => 36,
    }
}

/// # Safety
/// At privilege level 0, on a CPU that has it.
unsafe fn efer() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading EFER has no effect; the caller is privileged.
    unsafe {
        asm!("rdmsr", in("ecx") 0xc000_0080u32, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    };
    u64::from(high) << 32 | u64::from(low)
}
