//! A failing run gets smaller, and what is left fails by the same checker.

use std::error::Error;

use dunlin_sim::{Case, Overrides, Verdict, run, shrink};

/// Enough to halve a few times what there is.
const RUNS_MAX: u64 = 20;

#[test]
fn smaller_case_fails_by_the_same_checker_when_it_is_replayed() -> Result<(), Box<dyn Error>> {
    // Disks are lost in secret, so it takes faults for anything to go wrong.
    let words = "--seed 1 --run-ms 3000 --clients 6 --partitions 4 --shards 1 --mutant secret-wipe";
    let case = Case::parse(words.split_whitespace())?;
    let before = run(case.seed, &case.overrides, false)?;
    let shrunk = shrink(&case, RUNS_MAX, |_| ())?.ok_or("the mutant is not caught")?;
    assert!(shrunk.runs <= RUNS_MAX, "{shrunk:?}");
    let line = shrunk.case.to_string();
    let replayed = Case::parse(line.split_whitespace())?;
    let after = run(replayed.seed, &replayed.overrides, false)?;
    assert!(after.violations.contains(&shrunk.violation), "{line}");
    let checker = |verdict: &Verdict| verdict.violations.first().map(|found| found.checker);
    assert_eq!(Some(shrunk.violation.checker), checker(&before));
    let kept = replayed
        .overrides
        .only_faults
        .ok_or("no fault was left out")?;
    assert!(
        !kept.is_empty() && (kept.len() as u64) < before.faults,
        "{line}"
    );
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
