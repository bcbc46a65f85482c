//! What operations cost.

mod arena;
mod callgrind;
mod cargo;
mod contestant;
mod gate;
mod kernel;
mod perform;
mod progress;
mod region;
mod relocate;
mod row;
mod size;
mod subject;
mod table;
mod times;
mod walk;

/// Reads cores of machines.
#[path = "../../examples/support/mod.rs"]
mod support;

use clap::{Parser, Subcommand};
use contestant::Contestant;
use perform::Check;
use row::{Load, Row};
use std::process::ExitCode;

/// What operations cost: for pgtable, for code written by hand, and for other crates.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Checks the results of every workload, and measures nothing.
    Verify,
    /// Times of everybody in turn, as nanoseconds per operation and as ratios. Results are checked
    /// first.
    Times {
        /// Only these rows.
        #[arg(long)]
        row: Vec<Row>,
        /// How many turns: the least time of each counts.
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
        turns: u32,
        /// Lines for programs: who, which row, nanoseconds.
        #[arg(long)]
        plain: bool,
    },
    /// Counts instructions per operation, under valgrind.
    Instructions {
        /// Only these rows.
        #[arg(long)]
        row: Vec<Row>,
        /// Only for these.
        #[arg(long)]
        of: Vec<String>,
    },
    /// Holds instructions per operation against the limits in limits.txt. Exit status 1 if there are
    /// more.
    Gate {
        /// Writes what was reached into limits.txt, where that is less than what is held there.
        #[arg(long)]
        write: bool,
    },
    /// Moves whole trees, beside memcpy of the same tables.
    Relocate {
        /// About how many tables a tree has.
        #[arg(
            long,
            value_delimiter = ',',
            default_values_t = [10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000],
            value_parser = clap::value_parser!(u64).range(4..=100_000)
        )]
        sizes: Vec<u64>,
        /// How many turns, and more for small trees: the least time of each counts.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        turns: u32,
        /// Draws it: time and longest stretches, by the size of the tree.
        #[cfg(feature = "plot")]
        #[arg(long)]
        svg: Option<std::path::PathBuf>,
        /// Lines for programs: kind, tables, shootdowns, and nanoseconds: all, without ends of batches,
        /// the same word by word, ends of batches where every table is in use, memcpy, longest move,
        /// longest end of a batch.
        #[arg(long)]
        plain: bool,
    },
    /// Times of this crate on the page tables of a real Linux kernel.
    Kernel {
        /// An ELF core of a machine in x86-64 mode with four levels.
        #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cores/linux-amd64.core"))]
        core: std::path::PathBuf,
        /// How many turns: the least time of each counts.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
        turns: u32,
    },
    /// Weighs the code of all verbs, in a static library that is built for it.
    Size,
    /// Does one row once: what valgrind runs.
    Once { who: String, row: Row },
}

fn find(name: &str) -> Result<Contestant, String> {
    let mut all = contestant::all();
    let names: Vec<_> = all.iter().map(|who| who.name).collect();
    match names.iter().position(|known| *known == name) {
        Some(at) => Ok(all.swap_remove(at)),
        None => Err(format!("{name:?} is not one of {}", names.join(", "))),
    }
}

/// Those rows that are asked for, or all.
fn rows(asked: &[Row]) -> Vec<Row> {
    Row::ALL.into_iter().filter(|row| asked.is_empty() || asked.contains(row)).collect()
}

fn verify() -> Result<(), String> {
    for who in contestant::all() {
        let load = Load::new(who.mode);
        for row in Row::ALL {
            who.once(row, &load, Check::Yes)?;
        }
        println!("{}: as it must be", who.name);
    }
    Ok(())
}

fn once(who: &str, row: Row) -> Result<(), String> {
    let who = find(who)?;
    match who.once(row, &Load::new(who.mode), Check::Yes)? {
        Some(_) => Ok(()),
        None => Err(format!("{} has no call for {}", who.name, row.name())),
    }
}

fn instructions(asked: &[Row], of: &[String]) -> Result<(), String> {
    let mut everybody = contestant::all();
    if !of.is_empty() {
        everybody = of.iter().map(|name| find(name)).collect::<Result<_, _>>()?;
    }
    let names = everybody.iter().map(|who| who.name);
    let mut table = table::Table::new(std::iter::once("instructions").chain(names));
    let progress = progress::Progress::new();
    for row in rows(asked) {
        let mut cells = vec![row.title().to_owned()];
        for who in &everybody {
            progress.show(&format!("{}: {}", row.name(), who.name));
            let does = (who.does)(row);
            cells.push(if does { table::digits(callgrind::count(who, row)?) } else { "-".into() });
        }
        table.row(cells);
    }
    drop(progress);
    print!("{table}");
    Ok(())
}

fn gate(write: bool) -> Result<ExitCode, String> {
    let broken = gate::gate(write)?;
    if broken > 0 {
        eprintln!("benches: {broken} of the limits in limits.txt are broken");
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

fn run(what: What) -> Result<ExitCode, String> {
    let done = match what {
        What::Gate { write } => return gate(write),
        What::Verify => verify(),
        What::Times { row, turns, plain } => times::times(&rows(&row), turns, plain),
        What::Instructions { row, of } => instructions(&row, &of),
        What::Once { who, row } => once(&who, row),
        What::Size => size::sizes(),
        What::Kernel { core, turns } => kernel::times(&core, turns),
        #[cfg(feature = "plot")]
        What::Relocate { sizes, turns, svg, plain } => {
            let costs = relocate::costs(&sizes, turns)?;
            relocate::print(&costs, plain);
            svg.map_or(Ok(()), |file| relocate::plot::draw(&costs, &file))
        }
        #[cfg(not(feature = "plot"))]
        What::Relocate { sizes, turns, plain } => {
            relocate::print(&relocate::costs(&sizes, turns)?, plain);
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let opened = arena::open().map_err(|error| format!("the arena: {error}"));
    match opened.and_then(|()| run(arguments.what)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::from(2)
        }
    }
}
