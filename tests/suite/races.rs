//! Somebody else writes the same words all the time. Each change of a live entry is one step: what it
//! does not name is as if nobody had touched it.

use crate::common::memory::Memory;
use crate::common::x86::{USER, flushing, frame, page, space};
use crate::common::{Done, oracle, plain};
use pgtable::arch::x86::{X86_32, X86_64, X86Pae};
use pgtable::{Arch, Attrs, Rights, RootCell, Space, Used, VirtAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A number in the bits of a mask of one word.
#[derive(Clone, Copy)]
struct Number {
    at: u64,
    lg2: u8,
    mask: u64,
}

impl Number {
    fn read(self, host: &Memory) -> u64 {
        (host.read(self.at, self.lg2) & self.mask) >> self.mask.trailing_zeros()
    }

    /// Counts until `done`, and tells how far.
    fn count(self, host: &Memory, counted: &AtomicU64, done: &AtomicBool) {
        while !done.load(Ordering::SeqCst) {
            host.count_up(self.at, self.lg2, self.mask);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Runs `work` many times while another thread counts; not one step of it may be lost.
fn while_counted(host: &Memory, number: Number, mut work: impl FnMut()) {
    let (counted, done) = (AtomicU64::new(number.read(host)), AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| number.count(host, &counted, &done));
        let _end = Done(&done);
        let begun = counted.load(Ordering::SeqCst);
        let mut rounds = 0;
        while rounds < 3000 || counted.load(Ordering::SeqCst) < begun + 3000 {
            rounds += 1;
            work();
        }
    });
    let all = number.mask >> number.mask.trailing_zeros();
    assert_eq!(number.read(host), counted.into_inner() & all, "a write of another one is lost");
}

/// The leaf of the one page that is mapped.
fn leaf<A: Arch>(host: &Memory, space: &Space<'_, A, &Memory>, mask: u64) -> Number {
    let hit = oracle::translate::<A>(host, space.root().0, 0x5000).unwrap();
    Number { at: hit.leaf_at, lg2: hit.leaf_lg2, mask }
}

/// Bits are cleared alone, and cleared and set at once, in a leaf whose frame is a number.
fn leaves<A: Arch>(mask: u64) {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<A, _>(&host, &cell);
    space.map(page(0x5000), frame(0), plain()).unwrap();
    let number = leaf(&host, &space, mask);
    let used = plain().rights.difference(Rights::WRITE);
    while_counted(&host, number, || {
        flushing(&mut space, |space, gather| {
            space.protect(page(0x5000), used, gather).unwrap();
            space.protect(page(0x5000), used | Rights::USER, gather).unwrap();
            space.protect(page(0x5000), plain().rights, gather).unwrap();
            space.test_and_clear(page(0x5000).span(), Used::all(), gather, |_| {}).unwrap();
        });
    });
}

#[test]
fn changes_of_leaves_are_one_step() {
    leaves::<X86_32>(0xffff_f000);
    leaves::<X86Pae>(0x000f_ffff_ffff_f000);
    leaves::<X86_64>(0x000f_ffff_ffff_f000);
}

/// The table entry above a page gets a right that it lacks, while the bits that hardware ignores in
/// it are a number.
#[test]
fn changes_of_table_entries_are_one_step() {
    let (host, cell) = (Memory::new(), RootCell::new());
    let mut space = space::<X86_64, _>(&host, &cell);
    space.map(page(0x5000), frame(0x9000), Attrs::new(USER)).unwrap();
    let above = host.in_use().into_iter().find(|&(_, (height, _))| height == 1).unwrap().0;
    let number = Number { at: above, lg2: 3, mask: 0x7ff << 52 };
    while_counted(&host, number, || {
        assert_ne!(host.clear_bits(above, 4) & 4, 0, "the right is given each time");
        flushing(&mut space, |space, gather| space.protect(page(0x5000), USER, gather)).unwrap();
    });
    assert_eq!(space.translate(VirtAddr(0x5000)).unwrap().effective, USER);
}
