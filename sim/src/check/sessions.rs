//! Within a session a read shows what the session has written and what its reads have shown, or what
//! replaced it; and what it has seen replaced or gone it never sees again.
//!
//! Whatever the quorums were, whoever answered, whatever has failed; but for writes that no disk knew at some moment.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_crdt::Body;
use dunlin_protocol::RowKey;

use super::evidence::Evidence;
use super::freshness::is_visible;
use super::shown::{Shown, rows_of};
use crate::history::{Action, Op, Outcome};
use crate::ledger::Name;

/// What a session knows of a row.
#[derive(Default)]
struct Known {
    /// Written or shown, and not seen to be gone.
    there: BTreeSet<Name>,
    /// Replaced by what was written or shown, or shown once and not the next time.
    gone: BTreeSet<Name>,
}

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    let mut sessions: BTreeMap<(usize, u32), BTreeMap<RowKey, Known>> = BTreeMap::new();
    let mut ops: Vec<&Op> = evidence.history.ops.iter().collect();
    // A client has one request at a time, or what was asked again is an attempt of its own.
    ops.sort_by_key(|op| op.end);
    for op in ops {
        let Some(session) = &op.session else { continue };
        let rows = sessions.entry((op.client, session.number)).or_default();
        match (&op.action, &op.outcome) {
            (Action::Write { .. }, Outcome::Written(receipt)) => {
                for dot in receipt.context.clock().unwrap_or_default().dots() {
                    let name = Name::of(&dot);
                    if let Some(minted) = evidence.ledger.event(name) {
                        rows.entry(minted.row.clone())
                            .or_default()
                            .learn(evidence, name);
                    }
                }
            }
            (Action::Read { .. }, Outcome::Read(_)) => {
                for (row, shown) in rows_of(evidence, op) {
                    let known = rows.entry(row.clone()).or_default();
                    look(evidence, op, &row, &shown, known, sentences);
                    known.see(evidence, &row, &shown);
                }
            }
            _ => {}
        }
    }
}

fn look(
    evidence: &Evidence<'_>,
    op: &Op,
    row: &RowKey,
    shown: &Shown,
    known: &Known,
    sentences: &mut Vec<String>,
) {
    let mut complain = |what: &str, name: Name| {
        let (client, start, end) = (op.client, op.start, op.end);
        sentences.push(format!(
            "a read of {row:?} at {start}..{end} in a session of client {client} shows {shown:?} and {what} {name}"
        ));
    };
    for name in &known.there {
        let Some(minted) = evidence.ledger.event(*name) else {
            continue;
        };
        let mut replacers = evidence.ledger.replacers(*name);
        if !is_visible(evidence, minted, shown, evidence.kind(row))
            && !replacers.any(|(_, by)| by.at <= op.end)
        {
            complain("not what the session has seen,", *name);
        }
    }
    for name in names(evidence, row, shown) {
        if known.gone.contains(&name) {
            complain("what the session has seen gone,", name);
        }
    }
    // Where it can't be told what exactly is shown, it is something that is not gone.
    let mut cells = evidence
        .ledger
        .on_row(row)
        .filter(|(_, minted)| minted.event.cell.is_some() && minted.at <= op.end);
    let all_gone = cells.all(|(name, _)| known.gone.contains(&name));
    if let (true, Some(name), false) = (all_gone, known.gone.first(), *shown == Shown::Nothing) {
        complain("all there ever was is gone, such as", *name);
    }
}

/// The events that a read is known to show.
fn names(evidence: &Evidence<'_>, row: &RowKey, shown: &Shown) -> BTreeSet<Name> {
    match shown {
        Shown::Siblings(_, dots) => dots.dots().map(|dot| Name::of(&dot)).collect(),
        // Two nodes may stamp two writes alike.
        Shown::Latest(value, stamp) => {
            let body = Body::Value(value.clone());
            let of_stamp = evidence.ledger.on_row(row).filter(|(_, minted)| {
                let cell = minted.event.cell.as_ref();
                cell.is_some_and(|cell| cell.stamp == *stamp && cell.body == body)
            });
            of_stamp.map(|(name, _)| name).collect()
        }
        Shown::Nothing | Shown::Sum(_) | Shown::Marked | Shown::Extreme(_) => BTreeSet::new(),
    }
}

impl Known {
    fn learn(&mut self, evidence: &Evidence<'_>, name: Name) {
        let minted = evidence.ledger.event(name);
        let Some(minted) = minted.filter(|minted| !minted.lost && !minted.forgotten) else {
            return;
        };
        if minted.event.cell.is_some() && !self.gone.contains(&name) {
            self.there.insert(name);
        }
        for dot in minted.event.replaces.dots() {
            self.there.remove(&Name::of(&dot));
            self.gone.insert(Name::of(&dot));
        }
    }

    fn see(&mut self, evidence: &Evidence<'_>, row: &RowKey, shown: &Shown) {
        let now = names(evidence, row, shown);
        // Only a register shows all that there is.
        if matches!(shown, Shown::Siblings(..) | Shown::Nothing) {
            let no_more: Vec<Name> = self.there.difference(&now).copied().collect();
            self.gone.extend(no_more);
            self.there.retain(|name| now.contains(name));
        }
        for name in now {
            self.learn(evidence, name);
        }
    }
}
