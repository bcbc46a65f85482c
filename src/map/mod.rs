//! The verbs.
//!
//! Each is a [`Visitor`](crate::walk::Visitor) over the one walk, and every change of a live entry
//! goes through `edit`. What a verb does in which order is said where it does it; these rules hold
//! for all:
//!
//! - what can fail comes before the first change that a CPU or another verb can see;
//! - an entry that hardware may write is changed by one atomic read-modify-write, and what was in it
//!   is kept or answered with;
//! - a table that was linked is freed through a gather; one that never was is dropped as `Fresh`.

mod clear;
mod edit;
mod exchange;
mod frames;
mod install;
mod names;
mod page;
mod promote;
mod protect;
mod scan;
mod split;
mod tear;
mod tree;
mod whole;

pub use frames::FrameRun;

pub(crate) use names::Check;
pub(crate) use page::OneLeaf;

pub use scan::{Used, UsedPage};
pub(crate) use tree::Tree;
