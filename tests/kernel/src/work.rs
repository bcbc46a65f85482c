//! The pages that a CPU works on while tables move, and the page faults that it takes meanwhile.

use crate::boot::CPUS;
use crate::mode::{Huge, LAYOUT, PAGE, data, shared};
use crate::probe::{FETCH, WRITE};
use crate::spaces::{KERNEL, Slot};
use crate::{cpus, frames, memory, mode, shootdown};
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use pgtable::arch::native;
use pgtable::{Error, Frame, Gather, Page, PageSize, PhysAddr, Rights, Size4KiB, VirtAddr};

/// Pages of each window; the last of them are mapped when they are used.
pub const PAGES: usize = 128;
const DEMAND: usize = 32;
/// The windows of the lower half, and one in the kernel's.
pub const WINDOWS: usize = LAYOUT.windows.len() + 1;
/// All base pages.
pub const ALL: usize = PAGES * WINDOWS;
/// Places in the huge page that are worked on.
const PLACES: usize = 16;
/// The huge page.
pub const HUGE: u64 = 0x6000_0000;

const WORD: Ordering = Ordering::Relaxed;
const NOTE: Ordering = Ordering::SeqCst;

/// What was written last at each place; zero where the page is new.
static VALUES: [AtomicUsize; ALL + PLACES] = [const { AtomicUsize::new(0) }; ALL + PLACES];
/// Which pages were written since their dirty bits were read last; the huge page comes last.
static WRITTEN: [AtomicBool; ALL + 1] = [const { AtomicBool::new(false) }; ALL + 1];

/// What has happened.
pub struct Counts {
    pub accesses: AtomicUsize,
    /// Reads that found another value.
    pub wrong: AtomicUsize,
    /// Pages whose dirty bit was not what it should be.
    pub lost: AtomicUsize,
    /// Faults that were served by mapping a page.
    pub served: AtomicUsize,
    /// Faults that were tried again.
    pub retried: AtomicUsize,
    /// Pages that were taken away again.
    pub released: AtomicUsize,
    /// Dirty bits that were compared.
    pub compared: AtomicUsize,
}

pub static COUNTS: Counts = Counts {
    accesses: AtomicUsize::new(0),
    wrong: AtomicUsize::new(0),
    lost: AtomicUsize::new(0),
    served: AtomicUsize::new(0),
    retried: AtomicUsize::new(0),
    released: AtomicUsize::new(0),
    compared: AtomicUsize::new(0),
};

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Where a window begins.
pub fn window(number: usize) -> u64 {
    LAYOUT.windows.get(number).copied().unwrap_or(LAYOUT.area)
}

/// The address of a base page.
pub fn page_at(index: usize) -> u64 {
    window(index / PAGES) + (index % PAGES) as u64 * PAGE
}

/// All addresses that are worked on.
pub fn pages() -> impl Iterator<Item = usize> {
    (0..ALL).map(|index| page_at(index) as usize)
}

/// Whether it is mapped when it is used, and no earlier.
pub fn is_on_demand(index: usize) -> bool {
    index % PAGES >= PAGES - DEMAND
}

fn index_of(at: u64) -> Option<usize> {
    (0..WINDOWS).find_map(|number| {
        let index = at.checked_sub(window(number))? / PAGE;
        (index < PAGES as u64).then_some(number * PAGES + index as usize)
    })
}

/// Where the word of a place is, and to which page it belongs.
fn place(number: usize) -> (u64, usize) {
    if number < ALL {
        return (page_at(number) + ((number as u64 * 264) & (PAGE - 8)), number);
    }
    let step = (1 << Huge::SIZE_LG2) / PLACES as u64;
    (HUGE + (number - ALL) as u64 * (step + 8), ALL)
}

/// The space whose page it is.
fn slot_of(at: u64) -> &'static Slot {
    if shared().contains(VirtAddr(at)) { &KERNEL } else { cpus::current() }
}

fn page(at: u64) -> Page<Size4KiB> {
    Page::containing(VirtAddr(at))
}

/// A frame with zeros in it.
pub fn zeroed() -> Result<Frame<Size4KiB>, &'static str> {
    let frame = frames::take(12, mode::HIGHEST, None).ok_or("and there is no memory")?;
    // SAFETY: it was just taken.
    unsafe { memory::words(frame.0, PAGE as usize) }.into_iter().for_each(|words| words.fill(0));
    Frame::new(frame).ok_or("and the frame is not aligned")
}

/// Serves a page fault: maps the page, or, where it is mapped and the access is allowed, has it tried
/// once more after an invalidation, as the contract of `Host` says.
pub fn serve(at: usize, error: usize) -> Result<(), &'static str> {
    let (address, at) = (at, at as u64);
    let index = index_of(at).ok_or("where nothing is to be")?;
    let mut space = slot_of(at).lock();
    match space.translate(VirtAddr(at)) {
        Ok(found) if found.effective.contains(wanted(error)) => {
            drop(space);
            // SAFETY: at level 0.
            unsafe { native::invalidate_page(address) };
            retry(address)
        }
        Ok(_) => Err("which the page forbids"),
        Err(Error::NotMapped { .. }) if is_on_demand(index) => {
            let mapped = space.map(page(at), zeroed()?, data());
            count(&COUNTS.served);
            mapped.map_err(|_| "and it cannot be mapped")
        }
        Err(_) => Err("where nothing is mapped"),
    }
}

fn wanted(error: usize) -> Rights {
    let mut rights = Rights::READ;
    rights.set(Rights::WRITE, error & WRITE != 0);
    rights.set(Rights::EXECUTE, error & FETCH != 0);
    rights
}

/// Once, and no second time before another access has gone well.
fn retry(at: usize) -> Result<(), &'static str> {
    static LAST: [[AtomicUsize; 2]; CPUS] =
        [const { [AtomicUsize::new(0), AtomicUsize::new(0)] }; CPUS];
    let accesses = COUNTS.accesses.load(WORD);
    let last = &LAST[cpus::number()];
    if last[0].swap(at, WORD) == at && last[1].swap(accesses, WORD) == accesses {
        return Err("again, though it is mapped");
    }
    last[1].store(accesses, WORD);
    count(&COUNTS.retried);
    Ok(())
}

/// How many pages may be given back until the next round: each costs a shootdown.
static RELEASES: AtomicUsize = AtomicUsize::new(0);

/// Lets some more be given back.
pub fn allow_releases() {
    RELEASES.store(6, NOTE);
}

fn may_release() -> bool {
    RELEASES.fetch_update(NOTE, NOTE, |left| left.checked_sub(1)).is_ok()
}

static STOP: AtomicBool = AtomicBool::new(false);
static PAUSE: AtomicBool = AtomicBool::new(false);
static PAUSED: AtomicBool = AtomicBool::new(false);

/// What a CPU does until it is stopped: it reads places at random and checks what it finds, writes to
/// some, and gives some pages back.
pub fn run() {
    let mut random: usize = 0x2545_f491;
    loop {
        for _ in 0..16 {
            // xorshift (Marsaglia, 2003).
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            step(random);
        }
        if PAUSE.load(NOTE) {
            PAUSED.store(true, NOTE);
            while PAUSE.load(NOTE) {
                shootdown::answer();
                spin_loop();
            }
            PAUSED.store(false, NOTE);
        }
        if STOP.load(NOTE) {
            return;
        }
    }
}

fn step(random: usize) {
    let number = (random >> 8) % (ALL + PLACES);
    if number < ALL && is_on_demand(number) && random & 0xf0 == 0 && may_release() {
        return release(number);
    }
    access(number, random & 1 != 0, random);
}

fn access(number: usize, write: bool, value: usize) {
    let (at, page) = place(number);
    let word = core::ptr::without_provenance_mut::<usize>(at as usize);
    // SAFETY: the page is mapped, or will be by the fault; nothing of Rust's is there.
    let found = unsafe { word.read_volatile() };
    if found != VALUES[number].load(WORD) {
        count(&COUNTS.wrong);
    }
    if write {
        WRITTEN[page].store(true, WORD);
        // SAFETY: as above.
        unsafe { word.write_volatile(value) };
        VALUES[number].store(value, WORD);
    }
    count(&COUNTS.accesses);
}

/// Takes a page away; its dirty bit must say whether it was written.
pub fn release(index: usize) {
    let at = page_at(index);
    let mut space = slot_of(at).lock();
    let gone = Gather::scope(|mut gather| {
        let gone = space.unmap(page(at), &mut gather)?.page();
        let flushed = space.finish(gather)?;
        Ok::<_, Error>(gone.map(|page| (page.attrs.dirty, page.open(&flushed))))
    });
    if let Ok(Some((dirty, frame))) = gone {
        // Before another CPU can map it again.
        VALUES[index].store(0, WORD);
        compare(index, dirty);
        frames::give(frame, 12);
        count(&COUNTS.released);
    }
}

/// Compares what the tables say of a page with what was done; it starts anew then.
pub fn compare(page: usize, dirty: bool) {
    count(&COUNTS.compared);
    if WRITTEN[page].swap(false, WORD) != dirty {
        count(&COUNTS.lost);
    }
}

/// Reads every place once more.
pub fn check_all() {
    (0..ALL + PLACES).for_each(|number| access(number, false, 0));
}

/// Everything is new.
pub fn reset() {
    VALUES.iter().for_each(|value| value.store(0, WORD));
    WRITTEN.iter().for_each(|written| written.store(false, WORD));
    STOP.store(false, NOTE);
    let Counts { accesses, wrong, lost, served, retried, released, compared } = &COUNTS;
    for counter in [accesses, wrong, lost, served, retried, released, compared] {
        counter.store(0, NOTE);
    }
}

/// Waits until the worker has made so many accesses more.
pub fn let_run(accesses: usize) {
    let goal = COUNTS.accesses.load(WORD) + accesses;
    while COUNTS.accesses.load(WORD) < goal {
        shootdown::answer();
        spin_loop();
    }
}

/// Holds the worker while `look` looks.
pub fn paused(look: impl FnOnce()) {
    PAUSE.store(true, NOTE);
    while !PAUSED.load(NOTE) {
        shootdown::answer();
        spin_loop();
    }
    look();
    PAUSE.store(false, NOTE);
    while PAUSED.load(NOTE) {
        spin_loop();
    }
}

/// The worker comes to its end.
pub fn stop() {
    STOP.store(true, NOTE);
}

/// The page that holds an address, among those that dirty bits are compared of.
pub fn unit_of(at: VirtAddr) -> Option<usize> {
    index_of(at.0).or((at.0 == HUGE).then_some(ALL))
}

/// Memory for the huge page.
pub fn huge_memory() -> Option<PhysAddr> {
    let frame = frames::take(Huge::SIZE_LG2, mode::HIGHEST, None)?;
    // SAFETY: it was just taken.
    let words = unsafe { memory::words(frame.0, 1 << Huge::SIZE_LG2) };
    words.into_iter().for_each(|words| words.fill(0));
    Some(frame)
}
