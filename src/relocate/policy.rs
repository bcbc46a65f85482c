//! Who is asked, and what is told.

use crate::addr::{PhysAddr, VirtAddr};
use crate::level::{Arch, Level, MAX_LEVELS, PageTableLevel, levels};
use crate::table::{Host, table_lg2};

/// A table, as a policy is shown it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableAt {
    /// Where the table itself is: not where the entry is that names it.
    pub frame: PhysAddr,
    /// The node that this frame is on, if the host knows.
    pub node: Option<u32>,
    /// Its height; 0 maps base pages.
    pub height: u8,
    /// It has 2 to this many bytes.
    pub size_lg2: u8,
    /// The first address that it serves.
    pub at: VirtAddr,
}

impl TableAt {
    /// The table of this height at `frame`, which serves `at`.
    pub(crate) fn new<A: Arch, H: Host>(
        host: &H,
        frame: PhysAddr,
        height: u8,
        at: VirtAddr,
    ) -> Self {
        let mut levels = levels::<A>();
        let level = levels.find(|level| level.height == height);
        let size_lg2 = level.map_or(0, Level::table_lg2::<A::Format>);
        Self { frame, node: host.node(frame), height, size_lg2, at }
    }
}

/// Where a table shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Where it is.
    Keep,
    /// On this node.
    Node(u32),
    /// Elsewhere, and the host says where: for memory that is to be cleared.
    Anywhere,
}

impl Placement {
    /// On `node`, if it is not there: what most policies say.
    ///
    /// ```
    /// use pgtable::{Placement, TableAt};
    /// let policy = |table: &TableAt| Placement::onto(1, table);
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn onto(node: u32, table: &TableAt) -> Self {
        if table.node == Some(node) { Self::Keep } else { Self::Node(node) }
    }
}

/// A move that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Where the table was.
    pub from: PhysAddr,
    /// Where it is.
    pub to: PhysAddr,
}

/// What a session has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// How many tables of each height were moved.
    pub moved: [u64; MAX_LEVELS],
    /// How many bytes these have.
    pub bytes: u64,
    /// How many tables the policy kept where they were.
    pub kept: u64,
    /// How many tables were not asked about, since a flag of the config forbids to move them.
    pub forbidden: u64,
    /// How many tables were not moved, since not all their names are this space's.
    pub shared: u64,
    /// How many shootdowns there were.
    pub shootdowns: u64,
    /// How many tables of each height were given back to the host.
    pub freed: [u64; MAX_LEVELS],
}

impl Statistics {
    /// How many tables were moved, of all heights.
    #[must_use]
    #[inline]
    pub fn tables(&self) -> u64 {
        self.moved.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// Notes that a table of level `M` was moved.
    pub(super) fn count_move<M: PageTableLevel>(&mut self) {
        tally(&mut self.moved, M::LEVEL.height);
        let bytes = 1u64.wrapping_shl(table_lg2::<M>().into());
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Adds what another session has done.
    ///
    /// ```
    /// use pgtable::Statistics;
    /// let (mut sum, mut one) = (Statistics::default(), Statistics::default());
    /// (one.shootdowns, one.moved[0]) = (1, 5);
    /// sum.add(&one);
    /// sum.add(&one);
    /// assert_eq!((sum.shootdowns, sum.tables()), (2, 10));
    /// ```
    #[inline]
    pub fn add(&mut self, other: &Self) {
        let all = |of: &mut [u64; MAX_LEVELS], more: &[u64; MAX_LEVELS]| {
            of.iter_mut().zip(more).for_each(|(count, &more)| *count = count.saturating_add(more));
        };
        all(&mut self.moved, &other.moved);
        all(&mut self.freed, &other.freed);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.kept = self.kept.saturating_add(other.kept);
        self.forbidden = self.forbidden.saturating_add(other.forbidden);
        self.shared = self.shared.saturating_add(other.shared);
        self.shootdowns = self.shootdowns.saturating_add(other.shootdowns);
    }

    /// How many tables were given back, of all heights.
    #[must_use]
    #[inline]
    pub fn tables_freed(&self) -> u64 {
        self.freed.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }
}

/// Adds one at the place for a height.
#[inline]
pub(super) fn tally(counts: &mut [u64; MAX_LEVELS], height: u8) {
    if let Some(count) = counts.get_mut(usize::from(height)) {
        *count = count.saturating_add(1);
    }
}
