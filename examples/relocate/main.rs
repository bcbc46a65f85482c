//! Moves every page table of a stopped kernel to another node, while model CPUs use them.
//!
//! `cargo run --release --example relocate -- [FILE.core ...]` loads the page tables of an ELF core
//! into simulated memory, all on node 0, and moves those of every space in it, kernel half included, to
//! node 1. Meanwhile CPUs of the model MMU, each on a thread with a root of the core, read and write
//! random pages through whatever they have cached. In the end nothing may be different, and no dirty
//! bit lost.

// What comes from a file is read by `support` and `load`, which take nothing for granted; the others
// work on what these let through.
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]
mod cpus;
#[allow(clippy::arithmetic_side_effects)]
mod host;
#[allow(clippy::arithmetic_side_effects)]
mod kernel;
mod load;
#[allow(clippy::arithmetic_side_effects)]
mod picture;
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod report;
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod run;

#[path = "../support/mod.rs"]
mod support;

use clap::{Parser, ValueEnum};
use picture::Picture;
use run::Outcome;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use support::elf::Core;

/// The cores that are read if none is named.
const BUNDLED: [&str; 4] = ["linux-686", "linux-686-pae", "linux-amd64", "linux-amd64-la57"];

/// Moves all page tables of the machine in an ELF core to another node, while model CPUs use them.
///
/// The exit status is 1 if anything was lost, and 2 if a file cannot be used.
#[derive(Debug, Parser)]
#[command(name = "relocate")]
struct Args {
    /// The cores; without one, those of four small Linux machines which come with the sources.
    files: Vec<PathBuf>,
    /// Break the protocol on purpose, to see that it is found out.
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
    /// Draw the tables before and after.
    #[arg(long, value_name = "OUT.svg")]
    svg: Option<PathBuf>,
}

/// A way to break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// Shootdowns come back before any CPU has dropped anything.
    Acknowledge,
    /// Tables are freed before the shootdown.
    EarlyFree,
    /// What CPUs have noted in the old tables is wiped out before it can be merged.
    NoMerge,
    /// What verbs write into the old tables is undone.
    NoMirror,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let bundled = || {
        let path = |name| format!("{}/tests/cores/{name}.core", env!("CARGO_MANIFEST_DIR")).into();
        BUNDLED.map(path).to_vec()
    };
    let files = if args.files.is_empty() { bundled() } else { args.files };
    let (mut pictures, mut sound) = (Vec::new(), true);
    for file in &files {
        match one(file, args.sabotage) {
            Ok((picture, good)) => {
                pictures.push(picture);
                sound &= good;
            }
            Err(stop) => return complain(file, &stop),
        }
    }
    if let Some(out) = &args.svg {
        if let Err(error) = std::fs::write(out, picture::svg(&pictures)) {
            return complain(out, &format!("cannot write: {error}"));
        }
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Moves the tables of one core, and reports. Who does not read the report is not in the way.
fn one(file: &Path, sabotage: Option<Sabotage>) -> Result<(Picture, bool), String> {
    let core = Core::open(file).map_err(|fault| fault.to_string())?;
    let outcome = run::run(&core, sabotage)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let _ = report::print(&name, &outcome, &mut io::stdout().lock());
    let sound = outcome.is_sound();
    let Outcome { aliases, before, after, .. } = outcome;
    Ok((Picture { name, aliases, before, after }, sound))
}

/// Says on one line why it did not work, whatever the name of the file is.
fn complain(file: &Path, stop: &str) -> ExitCode {
    let name = file.display().to_string();
    let name = name.replace(char::is_control, "?");
    // If nobody can be told, the status still says it.
    let _ = writeln!(io::stderr(), "relocate: {name}: {stop}");
    ExitCode::from(2)
}
