//! Who is measured.

pub mod ours;
pub mod reference;

use crate::row::{Row, Run};

/// A paging mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// x86-64 with four levels.
    Long,
    /// x86 PAE.
    Pae,
    /// x86 without PAE.
    Legacy,
    /// AArch64 with four levels and 4 KiB granules.
    Aarch64,
}

/// What became of a row's pages, as one number that everybody must come to: the sum of all frames, of
/// 1 for each accessed bit and of 2 for each dirty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(pub u64);

impl Sum {
    /// Adds a page.
    #[inline(always)]
    pub fn add(&mut self, frame: u64, accessed: bool, dirty: bool) {
        let used = u64::from(accessed) | u64::from(dirty) << 1;
        self.0 = self.0.wrapping_add(frame).wrapping_add(used);
    }
}

/// One who does the workloads. Each verb is the whole loop that is timed; only those of the rows that
/// [`does`](Self::does) says are called.
pub trait Subject: Sized {
    /// The mode of its tables.
    const MODE: Mode;
    /// Whether its protect and its range unmap keep, or report, accessed and dirty bits.
    const KEEPS_USED: bool = true;

    /// A new, empty tree.
    fn new() -> Self;
    /// Where its root is.
    fn root(&self) -> u64;
    /// Whether it can do a row.
    fn does(row: Row) -> bool;

    fn map_pages(&mut self, run: Run);
    fn map_cursor(&mut self, _: Run) {
        unreachable!("not asked for");
    }
    fn map_range(&mut self, _: Run) {
        unreachable!("not asked for");
    }
    fn map_list(&mut self, list: &[(u64, u64)]);
    fn translate_list(&self, list: &[(u64, u64)]) -> Sum;
    /// The tables stay.
    fn unmap_pages(&mut self, run: Run) -> Sum;
    /// A table that is empty is freed at once.
    fn unmap_pages_freed(&mut self, _: Run) -> Sum {
        unreachable!("not asked for");
    }
    fn unmap_range(&mut self, _: Run) -> Sum {
        unreachable!("not asked for");
    }
    /// From read and write to read.
    fn protect_range(&mut self, _: Run) {
        unreachable!("not asked for");
    }
    /// Maps the first page and unmaps it, so many times.
    fn map_unmap(&mut self, run: Run, turns: u64) -> Sum;
    fn tear_down(self) {
        unreachable!("not asked for");
    }
}
