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
        "55 scenarios: 48928 steps in 9721 ways, 659677 states, 2390913 CPU steps",
    );
    explored::<Three>(
        all_in_limbo(&three),
        "15 scenarios: 53745 steps in 7958 ways, 1152523 states, 5116171 CPU steps",
    );
    explored::<Strict>(
        with_limbo::<Strict>(&three),
        "55 scenarios: 32034 steps in 6025 ways, 344912 states, 1121825 CPU steps",
    );
    explored::<Legacy>(
        with_limbo::<Legacy>(&VERBS),
        "32 scenarios: 10992 steps in 1626 ways, 121723 states, 399862 CPU steps",
    );
    explored::<Pae>(
        with_limbo::<Pae>(&VERBS),
        "42 scenarios: 18670 steps in 2158 ways, 175824 states, 687404 CPU steps",
    );
    let rereads = each(with_limbo::<Pae>(&VERBS), |verb| Scenario { rereads: true, ..verb });
    explored::<Pae>(
        rereads,
        "42 scenarios: 17510 steps in 1988 ways, 174647 states, 835194 CPU steps",
    );
}

/// Every verb in two levels, with all of both in limbo, and in company.
#[test]
#[ignore = "takes long"]
fn every_verb_in_company() {
    let all = [VERBS.as_slice(), &HUGE].concat();
    explored::<Two>(
        all_in_limbo(&all),
        "15 scenarios: 13982 steps in 2964 ways, 261985 states, 906362 CPU steps",
    );
    let verbs = || with_limbo::<Two>(&all);
    let neighbour = |verb| Scenario { pages: vec![(0, true), (1, false)], ..verb };
    explored::<Two>(
        each(verbs(), neighbour),
        "41 scenarios: 16162 steps in 5284 ways, 333644 states, 1489473 CPU steps",
    );
    let pages = vec![(0, false)];
    let two = |verb| Scenario { cpus: 2, pages: pages.clone(), ..verb };
    explored::<Two>(
        each(verbs(), two),
        "41 scenarios: 4495 steps in 1227 ways, 171166 states, 594835 CPU steps",
    );
    let keeps = |verb| Scenario { keeps_unrelated: true, ..verb };
    explored::<Two>(
        each(verbs(), keeps),
        "41 scenarios: 12793 steps in 3435 ways, 183179 states, 545710 CPU steps",
    );
}

/// Every story of three verbs.
#[test]
#[ignore = "takes long"]
fn every_story_of_three_verbs() {
    explored::<Two>(
        stories(&[Do::Map(0, 0), Do::Map(1, 1)], 3),
        "1729 scenarios: 966301 steps in 191092 ways, 13955332 states, 46193334 CPU steps",
    );
    explored::<Two>(
        stories(&[], 3),
        "828 scenarios: 196162 steps in 45240 ways, 1944733 states, 5586422 CPU steps",
    );
    explored::<Two>(
        stories(&[Do::MapHuge(0, 0)], 3),
        "1335 scenarios: 1232719 steps in 283241 ways, 15098536 states, 45028644 CPU steps",
    );
}
