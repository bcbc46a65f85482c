//! Hosts that copy tables by themselves.

use crate::common::copy::copy_table;
use crate::common::memory::Memory;
use crate::common::watch::Watch;
use crate::common::{canonical, mapping_levels, plain, upper_half, virt_bits};
use pgtable::arch::x86::{X86_32, X86_64, X86Pae};
use pgtable::{
    Arch, Attrs, Host, Mapped, PhysAddr, Placement, RootCell, Setup, Space, Span, VirtAddr, levels,
};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    /// How often `counting` was called.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

unsafe fn counting(from: NonNull<u8>, to: NonNull<u8>, size_lg2: u8) {
    CALLS.set(CALLS.get() + 1);
    unsafe { copy_table(from, to, size_lg2) };
}

/// Hardware sets bits of the first word just before it is copied, and of the second one right after.
unsafe fn noting(from: NonNull<u8>, to: NonNull<u8>, size_lg2: u8) {
    let words: [*mut u64; 2] = [0, 8].map(|at| from.as_ptr().wrapping_add(at).cast());
    let [first, second] = words.map(|word| unsafe { AtomicU64::from_ptr(word) });
    first.fetch_or(0x20, Ordering::Relaxed);
    unsafe { copy_table(from, to, size_lg2) };
    second.fetch_or(0x60, Ordering::Relaxed);
}

/// Two pages of each size, accessed or dirty.
fn filled<A: Arch, H: Host>(host: H, cell: &RootCell) -> Space<'_, A, H> {
    let mut space = Space::<A, _>::new(host, cell, Setup::new()).unwrap();
    for (nth, level) in mapping_levels::<A>().into_iter().enumerate() {
        let size = 1u64 << level.span_lg2;
        let at = canonical::<A>((1 << (virt_bits::<A>() - 2)) + (nth as u64) * (size << 2));
        let used = plain().with_used(nth == 0, nth != 0);
        space.map_range(Span::new(at, 2 * size).unwrap(), PhysAddr(size), used).unwrap();
    }
    space
}

/// The words of all tables, in the order of the walk that moves them, and what is mapped.
fn moved_by<A: Arch>(copies: bool) -> (Vec<Vec<u64>>, Vec<Mapped>, usize) {
    let (memory, cell) = (Memory::new(), RootCell::new());
    let host = Watch::new(&memory);
    host.copies.set(copies.then_some(counting));
    CALLS.set(0);
    let mut space = filled::<A, _>(&host, &cell);
    let (mut session, moved) = (space.enter(), Cell::new(0));
    session
        .migrate_space(|_| {
            moved.set(moved.get() + 1);
            Placement::Anywhere
        })
        .unwrap();
    assert_eq!(CALLS.get(), if copies { moved.get() } else { 0 });
    session.leave();
    let bytes = |(&table, &(_, lg2)): (&u64, &(u8, u8))| {
        (0..1 << lg2).step_by(8).map(|offset| memory.read(table + offset, 3)).collect()
    };
    let words = memory.in_use().iter().map(bytes).collect();
    let mapped = space.mappings(Span::ALL).map(Result::unwrap).collect();
    (words, mapped, moved.get())
}

/// The same tables come of it, to the bit, whoever copies them.
fn the_copy_is_the_same<A: Arch>() {
    let (theirs, ours) = (moved_by::<A>(true), moved_by::<A>(false));
    assert_eq!(theirs, ours);
    assert_eq!((ours.0.len(), ours.2), (levels::<A>().count(), levels::<A>().count()));
}
each_arch!(the_copy_is_the_same);

/// What hardware notes in the old words just before the host copies them is in the copy; what it notes
/// right after is found by whoever looks, and at the end of the batch, also if nobody has looked.
#[test]
fn what_is_noted_around_the_copy_is_found() {
    for looks in [false, true] {
        let (memory, cell) = (Memory::new(), RootCell::new());
        let host = Watch::new(&memory);
        host.copies.set(Some(noting));
        let mut space = Space::<X86_64, _>::new(&host, &cell, Setup::new()).unwrap();
        let span = Span::new(VirtAddr(0), 0x4000).unwrap();
        space.map_range(span, PhysAddr(0x1000), plain()).unwrap();
        let used = |space: &Space<'_, X86_64, _>| {
            [0, 1, 2].map(|page| {
                let attrs = space.translate(VirtAddr(page << 12)).unwrap().attrs;
                (attrs.accessed, attrs.dirty)
            })
        };
        let mut session = space.enter();
        let moved = session.migrate_table(VirtAddr(0), 0, |_| Placement::Anywhere);
        let to = moved.unwrap().unwrap().to.0;
        assert_eq!([0, 8].map(|word| memory.read(to + word, 3) & 0x60), [0x20, 0]);
        let expected = [(true, false), (true, true), (false, false)];
        if looks {
            assert_eq!(used(&session), expected);
        }
        session.leave();
        assert_eq!(used(&space), expected);
    }
}

/// The accessed bit of PAE's root entries, which a CPU tolerates and must never find written, is not in
/// the copy, whoever makes it.
#[test]
fn what_must_never_be_written_is_not() {
    for copies in [false, true] {
        let (memory, cell) = (Memory::new(), RootCell::new());
        let host = Watch::new(&memory);
        host.copies.set(copies.then_some(copy_table));
        let mut space = filled::<X86Pae, _>(&host, &cell);
        let before = memory.read(space.root().0 + 8, 3);
        memory.set_bits(space.root().0 + 8, 3, 0x20);
        let mut session = space.enter();
        session.migrate_root(|_| Placement::Anywhere).unwrap().unwrap();
        session.leave();
        assert_eq!(memory.read(space.root().0 + 8, 3), before);
    }
}

/// Global pages, of which the host's copy says nothing, are dropped in every space.
#[test]
fn global_pages_are_looked_for() {
    let told = |attrs: Attrs| {
        let (memory, cell) = (Memory::new(), RootCell::new());
        let host = Watch::new(&memory);
        host.copies.set(Some(copy_table));
        let mut space = Space::<X86_64, _>::new(&host, &cell, Setup::new()).unwrap();
        let span = Span::new(VirtAddr(0x1f_f000), 0x1000).unwrap();
        space.map_range(span, PhysAddr(0x1000), attrs).unwrap();
        let mut session = space.enter();
        session.migrate_table(VirtAddr(0), 0, |_| Placement::Anywhere).unwrap().unwrap();
        session.leave();
        memory.stale().iter().map(|stale| stale.global()).collect::<Vec<_>>()
    };
    assert_eq!(told(plain()), [false]);
    assert_eq!(told(plain().with_global(true)), [true]);
}

/// All bytes of a table, in every size that a table can have, and none beside them.
#[test]
fn a_table_is_copied_and_nothing_else() {
    let last = levels::<X86_64>().map(|level| level.table_lg2::<<X86_64 as Arch>::Format>()).max();
    for size_lg2 in 3..=last.unwrap() {
        let size = 1usize << size_lg2;
        let from: Vec<u64> =
            (0..512).map(|word: u64| word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let mut to = vec![0u64; 514];
        let first = |words: *const u64| NonNull::new(words.cast_mut().cast::<u8>()).unwrap();
        unsafe { copy_table(first(from.as_ptr()), first(to[1..].as_mut_ptr()), size_lg2) };
        assert_eq!(to[1..=size / 8], from[..size / 8]);
        assert!(to[0] == 0 && to[1 + size / 8..].iter().all(|&word| word == 0), "{size_lg2}");
    }
}

unsafe fn panics(_: NonNull<u8>, _: NonNull<u8>, _: u8) {
    panic!("no copy")
}

/// A copy that panics has moved nothing, and has put no root on the list.
#[test]
fn a_copy_that_panics_has_changed_nothing() {
    let (memory, cells) = (Memory::new(), [const { RootCell::new() }; 2]);
    let host = Watch::new(&memory);
    let own = Setup::new().kernel(upper_half::<X86_32>());
    let kernel = Space::<X86_32, _>::new(&host, &cells[0], own).unwrap();
    let sharing = Setup::new().sharing(kernel.kernel_half().unwrap());
    let mut guest = Space::<X86_32, _>::new(&host, &cells[1], sharing).unwrap();
    let before = memory.picture();
    host.copies.set(Some(panics));
    let mut session = guest.enter();
    let moves = AssertUnwindSafe(|| session.migrate_root(|_| Placement::Anywhere));
    assert!(catch_unwind(moves).is_err());
    let _ = session.leave();
    assert_eq!(memory.picture(), before);
}
