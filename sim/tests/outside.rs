//! What clients were told is enough to see that a system is broken, where it is broken for them.

use std::error::Error;

use dunlin_sim::{Mutant, Overrides, run};

/// Some damage shows only if faults fall in with it.
const SEEDS_MAX: u64 = 16;

fn is_seen(mutant: Mutant, checker: &str) -> Result<bool, Box<dyn Error>> {
    let overrides = Overrides {
        mutant: Some(mutant),
        ..Overrides::default()
    };
    let begins = format!("from outside: {checker}: ");
    for seed in 0..SEEDS_MAX {
        let violations = run(seed, &overrides, false)?.violations;
        if violations.iter().any(|v| v.sentence.starts_with(&begins)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn writes_that_are_lost_or_doubled_or_denied_are_seen_from_outside() -> Result<(), Box<dyn Error>> {
    for (mutant, checker) in [
        (Mutant::HintsVanish, "sets"),
        (Mutant::ForwardTwice, "counters"),
        (Mutant::DeniedWrite, "provenance"),
    ] {
        assert!(
            is_seen(mutant, checker)?,
            "{checker} does not see {mutant} in {SEEDS_MAX} seeds"
        );
    }
    Ok(())
}
