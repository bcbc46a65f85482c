//! An allocator that fails at the k-th request, for every k, for every verb: an error, nothing
//! changed, nothing leaked. And a host that gives frames which are not what was asked for.

use crate::common::memory::Memory;
use crate::common::{
    canonical, mapping_levels, plain, root_level, setup, span_at, upper_half, virt_bits,
};
use pgtable::arch::x86::X86_64;
use pgtable::{
    Arch, Error, Frame, FrameRun, Gather, Page, PhysAddr, Rights, RootCell, Setup, Size4KiB, Space,
    Span, VirtAddr,
};

type F<A> = <A as Arch>::Format;
use pgtable::Format;

/// A verb on a prepared space.
type Verb<A> = fn(&mut Space<'_, A, &Memory>) -> Result<(), Error>;

const fn page<A: Arch>() -> u64 {
    1 << F::<A>::PAGE_LG2
}

/// The largest leaf, and where one is mapped in the prepared space.
fn huge<A: Arch>() -> (u8, Span) {
    let lg2 = mapping_levels::<A>().last().unwrap().span_lg2;
    (lg2, Span::around(canonical::<A>(1 << (virt_bits::<A>() - 2)), lg2))
}

/// Puts one huge page, and a few small ones, into a space.
fn prepare<A: Arch>(space: &mut Space<'_, A, &Memory>) {
    space.map_range(huge::<A>().1, PhysAddr(0), plain()).unwrap();
    space.map_range(span_at::<A>(3 * page::<A>(), 2 * page::<A>()), PhysAddr(0), plain()).unwrap();
}

fn map_one<A: Arch>(space: &mut Space<'_, A, &Memory>) -> Result<(), Error> {
    let offset = 1 << (virt_bits::<A>() - 1);
    space.map_range(span_at::<A>(offset, page::<A>()), PhysAddr(page::<A>()), plain())
}

/// Everything from just above the small pages to just before the huge one.
fn map_much<A: Arch>(space: &mut Space<'_, A, &Memory>) -> Result<(), Error> {
    let from = canonical::<A>(5 * page::<A>());
    let to = VirtAddr(huge::<A>().1.first().0 - 1);
    let two_tables = 2u64 << pgtable::levels::<A>().last().unwrap().reach_lg2();
    let bytes = (to.0 - from.0).min(two_tables) & !(page::<A>() - 1);
    space.map_range(Span::new(from, bytes).unwrap(), PhysAddr(page::<A>()), plain())
}

fn map_scattered<A: Arch>(space: &mut Space<'_, A, &Memory>) -> Result<(), Error> {
    let bytes = page::<A>();
    let start = 1 << (virt_bits::<A>() - 1);
    let mut next = 0;
    space.map_frames(span_at::<A>(start - 4 * bytes, 4 * bytes), plain(), |_, _| {
        next += 7 * bytes;
        Some(FrameRun { start: PhysAddr(next), bytes })
    })
}

fn with_gather<A: Arch, R>(
    space: &mut Space<'_, A, &Memory>,
    work: impl for<'g> FnOnce(&mut Space<'_, A, &Memory>, &mut Gather<'g>) -> Result<R, Error>,
) -> Result<(), Error> {
    Gather::scope(|mut gather| {
        let result = work(space, &mut gather);
        if result.is_err() {
            assert_eq!(gather.stale().extent(), pgtable::Extent::Nothing, "nothing was changed");
            assert_eq!(gather.tables(), 0);
        }
        let _ = space.finish(gather).unwrap();
        result.map(|_| ())
    })
}

/// From inside the small pages to inside the huge one: both ends are cut.
fn across<A: Arch>() -> Span {
    let (_, huge) = huge::<A>();
    let from = canonical::<A>(4 * page::<A>());
    Span::inclusive(from, VirtAddr(huge.first().0 + page::<A>() - 1)).unwrap()
}

/// A piece in the middle of the huge page.
fn middle<A: Arch>() -> Span {
    let (_, huge) = huge::<A>();
    Span::new(VirtAddr(huge.first().0 + page::<A>()), page::<A>()).unwrap()
}

fn unmap_across<A: Arch>(space: &mut Space<'_, A, &Memory>) -> Result<(), Error> {
    with_gather(space, |space, gather| space.unmap_range(across::<A>(), gather, |_| {}))
}

fn unmap_middle<A: Arch>(space: &mut Space<'_, A, &Memory>) -> Result<(), Error> {
    with_gather(space, |space, gather| space.unmap_range(middle::<A>(), gather, |_| {}))
}

fn protect_middle<A: Arch>(space: &mut Space<'_, A, &Memory>) -> Result<(), Error> {
    let rights = Rights::READ | Rights::EXECUTE;
    with_gather(space, |space, gather| space.protect_range(middle::<A>(), rights, gather))
}

fn split<A: Arch>(space: &mut Space<'_, A, &Memory>) -> Result<(), Error> {
    let (lg2, huge) = huge::<A>();
    assert!(lg2 > F::<A>::PAGE_LG2);
    with_gather(space, |space, gather| space.split(huge.first(), gather))
}

fn cursor<A: Arch>(space: &mut Space<'_, A, &Memory>) -> Result<(), Error> {
    space.cursor(canonical::<A>(1 << (virt_bits::<A>() - 1))).map(PhysAddr(0), plain())
}

/// Runs the verb with 0, 1, 2, ... requests that succeed, until it does.
fn fails_cleanly<A: Arch>(verb: Verb<A>, counting: bool) {
    for good in 0.. {
        let host = Memory::with(0x10_0000, 4 << 20, counting);
        let cell = RootCell::new();
        let mut space = Space::<A, _>::new(&host, &cell, Setup::new()).unwrap();
        prepare(&mut space);
        let (before, shootdowns) = (host.picture(), host.stale().len());
        host.fail_after(Some(good));
        let result = verb(&mut space);
        host.fail_after(None);
        if let Err(error) = result {
            assert!(matches!(error, Error::OutOfMemory(_)), "{error}");
            assert_eq!(before, host.picture(), "after {good} good requests");
            assert_eq!(shootdowns, host.stale().len());
            // And the same space can go on.
            verb(&mut space).unwrap();
        }
        space.tear_down().map_err(|(_, error)| error).unwrap();
        assert_eq!((host.tables_in_use(), host.hooked().len()), (0, 0));
        if result.is_ok() {
            assert!(good > 0, "the verb needs a table");
            return;
        }
    }
}

fn every_verb<A: Arch>() {
    let verbs: [Verb<A>; 8] = [
        map_one,
        map_much,
        map_scattered,
        unmap_across,
        unmap_middle,
        protect_middle,
        split,
        cursor,
    ];
    for verb in verbs {
        fails_cleanly::<A>(verb, false);
        fails_cleanly::<A>(verb, true);
    }
}

fn every_beginning<A: Arch>() {
    for good in 0.. {
        let host = Memory::new();
        host.fail_after(Some(good));
        let cell = RootCell::new();
        let kernel = setup::<A>().kernel(upper_half::<A>());
        match Space::<A, _>::new(&host, &cell, kernel) {
            Ok(space) => {
                space.tear_down().map_err(|(_, error)| error).unwrap();
                assert_eq!((host.tables_in_use(), host.listed().len()), (0, 0));
                return;
            }
            Err(error) => assert!(matches!(error, Error::OutOfMemory(_)), "{error}"),
        }
        assert_eq!((host.tables_in_use(), host.hooked().len(), cell.root()), (0, 0, None));
        assert!(host.listed().is_empty());
    }
}

/// A closure that has no more frames at the k-th run, for every k.
fn frames_run_out<A: Arch>() {
    let bytes = page::<A>();
    let span = span_at::<A>(0, 3 * bytes);
    for good in 0..3u64 {
        for bad in [
            None,
            Some(FrameRun { start: PhysAddr(1), bytes }),
            Some(FrameRun { start: PhysAddr(0), bytes: 0 }),
        ] {
            let host = Memory::new();
            let cell = RootCell::new();
            let mut space = Space::<A, _>::new(&host, &cell, Setup::new()).unwrap();
            let beside = span_at::<A>(4 * bytes, bytes);
            if good != 1 {
                // Once with a live table that the staged entries stand in, once without.
                space.map_range(beside, PhysAddr(0), plain()).unwrap();
            }
            let before = host.picture();
            let mut count = 0;
            let result = space.map_frames(span, plain(), |_, _| {
                count += 1;
                let run = FrameRun { start: PhysAddr((count - 1) * bytes), bytes };
                if count > good { bad } else { Some(run) }
            });
            assert!(matches!(result, Err(Error::BadFrame { .. })), "{result:?}");
            assert_eq!(before, host.picture());
        }
    }
}

/// The host answers with frames that break the request: they go back, and nothing changes.
fn bad_tables<A: Arch>() {
    let root = root_level::<A>();
    let size = 1u64 << root.table_lg2::<F<A>>();
    let unreachable = 0x7000_0000u64.next_multiple_of(size);
    for frame in [0x10_0008, u64::MAX, u64::MAX - size + 1, unreachable] {
        let host = Memory::new();
        let cell = RootCell::new();
        host.answer_next(frame);
        let result = Space::<A, _>::new(&host, &cell, Setup::new());
        assert!(matches!(result, Err(Error::BadTable { table: PhysAddr(f), .. }) if f == frame));
        assert_eq!((host.tables_in_use(), cell.root()), (0, None));

        let mut space = Space::<A, _>::new(&host, &cell, Setup::new()).unwrap();
        let before = host.picture();
        host.answer_next(frame | 0x8);
        let error = map_one(&mut space).unwrap_err();
        assert!(matches!(error, Error::BadTable { .. }), "{error}");
        assert_eq!(before, host.picture());
    }
}

each_arch!(every_verb);
each_arch!(every_beginning);
each_arch!(frames_run_out);
each_arch!(bad_tables);

/// What is left in a frame from earlier days, and looks like the name of a table, is no name: not in a
/// table that is given back before it is filled.
#[test]
fn what_was_in_a_frame_is_not_followed() {
    let (memory, cell) = (Memory::with(0x10_0000, 8 << 20, false), RootCell::new());
    let mut space = Space::<X86_64, _>::new(&memory, &cell, Setup::new()).unwrap();
    let page = Page::<Size4KiB>::new(VirtAddr(0x5000)).unwrap();
    space.map(page, Frame::new(PhysAddr(0x9000)).unwrap(), plain()).unwrap();
    let before = memory.in_use();
    for (&table, _) in before.iter().filter(|(_, (height, _))| *height < 2) {
        let end = before.last_key_value().unwrap().0 + 0x1000;
        for good in [2, 3, 40, 300] {
            (end..0x90_0000).step_by(8).for_each(|at| memory.leave(at, table | 3));
            memory.fail_after(Some(good));
            // Most of a gigabyte of base pages: the directory is filled end to end.
            let span = Span::new(VirtAddr(1 << 30), (1 << 30) - 0x1000).unwrap();
            let error = space.map_range(span, PhysAddr(0x1_0000_1000), plain());
            assert!(matches!(error, Err(Error::OutOfMemory(_))), "{error:?}");
            assert_eq!(memory.in_use(), before);
        }
        memory.fail_after(None);
    }
    assert!(space.translate(VirtAddr(0x5000)).is_ok());
}
