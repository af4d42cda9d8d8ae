//! What really happened: every event as it was minted, where its copies went, what was lost.
//!
//! Clients don't see this; the checkers do. It is fed by the engine's own notes of what it mints, by
//! what passes on the wire, and by the batches that reach the disks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin_crdt::{ActorId, Dot, Event, OpId};
use dunlin_engine::ActiveLayouts;
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::RowEvent;
use dunlin_ring::NodeId;

/// A dot that can be a key of ordered maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) ActorId, pub(crate) u64);

impl Name {
    /// The name of a dot.
    pub(crate) fn of(dot: &Dot) -> Self {
        Self(dot.actor, dot.counter)
    }

    /// The dot again.
    pub(crate) fn dot(self) -> Dot {
        Dot::new(self.0, self.1)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

/// How well a node holds a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Held {
    /// The process of its machine may die.
    Written,
    /// The power may go.
    Synced,
}

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Minted {
    /// The row.
    pub(crate) row: RowKey,
    /// What happened on it.
    pub(crate) event: Event,
    /// The request that it answers.
    pub(crate) op: OpId,
    /// The node that coordinated it.
    pub(crate) by: NodeId,
    /// The place at which that was then.
    pub(crate) node: usize,
    /// When.
    pub(crate) at: u64,
    /// The layouts by which its coordinator decided.
    pub(crate) layouts: Arc<ActiveLayouts>,
    /// Who ever held a copy, as an owner or as a hint for one, and how well.
    pub(crate) copies: BTreeMap<(usize, Option<NodeId>), Held>,
    /// No disk held its cell at some moment, after some had: what it wrote may be gone.
    pub(crate) lost: bool,
    /// No owner's disk knew at some moment what it had replaced, after some had: that may be back. A
    /// hint is no help, for an owner that kept the cell alone takes it for the whole event.
    pub(crate) forgotten: bool,
}

/// All events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    events: BTreeMap<Name, Minted>,
    rows: BTreeMap<RowKey, Vec<Name>>,
    replaced_by: BTreeMap<Name, Vec<Name>>,
    by_op: BTreeMap<OpId, Vec<Name>>,
    /// Dots that were seen and that nobody had minted.
    unknown: BTreeSet<Name>,
    complaints: Vec<String>,
}

impl Ledger {
    /// A node has minted events for a request.
    pub(crate) fn mint(
        &mut self,
        at: u64,
        (by, node): (NodeId, usize),
        op: OpId,
        events: &[RowEvent],
        layouts: &Arc<ActiveLayouts>,
    ) {
        for RowEvent { key, event } in events {
            let name = Name::of(&event.dot);
            if let Some(first) = self.events.get(&name) {
                self.complaints.push(format!(
                    "dot {name} was minted by node {} at {} for {:?} and again by node {node} at {at} for {key:?}",
                    first.node, first.at, first.row
                ));
                continue;
            }
            let minted = Minted {
                row: key.clone(),
                event: event.clone(),
                op,
                by,
                node,
                at,
                layouts: Arc::clone(layouts),
                copies: BTreeMap::new(),
                lost: false,
                forgotten: false,
            };
            self.rows.entry(key.clone()).or_default().push(name);
            self.by_op.entry(op).or_default().push(name);
            let dots = event.replaces.ranges_by_actor();
            for (actor, start, end) in dots.take(10_000) {
                for counter in start..=end.min(start.saturating_add(100_000)) {
                    self.replaced_by
                        .entry(Name(actor, counter))
                        .or_default()
                        .push(name);
                }
            }
            self.events.insert(name, minted);
        }
    }

    /// An event was seen on its way: it must be the one that was minted.
    pub(crate) fn see(&mut self, seen: &RowEvent) {
        let name = Name::of(&seen.event.dot);
        match self.events.get(&name) {
            Some(minted) if minted.row == seen.key && minted.event == seen.event => {}
            Some(minted) => self.complaints.push(format!(
                "dot {name} was minted for {:?} and travels as another event, on {:?}",
                minted.row, seen.key
            )),
            None if self.unknown.insert(name) => {
                self.complaints
                    .push(format!("dot {name} travels and was never minted"));
            }
            None => {}
        }
    }

    /// A node holds a copy.
    pub(crate) fn copy(&mut self, dot: &Dot, node: usize, hint_for: Option<NodeId>, held: Held) {
        if let Some(minted) = self.events.get_mut(&Name::of(dot)) {
            let copy = minted.copies.entry((node, hint_for)).or_insert(held);
            *copy = (*copy).max(held);
        }
    }

    /// Disks have lost something: `knows` says for an event whether some disk still holds its cell, and
    /// whether some owner still knows what it replaced.
    pub(crate) fn disks_lost(&mut self, knows: impl Fn(&Minted) -> (bool, bool)) {
        for minted in self.events.values_mut() {
            let was_synced = minted.copies.values().any(|held| *held == Held::Synced);
            if was_synced && !minted.lost {
                let (held, known) = knows(minted);
                minted.lost |= !held;
                minted.forgotten |= !known;
            }
        }
    }

    /// What was seen that can't be.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// The event of a dot.
    pub(crate) fn event(&self, name: Name) -> Option<&Minted> {
        self.events.get(&name)
    }

    /// All events, in order of their dots.
    pub(crate) fn events(&self) -> impl Iterator<Item = (Name, &Minted)> {
        self.events.iter().map(|(name, minted)| (*name, minted))
    }

    /// Every row that an event touched, with its events in the order in which they were minted.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&RowKey, &[Name])> {
        self.rows.iter().map(|(row, names)| (row, &names[..]))
    }

    /// The events of a row.
    pub(crate) fn on_row<'a>(&'a self, row: &RowKey) -> impl Iterator<Item = (Name, &'a Minted)> {
        let names = self.rows.get(row).into_iter().flatten();
        names.filter_map(|name| Some((*name, self.events.get(name)?)))
    }

    /// The rows from this one on.
    pub(crate) fn rows_from<'a>(&'a self, row: &RowKey) -> impl Iterator<Item = &'a RowKey> {
        self.rows.range(row.clone()..).map(|(row, _)| row)
    }

    /// The events that replaced this one.
    pub(crate) fn replacers(&self, name: Name) -> impl Iterator<Item = (Name, &Minted)> {
        let names = self.replaced_by.get(&name).into_iter().flatten();
        names
            .filter_map(move |by| Some((*by, self.events.get(by)?)))
            .filter(move |(by, _)| *by != name)
    }

    /// The events of a request.
    pub(crate) fn of_op(&self, op: OpId) -> impl Iterator<Item = (Name, &Minted)> {
        let names = self.by_op.get(&op).into_iter().flatten();
        names.filter_map(|name| Some((*name, self.events.get(name)?)))
    }
}
