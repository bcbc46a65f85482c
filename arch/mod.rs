//! The paging modes: one file or folder for each MMU.
//!
//! Every mode compiles on every host; only the instructions in `native` belong to the CPU that the
//! crate is built for.

pub mod x86;

cfg_if::cfg_if! {
    if #[cfg(all(target_arch = "x86_64", target_has_atomic = "64"))] {
        pub use x86::cpu as native;
    } else if #[cfg(target_arch = "x86")] {
        pub use x86::cpu as native;
    }
}
