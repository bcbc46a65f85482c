//! Lists of scenarios.

use super::arches::{Shape, Two, top};
use super::scenario::{Do, Pages, Scenario};
use super::stage::data;

/// What is there before a verb, and the verb.
pub(crate) type Verb = (&'static [Do], Do);

/// Verbs on page 0, which is what CPUs use.
pub(crate) const VERBS: [Verb; 11] = [
    (&[Do::Map(1, 1)], Do::Map(0, 0)),
    (&[], Do::Map(0, 0)),
    (&[Do::Map(0, 0)], Do::Unmap(0)),
    (&[Do::Map(0, 0), Do::Map(1, 1)], Do::Unmap(0)),
    (&[Do::Map(0, 0), Do::Map(2, 2)], Do::UnmapRange(0, 2)),
    (&[Do::Map(0, 0)], Do::ReadOnly(0)),
    (&[Do::MapReadOnly(0, 0)], Do::Writable(0)),
    (&[Do::Map(0, 0)], Do::Exchange(0, 2)),
    (&[Do::Map(0, 0)], Do::SwapOut(0)),
    (&[Do::Map(0, 0), Do::SwapOut(0)], Do::Unmap(0)),
    (&[Do::Map(0, 0)], Do::Scan),
];

/// Verbs that want leaves of two sizes.
pub(crate) const HUGE: [Verb; 4] = [
    (&[Do::MapHuge(0, 0)], Do::Scan),
    (&[Do::MapHuge(0, 0)], Do::Unmap(0)),
    (&[Do::MapHuge(0, 0)], Do::Split(0)),
    (&[Do::MapHuge(0, 0), Do::Split(0)], Do::Promote(0)),
];

/// Each verb alone.
pub(crate) fn alone(verbs: &[Verb]) -> Vec<Scenario> {
    verbs.iter().map(|&(before, verb)| Scenario::new(before, &[verb])).collect()
}

/// Each verb alone, and with each of the tables above page 0 in limbo.
pub(crate) fn with_limbo<A: Shape>(verbs: &[Verb]) -> Vec<Scenario> {
    let mut scenarios = alone(verbs);
    for &(before, verb) in verbs {
        let lowest = match before {
            [] => top::<A>(),
            [Do::MapHuge(..)] => 1,
            _ => 0,
        };
        let tables = (lowest..top::<A>()).map(|height| Do::Move(0, height));
        let moves = tables.chain([Do::MoveRoot]);
        scenarios.extend(moves.map(|moved| Scenario::new(before, &[moved, verb])));
    }
    scenarios
}

/// Each verb with all tables in limbo.
pub(crate) fn all_in_limbo(verbs: &[Verb]) -> Vec<Scenario> {
    let all = |&(before, verb): &Verb| Scenario::new(before, &[Do::MoveAll, verb]);
    verbs.iter().map(all).collect()
}

/// A move of each table by itself, and of all.
pub(crate) fn moves<A: Shape>() -> Vec<Scenario> {
    let each = (0..top::<A>()).map(|height| Do::Move(0, height));
    let moves = each.chain([Do::MoveRoot, Do::MoveAll]);
    moves.map(|moved| Scenario::new(&[Do::Map(0, 0)], &[moved])).collect()
}

/// The same, changed.
pub(crate) fn each(
    scenarios: Vec<Scenario>,
    change: impl Fn(Scenario) -> Scenario,
) -> impl Iterator<Item = Scenario> {
    scenarios.into_iter().map(change)
}

/// What stories are made of.
const ALL: [Do; 17] = [
    Do::Map(0, 2),
    Do::MapReadOnly(0, 3),
    Do::Map(2, 4),
    Do::MapHuge(0, 6),
    Do::Unmap(0),
    Do::Unmap(1),
    Do::UnmapRange(0, 2),
    Do::ReadOnly(0),
    Do::Writable(0),
    Do::Exchange(0, 2),
    Do::Scan,
    Do::Split(0),
    Do::Promote(0),
    Do::Move(0, 0),
    Do::MoveRoot,
    Do::MoveAll,
    Do::EndBatch,
];

/// All stories of so many verbs that can be told in two levels after `before`.
pub(crate) fn stories(before: &[Do], length: usize) -> Vec<Scenario> {
    let mut stories = vec![vec![]];
    for _ in 0..length {
        stories = stories.iter().flat_map(|story| longer(before, story)).collect();
    }
    let tell = |story: Vec<Do>| Scenario { reuse: true, ..Scenario::new(before, &story) };
    stories.into_iter().map(tell).collect()
}

/// A story, and each verb that may come next.
fn longer(before: &[Do], story: &[Do]) -> Vec<Vec<Do>> {
    let mut pages = Pages::default();
    let frame = |frame| data(frame, Two::WORD);
    before.iter().chain(story).for_each(|&verb| pages.plan(verb, frame));
    let applies = ALL.into_iter().filter(|&verb| match verb {
        Do::Move(page, _) => pages.have_leaf_table(page),
        _ => pages.allow(verb, frame),
    });
    applies.map(|verb| [story, &[verb]].concat()).collect()
}
