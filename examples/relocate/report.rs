//! What came of a core, in lines.

use crate::run::Outcome;
use std::io::{self, Write};

const LEVELS: [&str; 5] = ["PTE", "PMD", "PUD", "P4D", "PGD"];

/// The alias of a level of a mode with so many of them: its root is the PGD.
pub(crate) fn alias(height: usize, levels: usize) -> &'static str {
    if height + 1 == levels { "PGD" } else { LEVELS[height] }
}

fn levels(mode: &str) -> usize {
    match mode {
        "x86-32" => 2,
        "x86-pae" => 3,
        "x86-64" => 4,
        _ => 5,
    }
}

pub(crate) fn print(name: &str, outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let (mode, levels) = (outcome.mode, levels(outcome.mode));
    writeln!(
        out,
        "{name}: {mode}, {} spaces, {} tables ({} bytes moved)",
        outcome.spaces,
        outcome.before.len(),
        outcome.statistics.bytes
    )?;
    writeln!(out, "  level   moved  freed  ns/table")?;
    for height in (0..levels).rev() {
        let (statistics, timed) = (&outcome.statistics, outcome.timed[height]);
        let (moved, freed) = (statistics.moved[height], statistics.freed[height]);
        let mean = timed.nanoseconds.checked_div(timed.tables).unwrap_or(0);
        writeln!(out, "  {:5}  {moved:6} {freed:6}  {mean:8}", alias(height, levels))?;
    }
    writeln!(
        out,
        "  shootdowns: {} ({} ends of a batch), {} ns each",
        outcome.shootdowns,
        outcome.statistics.shootdowns,
        outcome.shootdown_nanoseconds.checked_div(outcome.shootdowns).unwrap_or(0)
    )?;
    for (cpu, [accesses, different, faults]) in outcome.accesses.iter().enumerate() {
        writeln!(
            out,
            "  CPU {cpu}: {accesses} accesses during the moves, {different} elsewhere, {faults} faults"
        )?;
    }
    verdict(outcome, out)
}

fn verdict(outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let Outcome { compared, different, written, lost, left, leaked, .. } = outcome;
    writeln!(out, "  translations compared: {compared}, different: {different}")?;
    writeln!(out, "  pages written: {written}, dirty bits lost: {lost}")?;
    writeln!(out, "  tables left on node 0: {left}, frames leaked: {leaked}")?;
    writeln!(out, "  kept: {}, refused: {}", outcome.statistics.kept, outcome.statistics.shared)?;
    if let Some(error) = outcome.stopped {
        writeln!(out, "  stopped: {error}")?;
    }
    if let [first, ..] = &outcome.violations[..] {
        writeln!(out, "  violations: {}, the first: {first}", outcome.violations.len())?;
    }
    writeln!(out, "  {}", if outcome.is_sound() { "sound" } else { "NOT SOUND" })
}
