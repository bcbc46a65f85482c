//! Everything at once: a kernel's own space with a self-map, guests that come and go, tables of all of
//! them in limbo, and CPUs that go through whatever is not freed yet.

use crate::common::memory::Memory;
use crate::common::x86::flushing;
use crate::common::{mapping_levels, oracle, plain, root_level, upper_half};
use pgtable::arch::x86::{X86_32, X86_64, X86_64La57, X86Pae};
use pgtable::model::{Choices, Random};
use pgtable::{
    Arch, Gone, Names, PhysAddr, Placement, RootCell, Setup, Space, Span, TableAt, Used, VirtAddr,
};
use std::collections::BTreeMap;

const PAGE: u64 = 0x1000;

/// The last root entries, eight at most: the kernel's tables are all looked through for each move of one
/// that may have several names.
fn kernel_half<A: Arch>() -> Span {
    let half = upper_half::<A>();
    Span::around(half.last(), root_level::<A>().span_lg2 + 3).intersect(half).unwrap()
}

/// What a space has: base page to frame, and whether it is dirty.
type Pages = BTreeMap<u64, (u64, bool)>;

/// A table that was moved away: a CPU may still begin there.
struct Old {
    space: usize,
    height: u8,
    from: PhysAddr,
    at: u64,
    /// It may have been unlinked since: then it is not like the live one any more.
    loose: bool,
}

struct World<'h, A: Arch> {
    host: &'h Memory,
    cells: &'h [RootCell],
    names: Names,
    self_map: Option<usize>,
    /// The kernel's own, then guests.
    spaces: Vec<Option<Space<'h, A, &'h Memory>>>,
    pages: Vec<Pages>,
    old: Vec<Old>,
    random: Random,
}

fn anywhere(_: &TableAt) -> Placement {
    Placement::Anywhere
}

impl<'h, A: Arch> World<'h, A> {
    fn new(host: &'h Memory, cells: &'h [RootCell], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let names = if random.one_in(2) { Names::Aliased } else { Names::Unique };
        let level = root_level::<A>();
        let self_map = (A::NAME != "x86-pae" && random.one_in(2)).then(|| level.entries() / 2 - 1);
        let mut world = Self {
            host,
            cells,
            names,
            self_map,
            spaces: Vec::new(),
            pages: cells.iter().map(|_| Pages::new()).collect(),
            old: Vec::new(),
            random,
        };
        let own = world.setup().kernel(kernel_half::<A>());
        world.spaces.push(Some(Space::new(host, &cells[0], own).unwrap()));
        world.spaces.extend(cells[1..].iter().map(|_| None));
        world
    }

    fn setup(&self) -> Setup<'static, A> {
        let setup = Setup::new().names(self.names);
        self.self_map.map_or(setup, |index| setup.self_map(index))
    }

    fn pick(&mut self, among: u64) -> u64 {
        self.random.number() % among
    }

    /// Where a space maps: two huge pages, in two root entries, and their neighbours.
    fn place(&mut self, space: usize) -> (u64, u8) {
        let half = if space == 0 { kernel_half::<A>().first().0 } else { 0 };
        let huge_lg2 = mapping_levels::<A>()[1].span_lg2;
        let apart = if root_level::<A>().entries() == 4 { 1 } else { 2 };
        let root = (self.pick(2) * apart) << root_level::<A>().span_lg2;
        let at = half + root + (self.pick(2) << huge_lg2);
        (at, huge_lg2)
    }

    /// A small span, or a huge page, or a part of one.
    fn span(&mut self, space: usize) -> Span {
        let (at, huge_lg2) = self.place(space);
        let pages = 1u64 << (huge_lg2 - 12);
        let (first, count) = match self.pick(4) {
            0 => (0, pages),
            1 => (self.pick(4), 1 + self.pick(3)),
            2 => (pages - 1 - self.pick(3), 1 + self.pick(4)),
            _ => (self.pick(pages), 1),
        };
        Span::new(VirtAddr(at + first * PAGE), count * PAGE).unwrap()
    }

    fn map(&mut self, space: usize) {
        let span = self.span(space);
        let frame = (0x4000_0000 + (self.pick(8) << 24)) | (span.first().0 & 0xff_ffff);
        let result = self.spaces[space].as_mut().unwrap().map_range(span, PhysAddr(frame), plain());
        let at = |page: u64| (span.first().0 + page * PAGE, (frame + page * PAGE, false));
        let count = span.bytes_less_one() / PAGE + 1;
        let free = (0..count).all(|page| !self.pages[space].contains_key(&at(page).0));
        assert_eq!(result.is_ok(), free, "{result:?}");
        if free {
            self.pages[space].extend((0..count).map(at));
        }
    }

    fn unmap(&mut self, space: usize) {
        let span = self.span(space);
        let mut gone: Vec<(u64, u8, u64, bool)> = Vec::new();
        flushing(self.spaces[space].as_mut().unwrap(), |space, gather| {
            let report = |page: Gone<'_>| {
                let page = page.page().unwrap();
                gone.push((page.at.0, page.size_lg2, page.peek().0, page.attrs.dirty));
            };
            space.unmap_range(span, gather, report).unwrap();
        });
        self.old.iter_mut().for_each(|old| old.loose = true);
        let pages = &mut self.pages[space];
        for (at, size_lg2, first, was_dirty) in gone {
            for offset in (0..1u64 << size_lg2).step_by(PAGE as usize) {
                let (frame, dirty) = pages.remove(&(at + offset)).unwrap();
                assert_eq!((first + offset, was_dirty), (frame, dirty));
            }
        }
        assert_eq!(pages.range(span.first().0..=span.last().0).count(), 0);
    }

    fn scan(&mut self, space: usize) {
        let span = self.span(space);
        let mut found = Vec::new();
        flushing(self.spaces[space].as_mut().unwrap(), |space, gather| {
            space.test_and_clear(span, Used::DIRTY, gather, |page| found.push(page)).unwrap();
        });
        let pages = &mut self.pages[space];
        for page in found {
            let whole = page.at.0..page.at.0 + (1 << page.size_lg2);
            let was = pages.range_mut(whole).map(|(_, (_, dirty))| std::mem::take(dirty));
            assert!(was.fold(false, |any, dirty| any | dirty), "{page:?} was clean");
        }
        let mut left = pages.range(span.first().0..=span.last().0);
        assert!(left.all(|(_, (_, dirty))| !dirty), "a dirty page was not reported");
    }

    fn split_or_promote(&mut self, space: usize) {
        let (at, huge_lg2) = self.place(space);
        let target = self.spaces[space].as_mut().unwrap();
        if self.random.one_in(2) {
            let _ = flushing(target, |target, gather| target.split(VirtAddr(at), gather));
            return;
        }
        let done = match huge_lg2 {
            22 => target.promote(pgtable::Page::<pgtable::Size4MiB>::containing(VirtAddr(at))),
            _ => target.promote(pgtable::Page::<pgtable::Size2MiB>::containing(VirtAddr(at))),
        };
        if done.is_ok() {
            self.old.iter_mut().for_each(|old| old.loose = true);
            let pages = self.pages[space].range_mut(at..at + (1 << huge_lg2));
            let pages: Vec<_> = pages.collect();
            let dirty = pages.iter().any(|(_, (_, dirty))| *dirty);
            pages.into_iter().for_each(|(_, page)| page.1 = dirty);
        }
    }

    fn relocate(&mut self, number: usize) {
        let (at, _) = self.place(number);
        let (what, end) = (self.pick(6), self.pick(3));
        let height = self.pick(u64::from(root_level::<A>().height) + 1) as u8;
        let mut moving: Vec<TableAt> = Vec::new();
        let mut session = self.spaces[number].as_mut().unwrap().enter();
        let mut note = |table: &TableAt| {
            moving.push(*table);
            Placement::Anywhere
        };
        let _ = match what {
            0 => session.migrate_space(&mut note),
            1 => session.migrate_root(&mut note).map(|_| ()),
            2 => session.migrate_range(Span::around(VirtAddr(at), 30), &mut note),
            _ => session.migrate_table(VirtAddr(at), height, &mut note).map(|_| ()),
        };
        // A frame that has gone back in the meantime may be in limbo again, as another table.
        let mut batches = session.statistics().shootdowns;
        match end {
            0 => drop(session),
            1 => std::mem::forget(session),
            _ => {
                let mut inner = session.enter();
                let _ = inner.migrate_table(VirtAddr(at), height, anywhere);
                batches += inner.statistics().shootdowns;
                std::mem::forget(inner);
                std::mem::forget(session);
            }
        }
        if batches > 0 {
            self.old.retain(|old| old.space != number);
            return;
        }
        let old = |table: &TableAt| {
            let (height, from, at) = (table.height, table.frame, table.at.0);
            Old { space: number, height, from, at, loose: false }
        };
        self.old.extend(moving.iter().map(old));
    }

    fn come_or_go(&mut self, number: usize) {
        match self.spaces[number].take() {
            None => {
                let setup = self.setup();
                let half = self.spaces[0].as_ref().unwrap().kernel_half().unwrap();
                let guest = Space::new(self.host, &self.cells[number], setup.sharing(half));
                self.spaces[number] = Some(guest.unwrap());
            }
            Some(guest) => {
                let pages = &mut self.pages[number];
                let report = |gone: Gone<'_>, flushed: &pgtable::Flushed<'_>| {
                    let _ = flushed;
                    let page = gone.page().unwrap();
                    for offset in (0..1u64 << page.size_lg2).step_by(PAGE as usize) {
                        let (_, dirty) = pages.remove(&(page.at.0 + offset)).unwrap();
                        assert_eq!(page.attrs.dirty, dirty);
                    }
                };
                // Closures that are generic over a lifetime want to be told so.
                fn generic<F: for<'g> FnMut(Gone<'g>, &pgtable::Flushed<'g>)>(f: F) -> F {
                    f
                }
                guest.tear_down_with(generic(report)).map_err(|(_, error)| error).unwrap();
                assert!(self.pages[number].is_empty());
                self.old.retain(|old| old.space != number);
            }
        }
    }

    /// A CPU writes, from wherever it can begin.
    fn touch(&mut self) {
        let begin = self.pick(self.old.len() as u64 + 3) as usize;
        let spaces: Vec<usize> = (0..4).filter(|&space| self.spaces[space].is_some()).collect();
        let (space, height, table) = match self.old.get(begin) {
            Some(old) if !old.loose || old.height == root_level::<A>().height => {
                (old.space, old.height, old.from)
            }
            _ => {
                let space = spaces[self.pick(spaces.len() as u64) as usize];
                let root = self.spaces[space].as_ref().unwrap().root();
                (space, root_level::<A>().height, root)
            }
        };
        let begins_at = self.old.get(begin).map_or(0, |old| old.at);
        let owner = if self.random.one_in(2) { 0 } else { space };
        let (at, huge_lg2) = self.place(owner);
        let at = at + self.pick(1 << (huge_lg2 - 12)) * PAGE;
        let level = pgtable::levels::<A>().find(|level| level.height == height).unwrap();
        let root = height == root_level::<A>().height;
        if !root && !Span::around(VirtAddr(begins_at), level.reach_lg2()).contains(VirtAddr(at)) {
            return;
        }
        let hit = oracle::touch_from::<A>(self.host, height, table.0, at, true);
        let page = self.pages[owner].get(&at).copied();
        assert_eq!(
            hit.map(|hit| hit.phys),
            page.map(|page| page.0),
            "{at:#x} from {table}, height {height}, of space {space}, for {owner}"
        );
        if let Some(hit) = hit {
            let whole = at & !(hit.size - 1);
            let pages = self.pages[owner].range_mut(whole..whole + hit.size);
            pages.for_each(|(_, page)| page.1 = true);
        }
    }

    fn check(&mut self) {
        let spaces = &self.spaces;
        self.old.retain(|old| spaces[old.space].as_ref().unwrap().in_limbo(old.from));
        for number in 0..self.spaces.len() {
            if self.spaces[number].is_none() {
                continue;
            }
            let (at, huge_lg2) = self.place(number);
            let at = at + self.pick(1 << (huge_lg2 - 12)) * PAGE;
            let page = self.pages[number].get(&at);
            let found = self.spaces[number].as_ref().unwrap().translate(VirtAddr(at));
            let found = found.ok().map(|found| (found.phys(VirtAddr(at)).0, found.attrs.dirty));
            assert_eq!(found.as_ref(), page, "{at:#x} of space {number}");
            if number == 0 {
                let frame = page.map(|page| page.0);
                for root in self.host.listed() {
                    let hit = oracle::translate::<A>(self.host, root, at).map(|hit| hit.phys);
                    assert_eq!(hit, frame, "{at:#x} through the root at {root:#x}");
                }
                for guest in self.spaces[1..].iter().flatten() {
                    let found = guest.translate(VirtAddr(at)).ok();
                    assert_eq!(found.map(|found| found.phys(VirtAddr(at)).0), frame);
                }
            }
        }
    }

    fn step(&mut self) {
        let mut number = self.pick(4) as usize;
        if self.spaces[number].is_none() && !self.random.one_in(2) {
            number = 0;
        }
        match self.pick(16) {
            _ if self.spaces[number].is_none() => self.come_or_go(number),
            0 if number > 0 => self.come_or_go(number),
            0..4 => self.map(number),
            4..6 => self.unmap(number),
            6 => self.scan(number),
            7 => self.split_or_promote(number),
            8..11 => self.relocate(number),
            _ => self.touch(),
        }
        self.check();
    }
}

fn all_together<A: Arch>() {
    let seeds = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    for seed in 0..seeds.unwrap_or(8u64) {
        let host = Memory::with(0x10_0000, 16 << 20, seed % 2 == 0);
        let cells = [const { RootCell::new() }; 4];
        let mut world = World::<A>::new(&host, &cells, seed);
        for _ in 0..400 {
            world.step();
        }
        (1..4)
            .filter(|&guest| world.spaces[guest].is_some())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|guest| world.come_or_go(guest));
        let kernel = world.spaces[0].take().unwrap();
        kernel.tear_down().map_err(|(_, error)| error).unwrap();
        assert_eq!((host.tables_in_use(), host.listed().len()), (0, 0));
    }
}

#[test]
fn x86_32() {
    all_together::<X86_32>();
}

#[test]
fn x86_pae() {
    all_together::<X86Pae>();
}

#[test]
fn x86_64() {
    all_together::<X86_64>();
}

#[test]
fn x86_64_la57() {
    all_together::<X86_64La57>();
}
