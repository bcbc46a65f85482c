//! Memory types.

/// How a page is cached: an index, 0 to 7, into a table that the kernel has programmed (x86: the
/// PAT). Index 0 is write-back wherever a kernel has not decided otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryType(u8);

impl MemoryType {
    pub(crate) const FIRST: Self = Self(0);

    /// The memory type of this index; `None` above 7.
    #[must_use]
    #[inline]
    pub const fn new(index: u8) -> Option<Self> {
        if index < 8 { Some(Self(index)) } else { None }
    }

    /// The index.
    #[must_use]
    #[inline]
    pub const fn index(self) -> u8 {
        self.0
    }
}

/// A way of caching, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Caching {
    /// Ordinary memory.
    WriteBack,
    /// Reads are cached, writes go through.
    WriteThrough,
    /// Not cached; writes are gathered.
    WriteCombining,
    /// Reads are cached, writes are not.
    WriteProtected,
    /// Not cached, unless the memory's own range register says write-combining (x86's UC-).
    UncachedMinus,
    /// Not cached, and in order.
    Uncached,
}

/// The names of the eight memory types: what the kernel has programmed.
///
/// ```
/// use pgtable::arch::x86::PAT_AT_POWER_ON;
/// use pgtable::{Caching, MemoryTypes};
///
/// let uncached = PAT_AT_POWER_ON.find(Caching::Uncached).unwrap();
/// assert_eq!(uncached.index(), 3);
/// // There is no write-combining until the kernel programs it.
/// assert_eq!(PAT_AT_POWER_ON.find(Caching::WriteCombining), None);
/// let mut names = PAT_AT_POWER_ON.0;
/// names[4] = Caching::WriteCombining;
/// assert_eq!(MemoryTypes(names).find(Caching::WriteCombining).unwrap().index(), 4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryTypes(pub [Caching; 8]);

impl MemoryTypes {
    /// The lowest index that caches like this.
    #[must_use]
    pub fn find(&self, caching: Caching) -> Option<MemoryType> {
        let index = self.0.iter().position(|&name| name == caching)?;
        MemoryType::new(u8::try_from(index).ok()?)
    }

    /// The name of a memory type.
    #[must_use]
    pub fn name(&self, memory: MemoryType) -> Caching {
        let [first, ..] = self.0;
        self.0.get(usize::from(memory.0)).copied().unwrap_or(first)
    }
}
