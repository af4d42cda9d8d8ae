//! `dunlin explain`: why a key reads as it does.
//!
//! Every node that may hold something of a key is asked for what it itself holds, to the dot. A dot
//! names one write event for ever; at a node it is there, or was replaced there (its clock has the dot,
//! the row does not), or was not seen yet. Where owners differ, that is why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use dunlin_client::{Bucket, Client, FieldPath, Kind, NodeId, Options, PartitionId};
use dunlin_crdt::{ActorId, Dot};
use dunlin_protocol::cluster::ClusterState;
use dunlin_protocol::explain::{KeyReport, RowReport};
use dunlin_protocol::response::Found;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::args::KeyArgs;
use super::cluster::{describe, name};
use super::ended::Ended;
use super::fault::{Fault, reason};
use super::field::show_path;
use super::output::Output;
use super::progress::count;
use super::session::Session;
use super::table::{Lean, Table};

/// How long a node may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Fallbacks that are asked for hints: the first in the order in which they stand in.
const FALLBACKS_ASKED: usize = 8;
/// Rows in which owners agree that are shown one by one.
const ROWS_SHOWN: usize = 20;

/// `dunlin explain`
pub(crate) async fn run(session: &Session, out: &mut Output, at: KeyArgs) -> Result<Ended, Fault> {
    let key = out.form().read(&at.key)?;
    let client = session.connect(Options::new().timeout(TIMEOUT)).await?;
    let bucket = client
        .bucket(at.bucket.as_str())
        .await
        .map_err(Fault::Bucket)?;
    let state = describe(&client).await?;
    let layout = client.layout();
    let partition = layout.partitions().partition_of(bucket.info().id, &key);
    let explained = Explained {
        holders: ask_all(&client, &state, &bucket, partition, &key).await,
        kind: bucket.info().kind,
        partition,
        state,
    };
    if out.is_json() {
        let json = explained.json(out);
        out.json_line(&json)?;
        return Ok(Ended::Done);
    }
    let shown = out.shown(&key);
    out.line(&format!(
        "key {shown} of bucket {}, {}, partition {} of {}",
        at.bucket,
        explained.kind,
        partition.0,
        layout.partitions()
    ))?;
    explained.show(out)?;
    Ok(Ended::Done)
}

/// What a node may have to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Owns it, and reads go to it.
    Owner,
    /// Owns it under a layout that is not complete yet.
    NewOwner,
    /// Stands in for an owner.
    Fallback,
}

/// A node, and what it holds.
#[derive(Clone, Debug)]
struct Holder {
    name: String,
    role: Role,
    said: Result<KeyReport, String>,
}

/// What all of them hold.
#[derive(Clone, Debug)]
struct Explained {
    state: ClusterState,
    kind: Kind,
    partition: PartitionId,
    holders: Vec<Holder>,
}

async fn ask_all(
    client: &Client,
    state: &ClusterState,
    bucket: &Bucket,
    partition: PartitionId,
    key: &Bytes,
) -> Vec<Holder> {
    let id = bucket.info().id;
    let mut asking = JoinSet::new();
    for (position, (node, role)) in roles(state, partition).into_iter().enumerate() {
        let (client, key, name) = (client.clone(), key.clone(), name(state, node));
        asking.spawn(async move {
            let said = client.explain(node, id, key).await;
            let said = said.map_err(|error| reason(&error));
            (position, Holder { name, role, said })
        });
    }
    let mut holders = asking.join_all().await;
    holders.sort_by_key(|(position, _)| *position);
    holders.into_iter().map(|(_, holder)| holder).collect()
}

/// The owners, those that reads go to first, then fallbacks.
fn roles(state: &ClusterState, partition: PartitionId) -> Vec<(NodeId, Role)> {
    let mut roles: Vec<(NodeId, Role)> = Vec::new();
    let mut add = |node: NodeId, role: Role| {
        if roles.iter().all(|(known, _)| *known != node) {
            roles.push((node, role));
        }
    };
    for (position, applied) in state.layouts.iter().rev().enumerate() {
        let role = if position == 0 {
            Role::Owner
        } else {
            Role::NewOwner
        };
        let owners = applied.layout.owners(partition);
        owners.iter().for_each(|owner| add(*owner, role));
    }
    if let Some(newest) = state.layouts.first() {
        let owners = newest.layout.owners(partition).len();
        let fallbacks = newest.layout.preference(partition).iter().skip(owners);
        let fallbacks = fallbacks.take(FALLBACKS_ASKED);
        fallbacks.for_each(|fallback| add(*fallback, Role::Fallback));
    }
    roles
}

/// How a dot stands at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Held,
    Replaced,
    Unseen,
}

/// A row in which holders differ: the dots that anybody holds, and how each stands at each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Difference {
    subkey: Bytes,
    dots: Vec<((ActorId, u64), Vec<Mark>)>,
}

impl Explained {
    /// Those that hold the partition and said so.
    fn copies(&self) -> Vec<(&str, &KeyReport)> {
        let said = self.holders.iter().filter_map(|holder| {
            let report = holder.said.as_ref().ok()?;
            report.holds.then_some((&holder.name[..], report))
        });
        said.collect()
    }

    /// The rows that somebody reports, as far as all reports reach.
    fn subkeys(&self) -> BTreeSet<&Bytes> {
        let copies = self.copies();
        let ends = copies.iter().filter(|(_, report)| report.more);
        let reach = ends
            .filter_map(|(_, report)| report.rows.last())
            .map(|row| &row.subkey)
            .min();
        let rows = copies.iter().flat_map(|(_, report)| &report.rows);
        let subkeys = rows.map(|row| &row.subkey);
        subkeys
            .filter(|subkey| reach.is_none_or(|reach| *subkey <= reach))
            .collect()
    }

    fn differences(&self) -> Vec<Difference> {
        let copies = self.copies();
        let mut differences = Vec::new();
        for subkey in self.subkeys() {
            let mut dots: BTreeMap<(ActorId, u64), Vec<Mark>> = BTreeMap::new();
            for (_, report) in &copies {
                for cell in row(report, subkey).into_iter().flat_map(|row| &row.cells) {
                    dots.entry((cell.actor, cell.counter)).or_default();
                }
            }
            for (dot, marks) in &mut dots {
                *marks = copies
                    .iter()
                    .map(|(_, report)| mark(report, subkey, *dot))
                    .collect();
            }
            let is_equal = |marks: &[Mark]| marks.iter().all(|mark| *mark == Mark::Held);
            if !dots.values().all(|marks| is_equal(marks)) {
                differences.push(Difference {
                    subkey: subkey.clone(),
                    dots: dots.into_iter().collect(),
                });
            }
        }
        differences
    }

    /// What that means, and where to look next.
    fn findings(&self) -> Vec<String> {
        let copies = self.copies();
        let differences = self.differences();
        let mut findings = Vec::new();
        for holder in &self.holders {
            match &holder.said {
                Err(reason) => findings.push(format!("{} does not answer: {reason}", holder.name)),
                Ok(report) => {
                    if report.holds && !report.whole {
                        findings.push(format!(
                            "{} is being filled and does not count for reads",
                            holder.name
                        ));
                    }
                    for hints in &report.hints {
                        findings.push(format!(
                            "{} keeps {} for {}, handed over when it is back",
                            holder.name,
                            super::cluster::counted(hints.events, "event", "events"),
                            name(&self.state, hints.owner)
                        ));
                    }
                }
            }
        }
        let clocks: BTreeSet<u64> = copies.iter().map(|(_, report)| report.clock).collect();
        findings.push(match (differences.is_empty(), clocks.len()) {
            (_, 0) => "nobody who answered holds the partition".to_owned(),
            (true, 1) => "all who hold the partition hold the same".to_owned(),
            (true, _) => {
                "this key is the same everywhere; elsewhere in the partition clocks differ, which \
                          repair or writes under way explain: dunlin cluster verify"
                    .to_owned()
            }
            (false, 1) => {
                "DAMAGE: equal clocks and different rows: a disk has lost or changed something. \
                           dunlin cluster verify shows how much, the logs of these nodes which rows"
                    .to_owned()
            }
            (false, _) => self.what_differs(&differences),
        });
        findings
    }

    fn what_differs(&self, differences: &[Difference]) -> String {
        let names: Vec<&str> = self.copies().iter().map(|(name, _)| *name).collect();
        let mut behind: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let dots = differences.iter().flat_map(|difference| &difference.dots);
        for (_, marks) in dots {
            let is_replaced = marks.contains(&Mark::Replaced);
            for (name, mark) in names.iter().zip(marks) {
                let (unseen, stale) = behind.entry(name).or_default();
                *unseen += u64::from(*mark == Mark::Unseen && !is_replaced);
                *stale += u64::from(*mark == Mark::Held && is_replaced);
            }
        }
        let lacks = behind.into_iter().filter(|(_, behind)| *behind != (0, 0));
        let lacks: Vec<String> = lacks
            .map(|(name, (unseen, stale))| match (unseen, stale) {
                (unseen, 0) => format!("{name} has not seen {unseen} of them"),
                (0, stale) => format!("{name} still shows {stale} that were replaced"),
                (unseen, stale) => {
                    format!("{name} has not seen {unseen} of them and still shows {stale} that were replaced")
                }
            })
            .collect();
        format!(
            "writes differ: {}. Hints or repair bring them, within seconds if all are up: dunlin cluster \
             verify --wait 30s",
            lacks.join("; ")
        )
    }

    fn show(&self, out: &mut Output) -> Result<(), Fault> {
        self.table().show(out)?;
        let differences = self.differences();
        let names: Vec<&str> = self.copies().iter().map(|(name, _)| *name).collect();
        for difference in &differences {
            let label = self.label(out, &difference.subkey);
            out.line(&format!("{label} differs:"))?;
            for (dot, marks) in &difference.dots {
                out.line(&format!(
                    "  {}  {}",
                    dot_text(*dot),
                    marks_text(&names, marks)
                ))?;
            }
        }
        self.show_equal(out, &differences)?;
        for finding in self.findings() {
            out.line(&finding)?;
        }
        Ok(())
    }

    /// The rows in which all agree.
    fn show_equal(&self, out: &mut Output, differences: &[Difference]) -> Result<(), Fault> {
        let copies = self.copies();
        let differing: BTreeSet<&Bytes> = differences.iter().map(|d| &d.subkey).collect();
        let equal: Vec<&Bytes> = self.subkeys().difference(&differing).copied().collect();
        for subkey in equal.iter().take(ROWS_SHOWN) {
            let Some(row) = copies.first().and_then(|(_, report)| row(report, subkey)) else {
                continue;
            };
            let dots = row
                .cells
                .iter()
                .map(|cell| dot_text((cell.actor, cell.counter)));
            let mut line = format!(
                "{}: {}",
                self.label(out, subkey),
                dots.collect::<Vec<_>>().join(" ")
            );
            if row.cells.is_empty() {
                line.push_str("no cells");
            }
            if let Some(shows) = &row.shows {
                let _ = write!(line, ", shows {}", shown(out, shows));
            }
            out.line(&line)?;
        }
        let more = equal.len().saturating_sub(ROWS_SHOWN) as u64;
        let is_cut = copies.iter().any(|(_, report)| report.more);
        if more > 0 || is_cut {
            let and = if is_cut {
                ", and others that were not compared"
            } else {
                ""
            };
            out.line(&format!("{} more rows that are equal{and}", count(more)))?;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new([
            ("NODE", Lean::Left),
            ("ROLE", Lean::Left),
            ("COPY", Lean::Left),
            ("CLOCK", Lean::Left),
            ("ROWS", Lean::Right),
            ("SIBLINGS", Lean::Right),
            ("HINTS", Lean::Right),
        ]);
        for holder in &self.holders {
            let cells = match &holder.said {
                Err(_) => vec!["no answer".to_owned()],
                Ok(report) => vec![
                    copy_text(report).to_owned(),
                    match report.holds {
                        true => format!("{:016x}", report.clock),
                        false => String::new(),
                    },
                    count(report.rows.len() as u64) + if report.more { "+" } else { "" },
                    count(siblings(report)),
                    count(report.hints.iter().map(|hints| hints.events).sum()),
                ],
            };
            let head = [holder.name.clone(), holder.role.text().to_owned()];
            table.row(head.into_iter().chain(cells));
        }
        table
    }

    /// What a row is called.
    fn label(&self, out: &Output, subkey: &Bytes) -> String {
        match self.kind {
            Kind::Set => format!("element {}", out.shown(subkey)),
            Kind::Map => match FieldPath::parse(subkey) {
                Ok((path, None, _)) => format!("field {}", show_path(&path)),
                Ok((path, Some(element), _)) => {
                    format!("field {} element {}", show_path(&path), out.shown(&element))
                }
                Err(_) => format!("row {}", out.shown(subkey)),
            },
            Kind::Register | Kind::Lww | Kind::Counter | Kind::Flag | Kind::Max | Kind::Min => {
                "value".to_owned()
            }
        }
    }

    fn json(&self, out: &Output) -> Value {
        let row = |row: &RowReport| {
            let cells: Value = row
                .cells
                .iter()
                .map(|cell| {
                    json!({
                        "dot": dot_text((cell.actor, cell.counter)),
                        "written_ms": cell.stamp.millis().0,
                        "expired": cell.expired,
                    })
                })
                .collect();
            json!({
                "subkey": out.value(&row.subkey),
                "row": self.label(out, &row.subkey),
                "cells": cells,
                "cells_more": row.cells_more,
                "past": row.past.dots().take(100).map(|dot| dot_text((dot.actor, dot.counter))).collect::<Vec<_>>(),
                "shows": row.shows.as_ref().map(|shows| shown(out, shows)),
            })
        };
        let holder = |holder: &Holder| match &holder.said {
            Err(reason) => json!({
                "node": holder.name,
                "role": holder.role.text(),
                "error": reason,
            }),
            Ok(report) => json!({
                "node": holder.name,
                "role": holder.role.text(),
                "holds": report.holds,
                "whole": report.whole,
                "clock": format!("{:016x}", report.clock),
                "events": report.seen.len(),
                "rows": report.rows.iter().map(row).collect::<Value>(),
                "more": report.more,
                "hints": report.hints.iter().map(|hints| json!({
                    "for": name(&self.state, hints.owner),
                    "events": hints.events,
                })).collect::<Value>(),
            }),
        };
        let differs: Value = self
            .differences()
            .iter()
            .map(|difference| json!(self.label(out, &difference.subkey)))
            .collect();
        json!({
            "partition": self.partition.0,
            "kind": self.kind.name(),
            "nodes": self.holders.iter().map(holder).collect::<Value>(),
            "differs": differs,
            "findings": self.findings(),
        })
    }
}

impl Role {
    fn text(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::NewOwner => "new owner",
            Self::Fallback => "fallback",
        }
    }
}

fn row<'a>(report: &'a KeyReport, subkey: &Bytes) -> Option<&'a RowReport> {
    report.rows.iter().find(|row| row.subkey == subkey)
}

fn mark(report: &KeyReport, subkey: &Bytes, (actor, counter): (ActorId, u64)) -> Mark {
    let row = row(report, subkey);
    let mut cells = row.into_iter().flat_map(|row| &row.cells);
    let dot = Dot::new(actor, counter);
    if cells.any(|cell| (cell.actor, cell.counter) == (actor, counter)) {
        Mark::Held
    } else if report.seen.contains(&dot) || row.is_some_and(|row| row.past.contains(&dot)) {
        Mark::Replaced
    } else {
        Mark::Unseen
    }
}

fn copy_text(report: &KeyReport) -> &'static str {
    match (report.holds, report.whole, report.owner) {
        (false, _, _) => "none",
        (true, _, false) => "to hand over",
        (true, false, true) => "filling",
        (true, true, true) => "whole",
    }
}

/// The most cells that a row has: more than one are siblings, or the actors of a counter.
fn siblings(report: &KeyReport) -> u64 {
    let cells = |row: &RowReport| row.cells.len() as u64 + row.cells_more;
    report.rows.iter().map(cells).max().unwrap_or(0)
}

fn dot_text((actor, counter): (ActorId, u64)) -> String {
    format!("{actor}:{counter}")
}

fn marks_text(names: &[&str], marks: &[Mark]) -> String {
    let of = |wanted: Mark| -> Vec<&str> {
        let marked = names.iter().zip(marks).filter(|(_, mark)| **mark == wanted);
        marked.map(|(name, _)| *name).collect()
    };
    let parts = [
        (Mark::Held, "held by"),
        (Mark::Replaced, "replaced at"),
        (Mark::Unseen, "not seen by"),
    ];
    let parts = parts.into_iter().map(|(mark, what)| (what, of(mark)));
    let parts = parts.filter(|(_, names)| !names.is_empty());
    let parts: Vec<String> = parts
        .map(|(what, names)| format!("{what} {}", names.join(", ")))
        .collect();
    parts.join("; ")
}

fn shown(out: &Output, found: &Found) -> String {
    match found {
        Found::Siblings { values, .. } => {
            let values: Vec<String> = values.iter().map(|value| out.shown(value)).collect();
            values.join(" | ")
        }
        Found::Latest { value, .. } => out.shown(value),
        Found::Sum(number) | Found::Extreme(number) => number.to_string(),
        Found::On => "on".to_owned(),
        Found::Present => "present".to_owned(),
        Found::Nothing
        | Found::Elements { .. }
        | Found::Fields { .. }
        | Found::Count { .. }
        | Found::Keys { .. } => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests;
