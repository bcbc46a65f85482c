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
        "55 scenarios: 64000 steps in 10904 ways, 825152 states, 2930505 CPU steps",
    );
    explored::<Three>(
        all_in_limbo(&three),
        "15 scenarios: 69574 steps in 9558 ways, 1471579 states, 6471123 CPU steps",
    );
    explored::<Strict>(
        with_limbo::<Strict>(&three),
        "55 scenarios: 39264 steps in 6799 ways, 424107 states, 1340500 CPU steps",
    );
    explored::<Legacy>(
        with_limbo::<Legacy>(&VERBS),
        "32 scenarios: 13046 steps in 1838 ways, 149819 states, 487752 CPU steps",
    );
    explored::<Pae>(
        with_limbo::<Pae>(&VERBS),
        "42 scenarios: 22924 steps in 2441 ways, 211765 states, 819611 CPU steps",
    );
    let rereads = each(with_limbo::<Pae>(&VERBS), |verb| Scenario { rereads: true, ..verb });
    explored::<Pae>(
        rereads,
        "42 scenarios: 21609 steps in 2274 ways, 212934 states, 1008971 CPU steps",
    );
}

/// Every verb in two levels, with all of both in limbo, and in company.
#[test]
#[ignore = "takes long"]
fn every_verb_in_company() {
    let all = [VERBS.as_slice(), &HUGE].concat();
    explored::<Two>(
        all_in_limbo(&all),
        "15 scenarios: 17144 steps in 3591 ways, 318746 states, 1075683 CPU steps",
    );
    let verbs = || with_limbo::<Two>(&all);
    let neighbour = |verb| Scenario { pages: vec![(0, true), (1, false)], ..verb };
    explored::<Two>(
        each(verbs(), neighbour),
        "41 scenarios: 21022 steps in 6440 ways, 434870 states, 1884656 CPU steps",
    );
    let pages = vec![(0, false)];
    let two = |verb| Scenario { cpus: 2, pages: pages.clone(), ..verb };
    explored::<Two>(
        each(verbs(), two),
        "41 scenarios: 4804 steps in 1370 ways, 200266 states, 677863 CPU steps",
    );
    let keeps = |verb| Scenario { keeps_unrelated: true, ..verb };
    explored::<Two>(
        each(verbs(), keeps),
        "41 scenarios: 15381 steps in 3979 ways, 219312 states, 636682 CPU steps",
    );
}

/// Every story of three verbs.
#[test]
#[ignore = "takes long"]
fn every_story_of_three_verbs() {
    explored::<Two>(
        stories(&[Do::Map(0, 0), Do::Map(1, 1)], 3),
        "1729 scenarios: 1089242 steps in 219810 ways, 17375475 states, 57280958 CPU steps",
    );
    explored::<Two>(
        stories(&[], 3),
        "828 scenarios: 223861 steps in 51366 ways, 2314224 states, 6614684 CPU steps",
    );
    explored::<Two>(
        stories(&[Do::MapHuge(0, 0)], 3),
        "1335 scenarios: 1458781 steps in 329006 ways, 17762575 states, 52479753 CPU steps",
    );
}
