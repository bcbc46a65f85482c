//! The CPUs: which is which, what each runs, and how one gives another something to do.

use crate::boot::CPUS;
use crate::spaces::{KERNEL, Slot};
use crate::{descriptors, shootdown};
use core::arch::asm;
use core::hint::spin_loop;
use core::ptr::{from_ref, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
use pgtable::arch::native;

/// The space that each CPU runs; null is the kernel's own.
static CURRENT: [AtomicPtr<Slot>; CPUS] = [const { AtomicPtr::new(null_mut()) }; CPUS];
static ONLINE: AtomicUsize = AtomicUsize::new(1);

/// This CPU's number: that of its task-state segment, since that is in a register.
pub fn number() -> usize {
    let selector: usize;
    // SAFETY: reads the task register.
    unsafe { asm!("str {:e}", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    descriptors::number_of(selector & 0xffff)
}

/// The numbers of all CPUs that run.
pub fn online() -> impl Iterator<Item = usize> {
    0..ONLINE.load(Ordering::Acquire)
}

/// This CPU answers interrupts from now on.
pub fn come_online() {
    ONLINE.fetch_add(1, Ordering::AcqRel);
}

/// Runs `work` with interrupts off.
pub fn without_interrupts<R>(work: impl FnOnce() -> R) -> R {
    let flags: usize;
    // SAFETY: what is pushed is popped.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("pushfq", "pop {}", "cli", out(reg) flags);
    }
    // SAFETY: what is pushed is popped.
    #[cfg(target_arch = "x86")]
    unsafe {
        asm!("pushfd", "pop {}", "cli", out(reg) flags);
    }
    let result = work();
    if flags & 1 << 9 != 0 {
        enable_interrupts();
    }
    result
}

/// Lets interrupts come.
pub fn enable_interrupts() {
    // SAFETY: there is an interrupt table by then.
    unsafe { asm!("sti", options(nostack)) };
}

/// What this CPU runs.
pub fn current() -> &'static Slot {
    // SAFETY: only static slots are put there.
    unsafe { CURRENT[number()].load(Ordering::Relaxed).as_ref() }.unwrap_or(&KERNEL)
}

/// Switches this CPU to a space.
pub fn activate(slot: &'static Slot) {
    without_interrupts(|| {
        CURRENT[number()].store(from_ref(slot).cast_mut(), Ordering::SeqCst);
        // Either a shootdown sees that this CPU is there, or this CPU sees the new root.
        fence(Ordering::SeqCst);
        let root = slot.cell.root().unwrap_or_default();
        let keep = if slot.tag() == 0 { 0 } else { native::KEEP_TAGGED };
        // SAFETY: every root has the kernel's half.
        unsafe { native::load_root(root, slot.tag() | keep) };
    });
}

static TAGGED: AtomicBool = AtomicBool::new(false);

/// Whether PCIDs are in use.
pub fn tagged() -> bool {
    TAGGED.load(Ordering::Relaxed)
}

/// Uses PCIDs from now on, where this CPU has them and INVPCID. (A 32-bit CPU has none.)
#[cfg(target_arch = "x86_64")]
pub fn enable_tags() {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    let has = __cpuid(1).ecx & 1 << 17 != 0 && __cpuid_count(7, 0).ebx & 1 << 10 != 0;
    if has {
        // SAFETY: CR4.PCIDE; the root was loaded with no flags.
        unsafe {
            asm!("mov {0}, cr4", "bts {0}, 17", "mov cr4, {0}", out(reg) _, options(nostack));
        }
        TAGGED.store(true, Ordering::Relaxed);
    }
}

/// A 32-bit CPU has no PCIDs.
#[cfg(target_arch = "x86")]
pub fn enable_tags() {}

/// Something for another CPU to do.
type Job = &'static (dyn Fn() + Sync);

static JOB: crate::lock::Lock<Option<Job>> = crate::lock::Lock::new(None);
static BUSY: AtomicBool = AtomicBool::new(false);

/// Lets CPU 1 begin with `job`; it is free then.
pub fn start(job: Job) {
    BUSY.store(true, Ordering::Release);
    *JOB.lock() = Some(job);
}

/// Waits until CPU 1 has done what it was given.
pub fn wait() {
    while BUSY.load(Ordering::Acquire) {
        shootdown::answer();
        spin_loop();
    }
}

/// Lets CPU 1 do something, and waits for it.
pub fn elsewhere<R: Send>(work: impl Fn() -> R + Sync) -> R {
    let result = crate::lock::Lock::new(None);
    let job = || *result.lock() = Some(work());
    let job: &(dyn Fn() + Sync) = &job;
    // SAFETY: it is used until `wait` returns, and no longer.
    start(unsafe { core::mem::transmute::<&(dyn Fn() + Sync), Job>(job) });
    wait();
    let result = result.lock().take();
    result.expect("the job was done")
}

/// What CPU 1 does all its life.
pub fn serve() -> ! {
    loop {
        let job = JOB.lock().take();
        if let Some(job) = job {
            job();
            BUSY.store(false, Ordering::Release);
        }
        spin_loop();
    }
}
