//! What a leaf says besides its frame.

use super::memory::MemoryType;
use bitflags::bitflags;

bitflags! {
    /// What may be done with a page.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Rights: u8 {
        /// It may be read. Every present page of x86 can be.
        const READ = 1 << 0;
        /// It may be written.
        const WRITE = 1 << 1;
        /// It may be executed. Asking for less, where the mode has no NX bit, is an error.
        const EXECUTE = 1 << 2;
        /// User mode may do the same.
        const USER = 1 << 3;
    }
}

bitflags! {
    /// Parts of [`Attrs`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Fields: u8 {
        /// [`Attrs::rights`].
        const RIGHTS = 1 << 0;
        /// [`Attrs::memory`].
        const MEMORY = 1 << 1;
        /// [`Attrs::global`].
        const GLOBAL = 1 << 2;
        /// [`Attrs::software`].
        const SOFTWARE = 1 << 3;
        /// [`Attrs::key`].
        const KEY = 1 << 4;
        /// [`Attrs::accessed`].
        const ACCESSED = 1 << 5;
        /// [`Attrs::dirty`].
        const DIRTY = 1 << 6;
    }
}

/// What a leaf says of its page, besides which frame it is: a lossless picture of its word.
///
/// ```
/// use pgtable::{Attrs, MemoryType, Rights};
/// let text = Attrs::new(Rights::READ | Rights::EXECUTE);
/// let device = Attrs::DATA.with_memory(MemoryType::new(3).unwrap()).with_global(true);
/// assert!(!text.rights.contains(Rights::WRITE));
/// assert!(device.global && device.memory.index() == 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Attrs {
    /// What may be done with the page.
    pub rights: Rights,
    /// How it is cached.
    pub memory: MemoryType,
    /// The translation survives a switch to another space.
    pub global: bool,
    /// Hardware has used the translation.
    pub accessed: bool,
    /// Hardware has written through it.
    pub dirty: bool,
    /// The bits of the word that are the user's, from the lowest one up. x86 without PAE and PAE
    /// have three (11:9); long mode has ten (11:9, then 58:52).
    pub software: u16,
    /// The protection key, 0 to 15. Long mode only.
    pub key: u8,
}

impl Attrs {
    /// Read and write, for the kernel only. In a mode without NX, pages can also be executed, and
    /// this is an error there: ask for [`Attrs::ALL`].
    pub const DATA: Self = Self::new(Rights::READ.union(Rights::WRITE));
    /// Read, write and execute, for the kernel only.
    pub const ALL: Self = Self::new(Rights::READ.union(Rights::WRITE).union(Rights::EXECUTE));

    /// Write-back memory with these rights, and nothing else said of it.
    #[must_use]
    pub const fn new(rights: Rights) -> Self {
        Self {
            rights,
            memory: MemoryType::FIRST,
            global: false,
            accessed: false,
            dirty: false,
            software: 0,
            key: 0,
        }
    }

    /// The same with user mode let in.
    #[must_use]
    pub const fn user(mut self) -> Self {
        self.rights = self.rights.union(Rights::USER);
        self
    }

    /// The same with another memory type.
    #[must_use]
    pub const fn with_memory(mut self, memory: MemoryType) -> Self {
        self.memory = memory;
        self
    }

    /// The same, global or not.
    #[must_use]
    pub const fn with_global(mut self, global: bool) -> Self {
        self.global = global;
        self
    }

    /// The same with these software bits.
    #[must_use]
    pub const fn with_software(mut self, software: u16) -> Self {
        self.software = software;
        self
    }

    /// The same with this protection key.
    #[must_use]
    pub const fn with_key(mut self, key: u8) -> Self {
        self.key = key;
        self
    }

    /// The same with the accessed and dirty bits as given.
    #[must_use]
    pub const fn with_used(mut self, accessed: bool, dirty: bool) -> Self {
        self.accessed = accessed;
        self.dirty = dirty;
        self
    }
}

/// Which parts of a leaf to change, and to what. What is not named stays as it is.
///
/// Accessed and dirty bits are not changed this way, since hardware writes them too: they are
/// read and cleared by a verb of their own.
///
/// ```
/// use pgtable::{Change, Rights};
/// let read_only: Change = Rights::READ.into();
/// let marked = Change::rights(Rights::READ).software(0b101);
/// assert_ne!(read_only, marked);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    to: Attrs,
    fields: Fields,
}

impl Change {
    /// Changes nothing, yet.
    pub const NOTHING: Self = Self { to: Attrs::ALL, fields: Fields::empty() };

    /// Gives these rights, exactly.
    #[must_use]
    pub const fn rights(rights: Rights) -> Self {
        Self { to: Attrs::new(rights), fields: Fields::RIGHTS }
    }

    /// Takes everything but accessed and dirty from `attrs`.
    #[must_use]
    pub const fn all(attrs: Attrs) -> Self {
        let used = Fields::ACCESSED.union(Fields::DIRTY);
        Self { to: attrs.with_used(false, false), fields: Fields::all().difference(used) }
    }

    const fn and(mut self, to: Attrs, field: Fields) -> Self {
        self.to = to;
        self.fields = self.fields.union(field);
        self
    }

    /// And sets the memory type.
    #[must_use]
    pub const fn memory(self, memory: MemoryType) -> Self {
        self.and(self.to.with_memory(memory), Fields::MEMORY)
    }

    /// And makes it global, or not.
    #[must_use]
    pub const fn global(self, global: bool) -> Self {
        self.and(self.to.with_global(global), Fields::GLOBAL)
    }

    /// And sets the software bits.
    #[must_use]
    pub const fn software(self, software: u16) -> Self {
        self.and(self.to.with_software(software), Fields::SOFTWARE)
    }

    /// And sets the protection key.
    #[must_use]
    pub const fn key(self, key: u8) -> Self {
        self.and(self.to.with_key(key), Fields::KEY)
    }

    /// The fields to change.
    #[must_use]
    pub const fn fields(self) -> Fields {
        self.fields
    }

    /// What they are changed to; the other fields mean nothing.
    #[must_use]
    pub const fn to(self) -> Attrs {
        self.to
    }
}

impl From<Rights> for Change {
    fn from(rights: Rights) -> Self {
        Self::rights(rights)
    }
}
