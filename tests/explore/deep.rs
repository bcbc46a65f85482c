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
        "55 scenarios: 59370 steps in 10199 ways, 769816 states, 2727708 CPU steps",
    );
    explored::<Three>(
        all_in_limbo(&three),
        "15 scenarios: 64895 steps in 8789 ways, 1345345 states, 5891020 CPU steps",
    );
    explored::<Strict>(
        with_limbo::<Strict>(&three),
        "55 scenarios: 37544 steps in 6509 ways, 408156 states, 1292124 CPU steps",
    );
    explored::<Legacy>(
        with_limbo::<Legacy>(&VERBS),
        "32 scenarios: 12902 steps in 1737 ways, 138126 states, 440599 CPU steps",
    );
    explored::<Pae>(
        with_limbo::<Pae>(&VERBS),
        "42 scenarios: 21727 steps in 2287 ways, 196167 states, 749206 CPU steps",
    );
    let rereads = each(with_limbo::<Pae>(&VERBS), |verb| Scenario { rereads: true, ..verb });
    explored::<Pae>(
        rereads,
        "42 scenarios: 20404 steps in 2117 ways, 194725 states, 911470 CPU steps",
    );
}

/// Every verb in two levels, with all of both in limbo, and in company.
#[test]
#[ignore = "takes long"]
fn every_verb_in_company() {
    let all = [VERBS.as_slice(), &HUGE].concat();
    explored::<Two>(
        all_in_limbo(&all),
        "15 scenarios: 15779 steps in 3295 ways, 288656 states, 967098 CPU steps",
    );
    let verbs = || with_limbo::<Two>(&all);
    let neighbour = |verb| Scenario { pages: vec![(0, true), (1, false)], ..verb };
    explored::<Two>(
        each(verbs(), neighbour),
        "41 scenarios: 19154 steps in 5903 ways, 400022 states, 1736856 CPU steps",
    );
    let pages = vec![(0, false)];
    let two = |verb| Scenario { cpus: 2, pages: pages.clone(), ..verb };
    explored::<Two>(
        each(verbs(), two),
        "41 scenarios: 4671 steps in 1325 ways, 190509 states, 643125 CPU steps",
    );
    let keeps = |verb| Scenario { keeps_unrelated: true, ..verb };
    explored::<Two>(
        each(verbs(), keeps),
        "41 scenarios: 14189 steps in 3711 ways, 202840 states, 585967 CPU steps",
    );
}

/// Every story of three verbs.
#[test]
#[ignore = "takes long"]
fn every_story_of_three_verbs() {
    explored::<Two>(
        stories(&[Do::Map(0, 0), Do::Map(1, 1)], 3),
        "1729 scenarios: 1067400 steps in 204197 ways, 15875878 states, 51887681 CPU steps",
    );
    explored::<Two>(
        stories(&[], 3),
        "828 scenarios: 224651 steps in 49767 ways, 2230739 states, 6364939 CPU steps",
    );
    explored::<Two>(
        stories(&[Do::MapHuge(0, 0)], 3),
        "1335 scenarios: 1432784 steps in 316598 ways, 17148644 states, 50626785 CPU steps",
    );
}
