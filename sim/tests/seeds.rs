//! A fixed set of seeds holds, whatever changes, and so does every one that once failed.

use std::error::Error;

use dunlin_sim::{Case, Overrides, run};

type Outcome = Result<(), Box<dyn Error>>;

fn check(seeds: impl IntoIterator<Item = u64>, overrides: &Overrides) -> Outcome {
    for seed in seeds {
        let verdict = run(seed, overrides, false)?;
        let overrides = overrides.clone();
        let case = Case { seed, overrides };
        assert!(
            verdict.violations.is_empty(),
            "seed {seed} fails:\n{}\nreplay: {}",
            verdict
                .violations
                .iter()
                .map(|violation| format!("  {violation}\n"))
                .collect::<String>(),
            case.command()
        );
    }
    Ok(())
}

#[test]
fn seeds_hold_with_every_fault() -> Outcome {
    check(0..14, &Overrides::default())?;
    check(60..110, &Overrides::default())
}

#[test]
fn more_seeds_hold_with_every_fault() -> Outcome {
    check(14..28, &Overrides::default())?;
    check(110..160, &Overrides::default())
}

#[test]
fn seeds_hold_without_faults() -> Outcome {
    let overrides = Overrides {
        calm: true,
        run_ms: Some(2_000),
        ..Overrides::default()
    };
    check(28..32, &overrides)
}

#[test]
fn seeds_hold_while_layouts_change() -> Outcome {
    let overrides = Overrides {
        layouts: Some(true),
        ..Overrides::default()
    };
    check(32..44, &overrides)?;
    check(160..210, &overrides)
}

/// Rows rot, blocks and disks are lost only where owners stay.
#[test]
fn seeds_hold_while_layouts_stay() -> Outcome {
    let overrides = Overrides {
        layouts: Some(false),
        ..Overrides::default()
    };
    check(210..270, &overrides)
}

#[test]
fn a_change_of_layout_fails_no_request_halfway() -> Outcome {
    let overrides = Overrides {
        layouts: Some(true),
        calm: true,
        run_ms: Some(6_000),
        ..Overrides::default()
    };
    check([13, 16, 40, 44, 45, 46, 47], &overrides)
}

/// What they showed is told there.
#[test]
fn seeds_that_once_failed_hold() -> Outcome {
    let lines = include_str!("../seeds.txt").lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (words, _) = line.split_once('#').ok_or("a line without a remark")?;
        let Case { seed, overrides } = Case::parse(words.split_whitespace())?;
        check([seed], &overrides)?;
    }
    Ok(())
}
