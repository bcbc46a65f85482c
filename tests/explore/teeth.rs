//! Each mistake is found out, and in the way that it should be.
//!
//! Three mistakes of the protocol cannot be put in from here, and could not be seen either: a record
//! that is made after the name is published, TWIN cleared before the record is dropped, and a live
//! entry that is read before its limbo copy. They hurt a second thread that is in the middle of a verb
//! of the same space, and a space is borrowed by the one who changes it.

use super::arches::{Pae, Shape, Strict, Three, Two};
use super::run::explore;
use super::sabotage::Sabotage;
use super::scenario::{Do, Scenario};

const PAGE: &[Do] = &[Do::Map(0, 0)];
const PAGES: &[Do] = &[Do::Map(0, 0), Do::Map(1, 1)];

/// How mistakes show.
const STALE: &str = "is translated to";
const HANDED_BACK: &str = "was handed back";
const NO_TABLE: &str = "in what is no table";
const LOST: &str = "in memory 0b0";
const FAULT: &str = "a fault at 0x0: NotPresent";

fn found<A: Shape>(sabotage: Sabotage, before: &[Do], then: &[Do], what: &str) {
    found_in::<A>(Scenario { sabotage: Some(sabotage), ..Scenario::new(before, then) }, what);
}

/// The scenario is well without the mistake, and with it the explorer says what.
fn found_in<A: Shape>(scenario: Scenario, what: &str) {
    let good = Scenario { sabotage: None, ..scenario.clone() };
    explore::<A>(&good).unwrap_or_else(|wrong| panic!("{good:?}: {wrong}"));
    match explore::<A>(&scenario) {
        Ok(counts) => panic!("{scenario:?} is not found out: {counts}"),
        Err(wrong) => assert!(wrong.contains(what), "{scenario:?}: {wrong}"),
    }
}

#[test]
fn mistakes_of_shootdowns() {
    use Sabotage::{EarlyReturn, FirstCpuOnly, FrameEarly, NoShootdown};
    found::<Two>(NoShootdown, PAGES, &[Do::Unmap(0)], HANDED_BACK);
    found::<Two>(NoShootdown, PAGE, &[Do::Exchange(0, 2)], HANDED_BACK);
    found::<Two>(NoShootdown, PAGE, &[Do::ReadOnly(0)], STALE);
    found::<Two>(NoShootdown, PAGE, &[Do::Scan], LOST);
    found::<Two>(NoShootdown, PAGE, &[Do::Move(0, 0)], NO_TABLE);
    found::<Two>(NoShootdown, PAGE, &[Do::MoveRoot], NO_TABLE);
    found::<Strict>(NoShootdown, PAGE, &[Do::Move(0, 0)], NO_TABLE);
    found::<Two>(EarlyReturn, PAGES, &[Do::UnmapRange(0, 2)], NO_TABLE);
    found::<Three>(EarlyReturn, PAGE, &[Do::Move(0, 1)], NO_TABLE);
    found::<Two>(FrameEarly, PAGES, &[Do::Unmap(0)], HANDED_BACK);
    for (then, what) in [(Do::Unmap(0), HANDED_BACK), (Do::MoveRoot, NO_TABLE)] {
        let two = Scenario { cpus: 2, ..Scenario::new(PAGES, &[then]) };
        found_in::<Two>(Scenario { sabotage: Some(FirstCpuOnly), ..two }, what);
    }
}

#[test]
fn mistakes_about_what_is_stale() {
    use Sabotage::{NoRootReload, OneAddress};
    found::<Two>(NoRootReload, PAGE, &[Do::MoveRoot], NO_TABLE);
    found::<Pae>(NoRootReload, PAGE, &[Do::Move(0, 1)], NO_TABLE);
    found::<Pae>(NoRootReload, &[], &[Do::Map(0, 0)], FAULT);
    // INVLPG drops all pointers of Intel's CPUs, but not of all others.
    let kept = |keeps_unrelated, sabotage| Scenario {
        keeps_unrelated,
        pages: vec![(0, false), (2, true)],
        sabotage,
        ..Scenario::new(&[Do::Map(0, 0), Do::Map(2, 2)], &[Do::Move(2, 0)])
    };
    found_in::<Two>(kept(true, Some(OneAddress)), NO_TABLE);
}

#[test]
fn mistakes_of_moves() {
    use Sabotage::{FillLate, MergeByStore, MergeEarly, MirrorByStore, NoMerge, NoMirror};
    found::<Two>(NoMerge, PAGE, &[Do::Move(0, 0)], LOST);
    found::<Two>(MergeByStore, PAGE, &[Do::Move(0, 0)], "in memory 0b1");
    found::<Two>(MergeEarly, PAGE, &[Do::Move(0, 0)], LOST);
    found::<Strict>(MergeEarly, PAGE, &[Do::Move(0, 0)], LOST);
    found::<Two>(FillLate, PAGE, &[Do::Move(0, 0)], STALE);
    found::<Three>(FillLate, PAGE, &[Do::Move(0, 1)], NO_TABLE);
    found::<Two>(FillLate, PAGE, &[Do::MoveRoot], NO_TABLE);
    found::<Strict>(FillLate, PAGE, &[Do::Move(0, 0)], STALE);
    found::<Two>(NoMirror, PAGES, &[Do::Move(0, 0), Do::Unmap(0)], LOST);
    found::<Two>(
        NoMirror,
        &[Do::MapHuge(0, 0)],
        &[Do::MoveRoot, Do::UnmapRange(0, 2)],
        HANDED_BACK,
    );
    found::<Two>(NoMirror, &[Do::Map(1, 1)], &[Do::Move(0, 0), Do::Map(0, 0)], FAULT);
    found::<Two>(NoMirror, PAGE, &[Do::MoveRoot, Do::UnmapRange(0, 2)], NO_TABLE);
    found::<Two>(MirrorByStore, PAGE, &[Do::Move(0, 0), Do::ReadOnly(0)], LOST);
}

/// Nor would it be well if hardware did not look again before it sets A and D (Intel SDM volume 3A,
/// section 4.8).
#[test]
fn mistakes_of_hardware() {
    use Sabotage::NoRecheck;
    found::<Two>(NoRecheck, PAGES, &[Do::Unmap(0)], LOST);
    found::<Two>(NoRecheck, PAGE, &[Do::SwapOut(0)], LOST);
    found::<Two>(NoRecheck, PAGE, &[Do::Exchange(0, 2)], LOST);
}

#[test]
fn mistakes_of_verbs() {
    use Sabotage::{FillLate, ForgetPromote, ForgetSplit, ForgetTwin, NotAtomic, TwoHalves};
    let huge = &[Do::MapHuge(0, 0)];
    found::<Two>(FillLate, &[], &[Do::Map(0, 0)], STALE);
    found::<Two>(NotAtomic, PAGE, &[Do::ReadOnly(0)], LOST);
    found::<Two>(NotAtomic, PAGES, &[Do::Unmap(0)], LOST);
    found::<Two>(NotAtomic, PAGE, &[Do::Exchange(0, 2)], LOST);
    found::<Two>(NotAtomic, huge, &[Do::Split(0)], LOST);
    found::<Two>(NotAtomic, PAGE, &[Do::Scan], LOST);
    found::<Two>(TwoHalves, PAGE, &[Do::Exchange(0, 2)], STALE);
    found::<Two>(TwoHalves, huge, &[Do::Split(0)], NO_TABLE);
    found::<Two>(ForgetTwin, PAGES, &[Do::Move(0, 0), Do::Unmap(0)], LOST);
    found::<Two>(ForgetTwin, PAGE, &[Do::Move(0, 0), Do::Scan], "saw it clean");
    found::<Two>(ForgetSplit, huge, &[Do::Split(0)], LOST);
    let split = &[Do::MapHuge(0, 0), Do::Split(0)];
    found::<Two>(ForgetPromote, split, &[Do::Promote(0)], LOST);
}
