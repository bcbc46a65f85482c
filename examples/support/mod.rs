//! What the examples share: the core of a stopped machine, and its memory as a host.

#![allow(dead_code)] // each example, and each test, uses a part of it

pub(crate) mod core;
pub(crate) mod elf;
pub(crate) mod fault;
pub(crate) mod mode;
