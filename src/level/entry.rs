//! What an entry says.

use crate::addr::PhysAddr;

/// What one slot of a table holds, as its format reads it.
///
/// Closed on purpose: whoever matches on it has thought of every case, and a huge leaf can never be
/// taken for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Zero.
    Empty,
    /// Not zero, and the MMU does not look at it: the user's own (a swap entry, a guard).
    NonPresent(u64),
    /// It names a lower table.
    Table(PhysAddr),
    /// It maps memory.
    Leaf(PhysAddr),
    /// Present with a reserved bit set: the MMU faults on it. The crate never writes one, but an
    /// adopted tree may hold them; they are reported, and changed by the raw verbs only.
    Malformed(u64),
}
