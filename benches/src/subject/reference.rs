//! Code written by hand for x86-64 with four levels and for nothing else, as fast as it is simple: no
//! check but whether something is there already, no atomics but where bits of hardware's must be kept,
//! and a caller who is trusted with every address, and to know where huge pages are, if it does not ask.

use super::{Mode, Subject, Sum};
use crate::arena;
use crate::row::Run;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const PAGE: u64 = 4096;
const HUGE_PAGE: u64 = 512 * PAGE;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const HUGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// What names a table has no bits above the address.
const TABLE_ADDRESS: u64 = !0xfff;
/// Where accessed is; dirty is the bit above it.
const USED_AT: u32 = 5;

const TABLE: u64 = PRESENT | WRITABLE;
const DATA: u64 = PRESENT | WRITABLE | NO_EXECUTE;

/// Why nothing was done.
#[derive(Debug)]
pub enum Refused {
    NoMemory,
    Occupied,
    NotMapped,
}

/// `KEEPS`: entries that hardware may write are changed by atomic read-modify-write.
/// `COUNTS`: each table's used entries are counted, and a table that is empty is freed.
pub struct Reference<const KEEPS: bool, const COUNTS: bool> {
    root: u64,
}

/// # Safety
/// `table` is a table, and `index` below 512.
#[inline(always)]
unsafe fn entry(table: u64, index: u64) -> *mut u64 {
    // SAFETY: as the caller promises, it is inside the table.
    unsafe { arena::reach(table).cast::<u64>().add(index as usize) }
}

#[inline(always)]
fn index(at: u64, height: u32) -> u64 {
    (at >> (12 + 9 * height)) & 511
}

#[inline]
fn zeroed() -> Result<u64, Refused> {
    let table = arena::take().ok_or(Refused::NoMemory)?;
    // SAFETY: the frame is ours, and as large.
    unsafe { arena::reach(table).write_bytes(0, arena::FRAME) };
    Ok(table)
}

#[inline(always)]
fn add_used(sum: &mut Sum, raw: u64) {
    let used = raw >> USED_AT;
    sum.add_used(raw & ADDRESS, used & 1 != 0, used & 2 != 0);
}

impl<const KEEPS: bool, const COUNTS: bool> Reference<KEEPS, COUNTS> {
    #[inline(always)]
    fn counted(table: u64, by: u16) -> u16 {
        if !COUNTS {
            return 1;
        }
        let count = arena::count(table);
        let now = count.load(Relaxed).wrapping_add(by);
        count.store(now, Relaxed);
        now
    }

    /// The table that serves `at` below an entry of this height, made if it is missing.
    #[inline(always)]
    fn below_or_new(table: u64, at: u64, height: u32) -> Result<u64, Refused> {
        // SAFETY: callers come from the root, by tables alone.
        let entry = unsafe { entry(table, index(at, height)) };
        // SAFETY: as above.
        let raw = unsafe { entry.read() };
        if raw & PRESENT != 0 { Ok(raw & TABLE_ADDRESS) } else { Self::new_below(table, entry) }
    }

    #[cold]
    #[inline(never)]
    fn new_below(table: u64, entry: *mut u64) -> Result<u64, Refused> {
        let below = zeroed()?;
        // SAFETY: as above.
        unsafe { entry.write(below | TABLE) };
        Self::counted(table, 1);
        Ok(below)
    }

    #[inline(always)]
    fn below(table: u64, at: u64, height: u32) -> Result<u64, Refused> {
        // SAFETY: as in `below_or_new`.
        let raw = unsafe { entry(table, index(at, height)).read() };
        if raw & PRESENT != 0 { Ok(raw & TABLE_ADDRESS) } else { Err(Refused::NotMapped) }
    }

    #[inline(always)]
    fn leafmost_or_new(&self, at: u64) -> Result<u64, Refused> {
        let pud = Self::below_or_new(self.root, at, 3)?;
        let pmd = Self::below_or_new(pud, at, 2)?;
        Self::below_or_new(pmd, at, 1)
    }

    #[inline(always)]
    fn leafmost(&self, at: u64) -> Result<u64, Refused> {
        Self::below(Self::below(Self::below(self.root, at, 3)?, at, 2)?, at, 1)
    }

    #[inline(always)]
    fn put(table: u64, at: u64, raw: u64) -> Result<(), Refused> {
        // SAFETY: as in `below_or_new`.
        let entry = unsafe { entry(table, index(at, 0)) };
        // SAFETY: as above.
        if unsafe { entry.read() } != 0 {
            return Err(Refused::Occupied);
        }
        // SAFETY: as above.
        unsafe { entry.write(raw) };
        Self::counted(table, 1);
        Ok(())
    }

    #[inline(always)]
    fn map(&mut self, at: u64, frame: u64) -> Result<(), Refused> {
        Self::put(self.leafmost_or_new(at)?, at, frame | DATA)
    }

    /// Where a byte is. Whoever asks does not know how large its page is.
    #[inline(always)]
    fn translate(&self, at: u64) -> Result<u64, Refused> {
        let mut table = self.root;
        for height in (0..4).rev() {
            // SAFETY: as in `below_or_new`.
            let raw = unsafe { entry(table, index(at, height)).read() };
            if raw & PRESENT == 0 {
                return Err(Refused::NotMapped);
            }
            if height == 0 || height < 3 && raw & HUGE != 0 {
                let inside = (PAGE << (9 * height)) - 1;
                return Ok(raw & ADDRESS & !inside | at & inside);
            }
            table = raw & TABLE_ADDRESS;
        }
        Err(Refused::NotMapped)
    }

    /// Empties an entry, and says what was there.
    #[inline(always)]
    fn clear(entry: *mut u64) -> u64 {
        if KEEPS {
            // SAFETY: callers come from a table.
            return unsafe { AtomicU64::from_ptr(entry) }.swap(0, Relaxed);
        }
        // SAFETY: as above.
        let raw = unsafe { entry.read() };
        // SAFETY: as above.
        unsafe { entry.write(0) };
        raw
    }

    #[inline(always)]
    fn unmap(&mut self, at: u64) -> Result<u64, Refused> {
        let table = self.leafmost(at)?;
        // SAFETY: as in `below_or_new`.
        let raw = Self::clear(unsafe { entry(table, index(at, 0)) });
        if raw & PRESENT == 0 {
            return Err(Refused::NotMapped);
        }
        if Self::counted(table, u16::MAX) == 0 {
            self.prune(at, table)?;
        }
        Ok(raw)
    }

    /// Frees the empty leaf table for `at`, and the tables above it that are empty then.
    #[cold]
    fn prune(&mut self, at: u64, empty: u64) -> Result<(), Refused> {
        let pud = Self::below(self.root, at, 3)?;
        let pmd = Self::below(pud, at, 2)?;
        let mut freed = empty;
        for (above, height) in [(pmd, 1), (pud, 2), (self.root, 3)] {
            // SAFETY: as in `below_or_new`.
            unsafe { entry(above, index(at, height)).write(0) };
            arena::give(freed);
            if Self::counted(above, u16::MAX) != 0 {
                break;
            }
            freed = above;
        }
        Ok(())
    }

    /// Does something with each whole leaf table of a run of whole ones: the entry that names it, and
    /// its first frame.
    #[inline(always)]
    fn tables(&mut self, run: Run, mut each: impl FnMut(*mut u64, u64)) -> Result<(), Refused> {
        let (whole, mut offset) = (512 * run.size, 0);
        while offset < run.bytes() {
            let at = run.at + offset;
            let pud = Self::below_or_new(self.root, at, 3)?;
            let pmd = Self::below_or_new(pud, at, 2)?;
            // SAFETY: as in `below_or_new`.
            each(unsafe { entry(pmd, index(at, 1)) }, run.frame + offset);
            offset += whole;
        }
        Ok(())
    }

    /// Makes a whole table of leaves, which nobody has zeroed, and names it in an empty entry.
    #[inline(always)]
    fn link<const SIZE: u64>(above: *mut u64, first: u64) -> Result<(), Refused> {
        // SAFETY: callers give an entry of a live table.
        if unsafe { above.read() } != 0 {
            return Err(Refused::Occupied);
        }
        let table = arena::take().ok_or(Refused::NoMemory)?;
        for index in 0..512 {
            // SAFETY: the table is new.
            unsafe { entry(table, index).write(first + index * SIZE) };
        }
        // SAFETY: as above.
        unsafe { above.write(table | TABLE) };
        Ok(())
    }

    fn free(table: u64, height: u32) {
        for index in 0..if height > 0 { 512 } else { 0 } {
            // SAFETY: as in `below_or_new`.
            let raw = unsafe { entry(table, index).read() };
            if raw & (PRESENT | HUGE) == PRESENT {
                Self::free(raw & ADDRESS, height - 1);
            }
        }
        arena::give(table);
    }
}

/// What is in one whole leaf table.
#[inline(always)]
fn take_all<const KEEPS: bool>(table: u64, sum: &mut Sum) {
    for index in 0..512 {
        // SAFETY: it is a table.
        let entry = unsafe { entry(table, index) };
        let raw = if KEEPS {
            // SAFETY: as above.
            unsafe { AtomicU64::from_ptr(entry) }.swap(0, Relaxed)
        } else {
            // SAFETY: as above.
            unsafe { entry.read() }
        };
        add_used(sum, raw);
    }
}

/// Takes the right to write from every page of one leaf table.
#[inline(always)]
fn protect_all<const KEEPS: bool>(table: u64) {
    for index in 0..512 {
        // SAFETY: it is a table.
        let entry = unsafe { entry(table, index) };
        if KEEPS {
            // SAFETY: as above.
            let word = unsafe { AtomicU64::from_ptr(entry) };
            let change =
                |raw| (raw & PRESENT != 0).then_some(raw & !(WRITABLE | USER) | NO_EXECUTE);
            let _ = word.fetch_update(Relaxed, Relaxed, change);
        } else {
            // SAFETY: as above.
            let raw = unsafe { entry.read() };
            if raw & PRESENT != 0 {
                // SAFETY: as above.
                unsafe { entry.write(raw & !(WRITABLE | USER) | NO_EXECUTE) };
            }
        }
    }
}

impl<const KEEPS: bool, const COUNTS: bool> Subject for Reference<KEEPS, COUNTS> {
    const MODE: Mode = Mode::Long;

    fn new() -> Self {
        Self { root: zeroed().unwrap() }
    }

    fn root(&self) -> u64 {
        self.root
    }

    fn map_pages(&mut self, run: Run) {
        for (at, frame) in run.base_pages() {
            self.map(at, frame).unwrap();
        }
    }

    fn map_cursor(&mut self, run: Run) {
        // No table serves these.
        let (mut held, mut start) = (0, u64::MAX << 21);
        for (at, frame) in run.base_pages() {
            if at >> 21 != start >> 21 {
                (held, start) = (self.leafmost_or_new(at).unwrap(), at);
            }
            Self::put(held, at, frame | DATA).unwrap();
        }
    }

    fn map_range(&mut self, run: Run) {
        if run.size == HUGE_PAGE {
            let pud = Self::below_or_new(self.root, run.at, 3).unwrap();
            // SAFETY: as in `below_or_new`.
            let above = unsafe { entry(pud, index(run.at, 2)) };
            return Self::link::<HUGE_PAGE>(above, run.frame | DATA | HUGE).unwrap();
        }
        let mut result = Ok(());
        let walked = self.tables(run, |above, first| {
            if result.is_ok() {
                result = Self::link::<PAGE>(above, first | DATA);
            }
        });
        walked.and(result).unwrap();
    }

    fn map_list(&mut self, list: &[(u64, u64)]) {
        for &(at, frame) in list {
            self.map(at, frame).unwrap();
        }
    }

    fn translate_list(&self, list: &[(u64, u64)]) -> Sum {
        let mut sum = Sum::default();
        for &(at, _) in list {
            sum.add(self.translate(at).unwrap());
        }
        sum
    }

    fn unmap_pages(&mut self, run: Run) -> Option<Sum> {
        let mut sum = Sum::default();
        for (at, _) in run.base_pages() {
            sum.add(self.unmap(at).unwrap() & ADDRESS);
        }
        Some(sum)
    }

    fn unmap_pages_freed(&mut self, run: Run) -> Option<Sum> {
        self.unmap_pages(run)
    }

    fn unmap_range(&mut self, run: Run) -> Option<Sum> {
        let mut sum = Sum::default();
        let cleared = self.tables(run, |above, _| {
            // SAFETY: `tables` gives an entry of a live table.
            let table = unsafe { above.read() } & ADDRESS;
            // SAFETY: as above.
            unsafe { above.write(0) };
            take_all::<KEEPS>(table, &mut sum);
            arena::give(table);
        });
        cleared.unwrap();
        Some(sum)
    }

    fn protect_range(&mut self, run: Run) {
        let protected = self.tables(run, |above, _| {
            // SAFETY: `tables` gives an entry of a live table.
            protect_all::<KEEPS>(unsafe { above.read() } & ADDRESS);
        });
        protected.unwrap();
    }

    fn map_unmap(&mut self, run: Run, turns: u64) -> Option<Sum> {
        let mut sum = Sum::default();
        for turn in 0..turns {
            self.map(run.at, run.frame + turn % 2 * 4096).unwrap();
            sum.add(self.unmap(run.at).unwrap() & ADDRESS);
        }
        Some(sum)
    }

    fn tear_down(self) {
        Self::free(self.root, 3);
    }
}
