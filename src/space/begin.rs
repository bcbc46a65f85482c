//! New spaces, and adopted ones.

use super::setup::{KernelHalf, Part, Setup};
use super::{Held, Space};
use crate::addr::{PhysAddr, Span, VirtAddr, low_bits};
use crate::gather::Owner;
use crate::level::{Arch, Config, Error, Feature, Fields, Format, Limits, PageTableLevel, Sight};
use crate::limbo::Limbo;
use crate::map::{Check, Tree};
use crate::table::{Fresh, Host, RootCell, Roots, Table, table_lg2, with_roots};
use crate::walk::{FormatOf, Half, Names, Open, Reach, RootOf, Slots};
use core::marker::PhantomData;
use core::sync::atomic::AtomicBool;

impl<'r, C: Config, H: Host> Space<'r, C, H> {
    /// A new, empty space.
    ///
    /// # Errors
    /// [`Error::BadRoot`] if the cell is in use; [`Error::OutOfMemory`] and [`Error::BadTable`] from
    /// the host's frames; [`Error::BadSpan`], [`Error::SelfMap`], [`Error::Unsupported`] for a setup
    /// that the mode does not have; [`Error::Unsupported`] and [`Error::TooWide`] for limits that the
    /// kernel's half goes beyond; [`Error::RootList`] if the host's list does not take the root, or the
    /// half is another host's.
    pub fn new(host: H, cell: &'r RootCell, setup: Setup<'_, C::Arch>) -> Result<Self, Error> {
        let tree = prepared::<C, H>(host, cell, &setup)?;
        let claim = cell.claim()?;
        let root = first_root(&tree)?;
        if let Err(error) = enlist(&tree, root, &setup, Copied::No) {
            undo(&tree, root);
            return Err(error);
        }
        claim.keep(root.frame());
        Ok(Self { held: Held::new(tree) })
    }

    /// Takes over a tree that is there already, while CPUs may be using it.
    ///
    /// The whole tree is walked once, and refused if it has something that the crate could not be
    /// trusted with. Its tables count as made: the host's hook is not called for them.
    ///
    /// Verbs give the tables above a page the rights that the page asks for. A tree that forbids
    /// something by the entry of a table, and not by its leaves, should be used with that in mind:
    /// other pages below the same entry get what their own leaves say.
    ///
    /// # Safety
    /// `root` is the root of a tree of this mode. Every table of it is reached by the host, and may
    /// be given to [`Host::free`]. From now on nobody but this space changes it, but for hardware's
    /// accessed and dirty bits. With [`Names::Unique`] (the default), no table
    /// outside the shared half is named twice. With `Names::Aliased`, no verb changes the entries of a
    /// table that is named as one of two heights (but for a declared self-map): such tables are to be
    /// looked at.
    ///
    /// # Errors
    /// [`Error::SoftwareBits`] if a table entry uses bits that are the crate's; [`Error::Cycle`] for
    /// a self-map that was not declared; [`Error::SelfMap`] for one that was and is not there;
    /// [`Error::Unreachable`] for a table that the host does not reach; [`Error::Shared`] if a root
    /// entry of the shared half is not the kernel's; and those of [`new`](Self::new). The tree is
    /// as it was.
    pub unsafe fn adopt(
        host: H,
        cell: &'r RootCell,
        root: PhysAddr,
        setup: Setup<'_, C::Arch>,
    ) -> Result<Self, Error> {
        let tree = prepared::<C, H>(host, cell, &setup)?;
        let claim = cell.claim()?;
        let aligned = root.is_aligned(table_lg2::<RootOf<C>>());
        if !RootCell::holds(root)
            || !aligned
            || !root.fits(C::Arch::root_phys_bits(&tree.sight.limits))
        {
            return Err(Error::BadRoot(root));
        }
        claim.set(root);
        tree.expect(true);
        check(&tree)?;
        enlist(&tree, tree.root()?, &setup, Copied::Already)?;
        claim.keep(root);
        Ok(Self { held: Held::new(tree) })
    }
}

/// Whether a root has the words of the shared half.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copied {
    No,
    Already,
}

/// The space, but for its root.
fn prepared<'r, C: Config, H: Host>(
    host: H,
    cell: &'r RootCell,
    setup: &Setup<'_, C::Arch>,
) -> Result<Tree<'r, C, H>, Error> {
    let half = setup.half();
    if let Some(span) = half.span() {
        if !Reach::<C::Arch>::has_span(span) || !span.is_aligned(RootOf::<C>::LEVEL.span_lg2) {
            return Err(Error::BadSpan(span));
        }
    }
    check_self_map::<C>(setup.self_map, half)?;
    let limits = limits::<C>(setup)?;
    let smallest = FormatOf::<C>::PAGE_LG2;
    if limits.largest_leaf_lg2 < smallest {
        return Err(Error::Unsupported(Feature::PageSize(smallest)));
    }
    let (names, self_map) = (setup.names, setup.self_map);
    let sight = Sight::new::<RootOf<C>>(limits);
    let (open, limbo) = (Open::new::<C>(half, self_map), Limbo::new());
    let local = names == Names::Unique && !matches!(half, Half::Owner(_));
    let (owner, config) = (Owner::new(cell.id()), PhantomData);
    let strange = AtomicBool::new(false);
    Ok(Tree {
        host,
        cell,
        owner,
        sight,
        names,
        half,
        local,
        self_map,
        open,
        strange,
        limbo,
        config,
    })
}

/// The limits of a space. What the kernel's half may hold must be read for what it is: with narrower
/// limits, a leaf could be taken for a table.
fn limits<C: Config>(setup: &Setup<'_, C::Arch>) -> Result<Limits, Error> {
    let Part::Guest(half) = setup.half else {
        return Ok(C::Arch::LIMITS.narrowed(setup.limits.unwrap_or(C::Arch::LIMITS)));
    };
    let (kernel, limits) = (half.limits, setup.limits.unwrap_or(half.limits));
    if limits.largest_leaf_lg2 < kernel.largest_leaf_lg2 {
        return Err(Error::Unsupported(Feature::PageSize(kernel.largest_leaf_lg2)));
    }
    if kernel.no_execute && !limits.no_execute {
        return Err(Error::Unsupported(Feature::NoExecute));
    }
    if limits.phys_bits < kernel.phys_bits {
        let frame = PhysAddr(low_bits(kernel.phys_bits));
        return Err(Error::TooWide { frame, bits: limits.phys_bits });
    }
    Ok(C::Arch::LIMITS.narrowed(limits))
}

/// A self-map must be a root entry outside the shared half (in another space it would name that
/// space's root), and a root must look like a table of the level below it.
fn check_self_map<C: Config>(self_map: Option<usize>, half: Half) -> Result<(), Error> {
    let Some(index) = self_map else { return Ok(()) };
    let (level, below) = (RootOf::<C>::LEVEL, <RootOf<C> as PageTableLevel>::Below::LEVEL);
    if level.height == 0 || level.index_lg2 != below.index_lg2 || index >= level.entries() {
        return Err(Error::Unsupported(Feature::SelfMap));
    }
    let at = Reach::<C::Arch>::root_entry(index);
    if half.span().is_some_and(|span| span.contains(at)) {
        return Err(Error::SelfMap { at });
    }
    Ok(())
}

/// Gives every root entry of the shared half its table, where it can be nothing else.
fn fill_half<'h, C: Config, H: Host>(
    tree: &'h Tree<'_, C, H>,
    root: &mut Fresh<'h, RootOf<C>, H>,
    span: Span,
) -> Result<(), Error> {
    let level = RootOf::<C>::LEVEL;
    if level.maps {
        return Ok(());
    }
    let highest = tree.sight.highest_table::<RootOf<C>>();
    for (whole, _) in Slots::<RootOf<C>>::of(span) {
        let below = Fresh::<<RootOf<C> as PageTableLevel>::Below, H>::empty(
            &tree.host,
            &tree.sight.limits,
            highest,
            whole.first(),
        )?;
        let word = FormatOf::<C>::table(level, below.into_live().frame(), false);
        root.set(level.index(whole.first()), word);
    }
    Ok(())
}

/// A root with all that is the space's own.
fn first_root<C: Config, H: Host>(tree: &Tree<'_, C, H>) -> Result<Table<RootOf<C>>, Error> {
    let bits = C::Arch::root_phys_bits(&tree.sight.limits).min(RootCell::phys_bits());
    let (limits, highest) = (&tree.sight.limits, PhysAddr(low_bits(bits)));
    let mut root = Fresh::<RootOf<C>, H>::empty(&tree.host, limits, highest, VirtAddr(0))?;
    if !RootCell::holds(root.frame()) {
        return Err(Error::BadRoot(root.frame()));
    }
    if let Half::Owner(span) = tree.half {
        fill_half(tree, &mut root, span)?;
    }
    // From here on nothing fails: dropped, it would take its own name for that of a lower table.
    if let Some(index) = tree.self_map {
        let word = FormatOf::<C>::table(RootOf::<C>::LEVEL, root.frame(), false);
        root.set(index, word);
    }
    Ok(root.into_live())
}

/// Gives back a root that was made, and not listed.
fn undo<C: Config, H: Host>(tree: &Tree<'_, C, H>, root: Table<RootOf<C>>) {
    if let Some(index) = tree.self_map {
        root.live().store(index, 0);
    }
    drop(Fresh::<RootOf<C>, H>::taken_back(&tree.host, &tree.sight.limits, root.frame()));
}

/// Puts a root on the host's list, if it shares a half, and gives a new one the kernel's words: both
/// under the list's lock, so that it misses no change.
fn enlist<C: Config, H: Host>(
    tree: &Tree<'_, C, H>,
    root: Table<RootOf<C>>,
    setup: &Setup<'_, C::Arch>,
    copied: Copied,
) -> Result<(), Error> {
    if tree.half == Half::Apart {
        return Ok(());
    }
    let mut result = Err(Error::RootList(root.frame()));
    with_roots(&tree.host, |list| {
        result = match setup.half {
            Part::Guest(half) => join(tree, list, root, half, copied),
            Part::Apart | Part::Owner(_) => found(list, root.frame()),
        };
    });
    result
}

/// The kernel's own space is the first on the list.
fn found(list: &mut dyn Roots, root: PhysAddr) -> Result<(), Error> {
    let mut other = None;
    list.each(&mut |listed| other = Some(listed));
    match other {
        Some(listed) => Err(Error::RootList(listed)),
        None => list.insert(root).then_some(()).ok_or(Error::RootList(root)),
    }
}

fn join<C: Config, H: Host>(
    tree: &Tree<'_, C, H>,
    list: &mut dyn Roots,
    root: Table<RootOf<C>>,
    half: KernelHalf<'_, C::Arch>,
    copied: Copied,
) -> Result<(), Error> {
    let level = RootOf::<C>::LEVEL;
    let (kernel, _): (Table<RootOf<C>>, _) = half.cell.table(&tree.host)?;
    let mut known = false;
    list.each(&mut |listed| known |= listed == kernel.frame());
    if !known || kernel.live().place() != half.place {
        return Err(Error::RootList(kernel.frame()));
    }
    let used = FormatOf::<C>::mask(level, Fields::ACCESSED | Fields::DIRTY);
    let slots = || Slots::<RootOf<C>>::of(half.span).map(|(whole, _)| whole.first());
    let same = |at| {
        let index = level.index(at);
        (kernel.load(index) ^ root.load(index)) & !used == 0
    };
    if copied == Copied::Already {
        if let Some(at) = slots().find(|&at| !same(at)) {
            return Err(Error::Shared { at });
        }
    }
    if !list.insert(root.frame()) {
        return Err(Error::RootList(root.frame()));
    }
    if copied == Copied::No {
        let indices = slots().map(|at| level.index(at));
        indices.for_each(|index| root.live().store(index, kernel.load(index)));
    }
    Ok(())
}

/// Whether a tree can be adopted.
fn check<C: Config, H: Host>(tree: &Tree<'_, C, H>) -> Result<(), Error> {
    let root = tree.root()?;
    if let Some(index) = tree.self_map {
        let (at, seen) = (Reach::<C::Arch>::root_entry(index), root.see(index, &tree.sight));
        if !seen.names(root.frame()) {
            return Err(Error::SelfMap { at });
        }
        if seen.raw & (FormatOf::<C>::LOCK | FormatOf::<C>::TWIN) != 0 {
            return Err(Error::SoftwareBits { at, raw: seen.raw });
        }
    }
    tree.walk_all(&mut Check::new(tree))?;
    root.recount(&tree.host);
    Ok(())
}
