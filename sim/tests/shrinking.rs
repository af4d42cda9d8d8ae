//! A failing run gets smaller, and what is left fails by the same checker.

use std::error::Error;

use dunlin_sim::{Case, Checker, Mutant, Overrides, run, shrink};

/// Enough to halve a few times what there is.
const RUNS_MAX: u64 = 24;

#[test]
fn smaller_case_fails_by_the_same_checker_when_it_is_replayed() -> Result<(), Box<dyn Error>> {
    let overrides = Overrides {
        mutant: Some(Mutant::LogSkipped),
        ..Overrides::default()
    };
    let case = Case { seed: 0, overrides };
    let mut told = 0;
    let shrunk = shrink(&case, RUNS_MAX, |_| told += 1)?.ok_or("the mutant is not caught")?;
    assert!(told > 0 && shrunk.runs <= RUNS_MAX, "{shrunk:?}");
    assert_eq!(shrunk.violation.checker, Checker::Invariants);
    let line = shrunk.case.to_string();
    let replayed = Case::parse(line.split_whitespace())?;
    let verdict = run(replayed.seed, &replayed.overrides, false)?;
    assert!(verdict.violations.contains(&shrunk.violation), "{line}");
    assert!(verdict.options.run_ms < 8_000, "{line}");
    Ok(())
}

#[test]
fn case_that_holds_is_not_shrunk() -> Result<(), Box<dyn Error>> {
    let overrides = Overrides {
        run_ms: Some(500),
        ..Overrides::default()
    };
    let case = Case { seed: 2, overrides };
    assert!(shrink(&case, RUNS_MAX, |_| ())?.is_none());
    Ok(())
}
