//! Prints what the page tables of a stopped machine map, from an ELF core of it.
//!
//! `cargo run --release --example dump -- FILE.core` prints one run of pages a line, for each CPU;
//! `--tree` prints what the tables are instead, level by level. One generic body walks the tables of
//! all paging modes: which it is, is said by the core.

mod lines;
mod stop;
mod table;
mod tree;

#[path = "../support/mod.rs"]
mod support;

use clap::Parser;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use stop::Stop;
use support::elf::Core;

/// The core that is read if none is named.
const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cores/linux-amd64.core");

/// Prints what the page tables in an ELF core of a machine map.
///
/// The core is one that an emulator's dump-guest-memory writes of an x86 machine. Each line is a run
/// of pages of one size and with the same flags, at equal distances: CPU, first virtual address, the
/// distance to the next, how many pages, first physical address, the distance to the next, page
/// size, flags (X no-execute, G global, P PAT or huge, D dirty, A accessed, C cache-disable, T
/// write-through, U user, W writable).
///
/// The exit status is 2 if the file cannot be used, or if a table lies outside of it.
#[derive(Debug, Parser)]
#[command(name = "dump")]
struct Args {
    /// The core; without one, that of a small Linux machine which comes with the sources.
    file: Option<PathBuf>,
    /// Show the tables of each level instead of what they map.
    #[arg(long)]
    tree: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let file = args.file.unwrap_or_else(|| BUNDLED.into());
    let mut out = BufWriter::new(io::stdout().lock());
    let done = print(&file, args.tree, &mut out);
    // What was found before an error stands, and comes before it.
    let flushed = out.flush().map_err(Stop::Output);
    match done.and(flushed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) if stop.is_reader_gone() => ExitCode::SUCCESS,
        Err(stop) => complain(&file, &stop),
    }
}

fn print(file: &Path, tree: bool, out: &mut impl Write) -> Result<(), Stop> {
    let core = Core::open(file).map_err(Stop::Core)?;
    if tree { tree::print(&core, out) } else { lines::print(&core, out) }
}

/// Says on one line why it did not work, whatever the name of the file is.
fn complain(file: &Path, stop: &Stop) -> ExitCode {
    let name = file.display().to_string();
    let name = name.replace(char::is_control, "?");
    // If nobody can be told, the status still says it.
    let _ = writeln!(io::stderr(), "dump: {name}: {stop}");
    ExitCode::from(2)
}
