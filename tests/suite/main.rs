//! The tests of the library: one program, since a generic body is made into code again for each program
//! that uses it.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#![allow(clippy::undocumented_unsafe_blocks)]

#[macro_use]
#[path = "../common/mod.rs"]
mod common;

mod adopted;
mod aliased;
mod any_input;
mod at_hand;
mod breaking;
mod copying;
mod counts;
mod cursor;
mod edges;
mod exact;
mod failing;
mod glance;
mod halves;
mod levels;
mod merging;
mod mmu;
mod model;
mod moved_names;
mod narrow;
mod never;
mod numbers;
mod races;
mod relocate;
mod sessions;
mod shared;
mod swept;
mod together;
mod told;
mod trust;
mod whole;
