//! How mutants break the system: between the engine and the network, the disk, and the clients.

use std::sync::Arc;

use dunlin_crdt::Clock;
use dunlin_engine::{ActiveLayouts, View};
use dunlin_protocol::cluster::ClusterEntry;
use dunlin_protocol::peer::{
    ControlMessage, HandoffMessage, OperationMessage, PeerBody, Refusal, RepairMessage, RowEvent,
};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::{Found, ReadAnswer, Receipt};
use dunlin_protocol::{Context, Failure};
use dunlin_ring::PartitionId;
use dunlin_storage::{Batch, Keyspace};

use crate::history::Outcome;
use crate::mutant::Mutant;
use crate::options::chance;
use crate::world::World;

/// What a node hears of a client's request.
pub(crate) fn request(mutant: Option<Mutant>, mut request: Request) -> Request {
    if let (Some(Mutant::ReadsShort), Request::Read(read)) = (mutant, &mut request) {
        (read.options.r, read.options.pr) = (Some(dunlin_ring::Quorum::One), None);
    }
    request
}

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
            Mutant::StampsReset,
            PeerBody::Operation {
                message: OperationMessage::Replicate { events, .. },
                ..
            },
        ) => {
            let cells = events.iter_mut().filter_map(|e| e.event.cell.as_mut());
            cells.for_each(|cell| cell.stamp = dunlin_crdt::Hlc(1));
        }
        (
            Mutant::ForwardsLost,
            PeerBody::Operation {
                message: OperationMessage::Forward { .. },
                ..
            },
        ) if chance(&mut world.rng, 50) => return None,
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
                message: OperationMessage::Compared { rows, clock, .. },
                ..
            },
        ) => {
            rows.clear();
            *clock = Clock::new();
        }
        (
            Mutant::RecallSilent | Mutant::AmnesiaDenied,
            PeerBody::Control(ControlMessage::Pong {
                store: Some(word), ..
            }),
        ) => word.remembers = None,
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
        (
            Mutant::FilledWithNothing,
            PeerBody::Repair {
                partition,
                message: message @ (RepairMessage::Rows { .. } | RepairMessage::Whole { .. }),
            },
        ) if gains(world, to, *partition) => {
            *message = RepairMessage::Rows {
                rows: Vec::new(),
                clock: Clock::new(),
                more: false,
            };
        }
        (
            Mutant::HandoverSkipped,
            PeerBody::Repair {
                partition,
                message: RepairMessage::Offer { clock },
            },
        ) => {
            let (partition, clock) = (*partition, std::mem::take(clock));
            let message = RepairMessage::Held { clock };
            world.inject(to, from, PeerBody::Repair { partition, message });
            return None;
        }
        // Owners hardly ever lack something, unless writes miss them.
        (
            Mutant::HandoverSkipped,
            PeerBody::Operation {
                message: OperationMessage::Replicate { .. },
                ..
            },
        ) if chance(&mut world.rng, 300) => return None,
        (Mutant::RetiredEarly, PeerBody::Control(ControlMessage::Know { entries, .. })) => {
            // Some hear late that a layout is complete, and read by the one before meanwhile.
            if to.is_multiple_of(2) && chance(&mut world.rng, 900) {
                let is_layout = |entry: &ClusterEntry| matches!(entry, ClusterEntry::Layout(_));
                entries.retain(is_layout);
            }
            for entry in entries {
                if let ClusterEntry::Progress(progress) = entry {
                    progress.reads = progress.acked;
                }
            }
        }
        (Mutant::CompleteEarly, PeerBody::Control(ControlMessage::Know { entries, .. })) => {
            for entry in entries {
                if let ClusterEntry::Progress(progress) = entry {
                    progress.synced = progress.acked;
                }
            }
        }
        // What was missed is asked for late.
        (Mutant::SettledIgnored, PeerBody::Digests(_)) if chance(&mut world.rng, 250) => {
            return None;
        }
        // News travel slowly to some, or pulling too early hardly ever shows.
        (Mutant::SettledIgnored, PeerBody::Control(ControlMessage::Know { .. }))
            if chance(&mut world.rng, [980, 500][to % 2]) =>
        {
            return None;
        }
        (Mutant::LoserForgotten, PeerBody::Control(ControlMessage::Know { entries, .. })) => {
            for entry in entries {
                if let ClusterEntry::Layout(layout) = entry
                    && layout.based_on.is_some()
                {
                    layout.settles = world.remembered.staged.iter().copied().collect();
                }
            }
        }
        (
            Mutant::FormerHintsVanish,
            PeerBody::Handoff {
                partition,
                message: HandoffMessage::Deliver { batch, events },
            },
        ) if are_for_others(world, from, to, events) => {
            let (partition, batch) = (*partition, *batch);
            let message = HandoffMessage::Taken { batch };
            world.inject(to, from, PeerBody::Handoff { partition, message });
            return None;
        }
        (
            Mutant::LackingAnswers,
            PeerBody::Operation {
                message: message @ OperationMessage::Refused(Refusal::Filling | Refusal::NotOwner),
                ..
            },
        ) => {
            *message = OperationMessage::Compared {
                rows: Vec::new(),
                clock: Clock::new(),
                holds: Clock::new(),
            };
        }
        (
            Mutant::OwnersRefuse,
            PeerBody::Operation {
                message: message @ OperationMessage::Replicated { .. },
                ..
            },
        ) if chance(&mut world.rng, 500) => *message = OperationMessage::Refused(Refusal::Failed),
        (Mutant::DamageStays, PeerBody::Repair { partition, .. })
            if world.has_rotten_rows_in(to, *partition) =>
        {
            return None;
        }
        (Mutant::RepairSilent, PeerBody::Digests(_) | PeerBody::Repair { .. }) => return None,
        (
            Mutant::HintsConfirmedEarly,
            PeerBody::Handoff {
                partition,
                message: HandoffMessage::Deliver { batch, .. },
            },
        ) => {
            let (partition, batch) = (*partition, *batch);
            let message = HandoffMessage::Taken { batch };
            world.inject(to, from, PeerBody::Handoff { partition, message });
        }
        (
            Mutant::ClocksInflated,
            PeerBody::Repair {
                partition,
                message: RepairMessage::Pull { clock, .. },
            },
        ) => {
            let shards = world.nodes[to].process.iter().flat_map(|p| &p.shards);
            shards.for_each(|shard| clock.join(shard.replica().clock(*partition)));
        }
        (
            Mutant::RowsSkipped,
            PeerBody::Repair {
                message: RepairMessage::Rows { rows, .. },
                ..
            },
        ) => {
            for sent in rows {
                sent.dots.join(&std::mem::take(&mut sent.row).dots());
            }
        }
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

/// What the shards of a node are told of the cluster.
pub(crate) fn view(mutant: Option<Mutant>, view: &mut Arc<View>) {
    match mutant {
        Some(Mutant::NewestOnly) => {
            let newest = Arc::new(view.layouts.newest().clone());
            Arc::make_mut(view).layouts = Arc::new(ActiveLayouts::new(&newest, Vec::new()));
        }
        Some(Mutant::SettledIgnored) => Arc::make_mut(view).settled = true,
        _ => {}
    }
}

/// Whether a node owns a partition that it did not own before the newest change.
fn gains(world: &World, node: usize, partition: PartitionId) -> bool {
    let process = world.nodes[node].process.as_ref();
    process.is_some_and(|process| process.control.view().gains(partition))
}

/// Whether all that is kept of these events at a node are hints for others than their receiver.
fn are_for_others(world: &World, node: usize, to: usize, events: &[RowEvent]) -> bool {
    let receiver = world.nodes[to].id;
    let is_for_receiver = |event: &RowEvent| {
        let minted = world
            .ledger
            .event(crate::ledger::Name::of(&event.event.dot));
        minted.is_some_and(|m| m.copies.contains_key(&(node, Some(receiver))))
    };
    !events.iter().any(is_for_receiver)
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
