//! What several tests share.
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![allow(clippy::undocumented_unsafe_blocks, clippy::must_use_candidate, clippy::cast_sign_loss)]

pub mod copy;
pub mod memory;
pub mod model;
pub mod nodes;
pub mod odd;
pub mod ops;
pub mod oracle;
pub mod shape;
pub mod watch;
pub mod x86;

pub use shape::{canonical, mapping_levels, root_level, virt_bits};

use pgtable::{Arch, Setup, Span};
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells other threads that they are done when it is dropped: also by a panic, so that a test that
/// fails does not wait for them for ever.
pub struct Done<'a>(pub &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs a generic test body for every arch: `each_arch!(body)` calls `body::<A>()`.
#[allow(unused_macros)] // by the explorer
macro_rules! each_arch {
    ($body:ident) => {
        mod $body {
            #[test]
            fn x86_32() {
                super::$body::<pgtable::arch::x86::X86_32>();
            }
            #[test]
            fn x86_pae() {
                super::$body::<pgtable::arch::x86::X86Pae>();
            }
            #[test]
            fn x86_64() {
                super::$body::<pgtable::arch::x86::X86_64>();
            }
            #[test]
            fn x86_64_la57() {
                super::$body::<pgtable::arch::x86::X86_64La57>();
            }
            #[test]
            fn made_up() {
                super::$body::<$crate::common::odd::Odd>();
            }
        }
    };
}

/// The span of `bytes` bytes from an offset on.
pub fn span_at<A: Arch>(offset: u64, bytes: u64) -> Span {
    Span::new(canonical::<A>(offset), bytes).unwrap()
}

/// The attributes that every mode has: read, write, execute.
pub fn plain() -> pgtable::Attrs {
    pgtable::Attrs::ALL
}

/// A number of random cases: as many as `PROPTEST_CASES` says, or a few.
pub fn cases(few: u32) -> proptest::test_runner::Config {
    let set = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    proptest::test_runner::Config {
        cases: set.unwrap_or(few),
        failure_persistence: None,
        ..Default::default()
    }
}

/// The upper half of the address space.
pub fn upper_half<A: Arch>() -> Span {
    let half = 1u64 << (virt_bits::<A>() - 1);
    span_at::<A>(half, half)
}

pub fn setup<'k, A: Arch>() -> Setup<'k, A> {
    Setup::new()
}
