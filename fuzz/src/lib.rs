//! What the fuzz targets do: each is one call of a function here.

pub mod common;
pub mod cores;
pub mod decode;
mod host;
pub mod input;
mod manual;
pub mod operations;
pub mod relocate;
mod rules;
mod story;
mod world;

#[path = "../../examples/support/mod.rs"]
mod support;

use support::mode::Mode;

/// One of the four modes.
fn mode(number: u8) -> Mode {
    [Mode::Legacy, Mode::Pae, Mode::Long, Mode::LongLa57][usize::from(number % 4)]
}
