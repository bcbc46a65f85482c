//! Instructions that operations may take: `limits.txt` says how many, and this sees to it.

use crate::callgrind::{count, count_in};
use crate::cargo;
use crate::contestant::Contestant;
use crate::find;
use crate::progress::Progress;
use crate::row::Row;
use crate::table::{Table, digits};
use clap::ValueEnum;
use std::cell::LazyCell;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::thread;

/// What is counted for a limit.
enum Counted {
    /// What a contestant needs for each operation of a row.
    Whole(Contestant),
    /// What a relocatable space in which nothing moves needs more than one that is not relocatable.
    Idle,
    /// What a space that is not relocatable needs more, or less, than one of a crate that was built
    /// without relocation.
    Absent,
}

/// One line.
struct Limit {
    /// Its first word, as it was read.
    name: String,
    counted: Counted,
    row: Row,
    /// What must be reached.
    goal: f64,
    /// What is not given up: more than the goal where that is not reached yet.
    held: f64,
}

/// The file, which is part of the repository.
fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("limits.txt")
}

fn read(path: &Path) -> Result<(String, Vec<Limit>), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path:?}: {error}"))?;
    let comment = |line: &&str| line.starts_with('#') || line.trim().is_empty();
    let lines = text.lines().enumerate().filter(|(_, line)| !comment(line));
    let read = |(at, line): (usize, &str)| {
        parse(line).map_err(|wrong| format!("{}:{}: {wrong}", path.display(), at + 1))
    };
    let limits = lines.map(read).collect::<Result<Vec<_>, _>>()?;
    let head = text.lines().take_while(comment).map(|line| format!("{line}\n")).collect();
    if limits.is_empty() { Err(format!("{path:?} has no limits")) } else { Ok((head, limits)) }
}

fn parse(line: &str) -> Result<Limit, String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [name, row, goal, held @ ..] = words.as_slice() else {
        return Err(format!("{line:?} is not WHO ROW GOAL [HELD]"));
    };
    let row = Row::from_str(row, false)?;
    let number = |word: &str| match word.parse::<f64>() {
        Ok(number) if number >= 0.0 => Ok(number),
        _ => Err(format!("{word:?} is not a number of instructions")),
    };
    let goal = number(goal)?;
    let held = match held {
        [] => goal,
        [held] => number(held)?,
        more => return Err(format!("{:?} is too much", more[1])),
    };
    if held < goal {
        return Err(format!("{held} is held, and the goal is only {goal}"));
    }
    let counted = match *name {
        "idle" => Counted::Idle,
        "absent" => Counted::Absent,
        name => Counted::Whole(find(name)?),
    };
    Ok(Limit { name: (*name).into(), counted, row, goal, held })
}

impl Limit {
    fn count(&self, without: &dyn Fn() -> Result<PathBuf, String>) -> Result<f64, String> {
        let plain = || count(&find("pgtable")?, self.row);
        match &self.counted {
            Counted::Whole(who) => count(who, self.row),
            Counted::Idle => Ok(count(&find("pgtable-relocatable")?, self.row)? - plain()?),
            Counted::Absent => {
                Ok((plain()? - count_in(&without()?, &find("pgtable")?, self.row)?).abs())
            }
        }
    }

    fn says(&self, found: f64) -> &'static str {
        match found {
            found if found > self.held => "TOO MANY",
            found if found > self.goal => "goal not reached",
            _ => "",
        }
    }

    /// What is held from now on, if so many were counted: never more than before.
    fn tightened(&self, found: f64) -> f64 {
        // Another version of the compiler may need a few more.
        let room = (found * 1.02).ceil();
        if found <= self.goal { self.goal } else { room.clamp(self.goal, self.held) }
    }

    fn line(&self, found: f64) -> String {
        let held = self.tightened(found);
        let goal = format!("{:20} {:18} {:>6}", self.name, self.row.name(), self.goal);
        if held > self.goal { format!("{goal} {held:>6}\n") } else { format!("{goal}\n") }
    }
}

/// Counts for every limit. What is built for some of them is built meanwhile: it takes as
/// long as to count for those that stand before them.
fn count_all(limits: &[Limit]) -> Result<Vec<f64>, String> {
    let progress = Progress::new();
    let absent = limits.iter().any(|limit| matches!(limit.counted, Counted::Absent));
    thread::scope(|scope| {
        let building = absent.then(|| scope.spawn(cargo::without_relocation));
        let without = LazyCell::new(|| {
            let built = building.ok_or("there is no build without relocation")?.join();
            built.unwrap_or_else(|_| Err("the build without relocation has panicked".into()))
        });
        let counted = limits.iter().map(|limit| {
            progress.show(&format!("{}, {}", limit.name, limit.row.name()));
            limit.count(&|| (*without).clone())
        });
        counted.collect()
    })
}

/// Counts for every limit, prints it, and says how many were broken. With `write`, the file gets what
/// was reached, where that is less than what was held.
pub fn gate(write: bool) -> Result<usize, String> {
    let (mut text, limits) = read(&path())?;
    let counts = count_all(&limits)?;
    let mut table = Table::new(["instructions", "counted", "goal", "held", "", "row"]);
    let mut broken = 0;
    for (limit, found) in limits.iter().zip(counts) {
        broken += usize::from(found > limit.held);
        let numbers = [digits(found), limit.goal.to_string(), limit.held.to_string()];
        let about = [limit.says(found).to_owned(), limit.row.name().to_owned()];
        table.row([limit.name.clone()].into_iter().chain(numbers).chain(about));
        text.write_str(&limit.line(found)).map_err(|error| error.to_string())?;
    }
    print!("{table}");
    if write && broken == 0 {
        std::fs::write(path(), text).map_err(|error| format!("{:?}: {error}", path()))?;
    }
    Ok(broken)
}
