//! How mutants break the system: between the engine and the network, the disk, and the clients.

use std::ops::Bound;

use dunlin_crdt::Clock;
use dunlin_protocol::cluster::ClusterEntry;
use dunlin_protocol::peer::{ControlMessage, HandoffMessage, OperationMessage, PeerBody, RowEvent};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::{Found, ReadAnswer, Receipt};
use dunlin_protocol::{Context, Failure};
use dunlin_storage::{Batch, Keyspace, Kv, MemoryKv};

use crate::history::Outcome;
use crate::mutant::Mutant;
use crate::world::World;

/// What becomes of a message; `None` if it is swallowed.
pub(crate) fn message(
    world: &mut World,
    from: usize,
    to: usize,
    mut body: PeerBody,
) -> Option<PeerBody> {
    let Some(mutant) = world.options.mutant else {
        return Some(body);
    };
    match (mutant, &mut body) {
        (
            Mutant::ReplacesDropped,
            PeerBody::Operation {
                message: OperationMessage::Replicate { events, .. },
                ..
            },
        ) => events
            .iter_mut()
            .for_each(|event| event.event.replaces = Clock::new()),
        (
            Mutant::RemovalsSeeAll,
            PeerBody::Operation {
                message: OperationMessage::Replicate { events, .. },
                ..
            },
        ) => events.iter_mut().for_each(see_all),
        (
            Mutant::HintAsOwner,
            PeerBody::Operation {
                message: OperationMessage::Replicated { hint_for, .. },
                ..
            },
        ) => *hint_for = None,
        (
            Mutant::AlwaysSame,
            PeerBody::Operation {
                message: OperationMessage::Compared { rows, clock },
                ..
            },
        ) => {
            rows.clear();
            *clock = Clock::new();
        }
        (Mutant::HintsStuck, PeerBody::Handoff { .. }) => return None,
        (
            Mutant::HintsVanish,
            PeerBody::Handoff {
                partition,
                message: HandoffMessage::Deliver { batch, .. },
            },
        ) => {
            let (partition, batch) = (*partition, *batch);
            let taken = PeerBody::Handoff {
                partition,
                message: HandoffMessage::Taken { batch },
            };
            world.inject(to, from, taken);
            return None;
        }
        (Mutant::DropsUntold, PeerBody::Control(ControlMessage::Know { entries, .. })) => {
            entries
                .retain(|entry| !matches!(entry, ClusterEntry::Bucket(bucket) if bucket.dropped));
        }
        (Mutant::RepairSilent, PeerBody::Digests(_) | PeerBody::Repair { .. }) => return None,
        _ => {}
    }
    Some(body)
}

/// A removal claims to have seen every event of the actors it names, for ever.
fn see_all(event: &mut RowEvent) {
    if event.event.cell.is_none() {
        let mut all = Clock::new();
        for actor in event.event.replaces.actors() {
            all.add_range(actor, 1, 1 << 40);
        }
        event.event.replaces = all;
    }
}

/// How often a message is sent.
pub(crate) fn copies(mutant: Option<Mutant>, body: &PeerBody) -> usize {
    let is_write = |request: &Request| matches!(request, Request::Write(_));
    match body {
        PeerBody::Operation {
            message: OperationMessage::Forward { request, .. },
            ..
        } if mutant == Some(Mutant::ForwardTwice) && is_write(request) => 2,
        _ => 1,
    }
}

/// What becomes of a batch.
pub(crate) fn batch(mutant: Option<Mutant>, batch: &mut Batch) {
    let dropped = |keyspace: Keyspace, is_put: bool| match mutant {
        Some(Mutant::LogSkipped) => keyspace == Keyspace::Log && is_put,
        Some(Mutant::RowDeletesSkipped) => keyspace == Keyspace::Rows && !is_put,
        _ => false,
    };
    if !batch
        .iter()
        .any(|(keyspace, _, value)| dropped(keyspace, value.is_some()))
    {
        return;
    }
    let mut kept = Batch::new();
    for (keyspace, key, value) in batch.iter() {
        match value {
            _ if dropped(keyspace, value.is_some()) => {}
            Some(value) => kept.put(keyspace, key.clone(), value.clone()),
            None => kept.delete(keyspace, key.clone()),
        }
    }
    *batch = kept;
}

/// What a client is made to believe.
pub(crate) fn outcome(world: &mut World, outcome: Outcome) -> Outcome {
    match (world.options.mutant, outcome) {
        (Some(Mutant::DeniedWrite), Outcome::Written(Receipt { copies, .. }))
            if world.rng.u64(..100) == 0 =>
        {
            let reachable = copies.iter().map(|copy| copy.node).collect();
            Outcome::Failed(Failure::Unavailable {
                needed: 1,
                reachable,
            })
        }
        (Some(Mutant::ListingShort), Outcome::Read(mut answer)) => {
            match &mut answer.found {
                Found::Keys { items, .. } | Found::Elements { items, .. } => drop(items.pop()),
                _ => {}
            }
            Outcome::Read(answer)
        }
        (Some(Mutant::StaleSibling), Outcome::Read(answer)) => {
            Outcome::Read(with_what_was_replaced(world, answer))
        }
        (_, outcome) => outcome,
    }
}

/// Shows beside each sibling what its write replaced.
fn with_what_was_replaced(world: &World, mut answer: ReadAnswer) -> ReadAnswer {
    if let Found::Siblings { values, context } = &mut answer.found {
        let shown = context.clock().unwrap_or_default();
        let mut more = shown.clone();
        for dot in shown.dots() {
            if let Some(minted) = world.ledger.event(crate::ledger::Name::of(&dot)) {
                more.join(&minted.event.replaces);
            }
        }
        for dot in more.minus(&shown).dots() {
            let minted = world.ledger.event(crate::ledger::Name::of(&dot));
            let body = minted
                .and_then(|m| m.event.cell.as_ref())
                .map(|cell| &cell.body);
            if let Some(dunlin_crdt::Body::Value(value)) = body {
                values.push(value.clone());
            }
        }
        *context = Context::of(&more);
    }
    answer
}

/// A disk with the same content, that was closed in order.
pub(crate) fn copy_of(kv: &MemoryKv) -> MemoryKv {
    let copy = MemoryKv::new();
    copy.open();
    for keyspace in Keyspace::ALL {
        let mut batch = Batch::new();
        for (key, value) in kv
            .range(keyspace, Bound::Unbounded, Bound::Unbounded)
            .flatten()
        {
            batch.put(keyspace, key, value);
        }
        // A mutant's disk: nothing depends on its success.
        let _ = copy.commit(&batch);
    }
    let _ = copy.close_clean();
    copy
}
