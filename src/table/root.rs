//! The word that names a root.

use super::{Host, Table};
use crate::addr::PhysAddr;
use crate::level::{Error, PageTableLevel, SpaceId};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Where the root of a space is, for everybody who wants to know: one atomic word.
///
/// The host keeps it where a context switch can read it; a space borrows it for its life. A context
/// switch reads it again each time, since the root may have moved.
///
/// ```
/// use pgtable::RootCell;
/// static CELL: RootCell = RootCell::new();
/// assert_eq!(CELL.root(), None);
/// ```
#[derive(Debug, Default)]
pub struct RootCell(AtomicUsize);

impl RootCell {
    /// The bits below the address: LOCK (bit 0), TWIN (bit 1), and what alignment leaves unused.
    /// The smallest root, that of PAE, has 32 bytes.
    const BELOW: usize = 0b1_1111;
    /// LOCK.
    const LOCK: usize = 1;
    /// TWIN.
    const TWIN: usize = 2;

    /// A cell that no space uses yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// The root; `None` while no space uses the cell.
    #[must_use]
    #[inline]
    pub fn root(&self) -> Option<PhysAddr> {
        Self::address(self.0.load(Ordering::Acquire))
    }

    const fn address(word: usize) -> Option<PhysAddr> {
        match word & !Self::BELOW {
            0 => None,
            root => Some(PhysAddr(root as u64)),
        }
    }

    /// Which space this is, in what the host is told is stale.
    #[must_use]
    pub fn id(&self) -> SpaceId {
        SpaceId(core::ptr::from_ref(self).addr())
    }

    /// How many bits an address can have to fit the cell on this host.
    #[must_use]
    pub(crate) fn phys_bits() -> u8 {
        u8::try_from(usize::BITS).unwrap_or(64)
    }

    /// Whether `root` can be held: it is not zero, aligned, and fits.
    pub(crate) fn holds(root: PhysAddr) -> bool {
        usize::try_from(root.0).is_ok_and(|root| root != 0 && root & Self::BELOW == 0)
    }

    /// Takes an unused cell, for whoever is about to set it; dropped, it is unused again.
    pub(crate) fn claim(&self) -> Result<Claim<'_>, Error> {
        let (unused, claimed) = (0, Self::LOCK);
        let order = Ordering::AcqRel;
        match self.0.compare_exchange(unused, claimed, order, Ordering::Acquire) {
            Ok(_) => Ok(Claim(self)),
            Err(word) => Err(Error::BadRoot(Self::address(word).unwrap_or_default())),
        }
    }

    /// Names another root, or (`None`) none any more.
    pub(crate) fn set(&self, root: Option<PhysAddr>) {
        let word = root.and_then(|root| usize::try_from(root.0).ok());
        self.0.store(word.unwrap_or(0), Ordering::Release);
    }

    /// Names another root, which the one so far is in limbo beside.
    pub(crate) fn set_with_twin(&self, root: PhysAddr) {
        if let Ok(word) = usize::try_from(root.0) {
            self.0.store(word | Self::TWIN, Ordering::Release);
        }
    }

    /// Nothing is in limbo beside the root any more.
    pub(crate) fn clear_twin(&self) {
        self.0.fetch_and(!Self::TWIN, Ordering::Release);
    }

    /// A cell of one's own, which says what this one says now.
    pub(crate) fn snapshot(&self) -> Self {
        Self(AtomicUsize::new(self.0.load(Ordering::Acquire)))
    }

    /// The table that it names, and whether a copy of it is in limbo.
    #[inline]
    pub(crate) fn table<L, H>(&self, host: &H) -> Result<(Table<L>, bool), Error>
    where
        L: PageTableLevel,
        H: Host,
    {
        let word = self.0.load(Ordering::Acquire);
        let root = Self::address(word).ok_or(Error::BadRoot(PhysAddr(0)))?;
        // SAFETY: a cell is set by a space or a view alone, to a root that it made or that its
        // caller promised to be one, for this arch and this host; it is emptied before that root is
        // freed.
        let table = unsafe { Table::at(host, root) }?;
        Ok((table, word & Self::TWIN != 0))
    }
}

/// An unused cell that somebody is about to set.
pub(crate) struct Claim<'r>(&'r RootCell);

impl Claim<'_> {
    /// Names the root for as long as the claim lasts.
    pub(crate) fn set(&self, root: PhysAddr) {
        self.0.set(Some(root));
    }

    /// Names the root for good.
    pub(crate) fn keep(self, root: PhysAddr) {
        self.set(root);
        core::mem::forget(self);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// The root at `frame`, which the host's list shows.
///
/// For use inside [`Host::roots`] only.
pub(crate) fn listed<L: PageTableLevel, H: Host>(host: &H, frame: PhysAddr) -> Option<Table<L>> {
    // SAFETY: by the contract of `Host::roots` a space put it there, and it is taken off under the
    // same lock before it is freed.
    unsafe { Table::at(host, frame) }.ok()
}
