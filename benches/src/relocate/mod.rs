//! What it costs to move whole trees, beside `memcpy` of the same tables.

mod clock;
#[cfg(feature = "plot")]
pub mod plot;
mod tree;

use crate::progress::Progress;
use crate::table::{Table, digits};
use clock::{Notes, Step};
use std::time::Duration;
pub use tree::Kind;
use tree::Tree;

/// Tables that are moved between two shootdowns.
const BATCH: u64 = 64;

/// What moving one tree took, of each the least.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub kind: Kind,
    pub tables: u64,
    pub shootdowns: u64,
    /// All of it, shootdowns not included: these are the host's.
    pub whole: Duration,
    /// Of this, what is not the end of a batch.
    pub copy: Duration,
    /// What the ends of batches take where CPUs have used every table meanwhile.
    pub merge: Duration,
    /// `memcpy` of the same pages in the same order to the same places.
    pub memcpy: Duration,
    /// The longest move of one table.
    pub longest_move: Duration,
    /// The longest end of a batch.
    pub longest_end: Duration,
}

impl Cost {
    fn ratio(part: Duration, whole: Duration) -> f64 {
        part.as_secs_f64() / whole.as_secs_f64()
    }

    /// Tables per second.
    pub fn rate(&self) -> f64 {
        self.tables as f64 / self.whole.as_secs_f64()
    }

    /// Copying and redirecting, by copying alone.
    pub fn copy_ratio(&self) -> f64 {
        Self::ratio(self.copy, self.memcpy)
    }

    /// The whole, by copying alone.
    pub fn whole_ratio(&self) -> f64 {
        Self::ratio(self.whole, self.memcpy)
    }

    /// The same where CPUs have used every table meanwhile.
    pub fn used_ratio(&self) -> f64 {
        Self::ratio(self.copy + self.merge, self.memcpy)
    }

    fn cells(&self) -> Vec<String> {
        let micros = |time: Duration| digits(time.as_secs_f64() * 1e6);
        vec![
            format!("{}, {} tables", self.kind.name(), self.tables),
            format!("{:.2}", self.rate() / 1e6),
            self.shootdowns.to_string(),
            format!("{:.2}", self.copy_ratio()),
            format!("{:.2}", self.whole_ratio()),
            format!("{:.2}", self.used_ratio()),
            micros(self.longest_move),
            micros(self.longest_end),
            micros(self.whole),
        ]
    }

    fn plain(&self) -> String {
        let parts = [self.whole, self.copy, self.merge, self.memcpy];
        let nanos = [&parts[..], &[self.longest_move, self.longest_end]].concat();
        let nanos: Vec<_> = nanos.iter().map(|time| time.as_nanos().to_string()).collect();
        format!("{} {} {} {}", self.kind.name(), self.tables, self.shootdowns, nanos.join(" "))
    }
}

/// What is known of a table's times after some turns.
struct Least {
    whole: Duration,
    copy: Duration,
    merge: Duration,
    memcpy: Duration,
    /// Of each step, the least: an interrupt does not hit the same step each time.
    steps: Vec<Step>,
}

/// Measures trees of one kind and size.
fn measure(kind: Kind, tables: u64, turns: u32) -> Result<Cost, String> {
    let mut tree = Tree::new(kind, tables)?;
    let shootdowns = tree.check()?;
    let max = Duration::MAX;
    let mut least = Least { whole: max, copy: max, merge: max, memcpy: max, steps: Vec::new() };
    // The first turn warms everything up.
    for turn in 0..=turns {
        let (_, whole, copy) = tree.relocate(Notes::Ends)?;
        let memcpy = tree.memcpy();
        let merge = tree.relocate_in_use()?;
        if turn == 0 {
            continue;
        }
        least.whole = least.whole.min(whole);
        least.copy = least.copy.min(copy);
        least.merge = least.merge.min(merge);
        least.memcpy = least.memcpy.min(memcpy);
        tree.relocate(Notes::Steps)?;
        tree.clock().lessen(&mut least.steps);
    }
    let Least { whole, copy, merge, memcpy, steps } = least;
    let longest = |step: fn(&Step) -> Option<Duration>| {
        steps.iter().filter_map(step).max().unwrap_or_default()
    };
    let (longest_move, longest_end) = (longest(Step::of_move), longest(Step::of_end));
    let tables = tree.tables;
    Ok(Cost { kind, tables, shootdowns, whole, copy, merge, memcpy, longest_move, longest_end })
}

/// Measures trees of all kinds and of these sizes.
pub fn costs(sizes: &[u64], turns: u32) -> Result<Vec<Cost>, String> {
    let progress = Progress::new();
    let mut costs = Vec::new();
    for kind in Kind::ALL {
        for &size in sizes {
            progress.show(&format!("{}, {size} tables", kind.name()));
            // Small trees take little time, and so much noise.
            let more = u32::try_from(20_000 / size).unwrap_or(1).clamp(1, 100);
            costs.push(measure(kind, size, turns * more)?);
        }
    }
    Ok(costs)
}

/// Prints what was measured.
pub fn print(costs: &[Cost], plain: bool) {
    if plain {
        costs.iter().for_each(|cost| println!("{}", cost.plain()));
        return;
    }
    let mut table = Table::new([
        "a whole tree of x86-64",
        "million tables/s",
        "shootdowns",
        "copy and redirect / memcpy",
        "all / memcpy",
        "all, every table in use / memcpy",
        "longest move, us",
        "longest end of a batch, us",
        "all, us",
    ]);
    costs.iter().for_each(|cost| table.row(cost.cells()));
    print!("{table}");
    println!(
        "\na batch is {BATCH} tables; the shootdown itself is the kernel's, and takes no time here"
    );
}
