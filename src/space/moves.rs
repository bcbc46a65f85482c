//! What may start a move.
//!
//! Every one of these asks a policy: a closure that is shown a table, and keeps it, or says where it
//! shall be. The node that it is shown is that of the table itself.

use super::{Session, Space};
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::level::{Arch, Config, Error, HasP4d, HasPmd, HasPud, NamesTables, PageTableLevel};
use crate::relocate::{Moved, Placement, TableAt, delimbo};
use crate::table::Host;
use crate::walk::{FormatOf, RootOf};

/// # Moving tables
///
/// All of these end the batch when they fail, and when the limbo is full; in the latter case they go
/// on. A failure leaves the table where it was, and those moved before it where they are now.
///
/// Their errors are [`Error::OutOfMemory`] and [`Error::BadTable`] from the host's frames;
/// [`Error::Refused`] where a flag of the config forbids such moves; [`Error::Shared`] for a table that
/// belongs to the kernel's own space, or whose names cannot all be changed; [`Error::RootList`] and
/// [`Error::BadRoot`] if the new root cannot be listed, or held by the root cell.
impl<C: Config, H: Host> Session<'_, '_, C, H> {
    /// Moves all tables of the space that the policy picks, the root last. Tables that a flag of the
    /// config forbids to move, or whose names are not all this space's, are counted and left alone;
    /// those of the shared half are moved by the kernel's own space.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86Pae, _>::new(&host, &cell, Setup::new())?;
    /// let mut session = space.enter();
    /// session.migrate_space(|table| Placement::onto(1, table))?;
    /// assert_eq!(session.leave().tables(), 1); // the root: nothing is mapped yet
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As above.
    pub fn migrate_space(
        &mut self,
        mut policy: impl FnMut(&TableAt) -> Placement,
    ) -> Result<(), Error> {
        self.mover().space(&mut policy)
    }

    /// Moves the tables that the policy picks among those that serve a byte of `span`, but the root.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
    /// let stack = Span::new(VirtAddr(0x7fff_0000_0000), 0x40_0000).unwrap();
    /// space.map_range(stack, PhysAddr(0x1000), Attrs::DATA)?;
    /// let mut session = space.enter();
    /// session.migrate_range(stack, |_| Placement::Anywhere)?;
    /// assert_eq!(session.leave().moved[..4], [2, 1, 1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// The policy is what picks tables by node, level, address or frame:
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
    /// # space.map_range(Span::new(VirtAddr(0), 0x1000).unwrap(), PhysAddr(0x1000), Attrs::DATA)?;
    /// let dimm = 0x10_0000..0x1000_0000; // this memory is to be taken out
    /// let mut session = space.enter();
    /// session.migrate_range(Span::ALL, |table| match table.height {
    ///     0 | 1 if dimm.contains(&table.frame.0) => Placement::Anywhere,
    ///     _ => Placement::Keep,
    /// })?;
    /// let done = session.leave();
    /// assert_eq!((done.tables(), done.kept), (2, 1));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As above.
    pub fn migrate_range(
        &mut self,
        span: Span,
        mut policy: impl FnMut(&TableAt) -> Placement,
    ) -> Result<(), Error> {
        self.mover().range(span, &mut policy)
    }

    /// Moves the one table of this height that serves `at`; `None` if the policy keeps it.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
    /// # let page = Page::<Size4KiB>::new(VirtAddr(0x1000)).unwrap();
    /// # space.map(page, Frame::new(PhysAddr(0x5000)).unwrap(), Attrs::DATA)?;
    /// let mut session = space.enter();
    /// let moved = session.migrate_table(VirtAddr(0x1000), 0, |_| Placement::Anywhere)?.unwrap();
    /// assert_eq!(session.delimbo(VirtAddr(0x1000), 0)?, moved.to);
    /// assert!(session.in_limbo(moved.from));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As above; and [`Error::NotMapped`], [`Error::NonPresent`], [`Error::Malformed`] or
    /// [`Error::Occupied`] with what is there where there is no such table.
    pub fn migrate_table(
        &mut self,
        at: VirtAddr,
        height: u8,
        mut policy: impl FnMut(&TableAt) -> Placement,
    ) -> Result<Option<Moved>, Error> {
        self.mover().one(at, height, &mut policy)
    }

    /// Moves the table that is at `frame`, found by a walk through the space. A frame that is in limbo
    /// is given back.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
    /// # let page = Page::<Size4KiB>::new(VirtAddr(0x1000)).unwrap();
    /// # space.map(page, Frame::new(PhysAddr(0x5000)).unwrap(), Attrs::DATA)?;
    /// # let wanted = space.delimbo(VirtAddr(0x1000), 1)?;
    /// let mut session = space.enter();
    /// match session.migrate_frame(wanted, |_| Placement::Anywhere) {
    ///     Ok(_) | Err(Error::NoTable(_)) => {} // no table is there any more
    ///     Err(error) => return Err(error),
    /// }
    /// session.leave();
    /// # assert!(!host.in_use().contains_key(&wanted.0));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// [`View::find_frame`](super::View::find_frame) looks through all spaces on the host's list of
    /// roots for the one to ask.
    ///
    /// # Errors
    /// As above; [`Error::NoTable`] if no table of the space is there, nor one in limbo that it could
    /// not move.
    pub fn migrate_frame(
        &mut self,
        frame: PhysAddr,
        mut policy: impl FnMut(&TableAt) -> Placement,
    ) -> Result<Option<Moved>, Error> {
        self.mover().frame(frame, &mut policy)
    }

    /// Moves the root. CPUs that run the space load the new one at the end of the batch.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86Pae, _>::new(&host, &cell, Setup::new())?;
    /// let moved = space.enter().migrate_root(|table| Placement::onto(1, table))?.unwrap();
    /// assert_eq!(space.root(), moved.to);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As above.
    pub fn migrate_root(
        &mut self,
        mut policy: impl FnMut(&TableAt) -> Placement,
    ) -> Result<Option<Moved>, Error> {
        self.mover().root(&mut policy)
    }

    /// Moves the table that the entry of level `L` for `at` names.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::*;
    /// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
    /// # let mut space = Space::<arch::x86::X86_64, _>::new(&host, &cell, Setup::new())?;
    /// # let page = Page::<Size4KiB>::new(VirtAddr(0x1000)).unwrap();
    /// # space.map(page, Frame::new(PhysAddr(0x5000)).unwrap(), Attrs::DATA)?;
    /// type Root = <arch::x86::X86_64 as Arch>::Root;
    /// let mut session = space.enter();
    /// let by_type = session.migrate_entry::<Root>(VirtAddr(0x1000), |_| Placement::Anywhere)?;
    /// let by_name = session.migrate_pgd_entry(VirtAddr(0x1000), |_| Placement::Anywhere)?;
    /// assert_eq!(by_type.unwrap().to, by_name.unwrap().from); // the same table, twice
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// What an entry of the last level names is the user's page:
    ///
    /// ```compile_fail,E0277
    /// # use pgtable::*;
    /// # use pgtable::arch::x86::{X86_64, X86Long};
    /// fn cheat<H: Host>(mut session: Session<'_, '_, X86_64, H>) {
    ///     let _ = session.migrate_entry::<Last<X86Long, 9>>(VirtAddr(0), |_| Placement::Anywhere);
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`migrate_table`](Self::migrate_table).
    pub fn migrate_entry<L: NamesTables<Format = FormatOf<C>>>(
        &mut self,
        at: VirtAddr,
        policy: impl FnMut(&TableAt) -> Placement,
    ) -> Result<Option<Moved>, Error> {
        self.migrate_table(at, <L::Below as PageTableLevel>::LEVEL.height, policy)
    }

    /// Moves the table that the root entry for `at` names.
    ///
    /// # Errors
    /// As [`migrate_table`](Self::migrate_table).
    pub fn migrate_pgd_entry(
        &mut self,
        at: VirtAddr,
        policy: impl FnMut(&TableAt) -> Placement,
    ) -> Result<Option<Moved>, Error>
    where
        <C::Arch as Arch>::Root: NamesTables,
    {
        self.migrate_entry::<RootOf<C>>(at, policy)
    }

    /// Moves the table (of height 2) that the P4D entry for `at` names.
    ///
    /// ```compile_fail,E0277
    /// # use pgtable::{*, arch::x86::X86_64};
    /// fn cheat<H: Host>(mut session: Session<'_, '_, X86_64, H>) {
    ///     let _ = session.migrate_p4d_entry(VirtAddr(0), |_| Placement::Anywhere); // it has none
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`migrate_table`](Self::migrate_table).
    pub fn migrate_p4d_entry(
        &mut self,
        at: VirtAddr,
        policy: impl FnMut(&TableAt) -> Placement,
    ) -> Result<Option<Moved>, Error>
    where
        <C::Arch as Arch>::Root: HasP4d,
    {
        self.migrate_table(at, 2, policy)
    }

    /// Moves the table (of height 1) that the PUD entry for `at` names.
    ///
    /// # Errors
    /// As [`migrate_table`](Self::migrate_table).
    pub fn migrate_pud_entry(
        &mut self,
        at: VirtAddr,
        policy: impl FnMut(&TableAt) -> Placement,
    ) -> Result<Option<Moved>, Error>
    where
        <C::Arch as Arch>::Root: HasPud,
    {
        self.migrate_table(at, 1, policy)
    }

    /// Moves the table (of height 0) that the PMD entry for `at` names.
    ///
    /// # Errors
    /// As [`migrate_table`](Self::migrate_table).
    pub fn migrate_pmd_entry(
        &mut self,
        at: VirtAddr,
        policy: impl FnMut(&TableAt) -> Placement,
    ) -> Result<Option<Moved>, Error>
    where
        <C::Arch as Arch>::Root: HasPmd,
    {
        self.migrate_table(at, 0, policy)
    }
}

impl<C: Config, H: Host> Space<'_, C, H> {
    /// Where the table of this height that serves `at` is: the live one, for whoever has a frame in
    /// hand that may be in limbo by now.
    ///
    /// # Errors
    /// [`Error::Refused`] if no table of this height is ever moved in such a space; and, where there is
    /// no such table, what is there, as [`Session::migrate_table`] says it.
    pub fn delimbo(&self, at: VirtAddr, height: u8) -> Result<PhysAddr, Error> {
        let tree = self.held.tree();
        delimbo(&tree.ground(), tree.cell, at, height)
    }

    /// Whether a table was moved away from `frame`, and CPUs may still be using it there.
    pub fn in_limbo(&self, frame: PhysAddr) -> bool {
        crate::level::relocatable::<C>() && self.held.tree().limbo.holds(frame)
    }
}
