//! The same run judged from outside, as real processes are: by what clients asked and were told alone.
//!
//! `dunlin_history` knows no dots. What a context stands for is told by the ledger: each dot in it names a
//! write, and that write its value. Keys of which a disk lost something are left out, and buckets that may have
//! been dropped; maps have no form there. Quorums are not told, since the owners of a key change here:
//! `freshness` judges by who they were.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dunlin_crdt::{Kind, OpId};
use dunlin_history::{self as outside, Check, Found, Header, Outcome, Replaces};
use dunlin_protocol::request::{Page, Query, Replace, WriteOp};
use dunlin_protocol::response::Found as Answered;
use dunlin_ring::BucketId;

use super::evidence::Evidence;
use super::{Checker, Violation};
use crate::history::{Action, Op, Outcome as Told};
use crate::ledger::Name;

/// What each put puts.
type Values = BTreeMap<OpId, String>;

/// What [`crate::probes`] put.
const PROBE: &[u8] = b"probe";
/// Violations of a checker that are told.
const TOLD_MAX: usize = 5;

/// What clients can tell is wrong.
pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let report = outside::verdict(&converted(evidence));
    let mut violations = Vec::new();
    for (check, checked) in report.checks {
        let told = checked.violations.iter().take(TOLD_MAX);
        violations.extend(told.map(|violation| Violation {
            checker: checker(check),
            sentence: format!("from outside: {violation}"),
        }));
    }
    violations
}

/// The checker here that says the same of the inside.
fn checker(check: Check) -> Checker {
    match check {
        Check::Survival | Check::Extremes => Checker::Survival,
        Check::Provenance => Checker::Denied,
        Check::Counters => Checker::Counters,
        Check::Sets | Check::Flags => Checker::AddsWin,
        Check::Resurrection => Checker::Resurrection,
        Check::Convergence => Checker::Convergence,
        Check::Sessions | Check::Freshness => Checker::Freshness,
    }
}

fn converted(evidence: &Evidence<'_>) -> outside::History {
    let history = evidence.history;
    let unclear = unclear(evidence);
    let is_told = |bucket: &BucketId, key: &Bytes| {
        !history.may_be_dropped(*bucket) && !unclear.contains(&(*bucket, key.clone()))
    };
    let buckets = history.buckets.iter();
    let buckets =
        buckets.filter_map(|(id, known)| Some((id.to_string(), kind(known.bucket.kind)?)));
    let header = Header {
        format: outside::FORMAT,
        owners: 3,
        buckets: buckets.collect(),
        clock_skew_us: None,
    };
    let value = |op: &Op| match &op.action {
        Action::Write {
            id,
            op: WriteOp::Put { value, .. },
            ..
        } => Some((*id, text(value))),
        _ => None,
    };
    let values: Values = history.ops.iter().filter_map(value).collect();
    let mut ops = Vec::new();
    for (_, attempts) in history.writes() {
        if let Some(Action::Write {
            bucket, key, op, ..
        }) = attempts.first().map(|op| &op.action)
            && is_told(bucket, key)
            && let Some(action) = written(evidence, &values, op)
        {
            ops.push(write(&attempts, *bucket, key, action));
        }
    }
    for (number, op) in history.ops.iter().enumerate() {
        if let Action::Read {
            bucket, key, query, ..
        } = &op.action
            && is_told(bucket, key)
            && let Told::Read(answer) = &op.outcome
            && let Some(found) = found(history.kind(*bucket), query, &answer.found)
        {
            let action = outside::Action::Read;
            let outcome = Outcome::Read(found);
            let mut read = base(op, *bucket, key, action, outcome);
            read.settled = number >= history.final_from;
            ops.push(read);
        }
    }
    ops.retain(|op| header.buckets.contains_key(&op.bucket));
    outside::History { header, ops }
}

/// Keys of which some event was on no disk any more at some moment, or never on any; and those that liveness is
/// probed with, which are given one value again and again.
fn unclear(evidence: &Evidence<'_>) -> BTreeSet<(BucketId, Bytes)> {
    let probes = evidence.history.ops.iter();
    let probes = probes.filter_map(|op| match &op.action {
        Action::Write {
            bucket,
            key,
            op: WriteOp::Put { value, .. },
            ..
        } if value == PROBE => Some((*bucket, key.clone())),
        _ => None,
    });
    let events = evidence.ledger.events().map(|(_, minted)| minted);
    let gone = events.filter(|minted| !minted.is_kept() || minted.forgotten);
    gone.map(|minted| (minted.row.bucket, minted.row.key.clone()))
        .chain(probes)
        .collect()
}

/// All attempts of a write are one operation: it was sent so many times.
fn write(attempts: &[&Op], bucket: BucketId, key: &Bytes, action: outside::Action) -> outside::Op {
    let possible = attempts.iter().filter(|op| !op.outcome.is_not_applied());
    let done = attempts
        .iter()
        .find(|op| matches!(op.outcome, Told::Written(_)));
    let outcome = match (done, possible.clone().next()) {
        (Some(_), _) => Outcome::Done,
        (None, Some(_)) => Outcome::Unknown,
        (None, None) => Outcome::NotApplied,
    };
    let first = attempts.iter().map(|op| op.start).min().unwrap_or(0);
    let last = attempts.iter().map(|op| op.end).max().unwrap_or(0);
    outside::Op {
        client: 0,
        session: None,
        bucket: bucket.to_string(),
        key: text(key),
        action,
        start_us: first,
        end_us: done.map_or(last, |op| op.end),
        outcome,
        sent: u32::try_from(possible.count()).unwrap_or(u32::MAX).max(1),
        node: None,
        w: None,
        r: None,
        strict: false,
        settled: false,
        phase: None,
    }
}

fn base(
    op: &Op,
    bucket: BucketId,
    key: &Bytes,
    action: outside::Action,
    outcome: Outcome,
) -> outside::Op {
    outside::Op {
        outcome,
        ..write(&[op], bucket, key, action)
    }
}

fn kind(kind: Kind) -> Option<outside::Kind> {
    Some(match kind {
        Kind::Register => outside::Kind::Register,
        Kind::Lww => outside::Kind::Lww,
        Kind::Counter => outside::Kind::Counter,
        Kind::Flag => outside::Kind::Flag,
        Kind::Set => outside::Kind::Set,
        Kind::Max => outside::Kind::Max,
        Kind::Min => outside::Kind::Min,
        Kind::Map => return None,
    })
}

fn written(evidence: &Evidence<'_>, values: &Values, op: &WriteOp) -> Option<outside::Action> {
    Some(match op {
        WriteOp::Put { value, replaces } => outside::Action::Put {
            value: text(value),
            replaces: replaced(evidence, values, replaces),
        },
        WriteOp::Delete(replaces) => outside::Action::Delete {
            replaces: replaced(evidence, values, replaces),
        },
        WriteOp::Increment(by) => outside::Action::Increment(*by),
        WriteOp::Enable => outside::Action::Enable,
        WriteOp::Disable => outside::Action::Disable,
        WriteOp::Observe(number) => outside::Action::Observe(*number),
        WriteOp::Add(elements) => outside::Action::Add(elements.iter().map(text).collect()),
        WriteOp::Remove(elements) => outside::Action::Remove(elements.iter().map(text).collect()),
        WriteOp::Fields(_) => return None,
    })
}

/// What a context stands for: the values of the writes that it names.
fn replaced(evidence: &Evidence<'_>, values: &Values, replaces: &Replace) -> Replaces {
    let Replace::Context(context) = replaces else {
        return Replaces::Seen;
    };
    let clock = context.clock().unwrap_or_default();
    let value = |dot| {
        let minted = evidence.ledger.event(Name::of(&dot))?;
        values.get(&minted.op).cloned()
    };
    let values: BTreeSet<String> = clock.dots().filter_map(value).collect();
    Replaces::Read(values.into_iter().collect())
}

fn found(kind: Option<Kind>, query: &Query, answered: &Answered) -> Option<Found> {
    Some(match (kind?, query, answered) {
        (Kind::Register | Kind::Lww, Query::Value, Answered::Nothing) => Found::Values(Vec::new()),
        (Kind::Register, Query::Value, Answered::Siblings { values, .. }) => {
            Found::Values(values.iter().map(text).collect())
        }
        (Kind::Lww, Query::Value, Answered::Latest { value, .. }) => {
            Found::Values(vec![text(value)])
        }
        (Kind::Counter, Query::Value, Answered::Nothing) => Found::Sum(0),
        (Kind::Counter, Query::Value, Answered::Sum(sum)) => Found::Sum(*sum),
        (Kind::Flag, Query::Value, Answered::Nothing) => Found::Flag(false),
        (Kind::Flag, Query::Value, Answered::On) => Found::Flag(true),
        (Kind::Max | Kind::Min, Query::Value, Answered::Nothing) => Found::Number(None),
        (Kind::Max | Kind::Min, Query::Value, Answered::Extreme(number)) => {
            Found::Number(Some(*number))
        }
        (
            Kind::Set,
            Query::Elements(Page { after: None, .. }),
            Answered::Elements { items, next: None },
        ) => Found::Elements(items.iter().map(text).collect()),
        _ => return None,
    })
}

fn text(bytes: &Bytes) -> String {
    bytes.escape_ascii().to_string()
}
