//! Other crates, each used as its documentation says, on the same arena. A crate does the rows that it
//! has a call for: nothing is made up from other calls, but for the loop around a call per page.

pub mod aarch64_paging;
pub mod multiarch;
pub mod page_table_generic;
pub mod patina;
pub mod x86_64;
