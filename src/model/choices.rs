//! What the manual leaves open, decided.

use std::vec::Vec;

/// What a CPU has to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Which translation to use of those that serve the address, the newest first; the last case is to
    /// walk.
    Translation,
    /// Where to begin a walk: at which of the cached pointers, the one furthest down first; the last
    /// case is at the root.
    Start,
    /// 0: keep the pointer that was read.
    KeepPointer,
    /// 0: keep the translation that was read.
    KeepTranslation,
    /// 0: keep it for the whole page; 1: for one base page of it (section 4.10.2.3).
    Fragment,
    /// 0: walk ahead of time for an address that was used before.
    WalkAhead,
    /// 0: drop a translation that nobody asked to drop.
    DropTranslation,
    /// 0: drop a pointer.
    DropPointer,
    /// Which one to drop.
    Which,
}

/// Decides what a CPU does where the manual leaves it the choice.
pub trait Choices {
    /// A number below `among`, which is not zero.
    fn choose(&mut self, among: u32) -> u32;

    /// The same, for those who want to know what it is about.
    fn decide(&mut self, what: Decision, among: u32) -> u32 {
        let _ = what;
        self.choose(among)
    }

    /// Yes in one of `among` cases.
    fn one_in(&mut self, among: u32) -> bool {
        self.choose(among) == 0
    }
}

/// Numbers without a pattern, the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// The next number (splitmix64).
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Choices for Random {
    #[allow(clippy::cast_possible_truncation)] // it is below `among`
    fn choose(&mut self, among: u32) -> u32 {
        (self.number() % u64::from(among)) as u32
    }
}

/// Choices that were made beforehand, by a test that wants to shrink them; after the last one, zero.
#[derive(Clone, Debug, Default)]
pub struct Script {
    bytes: Vec<u8>,
    next: usize,
}

impl Script {
    /// One byte for each choice.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, next: 0 }
    }
}

impl Choices for Script {
    fn choose(&mut self, among: u32) -> u32 {
        let byte = self.bytes.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        u32::from(byte) % among
    }
}

/// Keeps all that may be kept, drops nothing unasked, and walks ahead never. With an explorer that
/// tries every use of what is kept, this is the most hostile CPU of all: whatever another one might
/// have dropped, need not be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAll;

impl Choices for KeepAll {
    fn choose(&mut self, _: u32) -> u32 {
        0
    }

    fn decide(&mut self, what: Decision, among: u32) -> u32 {
        match what {
            Decision::WalkAhead | Decision::DropTranslation | Decision::DropPointer => among - 1,
            _ => 0,
        }
    }
}

/// Keeps nothing and walks from the root each time: a CPU that sees memory as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepNothing;

impl Choices for KeepNothing {
    fn choose(&mut self, among: u32) -> u32 {
        among - 1
    }

    fn decide(&mut self, what: Decision, among: u32) -> u32 {
        match what {
            Decision::KeepPointer | Decision::KeepTranslation => 1,
            _ => among - 1,
        }
    }
}
