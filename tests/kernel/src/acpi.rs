//! What the firmware says: memory, CPUs, nodes.

use crate::layout::{HIGH, LOW_BYTES};
use crate::memory::peek;

/// Memory that is for the kernel to use, from the loader's map (Multiboot 1, section 3.3).
pub fn memory(info: u32) -> impl Iterator<Item = (u64, u64)> + Clone {
    let info = u64::from(info);
    let (bytes, first): (u32, u32) = (peek(info + 44), peek(info + 48));
    let (mut at, end) = (u64::from(first), u64::from(first) + u64::from(bytes));
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let entry = at;
        at += u64::from(peek::<u32>(entry)) + 4;
        let (start, length, kind): (u64, u64, u32) =
            (peek(entry + 4), peek(entry + 12), peek(entry + 20));
        Some((start, start + length, kind))
    })
    .filter(|&(first, end, kind)| kind == 1 && first >= 1 << 20 && first < end)
    .filter(|&(first, end, _)| end <= LOW_BYTES || first >= HIGH)
    .map(|(first, end, _)| (first, end))
}

/// One of the firmware's tables: where its bytes after the header are, and where they end.
fn table(signature: [u8; 4]) -> Option<(u64, u64)> {
    let pointer =
        (0xe_0000..0x10_0000).step_by(16).find(|&at| peek::<[u8; 8]>(at) == *b"RSD PTR ")?;
    let list = u64::from(peek::<u32>(pointer + 16));
    let end = list + u64::from(peek::<u32>(list + 4));
    let mut tables = (list + 36..end).step_by(4).map(|at| u64::from(peek::<u32>(at)));
    let found = tables.find(|&table| peek::<[u8; 4]>(table) == signature)?;
    Some((found + 36, found + u64::from(peek::<u32>(found + 4))))
}

/// The entries of a table whose entries begin with a type and a length, after `skipped` bytes.
fn entries(signature: [u8; 4], skipped: u64) -> impl Iterator<Item = (u8, u64)> {
    let (mut at, end) = table(signature).unwrap_or((0, 0));
    at += skipped;
    core::iter::from_fn(move || {
        let (kind, length): (u8, u8) = (peek(at), peek(at + 1));
        let entry = (at < end && length != 0).then_some((kind, at));
        at += u64::from(length);
        entry
    })
}

/// The identities of the local interrupt controllers of CPUs that can be used (ACPI, section 5.2.12).
pub fn controllers() -> impl Iterator<Item = u8> {
    entries(*b"APIC", 8)
        .filter(|&(kind, at)| kind == 0 && peek::<u32>(at + 4) & 1 != 0)
        .map(|(_, at)| peek(at + 3))
}

/// Which memory is on which node.
#[derive(Default)]
pub struct Nodes {
    runs: [(u64, u64, u32); 8],
    /// The firmware says so. If not, the machine has one node, and the kernel makes two of it.
    pub told: bool,
}

impl Nodes {
    /// The affinity table (ACPI, section 5.2.16).
    pub fn read() -> Self {
        let mut nodes = Self::default();
        let memory = |&(kind, at): &(u8, u64)| kind == 1 && peek::<u32>(at + 28) & 1 != 0;
        for ((_, at), run) in entries(*b"SRAT", 12).filter(memory).zip(&mut nodes.runs) {
            let (first, bytes): (u64, u64) = (peek(at + 8), peek(at + 16));
            *run = (first, first + bytes, peek(at + 2));
            nodes.told = true;
        }
        if !nodes.told {
            nodes.runs[0] = (0, LOW_BYTES / 2, 0);
            nodes.runs[1] = (LOW_BYTES / 2, u64::MAX, 1);
        }
        nodes
    }

    /// The node of an address, and where that run of memory ends.
    pub fn of(&self, at: u64) -> (u32, u64) {
        let found = self.runs.iter().find(|(first, end, _)| (*first..*end).contains(&at));
        let next = self.runs.iter().map(|run| run.0).filter(|&first| first > at).min();
        found.map_or((0, next.unwrap_or(u64::MAX)), |&(_, end, node)| (node, end))
    }
}
