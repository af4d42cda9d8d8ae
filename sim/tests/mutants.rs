//! For each checker there is a broken system that it sees.

use std::collections::BTreeSet;
use std::error::Error;

use dunlin_sim::{Checker, Mutant, Overrides, run};

/// Some damage shows only if faults fall in with it.
const SEEDS_MAX: u64 = 32;

fn catches(mutant: Mutant) -> Result<bool, Box<dyn Error>> {
    let overrides = Overrides {
        mutant: Some(mutant),
        ..Overrides::default()
    };
    for seed in 0..SEEDS_MAX {
        let violations = run(seed, &overrides, false)?.violations;
        if violations
            .iter()
            .any(|violation| violation.checker == mutant.caught_by())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check(mutants: &[Mutant]) -> Result<(), Box<dyn Error>> {
    for mutant in mutants {
        let checker = mutant.caught_by();
        assert!(
            catches(*mutant)?,
            "{checker} does not see {mutant} in {SEEDS_MAX} seeds"
        );
    }
    Ok(())
}

#[test]
fn mutants_of_the_network_and_the_disk_are_caught() -> Result<(), Box<dyn Error>> {
    check(&Mutant::ALL[..11])
}

#[test]
fn mutants_of_reads_hints_and_repair_are_caught() -> Result<(), Box<dyn Error>> {
    check(&Mutant::ALL[11..23])
}

#[test]
fn mutants_of_layouts_are_caught() -> Result<(), Box<dyn Error>> {
    check(&Mutant::ALL[23..32])
}

#[test]
fn mutants_of_damage_are_caught() -> Result<(), Box<dyn Error>> {
    check(&Mutant::ALL[32..37])
}

#[test]
fn mutants_of_queues_of_service_and_of_stamps_are_caught() -> Result<(), Box<dyn Error>> {
    check(&Mutant::ALL[37..])
}

#[test]
fn every_checker_has_a_mutant() {
    let caught: BTreeSet<Checker> = Mutant::ALL.into_iter().map(Mutant::caught_by).collect();
    let expected: BTreeSet<Checker> = Checker::ALL.into_iter().collect();
    assert_eq!(caught, expected);
}
