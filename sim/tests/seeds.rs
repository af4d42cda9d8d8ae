//! A fixed set of seeds holds, whatever changes; and a seed has one trace.

use std::error::Error;

use dunlin_sim::{Overrides, run};

type Outcome = Result<(), Box<dyn Error>>;

fn check(seeds: impl IntoIterator<Item = u64>, overrides: &Overrides) -> Outcome {
    for seed in seeds {
        let verdict = run(seed, overrides, false)?;
        assert!(
            verdict.violations.is_empty(),
            "seed {seed} fails:\n{}\nreplay: cargo run -p dunlin-sim -- --seed {seed}",
            verdict
                .violations
                .iter()
                .map(|violation| format!("  {violation}\n"))
                .collect::<String>()
        );
    }
    Ok(())
}

#[test]
fn seeds_hold_with_every_fault() -> Outcome {
    check(0..14, &Overrides::default())
}

#[test]
fn more_seeds_hold_with_every_fault() -> Outcome {
    check(14..28, &Overrides::default())
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
    check(32..44, &overrides)
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

/// Each of these once showed a mistake of the engine or of the replica.
#[test]
fn seeds_that_once_failed_hold() -> Outcome {
    check(
        [
            166, 1452, 3690, 10439, 11465, 11608, 11787, 20087, 20285, 20898,
        ],
        &Overrides::default(),
    )
}

#[test]
fn a_seed_has_one_trace() -> Outcome {
    let trace = |seed| {
        let verdict = run(seed, &Overrides::default(), false)?;
        Ok::<_, Box<dyn Error>>((verdict.hash, verdict.events))
    };
    let (three, seven) = (trace(3)?, trace(7)?);
    assert_eq!(three, trace(3)?);
    assert_eq!(seven, trace(7)?);
    assert_ne!(three, seven);
    Ok(())
}
