//! A fixed set of seeds holds, whatever changes; and a seed has one trace.

use dunlin_sim::{Overrides, run};

fn check(seeds: impl IntoIterator<Item = u64>, overrides: &Overrides) {
    for seed in seeds {
        let verdict = run(seed, overrides, false).expect("the drawn options make a cluster");
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
}

#[test]
fn seeds_hold_with_every_fault() {
    check(0..14, &Overrides::default());
}

#[test]
fn more_seeds_hold_with_every_fault() {
    check(14..28, &Overrides::default());
}

#[test]
fn seeds_hold_without_faults() {
    let overrides = Overrides {
        calm: true,
        run_ms: Some(2_000),
        ..Overrides::default()
    };
    check(28..32, &overrides);
}

/// Each of these once showed a mistake of the engine or of the replica.
#[test]
fn seeds_that_once_failed_hold() {
    check(
        [
            166, 1452, 3690, 10439, 11465, 11608, 11787, 20087, 20285, 20898,
        ],
        &Overrides::default(),
    );
}

#[test]
fn a_seed_has_one_trace() {
    for seed in [3, 7] {
        let traces: Vec<(u64, u64)> = (0..2)
            .map(|_| run(seed, &Overrides::default(), false).expect("a cluster"))
            .map(|verdict| (verdict.hash, verdict.events))
            .collect();
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
    let hash = |seed| {
        run(seed, &Overrides::default(), false)
            .expect("a cluster")
            .hash
    };
    assert_ne!(hash(3), hash(7));
}
