//! Everything that CPUs may do between any two steps of the crate: that nothing of it goes wrong is
//! here a fact, for small trees.
//!
//! # How
//!
//! The code under test is the crate's own. Its modes have words whose every access goes through the
//! explorer ([`pgtable::SteppedFormat`]), and with that every atomic step that the crate makes on table
//! memory is a place where something else may happen. Shootdowns, allocations and frees are the host's,
//! and so the explorer's too. What else the crate does (its list of what is in limbo, the root cell)
//! no CPU can see in between: a CPU reads the root cell, which is written between two such steps.
//!
//! Other threads than the verb's own are CPUs alone, since a space is borrowed by who changes it. Their
//! steps are those of the model ([`pgtable::model::Cpu::advance`]): one entry is read through any
//! pointer that the CPU holds, or from its root, A and D are set there, and what was read is kept. It
//! keeps all, and drops nothing unasked: whatever a CPU drops, it might as well have kept and not used.
//! A walk that is under way is no more than a pointer that is held, so walks of all addresses can be
//! interleaved in any way. Besides, a CPU writes through any translation that it holds as dirty, loads
//! the root again without a flush, and in PAE reads the four root entries again. A CPU that has done
//! all this as often as it likes is the most hostile one that the manual allows. What it sees is in
//! the order in which the crate wrote it (x86 keeps stores in order; Intel SDM volume 3A, section 9.2).
//!
//! The explorer has *all* states that memory and CPUs can be in at one moment, as a set, and lets CPUs
//! do all that they may in each until nothing new comes of it. Then comes the crate's next step, in
//! all of them. If it reads a value which is not the same in all, the way forks: it goes on with those
//! that have the first value, and later the whole run is made again, up to there, for those with the
//! next one. So each exploration covers all interleavings, with any number of steps of CPUs. Between
//! two verbs the crate knows nothing but what is in tables, in its limbo and in the root cell; there,
//! ways that agree on these become one again, with the states of them all.
//!
//! # Why no other explorer
//!
//! Model checkers for Rust decide which *thread* is next. Here a CPU decides, too: which of the pointers
//! and translations that it holds it uses, and whether it walks at all. And the memory is one that a
//! host reaches by an address, not a value that knows its checker. loom's atomics are such values (they
//! lie outside the frame, and are no memory when loom does not run), and it bounds the number of
//! branches; shuttle chooses by chance. With either, each decision of a CPU would have to be one more
//! thread. A set of states needs no reduction to be small: all orders of A bits that are set end in the
//! same few states. The whole search is a list of forks in `explore/search.rs`; nothing in it depends
//! on time or chance.
//!
//! # What is looked at
//!
//! After each step of a CPU: no entry of what is no table (any more) was read; no fault but where the
//! page was a hole, or read-only, since the last acknowledged flush; every translation that is held was
//! true since then, and leads to no frame that was handed back. After each verb: what hardware has set
//! is in some copy, or the kernel was told of it; every page that was written is dirty in some copy, or
//! the kernel was told so and the shootdown that followed has ended after the write; a scan has told of
//! all that was noted when it began. After each step of the crate: it has touched no table that was
//! freed, and freed none twice. At the end: the batch ends, and no entry has LOCK or TWIN; all is
//! scanned, the space is torn down, and every table was freed.
//!
//! That a mistake would be seen is shown by `explore/teeth.rs`: each is put between the crate and its
//! memory or its CPUs, and must be found. `explore/schedules.rs` is for trees that are too large for
//! this: there, chance decides what CPUs do at each step, and proptest makes a failure short.
//!
//! # How much
//!
//! Each test says, and asserts, how much it explores. By default it is every verb in two levels of two
//! entries, alone and with each table in limbo, verbs and moves of every table in other modes, and the
//! same where the host copies the tables: 174 scenarios, in which the crate makes 59 thousand atomic
//! steps on 12 thousand ways, with 0.8 million states between them. Those of `explore/deep.rs`, where
//! verbs meet all tables in limbo, and every story of three verbs is told, are 4271 scenarios, with 3.1
//! million steps on 650 thousand ways, and 42 million states. They, and a longer walk through what is by
//! chance, are run by
//!
//! ```text
//! cargo test --release --test explore -- --ignored
//! PROPTEST_CASES=20000 cargo test --release --test explore schedules
//! ```
//!
//! With `--nocapture` each exploration says how much it was.
#![allow(missing_docs, missing_debug_implementations, clippy::unwrap_used, clippy::panic)]
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]
#![allow(clippy::undocumented_unsafe_blocks)]

#[path = "explore/arches.rs"]
mod arches;
#[path = "explore/closure.rs"]
mod closure;
#[path = "explore/deep.rs"]
mod deep;
#[path = "explore/frames.rs"]
mod frames;
#[path = "explore/host.rs"]
mod host;
#[path = "explore/run.rs"]
mod run;
#[path = "explore/sabotage.rs"]
mod sabotage;
#[path = "explore/scenario.rs"]
mod scenario;
#[path = "explore/schedules.rs"]
mod schedules;
#[path = "explore/search.rs"]
mod search;
#[path = "explore/shootdown.rs"]
mod shootdown;
#[path = "explore/stage.rs"]
mod stage;
#[path = "explore/teeth.rs"]
mod teeth;
#[path = "explore/verbs.rs"]
mod verbs;
#[path = "explore/world.rs"]
mod world;

mod common;

use arches::{Legacy, Pae, Shape, Strict, Three, Two};
use run::explore;
use scenario::{Do, Scenario};
use search::Counts;
use verbs::{HUGE, VERBS, Verb, alone, each, moves, stories, with_limbo};

/// Explores scenarios, in which nothing may go wrong. How much that is, is written in the test: an
/// exploration that becomes smaller by mistake proves less.
#[track_caller]
fn explored<A: Shape>(scenarios: impl IntoIterator<Item = Scenario>, much: &str) {
    let (mut sum, mut number) = (Counts::default(), 0);
    for scenario in scenarios {
        let Scenario { before, then, .. } = &scenario;
        match explore::<A>(&scenario) {
            Ok(counts) => {
                println!("{}: {before:?}, {then:?}: {counts}", A::NAME);
                sum += counts;
            }
            Err(wrong) => panic!("{}: {wrong}\n{scenario:?}", A::NAME),
        }
        number += 1;
    }
    let sum = format!("{number} scenarios: {sum}");
    println!("{}, {sum}", A::NAME);
    assert_eq!(sum, much, "{}: if verbs have other steps now, write how many", A::NAME);
}

#[test]
fn every_verb_in_two_levels() {
    explored::<Two>(
        with_limbo::<Two>(&VERBS),
        "32 scenarios: 7762 steps in 2101 ways, 121672 states, 382715 CPU steps",
    );
}

#[test]
fn every_verb_on_huge_leaves() {
    explored::<Two>(
        with_limbo::<Two>(&HUGE),
        "9 scenarios: 7619 steps in 1878 ways, 97640 states, 253967 CPU steps",
    );
}

/// Pages that are changed while another one of the same table is used; two CPUs; a CPU that keeps
/// unrelated pointers.
#[test]
fn in_company() {
    let verbs: [Verb; 2] =
        [(&[Do::Map(0, 0)], Do::ReadOnly(0)), (&[Do::MapHuge(0, 0)], Do::Split(0))];
    let verbs = || with_limbo::<Two>(&verbs);
    let neighbour = |verb| Scenario { pages: vec![(0, true), (1, false)], ..verb };
    explored::<Two>(
        each(verbs(), neighbour),
        "5 scenarios: 1350 steps in 753 ways, 48004 states, 235699 CPU steps",
    );
    let two = |verb| Scenario { cpus: 2, pages: vec![(0, false)], ..verb };
    explored::<Two>(
        each(verbs(), two),
        "5 scenarios: 426 steps in 157 ways, 24923 states, 95554 CPU steps",
    );
    let keeps = |verb| Scenario { keeps_unrelated: true, ..verb };
    explored::<Two>(
        each(verbs(), keeps),
        "5 scenarios: 1186 steps in 473 ways, 21489 states, 62048 CPU steps",
    );
    let replace = [0, 1].map(|new| Scenario::new(&[Do::Map(0, 0)], &[Do::Replace(0, new, 3)]));
    let both = |verb| Scenario { pages: vec![(0, true), (1, true)], ..verb };
    explored::<Two>(
        each(replace.to_vec(), both),
        "2 scenarios: 298 steps in 60 ways, 3546 states, 11528 CPU steps",
    );
}

/// A table is moved again, in the same batch or the next one; a batch ends, and a verb comes after; a
/// table that was moved is freed, and its frame is that of the next one.
#[test]
fn moves_again() {
    let then: [&[Do]; 4] = [
        &[Do::Move(0, 0), Do::Move(0, 0)],
        &[Do::MoveRoot, Do::MoveRoot],
        &[Do::Move(0, 0), Do::EndBatch, Do::Unmap(0)],
        &[Do::MoveRoot, Do::UnmapRange(0, 2), Do::Map(0, 2)],
    ];
    let mut scenarios = then.map(|then| Scenario::new(&[Do::Map(0, 0)], then)).to_vec();
    let freed: [Verb; 2] = [
        (&[Do::Map(2, 2), Do::Map(0, 0)], Do::Unmap(0)),
        (&[Do::Map(2, 2), Do::MapHuge(0, 0), Do::Split(0)], Do::Promote(0)),
    ];
    for (before, frees) in freed {
        let freed = Scenario::new(before, &[Do::Move(0, 0), frees, Do::Move(2, 0), Do::Unmap(2)]);
        scenarios.push(Scenario { pages: vec![(2, true)], ..freed });
    }
    explored::<Two>(
        each(scenarios, |again| Scenario { reuse: true, ..again }),
        "6 scenarios: 2209 steps in 485 ways, 20043 states, 53769 CPU steps",
    );
}

#[test]
fn every_table_of_three_levels() {
    explored::<Three>(
        moves::<Three>(),
        "4 scenarios: 1579 steps in 289 ways, 26988 states, 118377 CPU steps",
    );
    explored::<Strict>(
        moves::<Strict>(),
        "4 scenarios: 1295 steps in 193 ways, 15028 states, 44340 CPU steps",
    );
}

#[test]
fn every_table_of_real_modes() {
    explored::<Legacy>(
        moves::<Legacy>(),
        "3 scenarios: 2304 steps in 155 ways, 22874 states, 71704 CPU steps",
    );
    let mut pae = moves::<Pae>();
    // Where the root entries are no registers.
    let directory = Scenario::new(&[Do::Map(0, 0)], &[Do::Move(0, 1)]);
    pae.push(Scenario { rereads: true, ..directory });
    explored::<Pae>(pae, "5 scenarios: 3001 steps in 196 ways, 42146 states, 172038 CPU steps");
}

/// Tables that the host copies, which the crate has looked at before.
#[test]
fn every_table_that_the_host_copies() {
    let by_host = |scenario| Scenario { copies: true, ..scenario };
    explored::<Two>(
        each(with_limbo::<Two>(&VERBS), by_host),
        "32 scenarios: 7992 steps in 2155 ways, 125737 states, 396649 CPU steps",
    );
    explored::<Three>(
        each(moves::<Three>(), by_host),
        "4 scenarios: 2303 steps in 335 ways, 36209 states, 172183 CPU steps",
    );
    explored::<Strict>(
        each(moves::<Strict>(), by_host),
        "4 scenarios: 1613 steps in 195 ways, 16868 states, 48492 CPU steps",
    );
    explored::<Legacy>(
        each(moves::<Legacy>(), by_host),
        "3 scenarios: 2782 steps in 172 ways, 26924 states, 88770 CPU steps",
    );
    explored::<Pae>(
        each(moves::<Pae>(), by_host),
        "4 scenarios: 3370 steps in 188 ways, 45267 states, 194559 CPU steps",
    );
}

#[test]
fn every_verb_in_other_modes() {
    explored::<Three>(
        [alone(&VERBS), alone(&HUGE)].concat(),
        "15 scenarios: 6061 steps in 1042 ways, 48502 states, 147651 CPU steps",
    );
    explored::<Legacy>(
        alone(&VERBS),
        "11 scenarios: 1471 steps in 256 ways, 9696 states, 22417 CPU steps",
    );
    explored::<Pae>(
        alone(&VERBS),
        "11 scenarios: 2318 steps in 258 ways, 11850 states, 35523 CPU steps",
    );
}

/// Every verb that is no move, after a move of the root, in a story of its own.
#[test]
fn every_story_that_begins_with_a_move() {
    let stories = stories(&[Do::Map(0, 0), Do::Map(1, 1)], 2);
    let told = stories.into_iter().filter(|story| {
        let moves = matches!(story.then[1], Do::Move(..) | Do::MoveRoot | Do::MoveAll);
        story.then[0] == Do::MoveRoot && !moves
    });
    explored::<Two>(told, "10 scenarios: 2016 steps in 831 ways, 46184 states, 129281 CPU steps");
}
