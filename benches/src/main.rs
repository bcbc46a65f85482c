//! What operations cost.

mod arena;
mod callgrind;
mod contestant;
mod perform;
mod region;
mod row;
mod subject;
mod walk;

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
    /// Counts instructions per operation, under valgrind.
    Instructions {
        /// Only of these (see --help of `once` for the rows).
        #[arg(long)]
        row: Vec<Row>,
        /// Only for these.
        #[arg(long)]
        of: Vec<String>,
    },
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

fn verify() -> Result<(), String> {
    for who in contestant::all() {
        let load = Load::new(who.mode);
        for row in Row::ALL.into_iter().filter(|&row| (who.does)(row)) {
            (who.perform)(row, &load, Check::Yes)
                .map_err(|wrong| format!("{}, {}: {wrong}", who.name, row.name()))?;
        }
        println!("{}: as it must be", who.name);
    }
    Ok(())
}

fn instructions(rows: &[Row], of: &[String]) -> Result<(), String> {
    let mut everybody = contestant::all();
    if !of.is_empty() {
        everybody = of.iter().map(|name| find(name)).collect::<Result<_, _>>()?;
    }
    print!("{:45}", "instructions per operation");
    everybody.iter().for_each(|who| print!(" {:>12}", who.name.replace("pgtable-", "pg-")));
    println!();
    for row in Row::ALL.into_iter().filter(|row| rows.is_empty() || rows.contains(row)) {
        print!("{:45}", row.title());
        for who in &everybody {
            if (who.does)(row) {
                print!(" {:>12.2}", callgrind::count(who, row)?);
            } else {
                print!(" {:>12}", "-");
            }
            std::io::Write::flush(&mut std::io::stdout()).map_err(|error| error.to_string())?;
        }
        println!();
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let opened = arena::open().map_err(|error| format!("the arena: {error}"));
    let done = opened.and_then(|()| match arguments.what {
        What::Verify => verify(),
        What::Instructions { row, of } => instructions(&row, &of),
        What::Once { who, row } => {
            let who = find(&who)?;
            (who.perform)(row, &Load::new(who.mode), Check::Yes)
                .map(|_| ())
                .map_err(|wrong| format!("{}, {}: {wrong}", who.name, row.name()))
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::from(2)
        }
    }
}
