//! Shootdown: an interrupt to every other CPU, and its acknowledgement.

use crate::boot::CPUS;
use crate::spaces::{KERNEL, Slot};
use crate::{apic, cpus, sabotage};
use core::hint::spin_loop;
use core::ptr::{from_ref, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use pgtable::Stale;
use pgtable::arch::native;

/// The vector of the interrupt.
pub const VECTOR: u8 = 64;

/// What each CPU is asked to drop; null once it has.
static ASKED: [AtomicPtr<Stale>; CPUS] = [const { AtomicPtr::new(null_mut()) }; CPUS];
/// How many there were.
pub static COUNT: AtomicU64 = AtomicU64::new(0);

/// Makes every CPU drop what is stale, and returns when all have.
pub fn everywhere(stale: &Stale) {
    if sabotage::silent() {
        return;
    }
    COUNT.fetch_add(1, Ordering::Relaxed);
    let this = cpus::number();
    let others = || cpus::online().filter(|&cpu| cpu != this);
    for cpu in others() {
        let asked = from_ref(stale).cast_mut();
        // Another CPU may be asking it as well.
        let (order, free) = (Ordering::Release, null_mut());
        while ASKED[cpu].compare_exchange(free, asked, order, Ordering::Relaxed).is_err() {
            answer();
        }
        apic::interrupt(cpu, VECTOR);
    }
    cpus::without_interrupts(|| drop_here(stale));
    for cpu in others() {
        while !ASKED[cpu].load(Ordering::Acquire).is_null() {
            answer();
            spin_loop();
        }
    }
}

/// Does what this CPU was asked for, if it was. The interrupt comes here, and so does whoever waits
/// with interrupts off.
pub fn answer() {
    let asked = &ASKED[cpus::number()];
    if asked.load(Ordering::Relaxed).is_null() {
        return;
    }
    cpus::without_interrupts(|| {
        let stale = asked.load(Ordering::Acquire);
        // SAFETY: whoever asks keeps it until it is acknowledged, and only this CPU does that.
        if let Some(stale) = unsafe { stale.as_ref() } {
            drop_here(stale);
            asked.store(null_mut(), Ordering::Release);
        }
    });
}

/// This CPU's part. Interrupts are off.
fn drop_here(stale: &Stale) {
    let slot = cpus::current();
    if stale.space().is_some_and(|space| space != slot.cell.id()) {
        return drop_elsewhere(stale);
    }
    match slot.cell.root() {
        Some(root) if sabotage::drop_instead(stale, root, slot) => {}
        // SAFETY: the kernel runs at level 0, in the half that all roots have.
        Some(root) => unsafe { native::drop_stale(stale, root, slot.tag()) },
        // The space is being torn down.
        None => cpus::activate(&KERNEL),
    }
}

/// What is stale is another space's; CPUs with tags may have kept it.
fn drop_elsewhere(stale: &Stale) {
    let other = Slot::all().into_iter().find(|slot| stale.space() == Some(slot.cell.id()));
    if let Some(tag) = other.map(Slot::tag).filter(|&tag| tag != 0) {
        // SAFETY: at level 0, on a CPU that has tags.
        unsafe { native::invalidate_tag(tag) };
    }
}
