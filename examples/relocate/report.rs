//! What came of a core, in lines.

use crate::run::Outcome;
use pgtable::Statistics;
use std::io::{self, Write};

/// The middle one: a move that another program came in between of does not count.
fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

pub(crate) fn print(name: &str, outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{name}: {}, {} spaces, {} tables ({} bytes moved)",
        outcome.mode,
        outcome.spaces,
        outcome.before.len(),
        outcome.statistics.bytes
    )?;
    writeln!(out, "  level   moved  freed  ns/table (median)")?;
    for (height, alias) in outcome.aliases.iter().enumerate().rev() {
        let statistics = &outcome.statistics;
        let (moved, freed) = (statistics.moved[height], statistics.freed[height]);
        let median = median(&outcome.timed[height]);
        writeln!(out, "  {alias:5}  {moved:6} {freed:6}  {median:8}")?;
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
    let Statistics { kept, shared, forbidden, .. } = outcome.statistics;
    writeln!(out, "  kept: {kept}, refused: {shared} with unknown names, {forbidden} by a flag")?;
    if let Some(error) = outcome.stopped {
        writeln!(out, "  stopped: {error}")?;
    }
    if let [first, ..] = &outcome.violations[..] {
        writeln!(out, "  violations: {}, the first: {first}", outcome.violations.len())?;
    }
    writeln!(out, "  {}", if outcome.is_sound() { "sound" } else { "NOT SOUND" })
}
