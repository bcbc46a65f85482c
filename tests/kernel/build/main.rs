//! Builds the tables that are there when paging goes on: with `pgtable`, on the machine that builds
//! the kernel, into memory that is put into the image.

#[path = "../src/layout.rs"]
#[allow(dead_code)]
mod layout;
mod memory;

use layout::{IDENTITY_BYTES, IMAGE_BYTES, LA57, LEGACY, LONG, LOW_BYTES, Layout, PAE, TABLES};
use memory::Memory;
use pgtable::arch::x86::{X86_32, X86_64, X86_64La57, X86Pae};
use pgtable::{
    Arch, Attrs, Config, Error, Limits, PhysAddr, Rights, RootCell, Setup, Space, Span, VirtAddr,
};
use std::path::PathBuf;
use std::{env, fs};

fn span(first: u64, bytes: u64) -> Span {
    Span::new(VirtAddr(first), bytes).expect("the layout has spans that end")
}

/// What every CPU of the mode has.
fn limits<A: Arch>() -> Limits {
    let mut limits = A::LIMITS;
    limits.phys_bits = limits.phys_bits.min(36);
    limits.largest_leaf_lg2 = limits.largest_leaf_lg2.min(22);
    limits
}

/// The tables that are there when paging goes on: the image and memory in the kernel's half, and the
/// first instructions where they are.
fn tables<C: Config>(layout: &Layout) -> Result<(PhysAddr, Vec<u8>), Error> {
    let (memory, cell) = (Memory::new(TABLES), RootCell::new());
    let shared = Span::inclusive(VirtAddr(layout.shared), VirtAddr(layout.last)).unwrap();
    let limits = limits::<C::Arch>();
    let setup = Setup::new().kernel(shared).limits(limits);
    let mut space = Space::<C, _>::new(&memory, &cell, setup)?;
    let image = Attrs::ALL.with_global(true);
    let data = if limits.no_execute { Rights::READ | Rights::WRITE } else { image.rights };
    space.map_range(span(0, IDENTITY_BYTES), PhysAddr(0), Attrs::ALL)?;
    space.map_range(span(layout.image, IMAGE_BYTES), PhysAddr(0), image)?;
    let done = if layout.image == layout.direct { IMAGE_BYTES } else { 0 };
    let rest = span(layout.direct + done, LOW_BYTES - done);
    space.map_range(rest, PhysAddr(done), Attrs::new(data).with_global(true))?;
    let root = space.root();
    Ok((root, memory.bytes()))
}

fn main() {
    let feature = |name: &str| env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    let long = env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64");
    let (layout, made) = match long {
        false if feature("PAE") => (PAE, tables::<X86Pae>(&PAE)),
        false => (LEGACY, tables::<X86_32>(&LEGACY)),
        true if feature("LA57") => (LA57, tables::<X86_64La57>(&LA57)),
        true => (LONG, tables::<X86_64>(&LONG)),
    };
    let (root, bytes) = made.expect("the first tables can be built");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("tables.bin"), &bytes).expect("the output folder can be written to");
    let text =
        format!("const ROOT: u32 = {:#x};\nconst BYTES: usize = {:#x};\n", root.0, bytes.len());
    fs::write(out.join("tables.rs"), text).expect("the output folder can be written to");
    link(&layout);
}

/// How the image is linked.
fn link(layout: &Layout) {
    let package = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let script = format!("-Wl,-T{package}/build/link.ld,--defsym=IMAGE={:#x}", layout.image);
    let more = "-Wl,--build-id=none,-zmax-page-size=4096,-znoexecstack,--gc-sections";
    for arg in ["-nostdlib", "-nostartfiles", "-static", "-no-pie", more, &script] {
        println!("cargo::rustc-link-arg-bins={arg}");
    }
    for file in ["build", "src/layout.rs", "../../src", "../../arch"] {
        println!("cargo::rerun-if-changed={file}");
    }
}
