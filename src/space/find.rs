//! Which table is at a frame: what memory hot-remove and compaction ask.

use super::View;
use crate::addr::{PhysAddr, Span, VirtAddr};
use crate::level::{Config, Error, Limits, PageTableLevel};
use crate::relocate::TableAt;
use crate::table::{Host, Table, listed, with_roots};
use crate::walk::{Ground, RootOf};

impl<C: Config, H: Host> View<'_, C, H> {
    /// Which table is at `frame`, among all that the roots on the host's list name, and the first root
    /// that leads to it. Its own space can move it ([`Session::migrate_frame`]); if the table serves
    /// the kernel's half, that is the kernel's own space.
    ///
    /// ```
    /// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
    /// # use pgtable::{*, arch::x86::X86_64};
    /// # let (host, cells) = (simulated::Memory::new(), [RootCell::new(), RootCell::new()]);
    /// # let upper = Span::new(VirtAddr(0xffff_8000_0000_0000), 1 << 47).unwrap();
    /// # let kernel = Space::<X86_64, _>::new(&host, &cells[0], Setup::new().kernel(upper))?;
    /// let sharing = Setup::new().sharing(kernel.kernel_half().unwrap());
    /// let mut user = Space::<X86_64, _>::new(&host, &cells[1], sharing)?;
    /// # let page = Page::<Size4KiB>::new(VirtAddr(0x1000)).unwrap();
    /// # user.map(page, Frame::new(PhysAddr(0x5000)).unwrap(), Attrs::DATA)?;
    /// # let frame = user.delimbo(VirtAddr(0x1000), 0)?;
    /// // SAFETY: nobody else changes the tables of any space here.
    /// let found = unsafe { View::<X86_64, _>::find_frame(&host, frame, X86_64::LIMITS) }?;
    /// let (root, table) = found.unwrap();
    /// assert_eq!((root, table.height), (user.root(), 0));
    /// user.enter().migrate_frame(frame, |_| Placement::Anywhere)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Safety
    /// Until it returns, nobody frees a table that a root on the list leads to: the spaces that they
    /// belong to stand still, or the caller has made sure of it in its own way.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if the host cannot reach a table.
    ///
    /// [`Session::migrate_frame`]: super::Session::migrate_frame
    pub unsafe fn find_frame(
        host: &H,
        frame: PhysAddr,
        limits: Limits,
    ) -> Result<Option<(PhysAddr, TableAt)>, Error> {
        let sight = Ground::<C, H>::sight(limits);
        let ground = Ground::<C, H>::to_look_at(host, &sight);
        let mut found = Ok(None);
        with_roots(host, |list| {
            list.each(&mut |root| {
                if let (Ok(None), Some(table)) = (&found, listed(host, root)) {
                    let place = place(&ground, table, frame);
                    found = place.map(|place| place.map(|place| (root, place)));
                }
            });
        });
        let found = found?;
        Ok(found.map(|(root, (at, height))| {
            (root, TableAt::new::<C::Arch, H>(host, frame, height, at))
        }))
    }
}

/// The address and the height of the table at `frame`.
fn place<C: Config, H: Host>(
    ground: &Ground<'_, C, H>,
    root: Table<RootOf<C>>,
    frame: PhysAddr,
) -> Result<Option<(VirtAddr, u8)>, Error> {
    if root.frame() == frame {
        return Ok(Some((VirtAddr(0), RootOf::<C>::LEVEL.height)));
    }
    let name = ground.name_of(root, Span::ALL, frame, None)?;
    Ok(name.map(|name| (name.at, name.height)))
}
