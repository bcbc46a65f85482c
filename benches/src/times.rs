//! Times: for everybody the least of some repetitions, which take turns, so that whatever slows the
//! machine down for a while slows everybody.

use crate::contestant::{self, Contestant, keeps};
use crate::perform::Check;
use crate::progress::Progress;
use crate::row::{Load, Row};
use crate::table::{Table, digits};
use std::time::Duration;

/// A row that takes less than `SHORT` is done `AGAIN` times in a turn: what the first one would show is
/// how long it takes to fetch code and memory that others have driven from the caches.
const SHORT: Duration = Duration::from_micros(100);
const AGAIN: usize = 16;

/// The least nanoseconds per operation, by row and contestant.
struct Least(Vec<Vec<Option<f64>>>);

/// Checks everybody's results, measures, and prints what came of it.
pub fn times(rows: &[Row], repetitions: u32, plain: bool) -> Result<(), String> {
    let everybody = contestant::all();
    let least = measure(&everybody, rows, repetitions)?;
    if plain {
        least.each(&everybody, rows, |who, row, time| println!("{who} {} {time:.3}", row.name()));
        return Ok(());
    }
    println!("nanoseconds per operation (the least of {repetitions} turns)\n");
    println!("{}", least.absolute(&everybody, rows));
    println!("time of pgtable in a space that is not relocatable, by that of the others\n");
    print!("{}", least.ratios(&everybody, rows));
    Ok(())
}

fn measure(everybody: &[Contestant], rows: &[Row], turns: u32) -> Result<Least, String> {
    let loads: Vec<Load> = everybody.iter().map(|who| Load::new(who.mode)).collect();
    let mut least = Least(vec![vec![None; everybody.len()]; rows.len()]);
    let progress = Progress::new();
    for turn in 0..=turns {
        // The first turn is for what is right, and warms everything up.
        let check = if turn == 0 { Check::Yes } else { Check::No };
        for (&row, cells) in rows.iter().zip(&mut least.0) {
            progress.show(&format!("turn {turn} of {turns}: {}", row.name()));
            for ((who, load), cell) in everybody.iter().zip(&loads).zip(cells) {
                let Some(took) = least_of(who, row, load, check)? else { continue };
                let each = took.as_secs_f64() * 1e9 / load.operations(row) as f64;
                if check == Check::No {
                    *cell = Some(cell.map_or(each, |least| least.min(each)));
                }
            }
        }
    }
    Ok(least)
}

fn least_of(
    who: &Contestant,
    row: Row,
    load: &Load,
    check: Check,
) -> Result<Option<Duration>, String> {
    let first = who.once(row, load, check)?;
    if check == Check::Yes || first.is_none_or(|took| took >= SHORT) {
        return Ok(first);
    }
    (1..AGAIN).try_fold(first, |least, _| Ok(least.min(who.once(row, load, check)?)))
}

/// Short names, for narrow columns.
fn heading<'a>(first: &'a str, everybody: &[&'a Contestant]) -> Vec<&'a str> {
    std::iter::once(first).chain(everybody.iter().map(|who| who.name)).collect()
}

fn cell(number: Option<f64>) -> String {
    number.map_or_else(|| "-".into(), digits)
}

impl Least {
    fn each(&self, everybody: &[Contestant], rows: &[Row], mut show: impl FnMut(&str, Row, f64)) {
        for (row, cells) in rows.iter().zip(&self.0) {
            for (who, time) in everybody.iter().zip(cells) {
                time.iter().for_each(|&time| show(who.name, *row, time));
            }
        }
    }

    fn absolute(&self, everybody: &[Contestant], rows: &[Row]) -> Table {
        let all: Vec<&Contestant> = everybody.iter().collect();
        let mut table = Table::new(heading("ns", &all));
        for (row, cells) in rows.iter().zip(&self.0) {
            let title = std::iter::once(row.title().into());
            table.row(title.chain(cells.iter().map(|&time| cell(time))));
        }
        table
    }

    /// This crate's times by those of the reference that does as much, and of each other crate.
    fn ratios(&self, everybody: &[Contestant], rows: &[Row]) -> Table {
        let at = |name: &str| everybody.iter().position(|who| who.name == name);
        let others = || everybody.iter().enumerate().filter(|(_, who)| who.foreign);
        let shown: Vec<&Contestant> = others().map(|(_, who)| who).collect();
        let mut table = Table::new(heading("ratio", &shown).into_iter().chain(["reference"]));
        for (row, cells) in rows.iter().zip(&self.0) {
            let time = |at: Option<usize>| at.and_then(|at| cells[at]);
            let ours = time(at("pgtable"));
            let ratio = |theirs: Option<f64>| Some(ours? / theirs?);
            let fit = at(if keeps(*row) { "reference-keeping" } else { "reference" });
            let foreign = others().map(|(at, _)| cell(ratio(cells[at])));
            let title = std::iter::once(row.title().into());
            table.row(title.chain(foreign).chain([cell(ratio(time(fit)))]));
        }
        table
    }
}
