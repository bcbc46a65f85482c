//! Address spaces: the verbs as a kernel calls them.

mod begin;
mod cursor;
mod find;
mod held;
mod look;
mod moves;
mod session;
mod setup;
mod verbs;
mod view;

use held::{Held, Place};
use look::Look;

pub use cursor::Cursor;
pub use look::Mappings;
pub use session::Session;
pub use setup::{KernelHalf, Setup};
pub use view::{View, Visited};

use crate::addr::{PhysAddr, Span};
use crate::gather::{Flushed, Gather, Gone};
use crate::level::{Config, Error, Extent, Limits, SpaceId};
use crate::limbo::Limbo;
use crate::map::Tree;
use crate::table::{Host, RootCell, with_roots};
use crate::walk::Half;
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::AtomicBool;

/// One address space: a root, its config, its host.
///
/// Whoever has it `&mut` changes it, while any number of CPUs translate through it. It borrows the
/// [`RootCell`] from which context switches read where the root is.
///
/// Dropping a space frees nothing, since CPUs may be using it: [`tear_down`](Self::tear_down) does.
///
/// ```
/// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
/// use pgtable::{Attrs, Frame, Gather, Page, PhysAddr, RootCell, Setup, Size4KiB, Space, VirtAddr};
/// use pgtable::arch::x86::X86_64;
/// # let host = simulated::Memory::new();
///
/// let cell = RootCell::new();
/// let mut space = Space::<X86_64, _>::new(&host, &cell, Setup::new())?;
///
/// let page = Page::<Size4KiB>::new(VirtAddr(0x40_0000)).unwrap();
/// let frame = Frame::new(PhysAddr(0x1234_5000)).unwrap();
/// space.map(page, frame, Attrs::DATA.user())?;
/// assert_eq!(space.translate(VirtAddr(0x40_0123))?.phys(VirtAddr(0x40_0123)).0, 0x1234_5123);
///
/// let frame = Gather::scope(|mut gather| {
///     let gone = space.unmap(page, &mut gather)?.page().unwrap();
///     // Nobody may use the frame yet; finishing the gather makes every CPU forget the page.
///     let flushed = space.finish(gather)?;
///     Ok::<_, pgtable::Error>(gone.open(&flushed))
/// })?;
/// assert_eq!(frame, PhysAddr(0x1234_5000));
/// space.tear_down().map_err(|(_, error)| error)?;
/// # assert_eq!(host.tables_in_use(), 0);
/// # Ok::<(), pgtable::Error>(())
/// ```
#[must_use = "a space that is dropped keeps its tables; `tear_down` frees them"]
pub struct Space<'r, C: Config, H: Host> {
    held: Held<'r, C, H>,
}

impl<'r, C: Config, H: Host> Space<'r, C, H> {
    /// The host.
    pub fn host(&self) -> &H {
        &self.held.tree().host
    }

    /// Which space this is, in what the host is told is stale.
    pub fn id(&self) -> SpaceId {
        self.held.tree().cell.id()
    }

    /// Where the root is now.
    pub fn root(&self) -> PhysAddr {
        self.held.tree().cell.root().unwrap_or_default()
    }

    /// What the CPU can do, as far as this space is concerned.
    pub fn limits(&self) -> &Limits {
        &self.held.tree().sight.limits
    }

    /// What other spaces need to share the kernel half, if this is the kernel's own space.
    pub fn kernel_half(&self) -> Option<KernelHalf<'_, C::Arch>> {
        let tree = self.held.tree();
        match tree.half {
            Half::Owner(span) => {
                let (cell, limits) = (tree.cell, tree.sight.limits);
                let place = tree.root().map_or(0, |root| root.live().place());
                Some(KernelHalf { cell, span, limits, place, arch: PhantomData })
            }
            Half::Apart | Half::Guest(_) => None,
        }
    }

    /// Makes every CPU drop what the gather collected, frees its tables, and opens its frames.
    ///
    /// # Errors
    /// [`Error::OtherGather`] if another space has used the gather. It is dropped, and its frames stay
    /// shut.
    pub fn finish<'g>(&self, mut gather: Gather<'g>) -> Result<Flushed<'g>, Error> {
        gather.bind(self.held.tree().owner)?;
        gather.flush(&self.held.tree().host);
        Ok(gather.flushed())
    }

    /// Frees all tables of the space: its own, and, for the kernel's own space, those of the shared
    /// half. The pages are not told of; tables that hold nothing else are not even read.
    ///
    /// The root cell is emptied, and the shootdown asks every CPU that runs the space to load another
    /// root.
    ///
    /// # Errors
    /// [`Error::Shared`] with the space back, while other roots share its half.
    #[allow(clippy::result_large_err)] // the space comes back in it
    pub fn tear_down(self) -> Result<(), (Self, Error)> {
        self.take_down(None::<fn(Gone<'_>)>)
    }

    /// The same, and hands everything that was mapped to `report`. The frames are open: no CPU uses
    /// the space any more.
    ///
    /// # Errors
    /// As [`tear_down`](Self::tear_down).
    #[allow(clippy::result_large_err)] // the space comes back in it
    pub fn tear_down_with(
        self,
        mut report: impl for<'g> FnMut(Gone<'g>, &Flushed<'g>),
    ) -> Result<(), (Self, Error)> {
        let flushed = Flushed::new();
        self.take_down(Some(|gone| report(gone, &flushed)))
    }

    /// Gives the tree up as it is, and says where its root is: the cell is free for another space, and
    /// CPUs go on using the tree until the host takes it away from them.
    ///
    /// # Errors
    /// [`Error::Shared`] with the space back, if it shares a half with others: a root that CPUs use
    /// must stay on the list.
    #[allow(clippy::result_large_err)] // the space comes back in it
    pub fn release(mut self) -> Result<PhysAddr, (Self, Error)> {
        self.settle();
        let root = self.root();
        let closed = match self.held.tree().half {
            Half::Guest(span) => Err(Error::Shared { at: span.first() }),
            Half::Apart | Half::Owner(_) => self.close(),
        };
        match closed {
            Ok(()) => {
                self.unlist(root);
                Ok(root)
            }
            Err(error) => Err((self, error)),
        }
    }

    #[allow(clippy::result_large_err)] // the space comes back in it
    fn take_down<'g>(mut self, report: Option<impl FnMut(Gone<'g>)>) -> Result<(), (Self, Error)> {
        self.settle();
        let root = self.root();
        if let Err(error) = self.close() {
            return Err((self, error));
        }
        let tree = self.held.tree();
        Gather::scope(|mut gather| {
            let owner = matches!(tree.half, Half::Owner(_));
            let space = if owner { None } else { Some(tree.cell.id()) };
            // Global translations of its own serve every space.
            gather.add(Extent::Root, Span::ALL, space, true);
            gather.flush(&tree.host);
        });
        self.unlist(root);
        // A table that the host reaches no more, against its word, is leaked with all below it.
        let _ = dismantle(tree, root, report);
        Ok(())
    }

    /// Checks that nobody shares this space's half, and lets nobody begin to.
    fn close(&self) -> Result<(), Error> {
        let root = self.root();
        let Half::Owner(span) = self.held.tree().half else {
            self.held.tree().cell.set(None);
            return Ok(());
        };
        let mut others = false;
        with_roots(&self.held.tree().host, |list| {
            list.each(&mut |listed| others |= listed != root);
            if !others {
                self.held.tree().cell.set(None);
            }
        });
        if others { Err(Error::Shared { at: span.first() }) } else { Ok(()) }
    }

    /// Takes the root off the list. What CPUs have noted in its leaves of the shared half goes to
    /// another root.
    fn unlist(&self, root: PhysAddr) {
        if self.held.tree().half == Half::Apart {
            return;
        }
        with_roots(&self.held.tree().host, |list| {
            list.remove(root);
            self.held.tree().ground().hand_over(root, list);
        });
    }
}

/// Frees all tables, when the root is in its cell no more and no CPU uses it.
fn dismantle<'g, C: Config, H: Host>(
    tree: &Tree<'_, C, H>,
    root: PhysAddr,
    report: Option<impl FnMut(Gone<'g>)>,
) -> Result<(), Error> {
    let cell = RootCell::new();
    cell.set(Some(root));
    let tree = Tree::<C, _> {
        host: &tree.host,
        cell: &cell,
        owner: tree.owner,
        sight: tree.sight,
        names: tree.names,
        half: tree.half,
        local: tree.local,
        self_map: tree.self_map,
        open: tree.open,
        strange: AtomicBool::new(true),
        limbo: Limbo::new(),
        config: PhantomData,
    };
    tree.free_below_root(report)?;
    tree.free(tree.root()?);
    Ok(())
}

impl<C: Config, H: Host> fmt::Debug for Space<'_, C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space")
            .field("arch", &<C::Arch as crate::level::Arch>::NAME)
            .field("root", &self.root())
            .field("limits", &self.held.tree().sight.limits)
            .field("names", &self.held.tree().names)
            .field("limbo", &self.held.tree().limbo)
            .finish_non_exhaustive()
    }
}
