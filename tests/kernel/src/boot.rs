//! The first instructions, and the tables that they load.

use core::arch::global_asm;
use core::cell::UnsafeCell;

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// How many CPUs there can be.
pub const CPUS: usize = 2;
const STACK_LG2: usize = 16;

const LONG: usize = cfg!(target_arch = "x86_64") as usize;
const WIDE: bool = cfg!(any(target_arch = "x86_64", feature = "pae"));
/// Control registers (Intel SDM volume 3A, section 2.5): PSE or PAE, PGE, OSFXSR and OSXMMEXCPT, LA57.
const CR4: usize =
    1 << 4 | (WIDE as usize) << 5 | 0b111 << 7 | 1 << 10 | (cfg!(feature = "la57") as usize) << 12;
/// LME, NXE.
const EFER: usize = (WIDE as usize) << 11 | LONG << 8;
/// PG, WP, NE, ET, MP, PE.
const CR0: usize = 1 << 31 | 1 << 16 | 0b11_0011;

/// Memory that Rust hands to the machine.
#[repr(C, align(4096))]
pub struct Raw<T>(UnsafeCell<T>);

// SAFETY: nothing in Rust reads or writes what is inside.
unsafe impl<T> Sync for Raw<T> {}

#[unsafe(link_section = ".tables")]
static TABLES: Raw<[u8; BYTES]> =
    Raw(UnsafeCell::new(*include_bytes!(concat!(env!("OUT_DIR"), "/tables.bin"))));

static STACKS: Raw<[u8; CPUS << STACK_LG2]> = Raw(UnsafeCell::new([0; CPUS << STACK_LG2]));

global_asm!(
    include_str!("boot.s"),
    ROOT = const ROOT,
    LONG = const LONG,
    CR0 = const CR0,
    CR4 = const CR4,
    EFER = const EFER,
    STACK_LG2 = const STACK_LG2,
    STACKS = sym STACKS,
    TABLES = sym TABLES,
    options(att_syntax)
);

unsafe extern "C" {
    static boot_trampoline: u8;
    static boot_trampoline_end: u8;
    static mut boot_root: u32;
    static image_end: u8;
    static text_start: u8;
    static text_end: u8;
    static data_start: u8;
}

/// An address that the linker knows.
fn address(symbol: *const u8) -> u64 {
    symbol.addr() as u64
}

/// The image in the kernel's half: where code begins and ends, where data begins, and the end of all.
pub fn image() -> [u64; 4] {
    [&raw const text_start, &raw const text_end, &raw const data_start, &raw const image_end]
        .map(address)
}

/// Where the code for other CPUs is in memory, and how long it is.
pub fn trampoline() -> (u64, usize) {
    let (first, end) =
        (address(&raw const boot_trampoline), address(&raw const boot_trampoline_end));
    (first, usize::try_from(end - first).unwrap_or(0))
}

/// Where in memory the word is that names the root for other CPUs.
pub fn root_for_others() -> u64 {
    address((&raw const boot_root).cast())
}

pub use crate::layout::LOADED;

/// The root that was loaded when paging went on.
pub const FIRST_ROOT: u64 = ROOT as u64;
