//! ELF cores of whole machines, as an emulator's `dump-guest-memory` writes them: physical memory in
//! `PT_LOAD` segments, and the registers of each CPU in a note of its own.

use super::core::{Bytes, CoreMemory};
use super::fault::{Fault, Why};
use super::mode::{Cpu, Mode};
use object::elf::{EM_386, EM_X86_64, ET_CORE, FileHeader64, PT_LOAD, PT_NOTE, ProgramHeader64};
use object::read::elf::{FileHeader, Note, ProgramHeader};
use object::{FileKind, LittleEndian};
use std::fs;
use std::path::Path;

type Header = FileHeader64<LittleEndian>;
type Segment = ProgramHeader64<LittleEndian>;

const LE: LittleEndian = LittleEndian;

/// Whose notes hold the registers, and where in one of version 1 they are: after two words, eighteen
/// general registers and ten segments.
const OWNER: &[u8] = b"QEMU";
const VERSION: u32 = 1;
const CR0: usize = 8 + 18 * 8 + 10 * 24;
const CR3: usize = CR0 + 24;
const CR4: usize = CR0 + 32;

/// A machine that was stopped.
#[derive(Debug)]
pub(crate) struct Core {
    /// Its memory, as far as the file has it.
    pub(crate) memory: CoreMemory,
    /// Its CPUs: at least one.
    pub(crate) cpus: Vec<Cpu>,
}

impl Core {
    /// The machine in a file.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        // A device would never end.
        if !fs::metadata(path).map_err(Fault::Io)?.is_file() {
            return Err(Fault::NotAFile);
        }
        Self::parse(&fs::read(path).map_err(Fault::Io)?)
    }

    /// The machine in the bytes of a file.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, Fault> {
        if cfg!(target_endian = "big") {
            return Err(Fault::BigEndian);
        }
        let bad = |what, offset| move |error| Fault::Elf { what, offset, error };
        if matches!(FileKind::parse(file), Ok(FileKind::Elf32)) {
            return Err(Fault::Class);
        }
        let header = Header::parse(file).map_err(bad("file header", 0))?;
        header.endian().map_err(bad("file header", 0))?;
        let (kind, machine) = (header.e_type(LE), header.e_machine(LE));
        if kind != ET_CORE {
            return Err(Fault::NotACore(kind));
        }
        if machine != EM_386 && machine != EM_X86_64 {
            return Err(Fault::Machine(machine));
        }
        let table = bad("program headers", header.e_phoff(LE));
        let segments = header.program_headers(LE, file).map_err(table)?;
        let cpus = cpus(segments, file, machine)?;
        Ok(Self { memory: memory(segments, file)?, cpus })
    }
}

/// The CPUs, in the order of their notes.
fn cpus(segments: &[Segment], file: &[u8], machine: u16) -> Result<Vec<Cpu>, Fault> {
    let mut cpus = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        if segment.p_type(LE) != PT_NOTE {
            continue;
        }
        inside(index, segment, file)?;
        let offset = segment.p_offset(LE);
        let bad = |error| Fault::Elf { what: "notes", offset, error };
        let Some(mut notes) = segment.notes(LE, file).map_err(bad)? else { continue };
        while let Some(note) = notes.next().map_err(bad)? {
            if note.name() == OWNER {
                cpus.push(cpu(cpus.len(), &note, machine, offset)?);
            }
        }
    }
    if cpus.is_empty() { Err(Fault::NoCpu) } else { Ok(cpus) }
}

/// The CPU that a note tells of.
fn cpu(number: usize, note: &Note<'_, Header>, machine: u16, offset: u64) -> Result<Cpu, Fault> {
    let desc = note.desc();
    let short = Fault::Registers { cpu: number, offset, bytes: desc.len() };
    let Some(version) = desc.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else {
        return Err(short);
    };
    if version != VERSION {
        return Err(Fault::Version { cpu: number, offset, version });
    }
    match (register(desc, CR0), register(desc, CR3), register(desc, CR4)) {
        (Some(cr0), Some(cr3), Some(cr4)) => Ok(Cpu::new(number, Mode::of(machine, cr4), cr0, cr3)),
        _ => Err(short),
    }
}

fn register(desc: &[u8], at: usize) -> Option<u64> {
    desc.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The bytes of a segment, all of which the file must have.
fn inside<'f>(index: usize, segment: &Segment, file: &'f [u8]) -> Result<&'f [u8], Fault> {
    segment.data(LE, file).map_err(|()| {
        let (offset, bytes) = (segment.p_offset(LE), segment.p_filesz(LE));
        let why = Why::Short { offset, bytes, file: file.len() as u64 };
        Fault::Segment { segment: index, why }
    })
}

/// Memory that a segment says the file has.
struct Load<'f> {
    segment: usize,
    /// It is at these addresses, the last one not included.
    start: u64,
    end: u64,
    /// From here on in the file.
    offset: u64,
    bytes: &'f [u8],
}

impl<'f> Load<'f> {
    /// What is in the file; what a segment has in memory beyond that was not saved.
    fn new(index: usize, segment: &Segment, file: &'f [u8]) -> Result<Self, Fault> {
        let bytes = inside(index, segment, file)?;
        let in_memory = usize::try_from(segment.p_memsz(LE)).unwrap_or(usize::MAX);
        let bytes = bytes.get(..in_memory).unwrap_or(bytes);
        let (start, length) = (segment.p_paddr(LE), bytes.len() as u64);
        let end = start.checked_add(length);
        let why = Why::Wraps { start, bytes: length };
        let end = end.ok_or(Fault::Segment { segment: index, why })?;
        Ok(Self { segment: index, start, end, offset: segment.p_offset(LE), bytes })
    }

    /// What comes from address `from` on; nothing if it ends before.
    fn rest(&self, from: u64) -> &'f [u8] {
        let skipped = usize::try_from(from.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.bytes.get(skipped..).unwrap_or_default()
    }

    fn refused(&self, why: Why) -> Fault {
        Fault::Segment { segment: self.segment, why }
    }

    /// Whether what is at an address in both is at one place of the file.
    fn agrees(&self, other: &Self) -> bool {
        let place = |load: &Self| load.offset.wrapping_sub(load.start);
        place(self) == place(other)
    }
}

/// All memory in the file. Segments may lie side by side, and a table across both.
fn memory(segments: &[Segment], file: &[u8]) -> Result<CoreMemory, Fault> {
    let mut loads = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        if segment.p_type(LE) == PT_LOAD {
            loads.push(Load::new(index, segment, file)?);
        }
    }
    loads.retain(|load| !load.bytes.is_empty());
    loads.sort_by_key(|load| load.start);
    join(&loads, file.len()).map(|pieces| CoreMemory::new(&pieces))
}

/// Puts together what touches; `loads` are in ascending order. No more than `limit` bytes in all: a
/// small file must not ask for a lot of memory by naming the same bytes again and again.
fn join(loads: &[Load<'_>], limit: usize) -> Result<Vec<Bytes>, Fault> {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut reaching: Option<&Load<'_>> = None;
    let mut left = limit;
    for load in loads {
        let known = reaching.map_or(0, |before| before.end);
        let new = load.rest(known);
        if known > load.start && reaching.is_some_and(|before| !before.agrees(load)) {
            return Err(load.refused(Why::Overlap { start: load.start }));
        }
        let too_much = || load.refused(Why::TooMuch { file: limit as u64 });
        left = left.checked_sub(new.len()).ok_or_else(too_much)?;
        match pieces.last_mut() {
            Some(piece) if known >= load.start => piece.extend(new),
            _ => {
                let mut piece = Bytes::new(load.start);
                piece.extend(new);
                pieces.push(piece);
            }
        }
        if load.end > known {
            reaching = Some(load);
        }
    }
    Ok(pieces)
}
