//! The page tables of a real kernel: adopted, read, scanned, moved, and taken down.

use crate::arena;
use crate::region::timed;
use crate::subject::Mode;
use crate::subject::ours::Kernel;
use crate::support::elf::Core;
use crate::support::mode;
use crate::table::{Table, digits};
use crate::walk;
use pgtable::arch::x86::X86_64;
use pgtable::{
    Gather, Host, Mapped, Names, PhysAddr, Placement, RootCell, Setup, Space, Span, Used, VirtAddr,
};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

type Here = Space<'static, X86_64, Kernel<false>>;

/// What is done, in this order, and what one of it is.
const STEPS: [(&str, Each); 6] = [
    ("adopt", Each::Table),
    ("translate every page", Each::Page),
    ("iterate over all mappings", Each::Page),
    ("test and clear A and D", Each::Page),
    ("move all tables", Each::Table),
    ("tear down, leaves not reported", Each::Table),
];

#[derive(Clone, Copy)]
enum Each {
    Table,
    Page,
}

/// The tree, as the first CPU of a core has it.
struct Tree {
    core: Core,
    root: PhysAddr,
}

impl Tree {
    fn open(path: &Path) -> Result<Self, String> {
        let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        let core = Core::open(path).map_err(|fault| wrong(&fault))?;
        let cpu = core.cpus.iter().find(|cpu| cpu.pages() && cpu.mode == mode::Mode::Long);
        let Some(root) = cpu.map(|cpu| cpu.root::<X86_64>()) else {
            return Err(wrong(&"no CPU is in x86-64 mode with four levels"));
        };
        Ok(Self { core, root })
    }

    /// Copies a table of this height with all below it into the arena. What has many names keeps them.
    fn load(&self, old: u64, height: u32, known: &mut HashMap<u64, u64>) -> Result<u64, String> {
        if let Some(&new) = known.get(&old) {
            return Ok(new);
        }
        let words = self.core.memory.reach(PhysAddr(old), 12);
        let words = words.ok_or_else(|| format!("the core has no table at {old:#x}"))?;
        let new = arena::take().ok_or("the arena is full")?;
        known.insert(old, new);
        for index in 0..512 {
            // SAFETY: the core's memory has the whole table, and nobody writes it.
            let mut raw = unsafe { words.cast::<u64>().add(index).read() };
            const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
            if height > 0 && raw & 0x81 == 1 {
                raw = raw & !ADDRESS | self.load(raw & ADDRESS, height - 1, known)?;
            }
            // SAFETY: the frame is ours, and as large.
            unsafe { arena::reach(new).cast::<u64>().add(index).write(raw) };
        }
        Ok(new)
    }
}

/// What a turn has found.
struct Turn {
    tables: u64,
    pages: u64,
    took: [Duration; STEPS.len()],
    memcpy: Duration,
}

/// Does everything, and prints the least times.
pub fn times(core: &Path, turns: u32) -> Result<(), String> {
    let tree = Tree::open(core)?;
    let mut least = turn(&tree)?;
    for _ in 0..turns {
        let now = turn(&tree)?;
        least.memcpy = least.memcpy.min(now.memcpy);
        for (least, now) in least.took.iter_mut().zip(now.took) {
            *least = now.min(*least);
        }
    }
    println!("{} tables, {} pages (one for each path)\n", least.tables, least.pages);
    let mut table = Table::new(["a real kernel", "ns", "for each", "all, us"]);
    let cells = |name: &str, took: Duration, each| {
        let (count, of) = match each {
            Each::Table => (least.tables, "table"),
            Each::Page => (least.pages, "page"),
        };
        let nanos = took.as_secs_f64() * 1e9;
        [name.into(), digits(nanos / count as f64), of.into(), digits(nanos / 1e3)]
    };
    for ((name, each), took) in STEPS.into_iter().zip(least.took) {
        table.row(cells(name, took, each));
    }
    table.row(cells("memcpy of the same tables", least.memcpy, Each::Table));
    print!("{table}");
    Ok(())
}

fn wrong(error: pgtable::Error) -> String {
    error.to_string()
}

/// All pages, by a walk that shares nothing with the crate.
fn pages(root: u64) -> Vec<(u64, u64)> {
    let mut pages = Vec::new();
    walk::all_leaves(Mode::Long, root, &mut |leaf, _| pages.push((leaf.at, leaf.frame)));
    pages
}

fn turn(tree: &Tree) -> Result<Turn, String> {
    arena::reset();
    let mut known = HashMap::new();
    let root = tree.load(tree.root.0, 3, &mut known)?;
    let (tables, listed) = (known.len() as u64, pages(root));
    let setup = Setup::new().names(Names::Aliased);
    let cell = Box::leak(Box::new(RootCell::new()));
    let mut adopted = None;
    let adopt = timed(|| {
        // SAFETY: the tree was made for this; no CPU uses it, and nobody else changes it.
        adopted = Some(unsafe { Here::adopt(Kernel, cell, PhysAddr(root), setup) });
    });
    let mut space = adopted.ok_or("nothing was adopted")?.map_err(wrong)?;
    let translate = translate(&space, &listed)?;
    let iterate = iterate(&space, &listed)?;
    let scan = scan(&mut space, root)?;
    let (moved, memcpy) = relocate(&mut space, tables)?;
    if pages(space.root().0) != listed {
        return Err("pages were lost".into());
    }
    let mut gone = Ok(());
    let mut space = Some(space);
    let tear_down = timed(|| {
        gone = space.take().map_or(Ok(()), |space| space.tear_down().map_err(|(_, error)| error));
    });
    gone.map_err(wrong)?;
    if arena::used() != 0 {
        return Err(format!("{} tables are left", arena::used()));
    }
    let took = [adopt, translate, iterate, scan, moved, tear_down];
    Ok(Turn { tables, pages: listed.len() as u64, took, memcpy })
}

fn translate(space: &Here, listed: &[(u64, u64)]) -> Result<Duration, String> {
    let mut sum = 0_u64;
    let took = timed(|| {
        for &(at, _) in listed {
            let found = space.translate(VirtAddr(at)).map_or(0, |found| found.frame.0);
            sum = sum.wrapping_add(found);
        }
    });
    same(sum, listed).map(|()| took)
}

fn iterate(space: &Here, listed: &[(u64, u64)]) -> Result<Duration, String> {
    let mut sum = 0_u64;
    let took = timed(|| {
        for mapped in space.mappings(Span::ALL) {
            if let Ok(Mapped::Page(page)) = mapped {
                sum = sum.wrapping_add(page.frame.0);
            }
        }
    });
    same(sum, listed).map(|()| took)
}

/// The frames of all pages, as one sum.
fn same(sum: u64, listed: &[(u64, u64)]) -> Result<(), String> {
    let expected = listed.iter().fold(0_u64, |sum, &(_, frame)| sum.wrapping_add(frame));
    if sum == expected { Ok(()) } else { Err(format!("frames: {sum:#x}, not {expected:#x}")) }
}

/// Between them is what no address of the mode can be.
fn halves() -> impl Iterator<Item = Span> {
    [0, 0xffff_8000_0000_0000].into_iter().filter_map(|at| Span::new(VirtAddr(at), 1 << 47))
}

fn scan(space: &mut Here, root: u64) -> Result<Duration, String> {
    let mut done = Ok(());
    let took = timed(|| {
        done = Gather::scope(|mut gather| {
            for half in halves() {
                space.test_and_clear(half, Used::all(), &mut gather, |_| {})?;
            }
            space.finish(gather).map(|_| ())
        });
    });
    done.map_err(wrong)?;
    let mut left = 0;
    walk::all_leaves(Mode::Long, root, &mut |_, word| {
        left += u64::from(walk::load(Mode::Long, word) & 0x60 != 0);
    });
    if left == 0 { Ok(took) } else { Err(format!("{left} pages have A or D yet")) }
}

/// How long moving all tables takes, and `memcpy` of the same.
fn relocate(space: &mut Here, tables: u64) -> Result<(Duration, Duration), String> {
    let before = walk::tables(Mode::Long, space.root().0);
    let mut done = Ok(pgtable::Statistics::default());
    let took = timed(|| {
        let mut session = space.enter();
        let moved = session.migrate_space(|_| Placement::Anywhere);
        let statistics = session.leave();
        done = moved.map(|()| statistics);
    });
    let moved = done.map_err(wrong)?.tables();
    if moved != tables {
        return Err(format!("{moved} tables have moved of {tables}"));
    }
    let after = walk::tables(Mode::Long, space.root().0);
    let began = Instant::now();
    before.iter().zip(&after).for_each(|(&from, &to)| arena::copy_in_upper_half(from, to));
    Ok((took, began.elapsed()))
}
