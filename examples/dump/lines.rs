//! What is mapped, one run of pages a line. Nothing is collected: where a table names itself, there
//! are more pages than memory could hold.

use crate::stop::{Outside, Stop};
use crate::support::core::CoreMemory;
use crate::support::elf::Core;
use crate::support::mode::{Cpu, ForMode, level_name};
use pgtable::{Arch, Config, Entry, Error, Span, Step, View, Visited};
use std::fmt;
use std::io::{self, Write};

/// The base page has 2 to this many bytes; bit 7 of its leaf is not what it is in larger ones.
const BASE_PAGE_LG2: u8 = 12;

/// The bits of a leaf that are shown, and how.
const FLAGS: [(u64, char); 9] = [
    (1 << 63, 'X'),
    (1 << 8, 'G'),
    (HUGE, 'P'),
    (1 << 6, 'D'),
    (1 << 5, 'A'),
    (1 << 4, 'C'),
    (1 << 3, 'T'),
    (1 << 2, 'U'),
    (1 << 1, 'W'),
];
const HUGE: u64 = 1 << 7;

/// Prints what every CPU has mapped.
pub(crate) fn print(core: &Core, out: &mut impl Write) -> Result<(), Stop> {
    let mode = core.cpus.first().map_or("", |cpu| cpu.mode.name());
    heading(mode, out).map_err(Stop::Output)?;
    for cpu in core.cpus.iter().filter(|cpu| cpu.pages()) {
        cpu.mode.run(Print { memory: &core.memory, cpu, out: &mut *out })?;
    }
    Ok(())
}

fn heading(mode: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "# {mode}; one run of leaf mappings a line, as the emulator's own walker reports them:"
    )?;
    writeln!(
        out,
        "# cpu va va_stride count pa pa_stride page_size flags; page k maps va + k*va_stride to pa \
         + k*pa_stride"
    )
}

/// The tree of one CPU.
pub(crate) fn view<'m, C: Config>(
    memory: &'m CoreMemory,
    cpu: &Cpu,
) -> Result<View<'m, C, CoreMemory>, Stop> {
    // SAFETY: whatever the words say, the memory reaches nothing but words of its own, all of which
    // may be read.
    let view = unsafe { View::new(memory, cpu.root::<C>(), C::Arch::LIMITS) };
    view.map_err(|error| Stop::Walk { cpu: cpu.number, error })
}

struct Print<'a, W> {
    memory: &'a CoreMemory,
    cpu: &'a Cpu,
    out: &'a mut W,
}

impl<W: Write> ForMode for Print<'_, W> {
    type Output = Result<(), Stop>;

    fn run<C: Config>(self) -> Result<(), Stop> {
        let view = view::<C>(self.memory, self.cpu)?;
        let mut runs = Runs { cpu: self.cpu.number, out: self.out, run: None };
        let (mut written, mut last) = (Ok(()), None);
        let walked = view.visit(Span::ALL, |seen| {
            last = Some(*seen);
            if written.is_ok() {
                written = Page::of(seen).map_or(Ok(()), |page| runs.add(page));
            }
            // A walk cannot be ended, but it need not go into any more tables.
            if written.is_ok() { Step::Into } else { Step::Over }
        });
        written.and_then(|()| runs.end()).map_err(Stop::Output)?;
        walked.map_err(|error| why::<C>(self.cpu.number, error, last))
    }
}

/// Why a walk did not get on from the entry that it came by last.
fn why<C: Config>(cpu: usize, error: Error, last: Option<Visited>) -> Stop {
    match last {
        Some(seen) => outside::<C>(cpu, &seen).map_or(Stop::Walk { cpu, error }, Stop::Outside),
        None => Stop::Walk { cpu, error },
    }
}

/// What there is to say of an entry that names a table outside the file's memory.
pub(crate) fn outside<C: Config>(cpu: usize, seen: &Visited) -> Option<Outside> {
    let Entry::Table(table) = seen.entry else { return None };
    Some(Outside {
        cpu,
        level: level_name::<C>(seen.level.height.checked_sub(1)?),
        table,
        holder_level: level_name::<C>(seen.level.height),
        holder: seen.table,
        index: seen.index,
        at: seen.at,
    })
}

/// A page, as a line tells of it.
#[derive(Clone, Copy)]
struct Page {
    va: u64,
    pa: u64,
    size_lg2: u8,
    flags: u64,
}

impl Page {
    /// The page that an entry maps, if it is a leaf.
    fn of(seen: &Visited) -> Option<Self> {
        let Entry::Leaf(frame) = seen.entry else { return None };
        let size_lg2 = seen.level.span_lg2;
        let hidden = if size_lg2 == BASE_PAGE_LG2 { HUGE } else { 0 };
        let shown = FLAGS.iter().fold(0, |mask, (bit, _)| mask | bit) & !hidden;
        Some(Self { va: seen.at.0, pa: frame.0, size_lg2, flags: seen.raw & shown })
    }

    /// How far it is from here to there: in virtual addresses, in physical ones.
    fn to(&self, next: &Self) -> (i128, i128) {
        (distance(self.va, next.va), distance(self.pa, next.pa))
    }

    fn is_like(&self, other: &Self) -> bool {
        self.size_lg2 == other.size_lg2 && self.flags == other.flags
    }
}

fn distance(from: u64, to: u64) -> i128 {
    i128::from(to).wrapping_sub(i128::from(from))
}

/// Pages alike, at equal distances.
struct Run {
    cpu: usize,
    first: Page,
    last: Page,
    /// The distances, once there are two pages.
    strides: Option<(i128, i128)>,
    count: u64,
}

impl Run {
    /// Takes a page, if it goes on as the pages so far do.
    fn takes(&mut self, page: &Page) -> bool {
        let strides = self.last.to(page);
        let fits = self.last.is_like(page) && self.strides.is_none_or(|known| known == strides);
        if fits {
            self.strides = Some(strides);
            self.last = *page;
            self.count = self.count.saturating_add(1);
        }
        fits
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, first: Page { va, pa, size_lg2, flags }, strides, count, .. } = self;
        let size = 1_u64.wrapping_shl((*size_lg2).into());
        let (va_stride, pa_stride) = strides.unwrap_or((size.into(), size.into()));
        let (va_stride, pa_stride) = (Signed(va_stride), Signed(pa_stride));
        write!(f, "{cpu} {va:#x} {va_stride} {count} {pa:#x} {pa_stride} {size:#x} ")?;
        FLAGS
            .iter()
            .try_for_each(|(bit, name)| write!(f, "{}", if flags & bit == 0 { '-' } else { *name }))
    }
}

/// A number in hexadecimal, with its sign in front.
struct Signed(i128);

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{:#x}", self.0.unsigned_abs())
    }
}

/// Makes runs of pages, and prints each as soon as it is known to end.
struct Runs<'o, W> {
    cpu: usize,
    out: &'o mut W,
    run: Option<Run>,
}

impl<W: Write> Runs<'_, W> {
    fn add(&mut self, page: Page) -> io::Result<()> {
        if self.run.as_mut().is_some_and(|run| run.takes(&page)) {
            return Ok(());
        }
        let cpu = self.cpu;
        let new = Run { cpu, first: page, last: page, strides: None, count: 1 };
        self.run.replace(new).map_or(Ok(()), |run| writeln!(self.out, "{run}"))
    }

    fn end(&mut self) -> io::Result<()> {
        self.run.take().map_or(Ok(()), |run| writeln!(self.out, "{run}"))
    }
}
