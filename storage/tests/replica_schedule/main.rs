//! Random schedules over six replicas: writes, lost, late and doubled messages, hints, pulls through
//! the log, whole transfers, pruning, crashes that lose what was not synced, full disks, clean
//! restarts, a wiped or forgetful disk, owners replaced. Invariants are checked after every step;
//! then everything heals, and the judge looks.
//!
//! Replay one seed: `SEED=17 cargo test -p dunlin-storage --test replica_schedule`; run more of them:
//! `SEEDS=1000`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at anything unexpected"
)]

mod cluster;

use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster::{Cluster, KEYS, Mutant, P, key};
use dunlin_crdt::{Body, Clock, Folded, Millis, RowKind, fold};

const STEPS: usize = 400;

fn run(seed: u64, mutant: Mutant) -> Result<(), String> {
    let mut cluster = Cluster::new(seed, mutant);
    for step in 0..STEPS {
        cluster.step();
        for (n, node) in cluster.nodes.iter().enumerate() {
            node.replica
                .check_invariants()
                .map_err(|e| format!("step {step}, node {n}: {e}"))?;
        }
    }
    cluster.heal();
    judge(&cluster)
}

fn judge(cluster: &Cluster) -> Result<(), String> {
    let owners: Vec<_> = cluster
        .owners
        .iter()
        .map(|o| &cluster.nodes[*o].replica)
        .collect();
    let first = owners[0];
    for replica in &owners {
        replica.check_invariants()?;
        if replica.clock(P) != first.clock(P) {
            let (clock, other) = (replica.clock(P), first.clock(P));
            let (more, less) = (clock.minus(other), other.minus(clock));
            return Err(format!("clocks differ: {more:?} and {less:?}"));
        }
        let digest = replica
            .digest(P, None, usize::MAX, |_| false)
            .map_err(|e| e.to_string())?;
        if digest
            != first
                .digest(P, None, usize::MAX, |_| false)
                .map_err(|e| e.to_string())?
        {
            return Err("contents differ".to_owned());
        }
        let tally = replica.tally();
        if tally.log_entries != 0 || tally.counting {
            return Err(format!("something is left behind: {tally:?}"));
        }
    }
    if cluster
        .nodes
        .iter()
        .any(|node| !node.replica.hinted().is_empty())
    {
        return Err("hints are left".to_owned());
    }
    let (mut replaced, mut replaced_for_sure) = (Clock::new(), Clock::new());
    for write in cluster.writes.values() {
        replaced.join(&write.replaces);
        if write.acked {
            replaced_for_sure.join(&write.replaces);
        }
    }
    let (mut kept, mut pending) = (0, 0);
    for (index, (_, _, kind)) in KEYS.into_iter().enumerate() {
        let row = first.row(&key(index)).map_err(|e| e.to_string())?;
        kept += u64::from(!row.is_empty());
        pending += u64::from(!row.past().is_empty());
        // What is still remembered: dots that were seen elsewhere, and that a crash then took from
        // the only node that had them. No clock will ever have them.
        if row.past().minus(first.clock(P)) != *row.past() {
            return Err(format!("{:?} is remembered for nothing", row.past()));
        }
        if kind == RowKind::Counter {
            let sum = match fold(kind, &row, Millis(0)) {
                Some(Folded::Sum(sum)) => sum,
                _ => 0,
            };
            let (sure, unknown) = cluster.increments;
            if !(sure..=sure + unknown).contains(&sum) {
                return Err(format!(
                    "the counter says {sum}, not {sure} to {}",
                    sure + unknown
                ));
            }
            assert!(
                row.cells()
                    .iter()
                    .all(|(_, cell)| matches!(cell.body, Body::Count { .. }))
            );
            continue;
        }
        for (name, write) in cluster
            .writes
            .iter()
            .filter(|(_, write)| write.key == index)
        {
            let dot = Cluster::dot(name);
            let visible = row.cell(&dot).is_some();
            if write.acked && write.shows && !visible && !replaced.contains(&dot) {
                return Err(format!("{dot:?} was acknowledged and is lost"));
            }
            if visible && replaced_for_sure.contains(&dot) {
                return Err(format!("{dot:?} was replaced and came back"));
            }
        }
    }
    if (first.tally().rows, first.tally().pending) != (kept, pending) {
        return Err("rows are left of which nothing is known".to_owned());
    }
    Ok(())
}

/// The first seed that shows a mistake.
fn first_failure(seeds: std::ops::Range<u64>, mutant: Mutant) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| {
        let ran = catch_unwind(AssertUnwindSafe(|| run(seed, mutant)));
        let failed = ran.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            Err(said.unwrap_or_else(|| "it panicked".to_owned()))
        });
        failed.err().map(|said| (seed, said))
    })
}

#[test]
fn replicas_converge_and_lose_nothing_acknowledged() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|number| number.parse().ok())
    };
    let seeds = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(said) = run(seed, Mutant::None) {
            panic!("SEED={seed} cargo test -p dunlin-storage --test replica_schedule: {said}");
        }
    }
}

const SEEDS: u64 = 25;

fn is_noticed(mutant: Mutant) {
    let found = first_failure(0..SEEDS, mutant);
    assert!(found.is_some(), "{mutant:?} went unnoticed");
}

#[test]
fn hints_without_context_are_noticed() {
    is_noticed(Mutant::HintsForgetContext);
}

#[test]
fn dots_claimed_without_their_rows_are_noticed() {
    is_noticed(Mutant::RepairClaimsWithoutRows);
}

#[test]
fn a_writer_that_lies_is_noticed() {
    is_noticed(Mutant::WriterLies);
}

#[test]
fn rows_under_a_clock_that_knows_more_are_noticed() {
    is_noticed(Mutant::ContextTooNew);
}

#[test]
fn a_wiped_disk_that_believes_itself_is_noticed() {
    is_noticed(Mutant::WipedBelievesItself);
}
