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
        "55 scenarios: 64357 steps in 10939 ways, 826140 states, 2933110 CPU steps",
    );
    explored::<Three>(
        all_in_limbo(&three),
        "15 scenarios: 69819 steps in 9581 ways, 1472879 states, 6475652 CPU steps",
    );
    explored::<Strict>(
        with_limbo::<Strict>(&three),
        "55 scenarios: 39579 steps in 6830 ways, 424925 states, 1342474 CPU steps",
    );
    explored::<Legacy>(
        with_limbo::<Legacy>(&VERBS),
        "32 scenarios: 13164 steps in 1841 ways, 149979 states, 487885 CPU steps",
    );
    explored::<Pae>(
        with_limbo::<Pae>(&VERBS),
        "42 scenarios: 23114 steps in 2449 ways, 212097 states, 820197 CPU steps",
    );
    let rereads = each(with_limbo::<Pae>(&VERBS), |verb| Scenario { rereads: true, ..verb });
    explored::<Pae>(
        rereads,
        "42 scenarios: 21791 steps in 2279 ways, 213255 states, 1009731 CPU steps",
    );
}

/// Every verb in two levels, with all of both in limbo, and in company.
#[test]
#[ignore = "takes long"]
fn every_verb_in_company() {
    let all = [VERBS.as_slice(), &HUGE].concat();
    explored::<Two>(
        all_in_limbo(&all),
        "15 scenarios: 17227 steps in 3596 ways, 318983 states, 1076126 CPU steps",
    );
    let verbs = || with_limbo::<Two>(&all);
    let neighbour = |verb| Scenario { pages: vec![(0, true), (1, false)], ..verb };
    explored::<Two>(
        each(verbs(), neighbour),
        "41 scenarios: 21176 steps in 6447 ways, 435306 states, 1885995 CPU steps",
    );
    let pages = vec![(0, false)];
    let two = |verb| Scenario { cpus: 2, pages: pages.clone(), ..verb };
    explored::<Two>(
        each(verbs(), two),
        "41 scenarios: 4954 steps in 1377 ways, 201075 states, 679945 CPU steps",
    );
    let keeps = |verb| Scenario { keeps_unrelated: true, ..verb };
    explored::<Two>(
        each(verbs(), keeps),
        "41 scenarios: 15531 steps in 3986 ways, 219580 states, 637017 CPU steps",
    );
}

/// Every story of three verbs.
#[test]
#[ignore = "takes long"]
fn every_story_of_three_verbs() {
    explored::<Two>(
        stories(&[Do::Map(0, 0), Do::Map(1, 1)], 3),
        "1729 scenarios: 1100020 steps in 219897 ways, 17412942 states, 57378025 CPU steps",
    );
    explored::<Two>(
        stories(&[], 3),
        "828 scenarios: 225782 steps in 51368 ways, 2318776 states, 6622184 CPU steps",
    );
    explored::<Two>(
        stories(&[Do::MapHuge(0, 0)], 3),
        "1335 scenarios: 1463538 steps in 329115 ways, 17790521 states, 52542036 CPU steps",
    );
}
