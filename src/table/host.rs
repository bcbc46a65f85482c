//! What the embedding kernel supplies.

use crate::addr::PhysAddr;
use crate::level::{Request, Stale};
use core::ptr::NonNull;
use core::sync::atomic::AtomicU16;

/// Copies the words of a live table, of 2 to the `size_lg2` bytes, into a private frame.
///
/// Each byte of the copy is one that was there at some moment of the call, since hardware sets bits in the
/// original meanwhile. Into how many accesses it divides that, and in which order, is its own affair; but
/// whoever sees what its caller writes after it (with Release) sees the copy, so stores that wait for a
/// fence have had theirs.
///
/// # Safety
/// For the crate to call: `from` is a live table, and `to` a frame of its size that nobody else uses.
pub type CopyTable = unsafe fn(from: NonNull<u8>, to: NonNull<u8>, size_lg2: u8);

/// The kernel around a space: frames for tables, access to them, and shootdown.
///
/// A host is an instance, not a global: a reference to one is a host as well, so that many spaces
/// can share it. Its verbs take `&self`; an allocator behind it locks for itself. The crate calls
/// none of them while another one runs, but for what is called from inside [`roots`](Self::roots),
/// which is [`reach`](Self::reach) and [`copy_table`](Self::copy_table) alone.
///
/// # Safety
/// The crate trusts every byte of memory to these promises:
///
/// - [`allocate`](Self::allocate) hands out memory that nobody else uses, until it comes back by
///   [`free`](Self::free);
/// - a pointer from [`reach`](Self::reach) is valid for reads and writes of the whole table, for as
///   long as it is a table, and the same memory is touched in no other way than by atomic
///   accesses of whole entries, and by [`CopyTable`];
/// - when [`shoot_down`](Self::shoot_down) returns, **every** CPU has dropped what is stale.
///   A CPU that may keep translations of the space counts: one that runs another space and keeps
///   the entries of this one under a tag (PCID, ASID), or one that was lazy and has not switched
///   yet. Either it is interrupted, too, or it compares a generation and flushes before it uses the
///   space again, and it does so *after* it has marked itself active. A CPU marks itself active
///   before it reads the root cell to load it, with a SeqCst fence between; the crate issues one
///   before it calls `shoot_down`, so either the shootdown sees the CPU, or the CPU sees the new
///   tables;
/// - [`copy_table`](Self::copy_table) answers with what does as [`CopyTable`] says;
/// - [`read`](Self::read) is a reader section, where kernel tables can be freed meanwhile;
/// - [`roots`](Self::roots) calls its argument exactly once, and nobody else changes or reads the
///   list meanwhile; every root on it is one that a space of this crate, with this arch, put there.
///
/// One more obligation, not of safety: a table may be unlinked and its slot filled anew before the
/// shootdown of the old one. A CPU with the old pointer may then fault on a page that is mapped. So
/// a fault on an address whose walk says "present, and this is allowed" is retried once, after the
/// CPU has invalidated that address for itself.
///
/// ```
/// use core::ptr::NonNull;
/// use pgtable::{Host, PhysAddr, Request, Stale};
/// # use std::sync::Mutex;
/// # struct FrameAllocator; impl FrameAllocator {
/// #   fn take(&mut self, _: u64, _: PhysAddr) -> Option<PhysAddr> { None } fn give(&mut self, _: PhysAddr) {} }
/// # fn interrupt_others_and_wait(_: &Stale) {}
/// const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
///
/// struct Kernel { frames: Mutex<FrameAllocator> }
///
/// // SAFETY: frames come from the allocator alone; the direct map covers all memory; every CPU
/// // answers the interrupt, also one that is idle in a borrowed space.
/// unsafe impl Host for Kernel {
///     fn allocate(&self, request: &Request) -> Option<PhysAddr> {
///         let mut frames = self.frames.lock().unwrap();
///         frames.take(1 << request.size_lg2, request.highest)
///     }
///     unsafe fn free(&self, table: PhysAddr, _height: u8, _size_lg2: u8) {
///         self.frames.lock().unwrap().give(table);
///     }
///     fn reach(&self, table: PhysAddr, _size_lg2: u8) -> Option<NonNull<u8>> {
///         NonNull::new((DIRECT_MAP + table.0) as *mut u8)
///     }
///     fn shoot_down(&self, stale: &Stale) {
///         interrupt_others_and_wait(stale);
///     }
/// }
/// ```
#[allow(clippy::unnecessary_safety_comment)] // it belongs to the example
pub unsafe trait Host {
    /// A frame for a table, and not the one at address 0, of the size and alignment that the request says, and not above what it
    /// says; its content does not matter. `None` if there is none: the verb fails, and has changed
    /// nothing. A frame that breaks the request goes back by [`free`](Self::free), and the verb
    /// fails as well.
    fn allocate(&self, request: &Request) -> Option<PhysAddr>;

    /// Takes a frame back that was allocated, or adopted, as a table of this height and of 2 to the
    /// `size_lg2` bytes. No CPU can reach it any more.
    ///
    /// # Safety
    /// For the crate to call, and for nobody else: the frame is a table of this host no more.
    unsafe fn free(&self, table: PhysAddr, height: u8, size_lg2: u8);

    /// Where the table of 2 to the `size_lg2` bytes at `table` can be read and written. A kernel
    /// that reaches all memory always answers. `None` says that there is no such memory: a tree that
    /// names it is not adopted, and a view that comes there ends with an error. A table that was
    /// reached once is reached at the same place until it is freed, from every thread that has the host.
    fn reach(&self, table: PhysAddr, size_lg2: u8) -> Option<NonNull<u8>>;

    /// Makes every CPU drop what is stale, and returns when all have.
    fn shoot_down(&self, stale: &Stale);

    /// What copies a live table, if this kernel's CPU has something faster than one word after the other.
    /// On x86 it has: `Some(native::copy_table)`.
    fn copy_table(&self) -> Option<CopyTable> {
        None
    }

    /// A counter that the host keeps for this table, for the crate to count used entries in, so that
    /// it need not look whether a table is empty. It starts at zero when the frame is allocated.
    fn count(&self, table: PhysAddr) -> Option<&AtomicU16> {
        let _ = table;
        None
    }

    /// Which node this frame is on, if that is known: for those who place tables by it. A frame
    /// from [`allocate`](Self::allocate) that lies on another node than was asked for goes back.
    fn node(&self, frame: PhysAddr) -> Option<u32> {
        let _ = frame;
        None
    }

    /// Gives the list of roots to `edit`, once, under the list's lock. Needed by kernels that have a
    /// shared kernel half. Where roots have leaves (x86 without PAE), translating an address of that
    /// half asks for it, too.
    ///
    /// # Safety
    /// For the crate to call, and for nobody else: what is on the list is written to.
    unsafe fn roots(&self, edit: &mut dyn FnMut(&mut dyn Roots)) {
        edit(&mut NoRoots);
    }

    /// Runs `look`, which reads tables of the kernel half from a space that is not the kernel's own.
    ///
    /// Where the kernel's own space can be changed meanwhile, on another CPU or from inside, this is
    /// a reader section: [`shoot_down`](Self::shoot_down) for every space does not return before the
    /// sections that were open when it was called are closed. Interrupts off will do where a CPU
    /// acknowledges by interrupt.
    fn read(&self, look: &mut dyn FnMut()) {
        look();
    }

    /// The frame is about to become a table of this height, filled but not linked yet. (A guest of a
    /// hypervisor must tell it.)
    fn table_made(&self, table: PhysAddr, height: u8) {
        let _ = (table, height);
    }

    /// The frame is a table no more, and is freed next. Tables that were adopted count as made.
    fn table_gone(&self, table: PhysAddr, height: u8) {
        let _ = (table, height);
    }
}

// SAFETY: every promise is kept by the host that is referred to.
unsafe impl<T: Host + ?Sized> Host for &T {
    fn allocate(&self, request: &Request) -> Option<PhysAddr> {
        (**self).allocate(request)
    }
    unsafe fn free(&self, table: PhysAddr, height: u8, size_lg2: u8) {
        // SAFETY: as the caller promises.
        unsafe { (**self).free(table, height, size_lg2) };
    }
    #[inline]
    fn reach(&self, table: PhysAddr, size_lg2: u8) -> Option<NonNull<u8>> {
        (**self).reach(table, size_lg2)
    }
    fn shoot_down(&self, stale: &Stale) {
        (**self).shoot_down(stale);
    }
    #[inline]
    fn count(&self, table: PhysAddr) -> Option<&AtomicU16> {
        (**self).count(table)
    }
    #[inline]
    fn copy_table(&self) -> Option<CopyTable> {
        (**self).copy_table()
    }
    fn node(&self, frame: PhysAddr) -> Option<u32> {
        (**self).node(frame)
    }
    unsafe fn roots(&self, edit: &mut dyn FnMut(&mut dyn Roots)) {
        // SAFETY: as the caller promises.
        unsafe { (**self).roots(edit) };
    }
    fn read(&self, look: &mut dyn FnMut()) {
        (**self).read(look);
    }
    fn table_made(&self, table: PhysAddr, height: u8) {
        (**self).table_made(table, height);
    }
    fn table_gone(&self, table: PhysAddr, height: u8) {
        (**self).table_gone(table, height);
    }
}

/// Gives back a frame that is a table no more: it was unlinked, and every CPU has acknowledged that,
/// or it never was linked.
pub(crate) fn give_back<H: Host>(host: &H, table: PhysAddr, height: u8, size_lg2: u8) {
    // SAFETY: only rooms of this crate call this, with tables of this host's trees that are named by
    // nothing any more.
    unsafe { host.free(table, height, size_lg2) };
}

/// Does something with the list of roots, under its lock.
pub(crate) fn with_roots<H: Host>(host: &H, mut edit: impl FnMut(&mut dyn Roots)) {
    // SAFETY: this crate puts no root on the list but that of a space that shares the half.
    unsafe { host.roots(&mut edit) };
}

/// The roots that share one kernel half: that of the kernel's own space, and one of every other
/// space. The host keeps the list, with a lock of its own around it.
pub trait Roots {
    /// Adds a root; `false` if there is no room.
    fn insert(&mut self, root: PhysAddr) -> bool;
    /// Takes a root off the list; `false` if it was not on it.
    fn remove(&mut self, root: PhysAddr) -> bool;
    /// Shows every root on the list.
    fn each(&self, show: &mut dyn FnMut(PhysAddr));
}

/// The list of a host that has none: it takes no root.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRoots;

impl Roots for NoRoots {
    fn insert(&mut self, _: PhysAddr) -> bool {
        false
    }
    fn remove(&mut self, _: PhysAddr) -> bool {
        false
    }
    fn each(&self, _: &mut dyn FnMut(PhysAddr)) {}
}
