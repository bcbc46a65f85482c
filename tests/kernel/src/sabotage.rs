//! Negative controls: duties of the kernel that are broken on purpose, by flags of the build. Each
//! must be found out by a check, so that what the checks say counts.

use crate::lock::Lock;
use crate::spaces::Slot;
use crate::{Build, work};
use core::sync::atomic::{AtomicBool, Ordering};
use pgtable::arch::native;
use pgtable::{Extent, PhysAddr, Stale};

/// A duty that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// No shootdown after unmap.
    Unmap,
    /// No shootdown after protect.
    Protect,
    /// No shootdown after D was cleared.
    Dirty,
    /// The root has moved, and no CPU loads it.
    Root,
    /// A directory has moved whose entry is in a register: CPUs drop every page of it, and do not
    /// load the root.
    Directory,
    /// Global translations stay.
    Global,
}

/// What this build leaves out.
static CONTROL: Lock<Option<Control>> = Lock::new(None);
/// It is being left out now: all of a shootdown, or the reload of the root.
static SILENT: AtomicBool = AtomicBool::new(false);
static NO_RELOAD: AtomicBool = AtomicBool::new(false);
/// Always.
static NO_GLOBAL: AtomicBool = AtomicBool::new(false);

/// Leaves out what this build does.
pub fn begin(build: Build) {
    *CONTROL.lock() = build.control;
    NO_GLOBAL.store(build.control == Some(Control::Global), Ordering::Release);
}

/// Does something, without the duty that is left out if it is this one.
pub fn without<R>(control: Control, work: impl FnOnce() -> R) -> R {
    let now = *CONTROL.lock() == Some(control);
    let flag = if control == Control::Directory { &NO_RELOAD } else { &SILENT };
    flag.store(now, Ordering::Release);
    let result = work();
    flag.store(false, Ordering::Release);
    result
}

/// Whether there are no shootdowns.
pub fn silent() -> bool {
    SILENT.load(Ordering::Acquire)
}

/// Drops less than what is stale, if a control says so.
pub fn drop_instead(stale: &Stale, root: PhysAddr, slot: &Slot) -> bool {
    if NO_RELOAD.load(Ordering::Acquire) && stale.extent() == Extent::Root {
        // SAFETY: at level 0.
        work::pages().for_each(|at| unsafe { native::invalidate_page(at) });
        return true;
    }
    if NO_GLOBAL.load(Ordering::Acquire) && stale.global() {
        // SAFETY: the kernel runs at level 0, in the half that all roots have.
        unsafe { native::load_root(root, slot.tag()) };
        return true;
    }
    false
}
