//! The tables themselves: how many there are of each level, what their entries say, and which of
//! them have several names. Here a table is looked at once, however many paths lead to it.

use crate::lines::{outside, view};
use crate::stop::{Outside, Stop};
use crate::support::core::CoreMemory;
use crate::support::elf::Core;
use crate::support::mode::{Cpu, ForMode, level_name, table_lg2};
use crate::table::{bytes, grid};
use pgtable::{Arch, Config, Entry, Host, Level, PhysAddr, Span, Step, Visited, levels};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

/// How many tables with several names are listed.
const LISTED: usize = 8;

/// A table, and the height that it is looked at from: one that names itself is a table of several.
type Role = (u8, PhysAddr);

/// What one table holds.
#[derive(Default)]
struct Node {
    /// The tables that it names, and by how many entries.
    names: BTreeMap<PhysAddr, u64>,
    leaves: u64,
    empty: u64,
    non_present: u64,
    malformed: u64,
    /// How many of its entries name tables outside the file's memory.
    outside: u64,
    /// How many paths lead to it from the root.
    paths: u64,
    /// How many entries name it.
    named: u64,
}

/// Prints the tables of every CPU.
pub(crate) fn print(core: &Core, out: &mut impl Write) -> Result<(), Stop> {
    let (pieces, held) = core.memory.extent();
    let (cpus, held) = (core.cpus.len(), bytes(held.into()));
    writeln!(out, "CPUs: {cpus}; memory in the file: {held} in {pieces} pieces")
        .map_err(Stop::Output)?;
    let mut before = BTreeSet::new();
    let mut first_outside = None;
    for cpu in &core.cpus {
        let found = if cpu.pages() {
            let before = &mut before;
            cpu.mode.run(Picture { memory: &core.memory, cpu, before, out: &mut *out })?
        } else {
            writeln!(out, "\nCPU {}: paging is off", cpu.number).map_err(Stop::Output)?;
            None
        };
        first_outside = first_outside.or(found);
    }
    first_outside.map_or(Ok(()), |outside| Err(Stop::Outside(outside)))
}

/// The picture of one CPU's tables.
struct Picture<'a, W> {
    memory: &'a CoreMemory,
    cpu: &'a Cpu,
    /// The tables of the CPUs before it.
    before: &'a mut BTreeSet<Role>,
    out: &'a mut W,
}

impl<W: Write> ForMode for Picture<'_, W> {
    type Output = Result<Option<Outside>, Stop>;

    fn run<C: Config>(self) -> Result<Option<Outside>, Stop> {
        let survey = Survey::of::<C>(self.memory, self.cpu)?;
        let roles = survey.nodes.keys().copied().collect();
        let shared = self.before.intersection(&roles).count();
        let shown = survey.show::<C>(self.cpu, shared, self.out);
        self.before.extend(roles);
        shown.map_err(Stop::Output).map(|()| survey.first_outside)
    }
}

/// Every table that can be reached from a root.
struct Survey {
    root: Role,
    nodes: BTreeMap<Role, Node>,
    first_outside: Option<Outside>,
}

impl Survey {
    fn of<C: Config>(memory: &CoreMemory, cpu: &Cpu) -> Result<Self, Stop> {
        let view = view::<C>(memory, cpu)?;
        let height = levels::<C::Arch>().next().map_or(0, |level| level.height);
        let root = (height, cpu.root::<C>());
        let nodes = BTreeMap::from([(root, Node { paths: 1, ..Node::default() })]);
        let mut survey = Self { root, nodes, first_outside: None };
        view.visit(Span::ALL, |seen| survey.see::<C>(memory, cpu, seen))
            .map_err(|error| Stop::Walk { cpu: cpu.number, error })?;
        survey.follow_paths();
        Ok(survey)
    }

    /// Takes note of an entry, and goes on to the table that it names, if that is new.
    fn see<C: Config>(&mut self, memory: &CoreMemory, cpu: &Cpu, seen: &Visited) -> Step {
        let node = self.nodes.entry((seen.level.height, seen.table)).or_default();
        let count = match seen.entry {
            Entry::Empty => &mut node.empty,
            Entry::NonPresent(_) => &mut node.non_present,
            Entry::Malformed(_) => &mut node.malformed,
            Entry::Leaf(_) => &mut node.leaves,
            Entry::Table(table) if reaches::<C>(memory, seen.level, table) => {
                one_more(node.names.entry(table).or_default());
                let role = (seen.level.height.saturating_sub(1), table);
                let new = !self.nodes.contains_key(&role);
                one_more(&mut self.nodes.entry(role).or_default().named);
                return if new { Step::Into } else { Step::Over };
            }
            Entry::Table(_) => &mut node.outside,
        };
        one_more(count);
        if let Entry::Table(_) = seen.entry {
            self.first_outside = self.first_outside.or_else(|| outside::<C>(cpu.number, seen));
        }
        Step::Over
    }

    /// Counts the paths to each table. A level's tables are named by those of the level above, whose
    /// paths are known by then.
    fn follow_paths(&mut self) {
        for height in (1..=self.root.0).rev() {
            let mut paths = BTreeMap::<PhysAddr, u64>::new();
            for (_, node) in self.nodes.range(of_height(height)) {
                for (&table, &names) in &node.names {
                    let sum = paths.entry(table).or_default();
                    *sum = sum.saturating_add(node.paths.saturating_mul(names));
                }
            }
            for (table, paths) in paths {
                self.nodes.entry((height.saturating_sub(1), table)).or_default().paths = paths;
            }
        }
    }

    fn show<C: Config>(&self, cpu: &Cpu, shared: usize, out: &mut impl Write) -> io::Result<()> {
        let mode = C::Arch::NAME;
        writeln!(out, "\nCPU {}: {mode}, root {}", cpu.number, self.root.1)?;
        let mut rows = vec![Row::HEADING.map(String::from).to_vec()];
        rows.extend(levels::<C::Arch>().map(|level| self.row::<C>(level).cells()));
        rows.push(self.total::<C>().cells());
        grid(&rows, out)?;
        if cpu.number > 0 {
            writeln!(out, "  {shared} of the tables are those of a CPU above, too")?;
        }
        self.show_aliases::<C>(out)
    }

    /// What the tables of one level hold together.
    fn row<C: Config>(&self, level: Level) -> Row {
        let depth = usize::from(self.root.0.saturating_sub(level.height));
        let mut row = Row {
            name: format!("{}{}", "  ".repeat(depth), level_name::<C>(level.height)),
            page: level.maps.then(|| bytes(size(level.span_lg2))),
            ..Row::default()
        };
        for (_, node) in self.nodes.range(of_height(level.height)) {
            row.add(node, size(level.span_lg2));
        }
        row.memory = row.tables.saturating_mul(size(table_lg2::<C>(level)));
        row
    }

    fn total<C: Config>(&self) -> Row {
        let mut total = Row { name: "all".into(), ..Row::default() };
        for level in levels::<C::Arch>() {
            total.add_row(&self.row::<C>(level));
        }
        total
    }

    /// Names the tables that have more than one name, the most named ones first.
    fn show_aliases<C: Config>(&self, out: &mut impl Write) -> io::Result<()> {
        let mut aliased: Vec<_> = self.nodes.iter().filter(|(_, node)| node.named > 1).collect();
        aliased.sort_by_key(|(_, node)| std::cmp::Reverse(node.named));
        if !aliased.is_empty() {
            writeln!(out, "  tables with more than one name: {}", aliased.len())?;
        }
        for ((height, table), Node { named, paths, .. }) in aliased.iter().take(LISTED) {
            let level = level_name::<C>(*height);
            writeln!(out, "    {level} {table}: named by {named} entries, on {paths} paths")?;
        }
        let more = aliased.len().saturating_sub(LISTED);
        if more > 0 { writeln!(out, "    and {more} more") } else { Ok(()) }
    }
}

/// Whether the file has the table that an entry of this level names.
fn reaches<C: Config>(memory: &CoreMemory, level: Level, table: PhysAddr) -> bool {
    let below = levels::<C::Arch>().find(|below| level.height.checked_sub(1) == Some(below.height));
    below.is_some_and(|below| memory.reach(table, table_lg2::<C>(below)).is_some())
}

fn of_height(height: u8) -> std::ops::RangeInclusive<Role> {
    (height, PhysAddr(0))..=(height, PhysAddr(u64::MAX))
}

fn size(lg2: u8) -> u128 {
    1_u128.wrapping_shl(lg2.into())
}

fn one_more(count: &mut u64) {
    *count = count.saturating_add(1);
}

/// One line of the picture: sums over tables, each of which counts once, but for what is said of
/// paths.
#[derive(Default)]
struct Row {
    name: String,
    tables: u128,
    paths: u128,
    names: u128,
    leaves: u128,
    empty: u128,
    non_present: u128,
    malformed: u128,
    outside: u128,
    memory: u128,
    page: Option<String>,
    pages: u128,
    mapped: u128,
}

impl Row {
    const HEADING: [&'static str; 13] = [
        "level",
        "tables",
        "paths",
        "->table",
        "->page",
        "empty",
        "non-pres",
        "malformed",
        "outside",
        "pages",
        "size",
        "mapped",
        "memory",
    ];

    fn add(&mut self, node: &Node, page: u128) {
        let pages = u128::from(node.leaves).saturating_mul(node.paths.into());
        self.add_row(&Self {
            tables: 1,
            paths: node.paths.into(),
            names: node.names.values().copied().map(u128::from).sum(),
            leaves: node.leaves.into(),
            empty: node.empty.into(),
            non_present: node.non_present.into(),
            malformed: node.malformed.into(),
            outside: node.outside.into(),
            pages,
            mapped: pages.saturating_mul(page),
            ..Self::default()
        });
    }

    fn add_row(&mut self, row: &Self) {
        let sums = [
            (&mut self.tables, row.tables),
            (&mut self.paths, row.paths),
            (&mut self.names, row.names),
            (&mut self.leaves, row.leaves),
            (&mut self.empty, row.empty),
            (&mut self.non_present, row.non_present),
            (&mut self.malformed, row.malformed),
            (&mut self.outside, row.outside),
            (&mut self.memory, row.memory),
            (&mut self.pages, row.pages),
            (&mut self.mapped, row.mapped),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
    }

    fn cells(&self) -> Vec<String> {
        let counts = [
            self.tables,
            self.paths,
            self.names,
            self.leaves,
            self.empty,
            self.non_present,
            self.malformed,
            self.outside,
            self.pages,
        ];
        let mut cells = vec![self.name.clone()];
        cells.extend(counts.iter().map(ToString::to_string));
        cells.push(self.page.clone().unwrap_or_else(|| "-".into()));
        cells.extend([bytes(self.mapped), bytes(self.memory)]);
        cells
    }
}
