//! For each checker there is a broken system that it sees.

use std::collections::BTreeSet;

use dunlin_sim::{Checker, Mutant, Overrides, run};

/// Some damage shows only if faults fall in with it.
const SEEDS_MAX: u64 = 16;

fn catches(mutant: Mutant) -> bool {
    let overrides = Overrides {
        mutant: Some(mutant),
        ..Overrides::default()
    };
    (0..SEEDS_MAX).any(|seed| {
        let verdict = run(seed, &overrides, false).expect("the drawn options make a cluster");
        verdict
            .violations
            .iter()
            .any(|violation| violation.checker == mutant.caught_by())
    })
}

fn check(mutants: &[Mutant]) {
    for mutant in mutants {
        let checker = mutant.caught_by();
        assert!(
            catches(*mutant),
            "{checker} does not see {mutant} in {SEEDS_MAX} seeds"
        );
    }
}

#[test]
fn mutants_of_the_network_and_the_disk_are_caught() {
    check(&Mutant::ALL[..9]);
}

#[test]
fn mutants_of_reads_hints_and_repair_are_caught() {
    check(&Mutant::ALL[9..]);
}

#[test]
fn every_checker_has_a_mutant() {
    let caught: BTreeSet<Checker> = Mutant::ALL.into_iter().map(Mutant::caught_by).collect();
    let expected: BTreeSet<Checker> = Checker::ALL.into_iter().collect();
    assert_eq!(caught, expected);
}
