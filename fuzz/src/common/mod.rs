//! What the tests have, too: the model of a space, and the numbers of a mode.

#[path = "../../../tests/common/model.rs"]
pub mod model;
#[path = "../../../tests/common/shape.rs"]
pub mod shape;

pub use model::page_lg2;
pub use shape::{canonical, mapping_levels, root_level, virt_bits};
