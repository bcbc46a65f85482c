//! Trees that are moved.

use super::BATCH;
use super::clock::{Clock, Notes};
use crate::arena;
use crate::subject::Mode;
use crate::walk;
use pgtable::arch::native;
use pgtable::arch::x86::X86_64;
use pgtable::{
    Attrs, CopyTable, Host, PhysAddr, Placement, Request, RootCell, Setup, Space, Span, Stale,
    Statistics, VirtAddr,
};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// What a tree looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every entry of its leaf tables maps a page; half of these were accessed, a third is dirty.
    Full,
    /// Its leaf tables have one page each.
    Sparse,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Full, Self::Sparse];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Sparse => "sparse",
        }
    }
}

/// The arena as a host that looks at a clock.
#[derive(Debug, Default)]
pub struct Timed {
    clock: Clock,
    /// In which tables a CPU uses the first entry just before it lets go of them, the next one last.
    used: RefCell<Vec<u64>>,
    /// How many tables were moved since the last shootdown.
    moved: Cell<usize>,
    /// Whether it leaves copying to the crate.
    by_words: Cell<bool>,
}

/// Bits of an entry.
const PRESENT: u64 = 1 << 0;
const ACCESSED: u64 = 1 << 5;

impl Timed {
    fn use_old_tables(&self) {
        let mut used = self.used.borrow_mut();
        let rest = used.len().saturating_sub(self.moved.take());
        for entry in used.drain(rest..).map(arena::reach) {
            if walk::load(Mode::Long, entry) & PRESENT != 0 {
                walk::set(Mode::Long, entry, ACCESSED);
            }
        }
    }
}

// SAFETY: as for `ours::Kernel`.
unsafe impl Host for Timed {
    #[inline]
    fn allocate(&self, _: &Request) -> Option<PhysAddr> {
        self.clock.moves();
        self.moved.set(self.moved.get() + 1);
        arena::take().map(PhysAddr)
    }
    #[inline]
    unsafe fn free(&self, table: PhysAddr, _: u8, _: u8) {
        arena::give(table.0);
    }
    #[inline]
    fn reach(&self, table: PhysAddr, _: u8) -> Option<NonNull<u8>> {
        arena::reach_non_null(table.0)
    }
    #[inline]
    fn copy_table(&self) -> Option<CopyTable> {
        (!self.by_words.get()).then_some(native::copy_table)
    }
    fn shoot_down(&self, _: &Stale) {
        self.use_old_tables();
        self.clock.ends();
    }
}

/// A tree in the lower half of the arena; `memcpy` works in the upper one.
pub struct Tree {
    space: Space<'static, X86_64, Timed>,
    /// How many tables it has.
    pub tables: u64,
    /// Where its tables were before it was moved last, in the order in which they are moved.
    before: Vec<u64>,
}

/// Bytes that a leaf table serves.
const WHOLE: u64 = 2 << 20;
const AT: u64 = 0x1000_0000_0000;
const FRAME: u64 = 0x8_0000_1000;

/// As many leaf tables as make a tree of so many tables, with those above them.
fn leaf_tables(tables: u64) -> u64 {
    let all = |leaves: u64| leaves + leaves.div_ceil(512) + leaves.div_ceil(512 * 512) + 1;
    (1..tables).rev().find(|&leaves| all(leaves) <= tables).unwrap_or(1)
}

impl Tree {
    /// A new one, of about so many tables.
    pub fn new(kind: Kind, tables: u64) -> Result<Self, String> {
        arena::reset();
        let cell = Box::leak(Box::new(RootCell::new()));
        let mut space = Space::new(Timed::default(), cell, Setup::new()).map_err(wrong)?;
        let pages = leaf_tables(tables) * WHOLE;
        let mapped = match kind {
            Kind::Full => map(&mut space, AT, pages),
            Kind::Sparse => (AT..AT + pages)
                .step_by(WHOLE as usize)
                .try_for_each(|at| map(&mut space, at, 0x1000)),
        };
        mapped?;
        let mut tree = Self { space, tables: arena::used() as u64, before: Vec::new() };
        tree.use_pages();
        Ok(tree)
    }

    fn root(&self) -> u64 {
        self.space.root().0
    }

    /// Sets A in every second page and D in every third.
    fn use_pages(&mut self) {
        let mut index = 0_u64;
        walk::leaves(Mode::Long, self.root(), &mut |_, word| {
            let (accessed, dirty) = (index.is_multiple_of(2), index.is_multiple_of(3));
            walk::set(Mode::Long, word, u64::from(accessed) << 5 | u64::from(dirty) << 6);
            index += 1;
        });
    }

    /// Moves all tables, and says how long it took, and how long without the ends of batches.
    pub fn relocate(&mut self, notes: Notes) -> Result<(Statistics, Duration, Duration), String> {
        self.before = walk::tables(Mode::Long, self.root());
        self.space.host().moved.set(0);
        self.clock().start(notes);
        let mut session = self.space.enter();
        let moved = session.migrate_space(|_| Placement::Anywhere);
        let done = session.leave();
        let (whole, copy) = self.clock().stop();
        moved.map_err(wrong)?;
        Ok((done, whole, copy))
    }

    /// The same, copied by the crate, and says how long it took without the ends of batches.
    pub fn relocate_by_words(&mut self) -> Result<Duration, String> {
        self.space.host().by_words.set(true);
        let (_, _, copy) = self.relocate(Notes::Ends)?;
        self.space.host().by_words.set(false);
        Ok(copy)
    }

    /// The same while CPUs use the first entry of every old table, if there is one, and says how long
    /// the ends of batches took.
    pub fn relocate_in_use(&mut self) -> Result<Duration, String> {
        let tables = walk::tables(Mode::Long, self.root());
        for &table in &tables {
            walk::clear(Mode::Long, arena::reach(table), ACCESSED);
        }
        self.space.host().used.replace(tables.into_iter().rev().collect());
        let (_, whole, copy) = self.relocate(Notes::Ends)?;
        let lost = |&&table: &&u64| {
            let entry = walk::load(Mode::Long, arena::reach(table));
            entry & PRESENT != 0 && entry & ACCESSED == 0
        };
        match walk::tables(Mode::Long, self.root()).iter().filter(lost).count() {
            0 => Ok(whole - copy),
            lost => Err(format!("that {lost} tables were used is lost")),
        }
    }

    /// What the clock has noted.
    pub fn clock(&self) -> &Clock {
        &self.space.host().clock
    }

    /// How long copying the same tables takes, page by page, in the other half of the arena.
    pub fn memcpy(&self) -> Duration {
        let after = walk::tables(Mode::Long, self.root());
        let began = Instant::now();
        for (&from, &to) in self.before.iter().zip(&after) {
            arena::copy_in_upper_half(from, to);
        }
        began.elapsed()
    }

    /// All that is mapped, as one number.
    fn content(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        walk::leaves(Mode::Long, self.root(), &mut |leaf, word| {
            (leaf.at, walk::load(Mode::Long, word)).hash(&mut hasher);
        });
        hasher.finish()
    }

    /// Moves all tables, and looks at what came of it. Says how many shootdowns there were.
    pub fn check(&mut self) -> Result<u64, String> {
        let before = self.content();
        let (done, ..) = self.relocate(Notes::Ends)?;
        let (old, new) = (self.before.clone(), walk::tables(Mode::Long, self.root()));
        let expected = (self.tables, self.tables, self.tables.div_ceil(BATCH));
        let found = (done.tables(), done.tables_freed(), done.shootdowns);
        if found != expected {
            return Err(format!("moved, freed, shootdowns: {found:?}, not {expected:?}"));
        }
        if old.iter().zip(&new).any(|(old, new)| old == new) || old.len() != new.len() {
            return Err("a table is where it was".into());
        }
        let distinct: HashSet<u64> = new.iter().copied().collect();
        if distinct.len() as u64 != self.tables || arena::used() as u64 != self.tables {
            return Err(format!("{} tables are left of {}", distinct.len(), self.tables));
        }
        if self.content() == before { Ok(done.shootdowns) } else { Err("pages were lost".into()) }
    }
}

fn map(space: &mut Space<'_, X86_64, Timed>, at: u64, bytes: u64) -> Result<(), String> {
    let span = Span::new(VirtAddr(at), bytes).ok_or("no span")?;
    space.map_range(span, PhysAddr(FRAME + at - AT), Attrs::DATA).map_err(wrong)
}

fn wrong(error: pgtable::Error) -> String {
    error.to_string()
}
