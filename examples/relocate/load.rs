//! A core's tables in the memory of the model.

use crate::support::core::CoreMemory;
use crate::support::elf::Core;
use crate::support::mode::{ForMode, Mode, table_lg2};
use pgtable::addr::low_bits;
use pgtable::model::{self, Memory};
use pgtable::{Arch, Config, Entry, PhysAddr, Span, Step, View, Visited};
use std::collections::BTreeMap;

/// A page, as one CPU has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) at: u64,
    pub(crate) size_lg2: u8,
    pub(crate) physical: u64,
    pub(crate) writable: bool,
}

/// A table: its height, its size, and the tables that it names.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) height: u8,
    pub(crate) size_lg2: u8,
    pub(crate) below: Vec<u64>,
}

/// The machine's tables, on node 0, and an empty node 1.
pub(crate) struct Loaded {
    pub(crate) memory: Memory,
    pub(crate) mode: Mode,
    /// The roots, each once.
    pub(crate) roots: Vec<PhysAddr>,
    pub(crate) tables: BTreeMap<u64, Found>,
}

/// The mode, as the model has it.
pub(crate) const fn model_mode(mode: Mode) -> &'static model::Mode {
    match mode {
        Mode::Legacy => &model::Mode::X86_32,
        Mode::Pae => &model::Mode::X86_PAE,
        Mode::Long => &model::Mode::X86_64,
        Mode::LongLa57 => &model::Mode::X86_64_LA57,
    }
}

/// Loads a core, with all accessed and dirty bits cleared: what is set later was set meanwhile.
pub(crate) fn load<C: Config>(core: &Core, mode: Mode) -> Result<Loaded, String> {
    let mut roots: Vec<PhysAddr> = Vec::new();
    for cpu in core.cpus.iter().filter(|cpu| cpu.pages()) {
        if cpu.mode != mode {
            return Err(format!("CPU {} is in another mode than CPU 0", cpu.number));
        }
        let root = cpu.root::<C>();
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    if roots.is_empty() {
        return Err("no CPU translates addresses".into());
    }
    let (tables, entries, taken) = survey::<C>(&core.memory, &roots)?;
    let memory = fill(&core.memory, mode, &tables, &taken)?;
    for (at, bits) in entries {
        let entry = memory.load(at).unwrap_or(0);
        memory.store(at, entry & !bits);
    }
    Ok(Loaded { memory, mode, roots, tables })
}

/// Tables by frame; entries with the bits that hardware sets in them (in a PAE root, emulators do: a
/// processor would not load it); memory that is mapped.
type Survey = (BTreeMap<u64, Found>, Vec<(u64, u64)>, BTreeMap<u64, u64>);

/// All tables that hang below the roots.
fn survey<C: Config>(memory: &CoreMemory, roots: &[PhysAddr]) -> Result<Survey, String> {
    let (mut tables, mut used, mut taken) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    for &root in roots {
        // SAFETY: the memory is that of a stopped machine, and only read.
        let view = unsafe { View::<C, _>::new(memory, root, C::Arch::LIMITS) };
        let view = view.map_err(|error| error.to_string())?;
        let mut visit = |seen: &Visited| {
            let size_lg2 = table_lg2::<C>(seen.level);
            let fresh = || Found { height: seen.level.height, size_lg2, below: Vec::new() };
            let table: &mut Found = tables.entry(seen.table.0).or_insert_with(fresh);
            match seen.entry {
                Entry::Table(below) if !table.below.contains(&below.0) => {
                    table.below.push(below.0);
                    used.push((place::<C>(seen), 0x20));
                    Step::Into
                }
                Entry::Leaf(frame) => {
                    used.push((place::<C>(seen), 0x60));
                    taken.insert(frame.0, frame.0 | low_bits(seen.level.span_lg2));
                    Step::Over
                }
                // Whatever is named twice was walked the first time.
                _ => Step::Over,
            }
        };
        view.visit(Span::ALL, &mut visit).map_err(|error| error.to_string())?;
    }
    Ok((tables, used, taken))
}

/// Where an entry is.
fn place<C: Config>(seen: &Visited) -> u64 {
    let word_lg2 = table_lg2::<C>(seen.level).saturating_sub(seen.level.index_lg2);
    // A table is aligned to its size.
    seen.table.0 | ((seen.index as u64) << word_lg2)
}

fn fill(
    core: &CoreMemory,
    mode: Mode,
    tables: &BTreeMap<u64, Found>,
    taken: &BTreeMap<u64, u64>,
) -> Result<Memory, String> {
    let picture = core.picture();
    let word = model_mode(mode).word;
    let bytes = |words: &Vec<u64>| (words.len() as u64).saturating_mul(8);
    let mut ranges: Vec<_> =
        picture.iter().map(|(start, words)| (start.0 & !7, bytes(words), 0)).collect();
    // Every table moves once, and the scratch page's come on top.
    let wanted = (tables.len() as u64).saturating_add(64).saturating_mul(1 << 13);
    let held = ranges.iter().map(|&(start, bytes, _)| (start, start.saturating_add(bytes)));
    let base = gap(held.chain(taken.iter().map(|(&from, &to)| (from, to))), wanted)?;
    ranges.push((base, wanted, 1));
    let memory = Memory::new(word, &ranges);
    for (start, words) in &picture {
        for (at, &value) in ((start.0 & !7)..).step_by(8).zip(words) {
            memory.store(at, value);
            if word == 4 {
                memory.store(at | 4, value >> 32);
            }
        }
    }
    tables.iter().for_each(|(&frame, table)| memory.claim(frame, table.size_lg2));
    Ok(memory)
}

/// The first gap of so many bytes between what is taken, below 4 GiB.
fn gap(taken: impl Iterator<Item = (u64, u64)>, wanted: u64) -> Result<u64, String> {
    const MIB_LG2: u8 = 20;
    let mut taken: Vec<(u64, u64)> = taken.collect();
    taken.sort_unstable();
    let mut base = 1_u64 << MIB_LG2;
    for (from, to) in taken {
        if from >= base.saturating_add(wanted) {
            break;
        }
        base = base.max((to | low_bits(MIB_LG2)).saturating_add(1));
    }
    let fits = base.saturating_add(wanted) <= 1 << 32;
    fits.then_some(base).ok_or_else(|| "no room for another node below 4 GiB".into())
}

/// The mode of a core.
pub(crate) fn mode_of(core: &Core) -> Result<Mode, String> {
    let first = core.cpus.iter().find(|cpu| cpu.pages());
    first.map(|cpu| cpu.mode).ok_or_else(|| "no CPU translates addresses".into())
}

/// Everything that is mapped below a root.
pub(crate) struct Pages<'a>(pub(crate) &'a Loaded, pub(crate) PhysAddr);

impl ForMode for Pages<'_> {
    type Output = Vec<Page>;

    fn run<C: Config>(self) -> Vec<Page> {
        let host = crate::host::Tables(&self.0.memory);
        // SAFETY: nobody changes the tables yet.
        let view = unsafe { View::<C, _>::new(&host, self.1, C::Arch::LIMITS) };
        let Ok(view) = view else { return Vec::new() };
        let pages = view.mappings(Span::ALL).filter_map(|mapped| match mapped.ok()? {
            pgtable::Mapped::Page(page) => Some(Page {
                at: page.at.0,
                size_lg2: page.size_lg2,
                physical: page.frame.0,
                writable: page.effective.contains(pgtable::Rights::WRITE),
            }),
            _ => None,
        });
        pages.collect()
    }
}
