//! Words whose every access can be seen, for tests that do something in between.
//!
//! Formats say how wide their words are, and with that how a word is accessed. [`SteppedFormat`] is
//! any format, with words that ask a type of the test's own, [`Steps`], to make each access: the code
//! that a kernel runs, with an explorer's hands between any two of its steps. Nothing of it is in a
//! kernel, and nothing is slower for it.

use super::{Attrs, Entry, Feature, Fields, Format, Glance, Level, Limits, Rights, Word};
use crate::addr::PhysAddr;
use core::fmt;
use core::marker::PhantomData;

/// One access to one word of a table: one atomic step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordAccess {
    /// Reads it.
    Load,
    /// Writes it.
    Store(u64),
    /// Writes it, and tells what was there.
    Swap(u64),
    /// Writes `raw` if `was` is there, and tells what was.
    CompareExchange {
        /// What should be there.
        was: u64,
        /// What to write.
        raw: u64,
    },
    /// Sets bits, and tells what was there.
    Or(u64),
    /// Keeps only these bits, and tells what was there.
    And(u64),
}

impl WordAccess {
    /// Makes the access, and tells what was there; of a store, nothing (0).
    pub fn perform<W: Word>(self, at: &W::Atomic) -> u64 {
        match self {
            Self::Load => W::load(at),
            Self::Store(raw) => {
                W::store(at, raw);
                0
            }
            Self::Swap(raw) => W::swap(at, raw),
            Self::CompareExchange { was, raw } => {
                W::compare_exchange(at, was, raw).unwrap_or_else(|found| found)
            }
            Self::Or(bits) => W::fetch_or(at, bits),
            Self::And(mask) => W::fetch_and(at, mask),
        }
    }

    /// What is there after it, if `was` was before.
    #[must_use]
    pub const fn after(self, was: u64) -> u64 {
        match self {
            Self::Load => was,
            Self::Store(raw) | Self::Swap(raw) => raw,
            Self::CompareExchange { was: wanted, raw } => {
                if was == wanted {
                    raw
                } else {
                    was
                }
            }
            Self::Or(bits) => was | bits,
            Self::And(mask) => was & mask,
        }
    }
}

/// Makes the accesses to words of tables, one at a time, and does what it likes in between.
///
/// ```
/// use core::sync::atomic::{AtomicU64, Ordering};
/// use pgtable::{Steps, Word, WordAccess};
///
/// static COUNT: AtomicU64 = AtomicU64::new(0);
///
/// enum Counting {}
/// impl Steps for Counting {
///     fn perform<W: Word>(at: &W::Atomic, access: WordAccess) -> u64 {
///         COUNT.fetch_add(1, Ordering::Relaxed);
///         access.perform::<W>(at)
///     }
/// }
/// # use pgtable::{Above, Arch, Last, Limits, SteppedFormat, arch::x86::X86_64};
/// # use pgtable::{Attrs, Frame, Page, PhysAddr, RootCell, Setup, Size4KiB, Space, VirtAddr};
/// # mod simulated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/memory.rs")); }
/// type F = SteppedFormat<pgtable::arch::x86::X86Long, Counting>;
/// type Pmd = Above<Last<F, 9>, 9, true>;
/// enum Seen {}
/// impl Arch for Seen {
///     type Format = F;
///     type Root = Above<Above<Pmd, 9, true>, 9, false>;
///     const NAME: &'static str = "x86-64, seen";
///     const SIGN_EXTENDED: bool = true;
///     const LIMITS: Limits = X86_64::LIMITS;
/// }
/// # let (host, cell) = (simulated::Memory::new(), RootCell::new());
/// let mut space = Space::<Seen, _>::new(&host, &cell, Setup::new())?;
/// # let page = Page::<Size4KiB>::new(VirtAddr(0x1000)).unwrap();
/// # let frame = Frame::new(PhysAddr(0x5000)).unwrap();
/// space.map(page, frame, Attrs::DATA)?;
/// assert!(COUNT.load(Ordering::Relaxed) > 0);
/// # Ok::<(), pgtable::Error>(())
/// ```
pub trait Steps: 'static {
    /// Makes one access, and tells what was there.
    fn perform<W: Word>(at: &W::Atomic, access: WordAccess) -> u64 {
        access.perform::<W>(at)
    }
}

/// A word as `W` is one, whose accesses `S` makes.
pub struct Stepped<W, S>(W, PhantomData<fn() -> S>);

impl<W: Copy, S> Clone for Stepped<W, S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<W: Copy, S> Copy for Stepped<W, S> {}

impl<W: fmt::Debug, S> fmt::Debug for Stepped<W, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<W: Word, S: Steps> Word for Stepped<W, S> {
    const BYTES_LG2: u8 = W::BYTES_LG2;
    type Atomic = W::Atomic;
    type Plain = W::Plain;

    fn from_raw(raw: u64) -> Self {
        Self(W::from_raw(raw), PhantomData)
    }
    fn raw(self) -> u64 {
        self.0.raw()
    }
    fn load(at: &W::Atomic) -> u64 {
        S::perform::<W>(at, WordAccess::Load)
    }
    fn get(at: &mut W::Atomic) -> u64 {
        S::perform::<W>(at, WordAccess::Load)
    }
    fn store(at: &W::Atomic, raw: u64) {
        S::perform::<W>(at, WordAccess::Store(raw));
    }
    fn swap(at: &W::Atomic, raw: u64) -> u64 {
        S::perform::<W>(at, WordAccess::Swap(raw))
    }
    fn compare_exchange(at: &W::Atomic, was: u64, raw: u64) -> Result<u64, u64> {
        let found = S::perform::<W>(at, WordAccess::CompareExchange { was, raw });
        if found == was { Ok(found) } else { Err(found) }
    }
    fn fetch_or(at: &W::Atomic, bits: u64) -> u64 {
        S::perform::<W>(at, WordAccess::Or(bits))
    }
    fn fetch_and(at: &W::Atomic, mask: u64) -> u64 {
        S::perform::<W>(at, WordAccess::And(mask))
    }
}

/// The format `F`, with words whose accesses `S` makes.
#[derive(Debug)]
pub struct SteppedFormat<F, S>(PhantomData<(F, fn() -> S)>);

// SAFETY: every answer is that of `F`, which keeps the promise.
unsafe impl<F: Format, S: Steps> Format for SteppedFormat<F, S> {
    type Word = Stepped<F::Word, S>;
    const PAGE_LG2: u8 = F::PAGE_LG2;
    const TABLE_LG2: u8 = F::TABLE_LG2;
    const PRESENT: u64 = F::PRESENT;
    const LOCK: u64 = F::LOCK;
    const TWIN: u64 = F::TWIN;

    fn decode(level: Level, raw: u64, limits: &Limits) -> Entry {
        F::decode(level, raw, limits)
    }
    fn glance(level: Level, leaf: bool, limits: &Limits) -> Glance {
        F::glance(level, leaf, limits)
    }
    fn address(level: Level, leaf: bool, raw: u64) -> PhysAddr {
        F::address(level, leaf, raw)
    }
    fn leaf(level: Level, frame: PhysAddr, attrs: &Attrs) -> Result<u64, Feature> {
        F::leaf(level, frame, attrs)
    }
    fn step(level: Level) -> Option<u64> {
        F::step(level)
    }
    fn attrs(level: Level, raw: u64) -> Attrs {
        F::attrs(level, raw)
    }
    fn mask(level: Level, fields: Fields) -> u64 {
        F::mask(level, fields)
    }
    fn table(level: Level, table: PhysAddr, user: bool) -> u64 {
        F::table(level, table, user)
    }
    fn grants(level: Level, raw: u64) -> u64 {
        F::grants(level, raw)
    }
    fn rights(grants: u64) -> Rights {
        F::rights(grants)
    }
    fn widening(level: Level, rights: Rights) -> (u64, u64) {
        F::widening(level, rights)
    }
    fn copied(level: Level, raw: u64) -> u64 {
        F::copied(level, raw)
    }
    fn phys_bits(level: Level, leaf: bool, limits: &Limits) -> u8 {
        F::phys_bits(level, leaf, limits)
    }
}
