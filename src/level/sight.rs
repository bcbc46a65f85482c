//! Ordinary entries, known at a glance.

use super::{Attrs, Entry, Error, Fields, Format, Limits, MAX_LEVELS, PageTableLevel, Rights};
use crate::addr::{PhysAddr, low_bits};

/// What tells an entry of an ordinary kind from all others: a word `raw` is one if
/// `(raw ^ want) & mask == 0`. Most entries that a walk meets are ordinary, and this is one step where
/// [`Format::decode`] takes several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// The bits to look at.
    pub mask: u64,
    /// What they are.
    pub want: u64,
}

/// The limits of a CPU, and the masks that follow from them for each height.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) limits: Limits,
    tables: [u64; MAX_LEVELS],
    leaves: [u64; MAX_LEVELS],
    /// For leaves that are not global.
    local: [u64; MAX_LEVELS],
    /// The first address that is too high for the frame of a leaf.
    highest: [u64; MAX_LEVELS],
    /// The same for pages that must not be executed: 0 if this CPU cannot say so.
    highest_data: [u64; MAX_LEVELS],
    /// The highest address that a table can have which is named from here.
    highest_table: [u64; MAX_LEVELS],
}

/// What is needed of it to sort the entries of one table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LevelSight {
    limits: Limits,
    table: u64,
    leaf: u64,
    local: u64,
}

impl Sight {
    /// For the levels from the root level `L` down.
    pub(crate) fn new<L: PageTableLevel>(limits: Limits) -> Self {
        let never = [u64::MAX; MAX_LEVELS];
        let none = [0; MAX_LEVELS];
        let mut sight = Self {
            limits,
            tables: never,
            leaves: never,
            local: never,
            highest: none,
            highest_data: none,
            highest_table: none,
        };
        sight.fill::<L>();
        sight
    }

    fn fill<L: PageTableLevel>(&mut self) {
        let height = usize::from(L::LEVEL.height);
        let mask = |leaf| L::Format::glance(L::LEVEL, leaf, &self.limits).mask;
        let (table, leaf) = (mask(false), mask(true));
        let bits = L::Format::phys_bits(L::LEVEL, true, &self.limits);
        let fits = L::LEVEL.span_lg2 <= bits;
        let last = if fits { low_bits(bits) & !low_bits(L::LEVEL.span_lg2) } else { 0 };
        let highest = if fits { last.saturating_add(1) } else { 0 };
        let data = if self.limits.no_execute { highest } else { 0 };
        let named = low_bits(L::Format::phys_bits(L::LEVEL, false, &self.limits));
        for (places, value) in [
            (&mut self.tables, table),
            (&mut self.leaves, leaf),
            (&mut self.local, leaf | L::Format::mask(L::LEVEL, Fields::GLOBAL)),
            (&mut self.highest, highest),
            (&mut self.highest_data, data),
            (&mut self.highest_table, named),
        ] {
            if let Some(place) = places.get_mut(height) {
                *place = value;
            }
        }
        if height != 0 {
            self.fill::<L::Below>();
        }
    }

    #[inline]
    fn at<L: PageTableLevel>(places: &[u64; MAX_LEVELS]) -> u64 {
        places.get(usize::from(L::LEVEL.height)).copied().unwrap_or_default()
    }

    /// What is needed of it for tables of level `L`.
    #[inline]
    pub(crate) fn of<L: PageTableLevel>(&self) -> LevelSight {
        let (table, leaf) = (Self::at::<L>(&self.tables), Self::at::<L>(&self.leaves));
        LevelSight { limits: self.limits, table, leaf, local: Self::at::<L>(&self.local) }
    }

    /// Whether the bytes of a leaf of level `L` at `frame`, which is aligned, have addresses that an
    /// entry can hold.
    #[inline]
    pub(crate) fn reaches<L: PageTableLevel>(&self, frame: PhysAddr) -> bool {
        frame.0 < Self::at::<L>(&self.highest)
    }

    /// The highest address that a table can have which an entry of level `L` names.
    #[inline]
    pub(crate) fn highest_table<L: PageTableLevel>(&self) -> PhysAddr {
        PhysAddr(Self::at::<L>(&self.highest_table))
    }

    /// Refuses a leaf of level `L` at `frame`, which is aligned, if this CPU lacks something that it
    /// says, or no entry can hold the address.
    #[inline(always)]
    pub(crate) fn permit<L: PageTableLevel>(
        &self,
        frame: PhysAddr,
        attrs: Attrs,
    ) -> Result<(), Error> {
        let executable = attrs.rights.contains(Rights::EXECUTE);
        let highest = if executable { &self.highest } else { &self.highest_data };
        let global = !attrs.global || self.limits.global;
        let key = attrs.key == 0 || self.limits.keys;
        if frame.0 < Self::at::<L>(highest) && global && key {
            return Ok(());
        }
        self.look_again::<L>(frame, attrs)
    }

    #[cold]
    #[inline(never)]
    fn look_again<L: PageTableLevel>(&self, frame: PhysAddr, attrs: Attrs) -> Result<(), Error> {
        self.limits.permit(&attrs)?;
        if self.reaches::<L>(frame) { Ok(()) } else { Err(self.too_wide::<L>(frame)) }
    }

    /// What is said of a leaf of level `L` at `frame` if it is out of reach.
    #[cold]
    pub(crate) fn too_wide<L: PageTableLevel>(&self, frame: PhysAddr) -> Error {
        Error::TooWide { frame, bits: L::Format::phys_bits(L::LEVEL, true, &self.limits) }
    }
}

impl LevelSight {
    /// The table that an entry names, if it grants everything but user mode, and that too if `user`
    /// asks for it, and neither LOCK nor TWIN is set.
    #[inline]
    pub(crate) fn plain_table<L: PageTableLevel>(&self, raw: u64, user: bool) -> Option<PhysAddr> {
        let nowhere = PhysAddr(0);
        let word = |user| L::Format::table(L::LEVEL, nowhere, user);
        let for_user = if user { word(true) ^ word(false) } else { 0 };
        // What is left has the address where it was, as the format promises.
        let rest = raw ^ word(user);
        let plain = L::LEVEL.height != 0 && rest & (self.table | for_user) == 0;
        plain.then(|| L::Format::address(L::LEVEL, false, rest))
    }

    /// Whether an entry is a leaf with no reserved bit.
    #[inline]
    pub(crate) fn is_leaf<L: PageTableLevel>(&self, raw: u64) -> bool {
        self.is_like::<L>(raw, self.leaf)
    }

    /// Whether it is one, and not global.
    #[inline]
    pub(crate) fn is_local_leaf<L: PageTableLevel>(&self, raw: u64) -> bool {
        self.is_like::<L>(raw, self.local)
    }

    #[inline]
    fn is_like<L: PageTableLevel>(&self, raw: u64, mask: u64) -> bool {
        let fits = L::LEVEL.height == 0 || L::LEVEL.span_lg2 <= self.limits.largest_leaf_lg2;
        let want = L::Format::glance(L::LEVEL, true, &self.limits).want;
        L::LEVEL.maps && fits && (raw ^ want) & mask == 0
    }

    /// What an entry says.
    #[inline]
    pub(crate) fn decode<L: PageTableLevel>(&self, raw: u64) -> Entry {
        if raw == 0 {
            Entry::Empty
        } else if let Some(table) = self.plain_table::<L>(raw, false) {
            Entry::Table(table)
        } else if self.is_leaf::<L>(raw) {
            Entry::Leaf(L::Format::address(L::LEVEL, true, raw))
        } else {
            extraordinary::<L>(raw, self.limits)
        }
    }
}

#[cold]
#[inline(never)]
fn extraordinary<L: PageTableLevel>(raw: u64, limits: Limits) -> Entry {
    L::Format::decode(L::LEVEL, raw, &limits)
}
