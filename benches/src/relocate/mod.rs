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

/// What moving a tree takes.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// All of it, shootdowns not included: these are the host's.
    pub whole: Duration,
    /// Of this, what is not the end of a batch.
    pub copy: Duration,
    /// The same on a host that leaves copying to the crate, which does it word by word.
    pub words: Duration,
    /// What the ends of batches take where CPUs have used every table meanwhile.
    pub merge: Duration,
    /// `memcpy` of the same pages in the same order to the same places.
    pub memcpy: Duration,
}

impl Times {
    /// One turn.
    fn of(tree: &mut Tree) -> Result<Self, String> {
        let (_, whole, copy) = tree.relocate(Notes::Ends)?;
        let memcpy = tree.memcpy();
        let words = tree.relocate_by_words()?;
        let merge = tree.relocate_in_use()?;
        Ok(Self { whole, copy, words, merge, memcpy })
    }

    /// Of each the least.
    fn least(self, other: Self) -> Self {
        Self {
            whole: self.whole.min(other.whole),
            copy: self.copy.min(other.copy),
            words: self.words.min(other.words),
            merge: self.merge.min(other.merge),
            memcpy: self.memcpy.min(other.memcpy),
        }
    }
}

/// What moving one tree took in the best of many turns.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub kind: Kind,
    pub tables: u64,
    pub shootdowns: u64,
    pub times: Times,
    /// The longest move of one table.
    pub longest_move: Duration,
    /// The longest end of a batch.
    pub longest_end: Duration,
}

impl Cost {
    /// Tables per second.
    pub fn rate(&self) -> f64 {
        self.tables as f64 / self.times.whole.as_secs_f64()
    }

    fn cells(&self) -> Vec<String> {
        let Times { whole, copy, words, merge, memcpy } = self.times;
        let micros = |time: Duration| digits(time.as_secs_f64() * 1e6);
        let ratio = |time: Duration| format!("{:.2}", time.as_secs_f64() / memcpy.as_secs_f64());
        vec![
            format!("{}, {} tables", self.kind.name(), self.tables),
            format!("{:.2}", self.rate() / 1e6),
            self.shootdowns.to_string(),
            ratio(copy),
            ratio(words),
            ratio(whole),
            ratio(copy + merge),
            micros(self.longest_move),
            micros(self.longest_end),
            micros(whole),
        ]
    }

    fn plain(&self) -> String {
        let Times { whole, copy, words, merge, memcpy } = self.times;
        let parts = [whole, copy, words, merge, memcpy];
        let nanos = [&parts[..], &[self.longest_move, self.longest_end]].concat();
        let nanos: Vec<_> = nanos.iter().map(|time| time.as_nanos().to_string()).collect();
        format!("{} {} {} {}", self.kind.name(), self.tables, self.shootdowns, nanos.join(" "))
    }
}

/// Measures trees of one kind and size.
fn measure(kind: Kind, tables: u64, turns: u32) -> Result<Cost, String> {
    let mut tree = Tree::new(kind, tables)?;
    let shootdowns = tree.check()?;
    // The first turn warms everything up.
    Times::of(&mut tree)?;
    // Of each step, the least: an interrupt does not hit the same step each time.
    let (mut least, mut steps) = (None::<Times>, Vec::new());
    for _ in 0..turns {
        let times = Times::of(&mut tree)?;
        least = Some(least.map_or(times, |least| least.least(times)));
        tree.relocate(Notes::Steps)?;
        tree.clock().lessen(&mut steps);
    }
    let longest = |step: fn(&Step) -> Option<Duration>| {
        steps.iter().filter_map(step).max().unwrap_or_default()
    };
    let (longest_move, longest_end) = (longest(Step::of_move), longest(Step::of_end));
    let times = least.ok_or("no turns")?;
    Ok(Cost { kind, tables: tree.tables, shootdowns, times, longest_move, longest_end })
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
        "the same word by word / memcpy",
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
