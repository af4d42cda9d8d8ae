//! Giving up what this node no longer owns: only when every owner holds all of it.
//!
//! ```text
//!   round:   Offer { my clock } ─> owner: holds all that, synced ──> Held { that clock }
//!                                         lacks something        ──> pulls it, as in any repair
//!   all owners have said Held of the clock as it is now: the partition is given up
//! ```
//!
//! So a node that was cut off while layouts changed hands over what only it was told meanwhile, be it
//! hours or two layouts later, and only then forgets it. What it does not own it takes no part in:
//! writes and reads are refused, and its clock does not grow. But if it has forgotten what it held, and found rows,
//! it pulls what the owners know of them before it offers what is left.

use std::collections::BTreeMap;

use dunlin_crdt::Clock;
use dunlin_protocol::Failure;
use dunlin_protocol::peer::{AckWhen, PeerBody, RepairMessage};
use dunlin_ring::{NodeId, PartitionId};

use crate::io::{Effect, Note, Now};
use crate::shard::{Shard, Waiting};

/// What owners have said that they hold.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    held: BTreeMap<PartitionId, BTreeMap<NodeId, Clock>>,
}

impl Handover {
    pub(crate) fn forget(&mut self) {
        self.held.clear();
    }

    /// The node was away: what it held then it may have lost since.
    pub(crate) fn peer_is_back(&mut self, node: NodeId) {
        for held in self.held.values_mut() {
            held.remove(&node);
        }
    }
}

impl Shard {
    /// The partitions that this node holds and owns no longer.
    pub(crate) fn not_owned(&self) -> Vec<PartitionId> {
        let held = self.replica.owned();
        held.filter(|p| !self.view.is_owner(self.view.me, *p))
            .collect()
    }

    /// Once a round: offers what is held and not owned to those owners that have not said that they
    /// hold it, and gives up what all of them do.
    pub(crate) fn handover_round(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let partitions = self.not_owned();
        self.handover.held.retain(|p, _| partitions.contains(p));
        for partition in partitions {
            if self.replica.is_distrusted(partition) {
                // Rows that were found after damage may be nowhere else: claimed, the owners learn of them. Before
                // that all owners say what they know, or a row would come back beside what has replaced it.
                self.refill(partition, now, effects);
            }
            if self.replica.is_distrusted(partition) {
                continue;
            }
            if self.give_up_what_owners_hold(partition, now, effects) {
                continue;
            }
            let held = self.handover.held.entry(partition).or_default();
            for owner in self.view.readers(partition) {
                if !held.contains_key(owner) && self.view.is_reachable(*owner) {
                    let clock = self.replica.clock(partition).clone();
                    let message = RepairMessage::Offer { clock };
                    effects.push(repair_to(*owner, partition, message));
                }
            }
        }
    }

    /// Whether all owners hold what this node has now, so that it has given the partition up.
    fn give_up_what_owners_hold(
        &mut self,
        partition: PartitionId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let clock = self.replica.clock(partition);
        let held = self.handover.held.entry(partition).or_default();
        held.retain(|_, of| of == clock);
        let owners = self.view.readers(partition);
        let all_hold = owners.iter().all(|owner| held.contains_key(owner));
        if all_hold {
            self.give_up_partition(partition, now, effects);
        }
        all_hold
    }

    fn give_up_partition(&mut self, partition: PartitionId, now: Now, effects: &mut Vec<Effect>) {
        self.handover.held.remove(&partition);
        match self.replica.give_up(partition) {
            Ok(()) => {
                // Reads that count this node look at what it holds when they end.
                for read in self.take_reads(Some(partition)) {
                    self.counters.add("restarted");
                    let (origin, deadline) = (read.origin(), read.deadline());
                    match read.into_request() {
                        Some(request) => self.request(origin, request, deadline, now, effects),
                        None => self.fail(origin, Failure::NotOwner, effects),
                    }
                }
                self.repair.forget_partition(partition);
                self.scrub.forget_partition(partition);
                self.counters.add("partitions_given_up");
                effects.push(Effect::Note(Note::HandedOver { partition }));
            }
            Err(error) => self.note_store_error(&error, effects),
        }
    }

    /// A node that owns the partition no longer asks whether this owner holds what it holds.
    pub(crate) fn offered(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        clock: Clock,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        // Unanswered, it is offered again.
        if !self.is_owner_here(partition) || self.must_put_off() {
            return;
        }
        if clock.is_subset(self.replica.clock(partition)) {
            let waiting = Waiting::HandedOver {
                to: from,
                partition,
                clock,
            };
            self.wait_for(AckWhen::Synced, waiting);
        } else {
            self.repair.want(partition, from);
            self.pull_more(now, effects);
        }
    }

    /// An owner holds all up to this clock.
    pub(crate) fn held_by(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        clock: Clock,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !self.not_owned().contains(&partition) {
            return;
        }
        let held = self.handover.held.entry(partition).or_default();
        held.insert(from, clock);
        if !self.replica.is_distrusted(partition) {
            self.give_up_what_owners_hold(partition, now, effects);
        }
    }

    pub(crate) fn handed_over(to: NodeId, partition: PartitionId, clock: Clock) -> Effect {
        repair_to(to, partition, RepairMessage::Held { clock })
    }
}

fn repair_to(to: NodeId, partition: PartitionId, message: RepairMessage) -> Effect {
    let body = PeerBody::Repair { partition, message };
    Effect::Send { to, body }
}
