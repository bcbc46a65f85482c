//! Relocation mode.

use super::Space;
use crate::level::{Config, relocatable};
use crate::relocate::{Mover, Statistics};
use crate::table::Host;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

/// A space in relocation mode: its tables can be moved, and all its verbs go on working.
///
/// Tables that were moved stay in limbo until the batch ends: then every CPU drops what it holds of
/// them, what hardware has noted in them meanwhile is merged, and they go back to the host. That is
/// done by [`leave`](Self::leave), by dropping the session, by a move that fails, and when the limbo is
/// full ([`MAX_LIMBO`](Space::MAX_LIMBO)). A session that is forgotten (`core::mem::forget`) loses
/// nothing: the limbo is part of the space, and the next session, or the space's end, ends the batch.
///
/// ```
/// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
/// # use pgtable::*;
/// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
/// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
/// # let page = Page::<Size4KiB>::new(VirtAddr(0x1000)).unwrap();
/// # space.map(page, Frame::new(PhysAddr(0x5000)).unwrap(), Attrs::DATA)?;
/// let before = space.root();
/// let mut session = space.enter();
/// session.migrate_space(|_| Placement::Anywhere)?;
/// assert_eq!(session.translate(VirtAddr(0x1000))?.frame, PhysAddr(0x5000));
/// let statistics = session.leave();
/// assert_eq!((statistics.tables(), statistics.shootdowns, statistics.tables_freed()), (4, 1, 4));
/// assert_ne!(space.root(), before);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "a session that is dropped at once has moved nothing"]
pub struct Session<'s, 'r, C: Config, H: Host> {
    pub(super) space: &'s mut Space<'r, C, H>,
    pub(super) statistics: Statistics,
    /// The statistics of the session that this one was entered from.
    outer: Option<&'s mut Statistics>,
    depth: u32,
}

impl<'r, C: Config, H: Host> Space<'r, C, H> {
    /// How many tables can be in limbo at once: as many are moved between two shootdowns.
    pub const MAX_LIMBO: usize = crate::limbo::Limbo::MAX_RECORDS;

    /// Enters relocation mode.
    pub fn enter(&mut self) -> Session<'_, 'r, C, H> {
        if relocatable::<C>() {
            self.held.tree().limbo.set_interrupted(false);
        }
        Session { space: self, statistics: Statistics::default(), outer: None, depth: 1 }
    }

    /// Ends the batch that a forgotten session has left behind.
    pub(super) fn settle(&mut self) {
        self.enter().leave();
    }
}

impl<'r, C: Config, H: Host> Session<'_, 'r, C, H> {
    /// Enters again. Leaving the inner session ends the batch, and what it has done counts for this
    /// one, too.
    pub fn enter(&mut self) -> Session<'_, 'r, C, H> {
        let depth = self.depth.saturating_add(1);
        let statistics = Statistics::default();
        Session { space: self.space, statistics, outer: Some(&mut self.statistics), depth }
    }

    /// How often relocation mode was entered, this session included.
    #[must_use]
    pub const fn depth(&self) -> u32 {
        self.depth
    }

    /// What was done so far.
    #[must_use]
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Ends the batch, and goes on: nothing is in limbo after it.
    pub fn end_batch(&mut self) {
        self.mover().end();
    }

    /// Leaves relocation mode: ends the batch, and says what was done.
    #[allow(clippy::must_use_candidate)] // who leaves need not ask
    pub fn leave(mut self) -> Statistics {
        self.end_batch();
        self.statistics
    }

    /// Leaves relocation mode and leaves the batch open: what is in limbo stays there, and the end of
    /// the next session ends it. For a kernel that has its space behind a lock, and lets others in
    /// between two moves: all verbs go on working, and a fault can be served.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
    /// # let page = Page::<Size4KiB>::new(VirtAddr(0x1000)).unwrap();
    /// let mut session = space.enter();
    /// let moved = session.migrate_root(|_| Placement::Anywhere)?.unwrap();
    /// assert_eq!(session.suspend().shootdowns, 0);
    /// assert!(space.in_limbo(moved.from));
    /// space.map(page, Frame::new(PhysAddr(0x5000)).unwrap(), Attrs::DATA)?; // in both copies
    /// assert_eq!(space.enter().leave().shootdowns, 1);
    /// assert!(!space.in_limbo(moved.from));
    /// # Ok::<(), Error>(())
    /// ```
    #[allow(clippy::must_use_candidate)] // who leaves need not ask
    pub fn suspend(self) -> Statistics {
        let mut session = ManuallyDrop::new(self);
        let done = session.statistics;
        if let Some(outer) = &mut session.outer {
            outer.add(&done);
        }
        done
    }

    pub(super) fn mover(&mut self) -> Mover<'_, C, H> {
        let tree = self.space.held.change();
        let (ground, cell, limbo) = (tree.ground(), tree.cell, &tree.limbo);
        let global = tree.strange.load(Ordering::Relaxed);
        Mover { ground, cell, limbo, global, statistics: &mut self.statistics }
    }
}

impl<C: Config, H: Host> Drop for Session<'_, '_, C, H> {
    fn drop(&mut self) {
        // A shootdown that has panicked is not tried again while that unwinds.
        if relocatable::<C>() && !self.space.held.tree().limbo.interrupted() {
            self.end_batch();
        }
        if let Some(outer) = &mut self.outer {
            outer.add(&self.statistics);
        }
    }
}

impl<'r, C: Config, H: Host> Deref for Session<'_, 'r, C, H> {
    type Target = Space<'r, C, H>;

    fn deref(&self) -> &Space<'r, C, H> {
        self.space
    }
}

impl<'r, C: Config, H: Host> DerefMut for Session<'_, 'r, C, H> {
    fn deref_mut(&mut self) -> &mut Space<'r, C, H> {
        self.space
    }
}

impl<C: Config, H: Host> fmt::Debug for Session<'_, '_, C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("space", &self.space)
            .field("statistics", &self.statistics)
            .finish_non_exhaustive()
    }
}
