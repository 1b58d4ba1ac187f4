//! The short form of `cargo xtask sim`: some seeds hold on each store, and a seed repeats byte for byte.

use std::collections::BTreeMap;

use taskhook_sim::world::features::{KEPT, Plan, StoreKind};
use taskhook_sim::world::run::{run, sometimes};

/// As many as a debug build simulates in a few seconds.
const SEEDS: u64 = 300;
/// The same over SQLite, where a world takes longer.
const SEEDS_ON_SQLITE: u64 = 100;
/// Other seeds in each of these tests, so that they run beside each other.
const PART: u64 = 100_000;

fn hold(store: StoreKind, part: u64, seeds: u64, missing_max: usize) {
    let mut happened: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in part * PART..part * PART + seeds {
        let report = run(Plan::on(store, seed), false);
        if let Err(error) = report.verdict {
            panic!(
                "seed {seed} over {store} does not hold: {error}\nsee cargo xtask sim --from {seed} --seeds 1"
            );
        }
        for (what, count) in report.happened {
            *happened.entry(what).or_default() += count;
        }
    }
    // The rarest things need more seeds than these: a full run looks for all of them.
    let never: Vec<&str> = sometimes(store).filter(|what| !happened.contains_key(*what)).collect();
    assert!(never.len() <= missing_max, "should happen sometimes and never did: {never:?}");
}

fn repeats(store: StoreKind, seeds: u64) {
    for seed in 0..seeds {
        let plan = Plan::on(store, seed);
        let (one, other) = (run(plan, true), run(plan, true));
        assert_eq!(one.trace, other.trace, "seed {seed} over {store}");
        let untold = run(plan, false);
        assert_eq!((one.hash, one.hash), (other.hash, untold.hash), "seed {seed} over {store}");
        assert_eq!(one.happened, other.happened, "seed {seed} over {store}");
    }
    let other = run(Plan::on(store, 1), false).hash;
    assert_ne!(run(Plan::on(store, 2), false).hash, other, "the hash tells traces apart");
}

#[test]
fn seeds_hold() {
    hold(StoreKind::Mixed, 1, SEEDS, 3);
}

#[test]
fn other_seeds_hold() {
    hold(StoreKind::Mixed, 2, SEEDS, 3);
}

#[test]
fn seeds_hold_over_sqlite() {
    hold(StoreKind::Sqlite, 1, SEEDS_ON_SQLITE, 8);
}

#[test]
fn other_seeds_hold_over_sqlite() {
    hold(StoreKind::Sqlite, 2, SEEDS_ON_SQLITE, 8);
}

#[test]
fn worlds_that_once_did_not_hold_do() {
    let kept: Vec<&str> = KEPT.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(!kept.is_empty());
    for line in kept {
        let plan = Plan::kept(line).unwrap_or_else(|| panic!("no world: {line}"));
        assert_eq!(plan.line(), line);
        let verdict = run(plan, false).verdict;
        assert_eq!(verdict, Ok(()), "{line}");
    }
}

#[test]
fn a_seed_repeats_byte_for_byte() {
    repeats(StoreKind::Mixed, 60);
}

#[test]
fn a_seed_over_sqlite_repeats_byte_for_byte() {
    repeats(StoreKind::Sqlite, 20);
}
