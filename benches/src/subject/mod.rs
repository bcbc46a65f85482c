//! Who is measured.

#[cfg(feature = "others")]
pub mod others;
pub mod ours;
pub mod reference;

use crate::row::Run;

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

/// What became of a row's pages, as one number that everybody must come to: the sum of all frames, and,
/// where A and D are asked for, of 1 for each accessed bit and of 2 for each dirty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(pub u64);

impl Sum {
    /// Adds a frame.
    #[inline(always)]
    pub fn add(&mut self, frame: u64) {
        self.0 = self.0.wrapping_add(frame);
    }

    /// Adds a frame, and what hardware has noted of its page.
    #[inline(always)]
    pub fn add_used(&mut self, frame: u64, accessed: bool, dirty: bool) {
        self.add(frame);
        self.add(u64::from(accessed) | u64::from(dirty) << 1);
    }
}

/// One who does the workloads. Each verb is the whole loop that is timed; only those of the rows that
/// its [`Contestant`](crate::contestant::Contestant) does are called. A verb that takes pages away
/// answers with their sum, or with `None` if it does not tell what it took.
pub trait Subject: Sized {
    /// The mode of its tables.
    const MODE: Mode;
    /// Whether its protect keeps accessed and dirty bits.
    const KEEPS_USED: bool = true;

    /// A new, empty tree.
    fn new() -> Self;
    /// Where its root is.
    fn root(&self) -> u64;

    fn map_pages(&mut self, run: Run);
    fn map_cursor(&mut self, _: Run) {
        unreachable!("not asked for");
    }
    fn map_range(&mut self, run: Run);
    fn map_list(&mut self, list: &[(u64, u64)]);
    fn translate_list(&self, _: &[(u64, u64)]) -> Sum {
        unreachable!("not asked for");
    }
    /// The tables stay.
    fn unmap_pages(&mut self, _: Run) -> Option<Sum> {
        unreachable!("not asked for");
    }
    /// A table that is empty is freed at once.
    fn unmap_pages_freed(&mut self, _: Run) -> Option<Sum> {
        unreachable!("not asked for");
    }
    /// The sum has A and D in it.
    fn unmap_range(&mut self, _: Run) -> Option<Sum> {
        unreachable!("not asked for");
    }
    /// From read and write to read.
    fn protect_range(&mut self, _: Run) {
        unreachable!("not asked for");
    }
    /// Maps the one page of the run and unmaps it, so many times, to two frames in turn.
    fn map_unmap(&mut self, _: Run, _: u64) -> Option<Sum> {
        unreachable!("not asked for");
    }
    fn tear_down(self) {
        unreachable!("not asked for");
    }
}
