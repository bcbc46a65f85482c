//! Sweeps of trees whose tables have any names, beside one that goes along every path.

use crate::common::memory::Memory;
use crate::common::x86::{frame, page};
use crate::common::{cases, plain};
use pgtable::arch::x86::X86_64;
use pgtable::{Names, PhysAddr, Placement, RootCell, Setup, Space, Span, TableAt, VirtAddr};
use proptest::prelude::*;

/// The address of the entry `index` of each table on the way.
fn address(way: [u64; 3]) -> u64 {
    let at = way[0] << 39 | way[1] << 30 | way[2] << 21;
    if way[0] < 256 { at } else { at | 0xffff << 48 }
}

/// One more name: in a table of this height, of those that there are, at this place, for one of those
/// below it.
type Alias = (u8, usize, u64, usize);

/// A tree of 15 tables, two under each, with more names.
fn tree(host: &Memory, aliases: &[Alias]) -> PhysAddr {
    let cell = RootCell::new();
    let mut space = Space::<X86_64, _>::new(host, &cell, Setup::new()).unwrap();
    let mut tables = [const { Vec::new() }; 4];
    tables[3].push(space.root().0);
    for way in 0..8 {
        let at = address([way >> 2, way >> 1 & 1, way & 1]);
        space.map(page(at), frame(0x8000), plain()).unwrap();
        for (height, known) in (0u8..3).zip(&mut tables) {
            let table = space.delimbo(VirtAddr(at), height).unwrap().0;
            if !known.contains(&table) {
                known.push(table);
            }
        }
    }
    let root = space.release().map_err(|(_, error)| error).unwrap();
    for &(height, holder, index, named) in aliases {
        let holders = &tables[usize::from(height)];
        let below = &tables[usize::from(height) - 1];
        let at = holders[holder % holders.len()] + 8 * index;
        if host.read(at, 3) == 0 {
            host.set_bits(at, 3, below[named % below.len()] | 0b11);
        }
    }
    root
}

/// Goes along every path for a byte of `span`, and lists each table when it leaves it for the first time.
struct Paths<'h> {
    host: &'h Memory,
    span: Span,
    left: Vec<(u64, u8, u64)>,
}

impl Paths<'_> {
    fn walk(&mut self, table: u64, height: u8, mut way: [u64; 3]) {
        for index in 0..512 {
            way[3 - usize::from(height)] = index;
            let at = VirtAddr(address(way));
            let word = self.host.read(table + 8 * index, 3);
            let whole = Span::new(at, 1 << (12 + 9 * height)).unwrap();
            if word == 0 || self.span.intersect(whole).is_none() {
                continue;
            }
            let below = word & 0xf_ffff_ffff_f000;
            if height > 1 {
                self.walk(below, height - 1, way);
            }
            if self.left.iter().all(|&(known, ..)| known != below) {
                self.left.push((below, height - 1, at.0));
            }
        }
    }
}

fn aliases() -> impl Strategy<Value = Vec<Alias>> {
    // Some side by side, and some farther away.
    let index = prop_oneof![2..6u64, 255..257u64, 510..512u64];
    prop::collection::vec((1..4u8, 0..4usize, index, 0..8usize), 0..12)
}

fn end() -> impl Strategy<Value = u64> {
    let index = || prop_oneof![0..7u64, 255..257u64, 509..512u64];
    (index(), index(), index(), 0..512u64)
        .prop_map(|(root, pud, pmd, page)| address([root, pud, pmd]) | page << 12)
}

fn swept(
    aliases: &[Alias],
    (first, last): (u64, u64),
    kept: u64,
    before: &[(u64, u8)],
) -> Result<(), TestCaseError> {
    let (host, cell) = (Memory::new(), RootCell::new());
    let root = tree(&host, aliases);
    let span = Span::inclusive(VirtAddr(first.min(last)), VirtAddr(first.max(last) | 0xfff));
    let span = span.unwrap();
    let setup = Setup::new().names(Names::Aliased);
    let mut space = unsafe { Space::<X86_64, _>::adopt(&host, &cell, root, setup) }.unwrap();
    let mut session = space.enter();
    // Where the sweep comes to one of these again, the batch ends, and the sweep goes on from there.
    for &(way, height) in before {
        let at = VirtAddr(address([way >> 2, way >> 1 & 1, way & 1]));
        session.migrate_table(at, height, |_| Placement::Anywhere).unwrap();
    }
    let mut paths = Paths { host: &host, span, left: Vec::new() };
    paths.walk(session.root().0, 3, [0; 3]);
    let mut asked = Vec::new();
    let policy = |table: &TableAt| {
        asked.push((table.frame.0, table.height, table.at.0));
        let keep = kept >> (asked.len() % 64) & 1 != 0;
        if keep { Placement::Keep } else { Placement::Anywhere }
    };
    session.migrate_range(span, policy).unwrap();
    let _ = session.leave();
    prop_assert_eq!(asked, paths.left);
    // Nobody has seen any of it.
    let mut after = Paths { host: &host, span: Span::ALL, left: Vec::new() };
    after.walk(space.root().0, 3, [0; 3]);
    prop_assert!(after.left.len() >= 14);
    prop_assert!(space.tear_down().is_ok());
    prop_assert_eq!(host.tables_in_use(), 0);
    Ok(())
}

proptest! {
    #![proptest_config(cases(256))]

    /// A sweep asks about every table that serves a byte of its range by some name, once, by the first
    /// of those names, and after the tables below.
    #[test]
    fn every_table_once(
        aliases in aliases(),
        ends in (end(), end()),
        kept in any::<u64>(),
        before in prop::collection::vec((0..8u64, 0..3u8), 0..4),
    ) {
        swept(&aliases, ends, kept, &before)?;
    }
}

/// Side by side in the root, and not in the address space: of the first, the range has a part.
#[test]
fn names_on_both_sides_of_the_hole() {
    let names = [(3, 0, 255, 0), (3, 0, 256, 0)];
    let ends = (address([255, 1, 0]), address([256, 511, 511]));
    swept(&names, ends, 0, &[]).unwrap();
}
