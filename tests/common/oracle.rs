//! The MMU's walk of x86, from the manual (Intel SDM volume 3A, sections 4.3 to 4.6), sharing no
//! code with the crate: it reads words of raw memory, and knows masks and shifts by heart.

use super::memory::Memory;
use pgtable::Arch;

/// A translation as the MMU makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    pub phys: u64,
    pub size: u64,
    pub writable: bool,
    pub user: bool,
    pub executable: bool,
    pub dirty: bool,
    pub accessed: bool,
    /// Where the leaf is, and how wide it is.
    pub leaf_at: u64,
    pub leaf_lg2: u8,
}

/// Shifts of the indices from the root down, index widths, bytes of an entry.
fn shape(mode: &str) -> (&'static [u32], &'static [u64], u64) {
    match mode {
        "x86-32" => (&[22, 12], &[1024, 1024], 4),
        "x86-pae" => (&[30, 21, 12], &[4, 512, 512], 8),
        "x86-64" => (&[39, 30, 21, 12], &[512; 4], 8),
        "x86-64-la57" => (&[48, 39, 30, 21, 12], &[512; 5], 8),
        other => panic!("no oracle for {other}"),
    }
}

/// Translates `va`; `None` is a page fault, or an address that is not canonical.
pub fn translate<A: Arch>(memory: &Memory, root: u64, va: u64) -> Option<Hit> {
    let height = shape(A::NAME).0.len() - 1;
    translate_from::<A>(memory, height as u8, root, va)
}

/// The same, by a CPU that begins at a table of this height, since it knows it.
pub fn translate_from<A: Arch>(memory: &Memory, height: u8, table: u64, va: u64) -> Option<Hit> {
    let (shifts, counts, bytes) = shape(A::NAME);
    let (mut table, mut w, mut u, mut x) = (table, true, true, true);
    let above = shifts.len() - 1 - usize::from(height);
    for (step, (&shift, &count)) in shifts.iter().zip(counts).enumerate().skip(above) {
        let at = table + (va >> shift) % count * bytes;
        let lg2 = if bytes == 8 { 3 } else { 2 };
        let entry = memory.read(at, lg2);
        if entry & 1 == 0 {
            return None;
        }
        let pdpte = bytes == 8 && count == 4;
        if !pdpte {
            w &= entry & 2 != 0;
            u &= entry & 4 != 0;
            x &= entry >> 63 == 0;
        }
        let last = step + 1 == shifts.len();
        if last || (entry & 0x80 != 0 && !pdpte) {
            let size = 1u64 << shift;
            let mut base = entry & 0x000f_ffff_ffff_f000 & !(size - 1);
            if bytes == 4 {
                base = entry & 0xffff_f000 & !(size - 1);
                if !last {
                    base |= (entry >> 13 & 0xff) << 32;
                }
            }
            return Some(Hit {
                phys: base + va % size,
                size,
                writable: w,
                user: u,
                executable: x,
                accessed: entry & 0x20 != 0,
                dirty: entry & 0x40 != 0,
                leaf_at: at,
                leaf_lg2: lg2,
            });
        }
        table = if bytes == 4 { entry & 0xffff_f000 } else { entry & 0x000f_ffff_ffff_f000 };
    }
    None
}

/// Does what a CPU does when it uses, or writes, the page at `va`: sets A, and D, by an atomic
/// read-modify-write.
pub fn touch<A: Arch>(memory: &Memory, root: u64, va: u64, write: bool) -> Option<Hit> {
    let height = shape(A::NAME).0.len() - 1;
    touch_from::<A>(memory, height as u8, root, va, write)
}

/// The same, by a CPU that begins at a table of this height, since it knows it.
pub fn touch_from<A: Arch>(
    memory: &Memory,
    height: u8,
    table: u64,
    va: u64,
    write: bool,
) -> Option<Hit> {
    let hit = translate_from::<A>(memory, height, table, va)?;
    memory.set_bits(hit.leaf_at, hit.leaf_lg2, if write { 0x60 } else { 0x20 });
    Some(hit)
}
