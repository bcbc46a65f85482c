//! Pages, frames and spaces for tests of single modes.

use pgtable::{
    Config, Frame, Gather, Host, Page, PhysAddr, Rights, RootCell, Setup, Size2MiB, Size4KiB,
    Space, VirtAddr,
};

/// What a program may do with its data.
pub const USER: Rights = Rights::READ.union(Rights::WRITE).union(Rights::USER);

pub fn page(at: u64) -> Page<Size4KiB> {
    Page::new(VirtAddr(at)).unwrap()
}

pub fn huge(at: u64) -> Page<Size2MiB> {
    Page::new(VirtAddr(at)).unwrap()
}

pub fn frame(at: u64) -> Frame<Size4KiB> {
    Frame::new(PhysAddr(at)).unwrap()
}

pub fn space<'r, C: Config, H: Host>(host: H, cell: &'r RootCell) -> Space<'r, C, H> {
    Space::new(host, cell, Setup::new()).unwrap()
}

/// Runs a verb with a gather, and finishes that.
pub fn flushing<C: Config, H: Host, R>(
    space: &mut Space<'_, C, H>,
    work: impl for<'g> FnOnce(&mut Space<'_, C, H>, &mut Gather<'g>) -> R,
) -> R {
    Gather::scope(|mut gather| {
        let result = work(space, &mut gather);
        let _ = space.finish(gather).unwrap();
        result
    })
}
