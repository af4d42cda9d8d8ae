//! A counter is the sum of its steps: of every acknowledged one, and of each other one once or not.
//!
//! What a cell holds is computed anew from the steps that the ledger has for it. Where nothing was
//! removed and nothing lost, the sum lies between what was acknowledged and what was asked for.

use std::collections::BTreeMap;

use dunlin_crdt::{Body, Row, RowKind};
use dunlin_protocol::RowKey;
use dunlin_protocol::request::WriteOp;

use super::evidence::Evidence;
use super::shown::{Shown, reads};
use crate::history::Action;
use crate::ledger::{Minted, Name};

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    let steps = steps(evidence);
    for (row, _) in evidence.ledger.rows() {
        if evidence.kind(row) == Some(RowKind::Counter)
            && !evidence.history.may_be_dropped(row.bucket)
        {
            in_the_end(evidence, &steps, row, sentences);
        }
    }
    for (op, answer, rows) in reads(evidence) {
        for (row, shown) in rows {
            if evidence.kind(&row) != Some(RowKind::Counter) {
                continue;
            }
            let sum = match shown {
                Shown::Sum(sum) => sum,
                _ => 0,
            };
            let mut bounds = Bounds::default();
            let mut has_removals = false;
            for (name, minted) in evidence.ledger.on_row(&row).filter(|(_, m)| m.at <= op.end) {
                has_removals |= minted.event.cell.is_none();
                let step = steps.get(&(row.clone(), name)).copied().unwrap_or(0);
                bounds.add(
                    step,
                    minted.at < op.start && evidence.read_knows(name, op, answer),
                );
            }
            // A page ends before a row that it does not show.
            if !has_removals && !bounds.has(sum) {
                sentences.push(format!(
                    "a read of {row:?} at {} shows {sum}, not {bounds:?}",
                    op.start
                ));
            }
        }
    }
}

/// The least and the most that a sum can be.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    least: i64,
    most: i64,
}

impl Bounds {
    fn add(&mut self, step: i64, certain: bool) {
        self.least += if certain { step } else { step.min(0) };
        self.most += if certain { step } else { step.max(0) };
    }

    fn has(&self, sum: i64) -> bool {
        (self.least..=self.most).contains(&sum)
    }
}

/// The step of each event of a counter, by what its client asked for.
fn steps(evidence: &Evidence<'_>) -> BTreeMap<(RowKey, Name), i64> {
    let mut steps = BTreeMap::new();
    for (id, attempts) in evidence.history.writes() {
        for (name, minted) in evidence.ledger.of_op(id) {
            let step = attempts.first().map_or(0, |op| step_of(&op.action, minted));
            steps.insert((minted.row.clone(), name), step);
        }
    }
    steps
}

fn step_of(action: &Action, minted: &Minted) -> i64 {
    match action {
        Action::Write {
            op: WriteOp::Increment(by),
            ..
        } => *by,
        Action::Write {
            op: WriteOp::Fields(changes),
            ..
        } => changes
            .iter()
            .filter(|change| change.path == minted.row.subkey)
            .map(|change| match change.op {
                WriteOp::Increment(by) => by,
                _ => 0,
            })
            .sum(),
        _ => 0,
    }
}

fn in_the_end(
    evidence: &Evidence<'_>,
    steps: &BTreeMap<(RowKey, Name), i64>,
    row: &RowKey,
    sentences: &mut Vec<String>,
) {
    let step = |name: Name| steps.get(&(row.clone(), name)).copied().unwrap_or(0);
    let (found, _) = evidence.end_row(row);
    let mut latest = BTreeMap::new();
    for (dot, cell) in found.into_iter().flat_map(Row::cells) {
        latest.insert(dot.actor, (Name::of(dot), cell));
    }
    let mut sum = 0;
    for (name, cell) in latest.values() {
        let Body::Count { plus, minus } = cell.body else {
            continue;
        };
        let holds = plus as i64 - minus as i64;
        let expected = total(evidence, &step, *name);
        if holds != expected {
            sentences.push(format!(
                "{row:?} has {holds} in {name}, whose steps are {expected}"
            ));
        }
        sum += holds;
    }
    let mut bounds = Bounds::default();
    let mut unclear = false;
    for (name, minted) in evidence.ledger.on_row(row) {
        unclear |= minted.event.cell.is_none() || minted.lost || minted.forgotten;
        bounds.add(
            step(name),
            !evidence.acks(name).is_empty() && minted.was_synced(),
        );
    }
    if !unclear && !bounds.has(sum) {
        sentences.push(format!("{row:?} is {sum} in the end, not {bounds:?}"));
    }
    let asked = asked_for(evidence, row);
    if !unclear && !asked.has(sum) {
        sentences.push(format!(
            "{row:?} is {sum} in the end; clients asked for {asked:?}"
        ));
    }
}

/// What clients asked for, each request once: more than that nobody may count.
fn asked_for(evidence: &Evidence<'_>, row: &RowKey) -> Bounds {
    let mut asked = Bounds::default();
    for op in &evidence.history.ops {
        let Action::Write {
            bucket,
            key,
            op: write,
            ..
        } = &op.action
        else {
            continue;
        };
        if op.outcome.is_not_applied() || *bucket != row.bucket || *key != row.key {
            continue;
        }
        let one = |by: i64, asked: &mut Bounds| asked.add(by, false);
        match write {
            WriteOp::Increment(by) if row.subkey.is_empty() => one(*by, &mut asked),
            WriteOp::Fields(changes) => {
                for change in changes.iter().filter(|change| change.path == row.subkey) {
                    if let WriteOp::Increment(by) = change.op {
                        one(by, &mut asked);
                    }
                }
            }
            _ => {}
        }
    }
    asked
}

/// The steps of an event and of all that it went on from.
fn total(evidence: &Evidence<'_>, step: &impl Fn(Name) -> i64, name: Name) -> i64 {
    let mut sum = 0;
    let mut left = vec![name];
    while let Some(name) = left.pop() {
        let Some(minted) = evidence.ledger.event(name) else {
            continue;
        };
        sum += step(name);
        let own = minted
            .event
            .replaces
            .dots()
            .filter(|dot| dot.actor == name.0);
        let before = own
            .map(|dot| Name::of(&dot))
            .filter(|before| *before != name);
        left.extend(before.filter(|before| {
            evidence
                .ledger
                .event(*before)
                .is_some_and(|m| m.event.cell.is_some() && m.row == minted.row)
        }));
    }
    sum
}
