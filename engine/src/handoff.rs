//! Hints go home: a fallback gives an owner that is back what was written for it meanwhile.
//!
//! ```text
//!   round, or an owner is back:  Deliver { batch }  ─> the owner takes the events, syncs ─> Taken
//!                                the hints are forgotten, the next batch leaves
//! ```
//!
//! One batch is on its way to an owner at a time. One that is not answered is offered again: an owner
//! that has seen an event ignores it, so hints need no expiry. Hints for a node that no longer owns the
//! partition go to the nearest one that does, and repair takes them to the others.

use std::collections::BTreeMap;

use dunlin_protocol::peer::{AckWhen, HandoffMessage, PeerBody, RowEvent};
use dunlin_protocol::status::StorageState;
use dunlin_ring::{NodeId, PartitionId};
use dunlin_storage::StoreError;

use crate::io::{Effect, Now, Time, TimerId};
use crate::shard::{Shard, Waiting};

/// Rounds after which a batch that was not answered is offered again.
const ROUNDS_MAX: u64 = 10;

/// The batches on their way.
#[derive(Debug, Default)]
pub(crate) struct Handoff {
    deliveries: BTreeMap<NodeId, Delivery>,
}

#[derive(Debug)]
struct Delivery {
    /// For whom the hints were kept.
    owner: NodeId,
    batch: u64,
    partition: PartitionId,
    events: Vec<RowEvent>,
    sent: Time,
}

impl Handoff {
    /// How many batches are on their way.
    pub(crate) fn deliveries(&self) -> usize {
        self.deliveries.len()
    }

    pub(crate) fn peer_is_back(&mut self, node: NodeId) {
        self.deliveries.remove(&node);
    }
}

impl Shard {
    pub(crate) fn handoff_round(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let patience_ms = self.options.handoff_every_ms * ROUNDS_MAX;
        self.handoff
            .deliveries
            .retain(|_, delivery| now.time.ms_since(delivery.sent) < patience_ms);
        self.handoff_round_once(now, effects);
        let at = now.time.plus_ms(self.options.handoff_every_ms);
        effects.push(Effect::SetTimer {
            id: TimerId::Handoff,
            at,
        });
    }

    /// Offers a batch to every owner that can be reached and has none on its way.
    pub(crate) fn handoff_round_once(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for (owner, partition) in self.replica.hinted() {
            if let Some(to) = self.heir(owner, partition)
                && !self.handoff.deliveries.contains_key(&to)
            {
                self.deliver(to, owner, partition, now, effects);
            }
        }
    }

    /// Who takes the hints for an owner now, if anybody that can be reached does. That may be this
    /// node itself, should it have become an owner.
    fn heir(&self, owner: NodeId, partition: PartitionId) -> Option<NodeId> {
        if self.view.is_owner(owner, partition) {
            return self.view.is_reachable(owner).then_some(owner);
        }
        if self.is_owner_here(partition) {
            return Some(self.view.me);
        }
        let owners = self.view.newest().owners(partition).iter().copied();
        self.view.nearest(owners).first().copied()
    }

    fn deliver(
        &mut self,
        to: NodeId,
        owner: NodeId,
        partition: PartitionId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let events = match self
            .replica
            .hints(owner, partition, self.options.handoff_batch_bytes)
        {
            Ok(events) if events.is_empty() => return,
            Ok(events) => events,
            Err(error @ StoreError::CorruptHint { .. }) => {
                self.note_store_error(&error, effects);
                if let Err(error) = self.replica.drop_damaged_hints(owner, partition) {
                    self.note_store_error(&error, effects);
                }
                return;
            }
            Err(error) => return self.note_store_error(&error, effects),
        };
        if to == self.view.me {
            // It became an owner: the hints are events like any other, and not kept any longer.
            let taken = self.take_events(partition, &events, effects);
            let taken = taken.and_then(|()| self.replica.forget_hints(owner, partition, &events));
            if let Err(error) = taken {
                self.note_store_error(&error, effects);
            }
            return;
        }
        // A name that no earlier process gave: an owner that stood still may answer one of those now.
        let batch = self.new_op().0;
        let message = HandoffMessage::Deliver {
            batch,
            events: events.clone(),
        };
        effects.push(Effect::Send {
            to,
            body: PeerBody::Handoff { partition, message },
        });
        let delivery = Delivery {
            owner,
            batch,
            partition,
            events,
            sent: now.time,
        };
        self.handoff.deliveries.insert(to, delivery);
    }

    pub(crate) fn handoff_message(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        message: HandoffMessage,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        match message {
            HandoffMessage::Deliver { batch, events } => {
                // Unanswered, the hints stay where they are and are offered again.
                let is_ready = self.storage == StorageState::Ready && !self.must_put_off();
                if !is_ready || !self.is_owner_here(partition) {
                    return;
                }
                self.counters.add_many("hints_taken", events.len() as u64);
                match self.take_events(partition, &events, effects) {
                    Ok(()) => {
                        let waiting = Waiting::HandedOff {
                            to: from,
                            partition,
                            batch,
                        };
                        self.wait_for(AckWhen::Synced, waiting);
                    }
                    Err(error) => self.note_store_error(&error, effects),
                }
            }
            HandoffMessage::Taken { batch } => {
                let is_it = |delivery: &Delivery| delivery.batch == batch;
                if !self.handoff.deliveries.get(&from).is_some_and(is_it) {
                    return;
                }
                if let Some(delivery) = self.handoff.deliveries.remove(&from) {
                    self.counters
                        .add_many("hints_delivered", delivery.events.len() as u64);
                    let Delivery {
                        owner,
                        partition,
                        events,
                        ..
                    } = delivery;
                    if let Err(error) = self.replica.forget_hints(owner, partition, &events) {
                        self.note_store_error(&error, effects);
                    }
                    self.handoff_round_once(now, effects);
                }
            }
        }
    }

    pub(crate) fn handed_off(to: NodeId, partition: PartitionId, batch: u64) -> Effect {
        let message = HandoffMessage::Taken { batch };
        Effect::Send {
            to,
            body: PeerBody::Handoff { partition, message },
        }
    }
}
