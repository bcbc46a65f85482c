//! Where things are in the kernel's address space. The build script reads this file as well.

/// The image is loaded here: the header for the loader comes first, and the first tables follow.
pub const LOADED: u64 = 0x10_0000;
/// Where the first tables are.
pub const TABLES: u64 = LOADED + 0x1000;
/// So much memory, from 0 on, is mapped when paging goes on.
pub const LOW_BYTES: u64 = 256 << 20;
/// So much of it is mapped where it is as well, for the first instructions after that.
pub const IDENTITY_BYTES: u64 = 4 << 20;
/// So much of the image is mapped: all of it.
pub const IMAGE_BYTES: u64 = 4 << 20;
/// Where memory above 4 GiB begins.
pub const HIGH: u64 = 1 << 32;

/// The address space of one mode.
#[derive(Clone, Copy)]
pub struct Layout {
    /// The first address of the kernel's half; it reaches to the last one.
    pub shared: u64,
    /// The last address.
    pub last: u64,
    /// The image is linked this far above where it is loaded.
    pub image: u64,
    /// Memory from 0 on.
    pub direct: u64,
    /// Memory from 4 GiB on; 0 where that is out of reach of base pages.
    pub high: u64,
    /// For pages of the kernel that come and go.
    pub area: u64,
    /// Devices.
    pub devices: u64,
    /// Runs of pages to work on in the lower half. Most of them straddle what one table serves.
    pub windows: [u64; 4],
}

/// x86 without PAE.
pub const LEGACY: Layout = Layout {
    shared: 0xc000_0000,
    last: 0xffff_ffff,
    image: 0xc000_0000,
    direct: 0xc000_0000,
    high: 0,
    area: 0xf000_0000,
    devices: 0xf800_0000,
    windows: [0x3ffc_0000, 0x7ffc_0000, 0x8123_4000, 0xa3fc_0000],
};

/// PAE.
pub const PAE: Layout = Layout { high: 0xe000_0000, ..LEGACY };

/// x86-64. The kernel's half is the last two root entries.
pub const LONG: Layout = Layout {
    shared: 0xffff_ff00_0000_0000,
    last: u64::MAX,
    image: 0xffff_ffff_8000_0000,
    direct: 0xffff_ff00_0000_0000,
    high: 0xffff_ff00_0000_0000 + HIGH,
    area: 0xffff_ffff_a000_0000,
    devices: 0xffff_ffff_c000_0000,
    windows: [0x3ffc_0000, 0x7f_fffc_0000, 0x1234_5678_9000, 0x7fff_fff0_0000],
};

/// x86-64 with 5 levels. The kernel's half is the last root entry.
pub const LA57: Layout = Layout {
    shared: 0xffff_0000_0000_0000,
    windows: [0x3ffc_0000, 0x7f_fffc_0000, 0xffff_fffc_0000, 0xab_cdef_0123_4000],
    ..LONG
};
