//! Negative controls: duties of the kernel that are broken on purpose, by flags of the build. Each
//! must be found out by a check, so that what the checks say counts.

use crate::spaces::Slot;
use crate::work;
use core::sync::atomic::{AtomicBool, Ordering};
use pgtable::arch::native;
use pgtable::{Extent, PhysAddr, Stale};

/// No shootdown after unmap.
pub const UNMAP: bool = cfg!(feature = "no-unmap-shootdown");
/// No shootdown after protect.
pub const PROTECT: bool = cfg!(feature = "no-protect-shootdown");
/// No shootdown after D was cleared.
pub const DIRTY: bool = cfg!(feature = "no-dirty-shootdown");
/// The root has moved, and no CPU loads it.
pub const ROOT: bool = cfg!(feature = "no-root-reload");
/// A directory of PAE has moved: CPUs drop every page of it, and do not load the root.
const DIRECTORY: bool = cfg!(feature = "no-directory-reload");
/// Global translations stay.
const GLOBAL: bool = cfg!(feature = "no-global-flush");

static SILENT: AtomicBool = AtomicBool::new(false);

/// Does something, without shootdowns if this control is on.
pub fn broken<R>(control: bool, work: impl FnOnce() -> R) -> R {
    SILENT.store(control, Ordering::Release);
    let result = work();
    SILENT.store(false, Ordering::Release);
    result
}

/// Whether there are no shootdowns.
pub fn silent() -> bool {
    SILENT.load(Ordering::Acquire)
}

/// Drops less than what is stale, if a control says so.
pub fn drop_instead(stale: &Stale, root: PhysAddr, slot: &Slot) -> bool {
    if DIRECTORY && stale.extent() == Extent::Root {
        // SAFETY: at level 0.
        work::pages().for_each(|at| unsafe { native::invalidate_page(at) });
        return true;
    }
    if GLOBAL && stale.global() {
        // SAFETY: the kernel runs at level 0, in the half that all roots have.
        unsafe { native::load_root(root, slot.tag()) };
        return true;
    }
    false
}
