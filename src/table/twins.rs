//! Where the copies in limbo are.

use crate::addr::PhysAddr;

/// Tells which table is in limbo beside a live one.
///
/// # Safety
/// What [`twin_of`](Self::twin_of) answers with was a live table of the same level, of the same host,
/// and is not given back before the records of the answer's batch are settled, which no verb does
/// while another is at work.
pub(crate) unsafe trait Twins: Sync {
    /// The frame of the copy in limbo of the table that is live at `live`.
    fn twin_of(&self, live: PhysAddr) -> Option<PhysAddr>;
}

/// Nothing is in limbo: for trees that are only looked at.
pub(crate) struct NoTwins;

// SAFETY: it never answers.
unsafe impl Twins for NoTwins {
    fn twin_of(&self, _: PhysAddr) -> Option<PhysAddr> {
        None
    }
}
