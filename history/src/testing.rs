//! Small histories, written by hand.

use std::collections::BTreeMap;

use crate::check::Check;
use crate::file::FORMAT;
use crate::op::{Action, Found, Header, History, Kind, Op, Outcome, Replaces};
use crate::verdict::verdict;

pub(crate) fn header(buckets: &[(&str, Kind)]) -> Header {
    let buckets = buckets.iter().map(|(name, kind)| ((*name).into(), *kind));
    Header {
        format: FORMAT,
        owners: 3,
        buckets: buckets.collect::<BTreeMap<_, _>>(),
        clock_skew_us: Some(1_000_000),
    }
}

/// An operation that is done, in bucket `b`; `at` gives it its time.
pub(crate) fn op(key: &str, action: Action) -> Op {
    Op {
        client: 0,
        session: None,
        bucket: "b".into(),
        key: key.into(),
        action,
        start_us: 0,
        end_us: 0,
        outcome: Outcome::Done,
        sent: 1,
        node: None,
        w: None,
        r: None,
        strict: false,
        settled: false,
        phase: None,
    }
}

/// One after the other, unless they have times.
pub(crate) fn at(ops: &mut [Op]) {
    for (start, op) in (0..).step_by(10).zip(ops) {
        if op.end_us == 0 {
            (op.start_us, op.end_us) = (start, start + 5);
        }
    }
}

pub(crate) fn put(key: &str, value: &str, replaces: Replaces) -> Op {
    let value = value.into();
    op(key, Action::Put { value, replaces })
}

pub(crate) fn delete(key: &str, replaces: Replaces) -> Op {
    op(key, Action::Delete { replaces })
}

pub(crate) fn add(key: &str, elements: &[&str]) -> Op {
    op(key, Action::Add(texts(elements)))
}

pub(crate) fn remove(key: &str, elements: &[&str]) -> Op {
    op(key, Action::Remove(texts(elements)))
}

pub(crate) fn read(key: &str, found: Found) -> Op {
    Op {
        outcome: Outcome::Read(found),
        ..op(key, Action::Read)
    }
}

pub(crate) fn settled(key: &str, found: Found) -> Op {
    Op {
        settled: true,
        ..read(key, found)
    }
}

pub(crate) fn values(values: &[&str]) -> Found {
    Found::Values(texts(values))
}

pub(crate) fn elements(elements: &[&str]) -> Found {
    Found::Elements(texts(elements))
}

/// Majorities of owners.
pub(crate) fn strict(op: &mut Op) {
    (op.strict, op.r, op.w) = (true, Some(2), Some(2));
}

fn judged(kind: Kind, mut ops: Vec<Op>) -> crate::verdict::Report {
    at(&mut ops);
    let mut header = header(&[("b", kind)]);
    header.buckets.insert("s".into(), Kind::Set);
    verdict(&History { header, ops })
}

/// All checkers agree with it.
pub(crate) fn holds(kind: Kind, ops: Vec<Op>) {
    let report = judged(kind, ops);
    assert!(report.holds(), "{report}");
}

/// This checker, and it names these operations.
pub(crate) fn caught(check: Check, kind: Kind, ops: Vec<Op>, named: &[u64]) {
    let report = judged(kind, ops);
    let mut found = report.violations().filter(|found| found.check == check);
    assert!(found.any(|found| found.ops == named), "{report}");
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
