//! What the manual leaves open, decided.

use std::vec::Vec;

/// Decides what a CPU does where the manual leaves it the choice.
pub trait Choices {
    /// A number below `among`, which is not zero.
    fn choose(&mut self, among: u32) -> u32;

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
