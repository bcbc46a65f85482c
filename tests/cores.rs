//! The trees of real kernels: adopted under both CPUs' roots, compared with what an emulator's own
//! walker said of them, and torn down with every table freed once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

#[allow(dead_code)]
#[path = "../examples/support/raw.rs"]
mod raw;
#[path = "../examples/support/mod.rs"]
mod support;

use pgtable::{
    Config, Error, Gather, Gone, KernelHalf, Names, PhysAddr, RootCell, Setup, Space, Span,
    VirtAddr,
};
use raw::{Counts, Raw};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use support::core::{CoreMemory, Freed};
use support::elf::Core;
use support::mode::{ForMode, Mode};

const CORES: [&str; 4] = ["linux-686", "linux-686-pae", "linux-amd64", "linux-amd64-la57"];

fn bundled(name: &str, kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cores").join(format!("{name}.{kind}"))
}

fn raw(name: &str) -> Raw {
    Raw::parse(fs::read(bundled(name, "core")).unwrap())
}

/// The half that all processes of a kernel share.
fn kernel_span(mode: Mode) -> Span {
    let (start, bytes_lg2) = match mode {
        Mode::Legacy | Mode::Pae => (0xc000_0000, 30),
        Mode::Long => (0xffff_8000_0000_0000, 47),
        Mode::LongLa57 => (0xff00_0000_0000_0000, 56),
    };
    Span::around(VirtAddr(start), bytes_lg2)
}

/// A line of the truth: pages of one size at equal distances.
struct Line {
    cpu: usize,
    va: u64,
    va_stride: i128,
    count: u64,
    pa: u64,
    pa_stride: i128,
    size: u64,
    writable: bool,
}

impl Line {
    fn parse(line: &str) -> Self {
        let hex = |text: &str| {
            let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
            sign * i128::from_str_radix(digits.strip_prefix("0x").unwrap(), 16).unwrap()
        };
        let parts: Vec<&str> = line.split(' ').collect();
        Self {
            cpu: parts[0].parse().unwrap(),
            va: hex(parts[1]) as u64,
            va_stride: hex(parts[2]),
            count: parts[3].parse().unwrap(),
            pa: hex(parts[4]) as u64,
            pa_stride: hex(parts[5]),
            size: hex(parts[6]) as u64,
            writable: parts[7].ends_with('W'),
        }
    }

    /// A few of its pages, the first and the last among them: where they are, and their frames.
    fn some(&self) -> impl Iterator<Item = (u64, u64)> {
        let last = self.count - 1;
        let at = |start: u64, stride: i128, page: u64| {
            (i128::from(start) + stride * i128::from(page)) as u64
        };
        [0, 1.min(last), last / 3, last / 2, last]
            .map(|page| (at(self.va, self.va_stride, page), at(self.pa, self.pa_stride, page)))
            .into_iter()
    }
}

fn truth(name: &str) -> Vec<Line> {
    let text = fs::read_to_string(bundled(name, "maps")).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(Line::parse).collect()
}

/// Adopts the tree of one CPU.
fn adopt<'r, C: Config>(
    memory: &'r CoreMemory,
    cell: &'r RootCell,
    root: PhysAddr,
    half: Option<KernelHalf<'_, C::Arch>>,
    mode: Mode,
) -> Result<Space<'r, C, &'r CoreMemory>, Error> {
    let setup = Setup::new().names(Names::Aliased);
    let setup = match half {
        Some(half) => setup.sharing(half),
        None => setup.kernel(kernel_span(mode)),
    };
    // SAFETY: the machine is stopped, nobody else changes its memory, and what a tree names is in
    // the file or refused.
    unsafe { Space::adopt(memory, cell, root, setup) }
}

/// Something to be done to a core in its own mode.
struct Do<'a, W>(&'a Core, &'a str, W);

/// A whole life: both trees adopted, looked at, and torn down, the first one with everything in it or
/// after all of it was unmapped.
enum Life {
    Full,
    Emptied,
}

impl ForMode for Do<'_, Life> {
    type Output = ();

    fn run<C: Config>(self) {
        let Self(core, name, life) = self;
        let mode = core.cpus[0].mode;
        let roots: Vec<PhysAddr> = core.cpus.iter().map(|cpu| cpu.root::<C>()).collect();
        let (cell, other_cell) = (RootCell::new(), RootCell::new());
        let memory = &core.memory;
        let kernel = adopt::<C>(memory, &cell, roots[0], None, mode).unwrap();
        let half = kernel.kernel_half();
        assert_ne!(roots[0], roots[1], "each CPU is in another process");
        let other = adopt::<C>(memory, &other_cell, roots[1], half, mode).unwrap();
        assert_eq!(memory.listed(), roots);
        for line in truth(name) {
            compare(if line.cpu == 0 { &kernel } else { &other }, &line);
        }
        let (kernel, error) = kernel.tear_down().unwrap_err();
        assert_eq!(error, Error::Shared { at: kernel_span(mode).first() }, "{name}");
        assert!(memory.freed().is_empty(), "{name}");
        other.tear_down().unwrap();
        assert_eq!((memory.listed(), kernel.root()), (vec![roots[0]], roots[0]));
        let kernel = if let Life::Emptied = life { emptied(kernel, name) } else { kernel };
        kernel.tear_down().unwrap();
        assert!(memory.listed().is_empty());
        assert_eq!((cell.root(), other_cell.root()), (None, None));
    }
}

/// The space after all that it maps was unmapped: pages that are mapped on several paths are handed
/// back once, as are the tables that hold them.
fn emptied<'r, C: Config>(
    mut space: Space<'r, C, &'r CoreMemory>,
    name: &str,
) -> Space<'r, C, &'r CoreMemory> {
    let raw = raw(name);
    let expected: u64 = raw.tables(&raw.cpus[0]).values().map(|table| table.leaves).sum();
    let mut pages = 0;
    let kernel = space.kernel_half().unwrap().span();
    let bits = kernel.bytes_less_one().count_ones();
    let below = if kernel.last() == VirtAddr(u64::MAX) { 1 << bits } else { kernel.first().0 };
    for span in [Span::new(VirtAddr(0), below).unwrap(), kernel] {
        Gather::scope(|mut gather| {
            let page = |gone| pages += u64::from(matches!(gone, Gone::Page(_)));
            space.unmap_range(span, &mut gather, page).unwrap();
            space.finish(gather).unwrap();
        });
    }
    assert_eq!((pages, space.mappings(Span::ALL).count()), (expected, 0), "{name}");
    space
}

fn compare<C: Config>(space: &Space<'_, C, &CoreMemory>, line: &Line) {
    for (va, pa) in line.some() {
        let inside = VirtAddr(va + line.size / 2 + 0x123);
        let page = space.translate(inside).unwrap();
        assert_eq!((page.at, page.frame), (VirtAddr(va), PhysAddr(pa)), "{va:#x}");
        assert_eq!(1 << page.size_lg2, line.size, "{va:#x}");
        assert_eq!(page.raw >> 1 & 1 == 1, line.writable, "{va:#x}");
        assert_eq!(page.phys(inside), PhysAddr(pa + line.size / 2 + 0x123));
    }
}

/// Every table that both CPUs' roots lead to, as the host should have got it back.
fn tables(raw: &Raw) -> BTreeMap<PhysAddr, Freed> {
    let found = raw.cpus.iter().flat_map(|cpu| raw.tables(cpu));
    let freed = |((height, table), counts): ((usize, u64), Counts)| {
        let size_lg2 = counts.bytes.ilog2() as u8;
        (PhysAddr(table), Freed { height: height as u8, size_lg2, times: 1 })
    };
    found.map(freed).collect()
}

#[track_caller]
fn lives(name: &str, life: Life) {
    let raw = raw(name);
    let core = Core::parse(&raw.file).unwrap();
    core.cpus[0].mode.run(Do(&core, name, life));
    let (freed, expected) = (core.memory.freed(), tables(&raw));
    assert_eq!(freed.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
    assert_eq!(freed, expected, "{name}");
}

#[test]
fn x86_32_is_adopted_and_torn_down() {
    lives("linux-686", Life::Full);
}

#[test]
fn x86_pae_is_adopted_and_torn_down() {
    lives("linux-686-pae", Life::Full);
}

#[test]
fn x86_64_is_adopted_and_torn_down() {
    lives("linux-amd64", Life::Full);
}

#[test]
fn x86_64_la57_is_adopted_and_torn_down() {
    lives("linux-amd64-la57", Life::Full);
}

#[test]
fn all_are_emptied_and_torn_down() {
    for name in CORES {
        lives(name, Life::Emptied);
    }
}

/// A kernel that is not adopted.
struct Refused;

impl ForMode for Do<'_, Refused> {
    type Output = Error;

    fn run<C: Config>(self) -> Error {
        let Self(core, name, _) = self;
        let cpu = core.cpus[0];
        let (memory, cell) = (&core.memory, RootCell::new());
        let before = memory.picture();
        let error = adopt::<C>(memory, &cell, cpu.root::<C>(), None, cpu.mode).unwrap_err();
        assert!(before == memory.picture(), "{name}: memory is as it was");
        assert_eq!((cell.root(), memory.listed(), memory.freed().len()), (None, vec![], 0));
        error
    }
}

/// What adopting CPU 0's tree says after one word has changed.
fn refusal(name: &str, raw: &Raw, at: u64, word: u64) -> Error {
    let (mut file, place) = (raw.file.clone(), raw.place(at));
    let width = raw.cpus[0].width as usize;
    file[place..place + width].copy_from_slice(&word.to_le_bytes()[..width]);
    let core = Core::parse(&file).unwrap();
    core.cpus[0].mode.run(Do(&core, name, Refused))
}

fn word(raw: &Raw, at: u64) -> u64 {
    let place = raw.place(at);
    let bytes = &raw.file[place..place + raw.cpus[0].width as usize];
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

#[test]
fn software_bits_of_others_are_refused() {
    for name in CORES {
        let raw = raw(name);
        let cpu = &raw.cpus[0];
        for ((height, _), counts) in raw.tables(cpu) {
            let Some(&(at, _)) = counts.tables.last() else { continue };
            for bit in [9, 10] {
                let planted = word(&raw, at) | 1 << bit;
                let error = refusal(name, &raw, at, planted);
                let Error::SoftwareBits { raw, .. } = error else {
                    panic!("{name}, height {height}: {error:?}")
                };
                assert_eq!(raw, planted, "{name}, height {height}");
            }
        }
    }
}

#[test]
fn undeclared_self_maps_are_refused() {
    for name in CORES {
        let raw = raw(name);
        let cpu = &raw.cpus[0];
        let mut planted = 0;
        for ((height, table), counts) in raw.tables(cpu) {
            // A PAE root is in the middle of a page, so no entry can name it.
            let named = height > 0 && table & 0xfff == 0;
            let Some(&at) = counts.empty.first().filter(|_| named) else { continue };
            let error = refusal(name, &raw, at, table | 0x3);
            let Error::Cycle { table: cycle, .. } = error else {
                panic!("{name}, height {height}: {error:?}")
            };
            assert_eq!(cycle, PhysAddr(table), "{name}, height {height}");
            planted += 1;
        }
        assert!(planted > 0, "{name}");
    }
}

#[test]
fn a_table_that_is_not_there_is_refused() {
    for name in CORES {
        let raw = raw(name);
        for ((height, _), counts) in raw.tables(&raw.cpus[0]) {
            let Some(&(at, _)) = counts.tables.last() else { continue };
            let table = PhysAddr(0x7bcd_e000);
            let error = refusal(name, &raw, at, table.0 | word(&raw, at) & 0xfff);
            let height = height as u8 - 1;
            assert_eq!(error, Error::Unreachable { table, height }, "{name}");
        }
    }
}

#[test]
fn a_kernel_half_that_differs_is_refused() {
    struct Differs;
    impl ForMode for Do<'_, Differs> {
        type Output = Error;
        fn run<C: Config>(self) -> Error {
            let Self(core, _, _) = self;
            let (memory, cells) = (&core.memory, [RootCell::new(), RootCell::new()]);
            let mode = core.cpus[0].mode;
            let roots = [core.cpus[0].root::<C>(), core.cpus[1].root::<C>()];
            let kernel = adopt::<C>(memory, &cells[0], roots[0], None, mode).unwrap();
            let half = kernel.kernel_half();
            let error = adopt::<C>(memory, &cells[1], roots[1], half, mode).unwrap_err();
            assert_eq!((memory.listed(), cells[1].root()), (vec![roots[0]], None));
            kernel.tear_down().unwrap();
            error
        }
    }
    for name in CORES {
        let mut raw = raw(name);
        let cpu = &raw.cpus[1];
        // The last entry of the root, with another right or another bit of its own.
        let at = cpu.root + raw.tables(cpu)[&(cpu.levels.len() - 1, cpu.root)].bytes - cpu.width;
        let (place, bit) = (raw.place(at), if cpu.levels.len() == 3 { 8 } else { 4 });
        raw.file[place] ^= bit;
        let core = Core::parse(&raw.file).unwrap();
        let error = core.cpus[0].mode.run(Do(&core, name, Differs));
        assert!(matches!(error, Error::Shared { .. }), "{name}: {error:?}");
    }
}
