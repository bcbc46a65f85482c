//! Schedules by chance, for trees that are too large for all of them: a strategy for proptest. What a
//! CPU does at each point is one of the things that the explorer would try there.

use super::arches::{Legacy, Pae, Shape, Strict, Three};
use super::common;
use super::run::follow;
use super::sabotage::Sabotage;
use super::scenario::{Do, Scenario};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use std::fmt;

/// What CPUs do while one verb is at work, in one line: a byte is one step of a CPU, or, if it is zero,
/// the crate's turn. After the last one nobody does anything unasked.
#[derive(Clone)]
struct Schedule(Vec<u8>);

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Verbs, of which those that do not apply are left out, each with its schedule: what is taken out of
/// a story to make it shorter leaves the rest as it was.
type Story = Vec<(Do, Schedule)>;

fn stories() -> impl Strategy<Value = Story> {
    let step = prop_oneof![2 => Just(0), 3 => 1..=u8::MAX];
    vec((verb(), vec(step, 0..30).prop_map(Schedule)), 1..10)
}

fn verb() -> impl Strategy<Value = Do> {
    let (page, frame) = (0..8u64, 0..8u64);
    let pair = (page.clone(), frame.clone());
    prop_oneof![
        4 => pair.clone().prop_map(|(page, frame)| Do::Map(page, frame)),
        1 => pair.clone().prop_map(|(page, frame)| Do::MapReadOnly(page, frame)),
        2 => (0..4u64, 0..4u64).prop_map(|(page, frame)| Do::MapHuge(2 * page, 2 * frame)),
        2 => page.clone().prop_map(Do::Unmap),
        1 => (page.clone(), 1..5u64)
            .prop_map(|(page, pages)| Do::UnmapRange(page, pages.min(8 - page))),
        1 => (page.clone(), page.clone(), frame)
            .prop_map(|(page, new, frame)| Do::Replace(page, new, frame)),
        1 => page.clone().prop_map(Do::ReadOnly),
        1 => page.clone().prop_map(Do::Writable),
        1 => pair.prop_map(|(page, frame)| Do::Exchange(page, frame)),
        1 => page.clone().prop_map(Do::SwapOut),
        2 => Just(Do::Scan),
        1 => page.clone().prop_map(Do::Split),
        1 => page.clone().prop_map(Do::Promote),
        4 => (page, 0..3u8).prop_map(|(page, height)| Do::Move(page, height)),
        1 => Just(Do::MoveRoot),
        2 => Just(Do::MoveAll),
        1 => Just(Do::EndBatch),
    ]
}

/// Two CPUs use four pages, three of which are there when they come on.
fn follow_one<A: Shape>(story: &Story, sabotage: Option<Sabotage>) -> Result<(), TestCaseError> {
    let pages = vec![(0, true), (1, true), (2, false), (5, true)];
    let before = [Do::Map(0, 0), Do::Map(1, 1), Do::Map(5, 5)];
    let then: Vec<Do> = story.iter().map(|(verb, _)| *verb).collect();
    let scenario = Scenario::new(&before, &then);
    let scenario = Scenario { pages, cpus: 2, sabotage, reuse: true, ..scenario };
    let schedules = story.iter().map(|(_, schedule)| schedule.0.clone()).collect();
    follow::<A>(&scenario, schedules).map_err(TestCaseError::fail)
}

fn nothing_goes_wrong<A: Shape>() {
    let mut runner = TestRunner::new(common::cases(64));
    let result = runner.run(&stories(), |story| follow_one::<A>(&story, None));
    result.unwrap_or_else(|wrong| panic!("{}: {wrong}", A::NAME));
}

#[test]
fn of_three_levels() {
    nothing_goes_wrong::<Three>();
    nothing_goes_wrong::<Strict>();
}

#[test]
fn of_real_modes() {
    nothing_goes_wrong::<Legacy>();
    nothing_goes_wrong::<Pae>();
}

/// Schedules by chance find mistakes, too, and what is left of a story that has one is short.
#[test]
fn find_mistakes() {
    use Sabotage::{EarlyReturn, NoMerge, NoShootdown};
    for sabotage in [NoShootdown, EarlyReturn, NoMerge] {
        let (cases, max_shrink_iters) = (2000, 2000);
        let config = ProptestConfig { cases, max_shrink_iters, ..common::cases(0) };
        // The same stories each time, as many as it takes.
        let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(config, chance);
        let result = runner.run(&stories(), |story| follow_one::<Three>(&story, Some(sabotage)));
        let Err(TestError::Fail(why, story)) = result else { panic!("{sabotage:?}: {result:?}") };
        println!("{sabotage:?}, {story:?}: {why}");
        assert!(story.len() <= 3, "{sabotage:?}: {story:?}");
    }
}
