//! What there is no time for in each run of the tests: minutes.

use super::arches::{Legacy, Pae, Strict, Three, Two};
use super::explored;
use super::scenario::{Do, Scenario};
use super::verbs::{HUGE, VERBS, all_in_limbo, each, stories, with_limbo};

/// Every verb in other modes, with each of the tables in limbo, and all.
#[test]
#[ignore = "takes long"]
fn every_verb_in_other_modes() {
    let three = [VERBS.as_slice(), &HUGE].concat();
    explored::<Three>(
        with_limbo::<Three>(&three),
        "55 scenarios: 59042 steps in 10199 ways, 769122 states, 2727708 CPU steps",
    );
    explored::<Three>(
        all_in_limbo(&three),
        "15 scenarios: 61106 steps in 8562 ways, 1300441 states, 5629314 CPU steps",
    );
    explored::<Strict>(
        with_limbo::<Strict>(&three),
        "55 scenarios: 37216 steps in 6509 ways, 407462 states, 1292124 CPU steps",
    );
    explored::<Legacy>(
        with_limbo::<Legacy>(&VERBS),
        "32 scenarios: 12833 steps in 1737 ways, 137967 states, 440599 CPU steps",
    );
    explored::<Pae>(
        with_limbo::<Pae>(&VERBS),
        "42 scenarios: 21581 steps in 2287 ways, 195661 states, 749206 CPU steps",
    );
    let rereads = each(with_limbo::<Pae>(&VERBS), |verb| Scenario { rereads: true, ..verb });
    explored::<Pae>(
        rereads,
        "42 scenarios: 20258 steps in 2117 ways, 194219 states, 911470 CPU steps",
    );
}

/// Every verb in two levels, with all of both in limbo, and in company.
#[test]
#[ignore = "takes long"]
fn every_verb_in_company() {
    let all = [VERBS.as_slice(), &HUGE].concat();
    explored::<Two>(
        all_in_limbo(&all),
        "15 scenarios: 15333 steps in 3255 ways, 285317 states, 952574 CPU steps",
    );
    let verbs = || with_limbo::<Two>(&all);
    let neighbour = |verb| Scenario { pages: vec![(0, true), (1, false)], ..verb };
    explored::<Two>(
        each(verbs(), neighbour),
        "41 scenarios: 19039 steps in 5903 ways, 399745 states, 1736856 CPU steps",
    );
    let pages = vec![(0, false)];
    let two = |verb| Scenario { cpus: 2, pages: pages.clone(), ..verb };
    explored::<Two>(
        each(verbs(), two),
        "41 scenarios: 4569 steps in 1325 ways, 190369 states, 643125 CPU steps",
    );
    let keeps = |verb| Scenario { keeps_unrelated: true, ..verb };
    explored::<Two>(
        each(verbs(), keeps),
        "41 scenarios: 14077 steps in 3711 ways, 202616 states, 585967 CPU steps",
    );
}

/// Every story of three verbs.
#[test]
#[ignore = "takes long"]
fn every_story_of_three_verbs() {
    explored::<Two>(
        stories(&[Do::Map(0, 0), Do::Map(1, 1)], 3),
        "1729 scenarios: 1051603 steps in 206447 ways, 15667767 states, 51150548 CPU steps",
    );
    explored::<Two>(
        stories(&[], 3),
        "828 scenarios: 222354 steps in 50238 ways, 2215179 states, 6333170 CPU steps",
    );
    explored::<Two>(
        stories(&[Do::MapHuge(0, 0)], 3),
        "1335 scenarios: 1411818 steps in 316180 ways, 17011389 states, 50269974 CPU steps",
    );
}
