//! What a format is asked.

use super::Level;
use super::attrs::{Attrs, Fields, Rights};
use super::entry::Entry;
use super::error::Feature;
use super::limits::Limits;
use super::sight::Glance;
use super::word::Word;
use crate::addr::PhysAddr;

/// The bits of an entry: a short list of questions, answered by pure functions.
///
/// A format never touches memory, allocates, locks or flushes. Raw values are `u64` whatever the
/// width of the word; a format of narrow words never sets the bits above. Where an answer depends
/// on the level, the level is given.
///
/// What the crate relies on, and `tests/suite/levels.rs` asks of every format at every level:
///
/// - a word with every bit of [`PRESENT`](Self::PRESENT) clear is looked at by nobody but software,
///   and is [`Entry::Empty`] only if it is zero;
/// - `leaf` and `table` never set a bit that `decode` calls reserved, if the address fits
///   [`phys_bits`](Self::phys_bits);
/// - `decode` and `attrs` read back what `leaf` was given, and `leaf` gives back the word that they
///   read: nothing is lost either way;
/// - a table word is not zero when its `PRESENT` bits are taken away;
/// - where [`step`](Self::step) answers, `leaf` says of the next frame, with the same attributes, what it
///   says of this one and `step` more.
///
/// # Safety
/// The crate follows the tables that `decode` finds, and trusts that it finds only those that it has
/// linked: for a word that `table` made, with `PRESENT`, `LOCK`, `TWIN`, rights or hardware's bits set
/// or cleared since, `decode` says [`Entry::Table`] with the same address, or no table at all; for a
/// word that `leaf` made, or one without its `PRESENT` bits, it never says `Entry::Table`; and it says
/// so at no level of height 0. And where [`glance`](Self::glance) knows an entry, `decode` says the
/// same of it, with the address that [`address`](Self::address) reads, which it does from none of the bits
/// of `want`, nor from those for user mode. A word that [`step`](Self::step) leads to from one that `leaf`
/// made, while the frame fits, is one that `leaf` makes.
pub unsafe trait Format: Sized + 'static {
    /// The width of an entry.
    type Word: Word;
    /// The base page has 2 to this many bytes.
    const PAGE_LG2: u8;
    /// A table that an entry names is aligned to 2 to this many bytes at least: what lies below in its
    /// address is no part of the entry.
    const TABLE_LG2: u8 = Self::PAGE_LG2;
    /// The bits that make hardware look at the rest.
    const PRESENT: u64;
    /// The bit of a table entry that says: the table that this word names is held by someone.
    const LOCK: u64;
    /// The bit of a table entry that says: the table that this word names has a limbo copy.
    const TWIN: u64;

    /// What `raw` says in a table of `level`, on a CPU with these `limits`.
    fn decode(level: Level, raw: u64, limits: &Limits) -> Entry;

    /// How to know an ordinary entry of a table of `level` at a glance. Of leaves: one with no reserved
    /// bit, where this CPU has leaves of this size. Of names of tables (none at height 0): one that has
    /// all bits of [`table`](Self::table)'s word but those for user mode, grants as much, and has
    /// neither `LOCK` nor `TWIN`. What `want` is does not depend on the limits.
    ///
    /// Others may be ordinary in fact: they are looked at twice.
    fn glance(level: Level, leaf: bool, limits: &Limits) -> Glance;

    /// The address in an entry that `glance` knows as a leaf, or as the name of a table. It reads none of
    /// the bits of `want`, nor those for user mode.
    fn address(level: Level, leaf: bool, raw: u64) -> PhysAddr;

    /// The word of a leaf. The frame is aligned and fits.
    ///
    /// # Errors
    /// The first thing asked for that this mode cannot say.
    fn leaf(level: Level, frame: PhysAddr, attrs: &Attrs) -> Result<u64, Feature>;

    /// By how much a leaf's word grows with its frame, from one aligned frame to the next; `None` where
    /// the address is not in one piece.
    #[must_use]
    fn step(level: Level) -> Option<u64> {
        let _ = level;
        None
    }

    /// What a leaf's word says besides its frame.
    fn attrs(level: Level, raw: u64) -> Attrs;

    /// The bits of a leaf's word that hold these fields; no bits for a field that the mode lacks.
    fn mask(level: Level, fields: Fields) -> u64;

    /// The word in a table of `level` that names a lower table, with the widest rights the mode has,
    /// but for user mode, which it gets where `user` says so.
    fn table(level: Level, table: PhysAddr, user: bool) -> u64;

    /// The rights that a word (leaf or table) grants, in a form in which a path's rights are the
    /// bitwise AND of what its words grant.
    fn grants(level: Level, raw: u64) -> u64;

    /// The rights that are in `grants`.
    fn rights(grants: u64) -> Rights;

    /// The bits to clear and to set in a table entry, so that it grants `rights` too.
    fn widening(level: Level, rights: Rights) -> (u64, u64);

    /// The word that the copy of a table of `level` gets for `raw`: `raw` itself, but where it has
    /// bits that are tolerated and must never be written.
    #[must_use]
    fn copied(level: Level, raw: u64) -> u64 {
        let _ = level;
        raw
    }

    /// How wide a physical address can be in an entry of `level`, as a leaf or as the name of a
    /// table.
    fn phys_bits(level: Level, leaf: bool, limits: &Limits) -> u8;
}
