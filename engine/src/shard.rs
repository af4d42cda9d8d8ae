//! One shard: the partitions it owns, the operations in progress on them, and what it decides.
//!
//! ```text
//! handle(Requested)    -> write, gather (reads), forward
//! handle(Received)     -> serve (the replica's side), the operation that waits for it, repair, handoff
//! handle(Committed)    -> the acknowledgements that waited for it
//! handle(TimerFired)   -> the next step of an operation or of background work
//! flush                -> what was staged meanwhile becomes one batch for the writer
//! ```
//!
//! A driver handles every input that has queued up, then flushes once. Nothing here waits, and nothing
//! is shared with other shards but immutable views. Source of the shape: DeCandia et al., *Dynamo*
//! (SOSP 2007), section 5, as a sans-IO state machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_crdt::{Clock, HlcClock};
use dunlin_protocol::peer::{AckWhen, OperationMessage, PeerBody, PeerOp, Refusal};
use dunlin_protocol::request::{Query, Request};
use dunlin_protocol::response::Answer;
use dunlin_protocol::status::StorageState;
use dunlin_protocol::{Bucket, Failure, Part};
use dunlin_ring::{BucketId, NodeId, PartitionId};
use dunlin_storage::{Replica, StoreError};

use crate::commits::Commits;
use crate::digest::DigestOp;
use crate::follow::Following;
use crate::forward::ForwardOp;
use crate::gather::GatherOp;
use crate::handoff::Handoff;
use crate::handover::Handover;
use crate::health::{Health, Probe};
use crate::io::{Effect, Input, Note, Now, ReplyTo, SyncWhen, Time, TimerId};
use crate::options::EngineOptions;
use crate::repair::{Repair, Said};
use crate::report::{Counters, Queues, ShardReport};
use crate::scrub::Scrub;
use crate::upkeep::Upkeep;
use crate::view::View;
use crate::write::WriteOp;

/// Where the answer of an operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// To a client of this node.
    Client(ReplyTo),
    /// To the node that passed the request on.
    Peer {
        node: NodeId,
        partition: PartitionId,
        op: PeerOp,
    },
}

/// An operation in progress.
#[derive(Debug)]
pub(crate) enum Operation {
    Write(Box<WriteOp>),
    Gather(Box<GatherOp>),
    Forward(Box<ForwardOp>),
    Digest(Box<DigestOp>),
    Probe(Probe),
}

/// What waits for a commit.
#[derive(Clone, Debug)]
pub(crate) enum Waiting {
    /// This node's own copy of a write that it coordinates.
    Own(PeerOp),
    /// The answer to a replicated write.
    Replicated {
        to: NodeId,
        partition: PartitionId,
        op: PeerOp,
        hint_for: Option<NodeId>,
    },
    /// The answer to a batch of hints.
    HandedOff {
        to: NodeId,
        partition: PartitionId,
        batch: u64,
    },
    /// The answer to a former owner: all that it holds is held here.
    HandedOver {
        to: NodeId,
        partition: PartitionId,
        clock: Clock,
    },
    /// What this node says of its clocks.
    Say(Box<Said>),
    /// What has filled a partition, and which filling it was.
    Filled(PartitionId, u64),
}

/// One shard of one node.
pub struct Shard {
    pub(crate) options: EngineOptions,
    pub(crate) view: Arc<View>,
    pub(crate) replica: Replica,
    pub(crate) rng: fastrand::Rng,
    pub(crate) hlc: HlcClock,
    pub(crate) storage: StorageState,
    pub(crate) operations: BTreeMap<PeerOp, Operation>,
    pub(crate) commits: Commits<Waiting>,
    pub(crate) repair: Repair,
    pub(crate) handoff: Handoff,
    pub(crate) handover: Handover,
    pub(crate) following: Following,
    pub(crate) upkeep: Upkeep,
    pub(crate) scrub: Scrub,
    pub(crate) health: Health,
    pub(crate) counters: Counters,
    pub(crate) read_latency_us: u64,
    next_op: u64,
    sync_next: SyncWhen,
    /// What the replica holds is not what the store holds: nothing may be said of it any more.
    is_over: bool,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("me", &self.view.me)
            .field("operations", &self.operations.len())
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// A shard over what its replica holds.
    pub fn new(
        mut replica: Replica,
        view: Arc<View>,
        options: EngineOptions,
        mut rng: fastrand::Rng,
    ) -> Self {
        if view.vouched {
            replica.resume_actors();
        }
        Self {
            repair: Repair::new(&replica),
            handoff: Handoff::default(),
            handover: Handover::default(),
            following: Following::default(),
            upkeep: Upkeep::default(),
            scrub: Scrub::default(),
            health: Health::default(),
            commits: Commits::default(),
            counters: Counters::default(),
            operations: BTreeMap::new(),
            hlc: HlcClock::default(),
            storage: StorageState::Ready,
            read_latency_us: 0,
            // Late answers to an earlier life of this node must not be taken for answers to this one.
            next_op: rng.u64(..) >> 16,
            sync_next: SyncWhen::Later,
            is_over: false,
            options,
            view,
            replica,
            rng,
        }
    }

    /// Takes one input. What follows from it is added to `effects`; what is to be written is kept
    /// until [`flush`](Self::flush).
    pub fn handle(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>) {
        if self.is_over {
            return;
        }
        match input {
            Input::Started => self.start(now, effects),
            Input::Requested {
                reply_to,
                request,
                deadline,
            } => {
                self.request(Origin::Client(reply_to), request, deadline, now, effects);
            }
            Input::Received { from, body } => self.receive(from, body, now, effects),
            Input::TimerFired(id) => self.timer(id, now, effects),
            Input::Committed { written, synced } => {
                for (when, waiting) in self.commits.committed(written, synced) {
                    self.release(when, waiting, now, effects);
                }
                self.replica.committed(written);
            }
            Input::CommitRefused(id) => self.roll_back(id, now, effects),
            Input::StorageChanged(state) => self.storage = state,
            Input::ViewChanged(view) => self.change_view(view, now, effects),
            Input::Inspected { reply_to } => {
                let report = Box::new(self.report());
                effects.push(Effect::Report { reply_to, report });
            }
            // The control part's; the driver does not send it here.
            Input::ShardFollows { .. } | Input::Datagram { .. } | Input::StoreSynced(_) => {}
            Input::Stopping => {
                self.replica.close();
                self.sync_next = SyncWhen::Now;
            }
        }
    }

    /// Turns what was staged since the last flush into a batch, and releases what need not wait for
    /// one. Call it after every run of [`handle`](Self::handle).
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.is_over {
            return;
        }
        let mut sync = std::mem::replace(&mut self.sync_next, SyncWhen::Later);
        if self.commits.wants_sync() {
            sync = SyncWhen::Now;
        }
        // A full disk would refuse what upkeep stages as well, and each refusal is a roll-back. But
        // what something waits for goes to the disk, for otherwise it would count as committed.
        let taken = match self.storage {
            StorageState::Full if !self.commits.has_unbound() => None,
            StorageState::Full | StorageState::Ready | StorageState::Failed => {
                self.replica.take_staged()
            }
        };
        let ready = self.commits.bind(taken.as_ref().map(|(id, _)| *id));
        match taken {
            Some((id, batch)) => effects.push(Effect::Commit { id, batch, sync }),
            // What a wait is bound to may be written but not synced: an empty batch asks for that.
            None if sync == SyncWhen::Now && self.commits.is_unsynced() => {
                let (id, batch) = (self.commits.last_taken(), dunlin_storage::Batch::default());
                effects.push(Effect::Commit { id, batch, sync });
            }
            None => {}
        }
        for (when, waiting) in ready {
            self.release(when, waiting, now, effects);
        }
    }

    /// What the simulator checks after every step.
    ///
    /// # Errors
    /// A sentence that names the invariant that does not hold.
    pub fn check_invariants(&self) -> Result<(), String> {
        match self.is_over {
            true => Ok(()),
            false => self.replica.check_invariants(),
        }
    }

    /// What this shard keeps.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// How much of each of its queues is taken.
    pub fn queues(&self) -> Queues {
        Queues {
            requests: self.requests(),
            commits_waiting: self.commits.len(),
            hints_bytes: self.replica.hints_bytes(),
            pulls: self.repair.pulls.len(),
            pulls_wanted: self.repair.wanted(),
            deliveries: self.handoff.deliveries(),
        }
    }

    /// Whether nothing is in progress: no operation, no repair, no hint, no wait.
    pub fn is_idle(&self) -> bool {
        self.requests() == 0 && self.commits.len() == 0 && self.repair.is_idle()
    }

    fn start(&mut self, now: Now, effects: &mut Vec<Effect>) {
        // The first ticks are spread over their interval, so that nodes started together do not all
        // do their rounds at once.
        let timers = [
            (TimerId::Repair, self.options.repair_every_ms),
            (TimerId::Handoff, self.options.handoff_every_ms),
            (TimerId::Checkpoint, self.options.checkpoint_every_ms),
            (TimerId::Slice, 1),
            (TimerId::Scrub, self.options.scrub_every_ms),
            (TimerId::Health, self.options.repair_every_ms),
        ];
        for (id, every_ms) in timers {
            let at = now.time.plus_ms(self.rng.u64(0..=every_ms));
            effects.push(Effect::SetTimer { id, at });
        }
    }

    /// A request, of a client of this node or passed on by another.
    pub(crate) fn request(
        &mut self,
        origin: Origin,
        request: Request,
        deadline: Time,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if now.time >= deadline {
            return self.fail(origin, Failure::Expired, effects);
        }
        if self.operations.len() >= self.options.operations_max {
            self.counters.add("overloaded");
            return self.fail(origin, Failure::Overloaded, effects);
        }
        let failure = match request {
            Request::Write(write) => self.start_write(origin, write, deadline, now, effects),
            Request::Read(read) => self.start_read(origin, read, deadline, now, effects),
            Request::Keys(keys) => self.start_keys(origin, keys, deadline, now, effects),
            Request::Digest(partition) => {
                self.start_digest(origin, partition, now, effects);
                Ok(())
            }
            Request::Explain(explain) => self.explain(&explain, now, effects).map(|report| {
                effects.push(Self::answer(origin, Answer::Explained(Box::new(report))));
            }),
            Request::Layout
            | Request::OpenBucket(_)
            | Request::CreateBucket { .. }
            | Request::DropBucket(_)
            | Request::ListBuckets
            | Request::Status
            | Request::Compact
            | Request::Cluster(_) => Err(Failure::NotUnderstood),
        };
        if let Err(failure) = failure {
            self.fail(origin, failure, effects);
        }
    }

    fn receive(&mut self, from: NodeId, body: PeerBody, now: Now, effects: &mut Vec<Effect>) {
        match body {
            PeerBody::Operation {
                partition,
                op,
                message,
            } => match message {
                OperationMessage::Replicate { .. }
                | OperationMessage::Compare { .. }
                | OperationMessage::CompareRange { .. }
                | OperationMessage::ReadHints { .. }
                | OperationMessage::ReadRepair { .. } => {
                    self.serve(from, partition, op, message, now, effects);
                }
                OperationMessage::Forward {
                    request,
                    deadline_ms,
                } => {
                    let deadline = now.time.plus_ms(u64::from(deadline_ms));
                    let origin = Origin::Peer {
                        node: from,
                        partition,
                        op,
                    };
                    self.request(origin, *request, deadline, now, effects);
                }
                OperationMessage::Replicated { .. }
                | OperationMessage::Refused(_)
                | OperationMessage::Compared { .. }
                | OperationMessage::RangeCompared { .. }
                | OperationMessage::HintsRead { .. }
                | OperationMessage::Forwarded { .. } => {
                    self.answered(from, op, message, now, effects)
                }
            },
            PeerBody::Repair { partition, message } => {
                self.repair_message(from, partition, message, now, effects);
            }
            PeerBody::Digests(entries) => self.compare_digests(from, &entries, now, effects),
            PeerBody::Handoff { partition, message } => {
                self.handoff_message(from, partition, message, now, effects);
            }
            // The control part's; the driver does not send it here.
            PeerBody::Control(_) => {}
        }
    }

    /// An answer to something that this shard asked. Answers to operations that are over are ignored.
    fn answered(
        &mut self,
        from: NodeId,
        op: PeerOp,
        message: OperationMessage,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        match self.operations.remove(&op) {
            Some(Operation::Write(write)) => {
                self.write_answered(op, write, from, &message, now, effects);
            }
            Some(Operation::Gather(gather)) => {
                self.gather_answered(op, gather, from, message, now, effects);
            }
            Some(Operation::Forward(forward)) => {
                self.forward_answered(op, forward, from, message, now, effects);
            }
            Some(Operation::Probe(probe)) => self.probe_answered(op, probe, from, &message, now),
            Some(other @ Operation::Digest(_)) => {
                self.operations.insert(op, other);
            }
            None => {}
        }
    }

    fn timer(&mut self, id: TimerId, now: Now, effects: &mut Vec<Effect>) {
        match id {
            TimerId::Operation(number) => {
                let op = PeerOp(number);
                match self.operations.remove(&op) {
                    Some(Operation::Write(write)) => self.write_silent(op, write, now, effects),
                    Some(Operation::Gather(gather)) => self.gather_silent(op, gather, now, effects),
                    Some(Operation::Forward(forward)) => {
                        self.forward_silent(op, forward, now, effects);
                    }
                    Some(Operation::Digest(digest)) => self.digest_slice(op, digest, now, effects),
                    Some(Operation::Probe(probe)) => self.probe_silent(&probe),
                    None => {}
                }
            }
            TimerId::Repair => self.repair_round(now, effects),
            TimerId::RepairBudget => self.pull_more(now, effects),
            TimerId::Handoff => self.handoff_round(now, effects),
            TimerId::Checkpoint => {
                self.replica.checkpoint();
                let at = now.time.plus_ms(self.options.checkpoint_every_ms);
                effects.push(Effect::SetTimer { id, at });
            }
            TimerId::Slice => self.upkeep_slice(now, effects),
            TimerId::Scrub => self.scrub_round(now, effects),
            TimerId::Health => self.health_round(now, effects),
            // The control part's.
            TimerId::Ping | TimerId::Membership => {}
        }
    }

    fn release(&mut self, when: AckWhen, waiting: Waiting, now: Now, effects: &mut Vec<Effect>) {
        let synced = when == AckWhen::Synced;
        match waiting {
            Waiting::Own(op) => self.own_copy_held(op, when, now, effects),
            Waiting::Replicated {
                to,
                partition,
                op,
                hint_for,
            } => {
                let message = OperationMessage::Replicated { synced, hint_for };
                effects.push(send_operation(to, partition, op, message));
            }
            Waiting::HandedOff {
                to,
                partition,
                batch,
            } => {
                effects.push(Self::handed_off(to, partition, batch));
            }
            Waiting::HandedOver {
                to,
                partition,
                clock,
            } => effects.push(Self::handed_over(to, partition, clock)),
            Waiting::Say(said) => self.say(*said, effects),
            Waiting::Filled(partition, number) => self.filled_is_kept(partition, number, effects),
        }
    }

    /// The disk refused a batch: everything staged after it is void as well. Operations whose own copy
    /// is lost may still be held by others; replicated writes are answered with a refusal.
    fn roll_back(&mut self, refused: dunlin_storage::BatchId, now: Now, effects: &mut Vec<Effect>) {
        if refused.generation != self.replica.generation() {
            return;
        }
        if let Err(error) = self.replica.roll_back() {
            self.is_over = true;
            let reason = error.to_string();
            return effects.push(Effect::Note(Note::NotRolledBack { reason }));
        }
        self.repair.forget();
        self.handover.forget();
        self.following.forget();
        self.upkeep.forget();
        self.scrub.forget();
        effects.push(Effect::Note(Note::RolledBack));
        self.counters.add("rolled_back");
        for gather in self.take_reads(None) {
            self.fail(gather.origin(), Failure::StorageFull, effects);
        }
        for waiting in self.commits.refused() {
            match waiting {
                Waiting::Own(op) => self.own_copy_lost(op, now, effects),
                Waiting::Replicated {
                    to, partition, op, ..
                } => {
                    let message = OperationMessage::Refused(Refusal::Full);
                    effects.push(send_operation(to, partition, op, message));
                }
                // The sender keeps what it has and offers it again.
                Waiting::HandedOff { .. } | Waiting::HandedOver { .. } => {}
                // It may not be so any more, and is said again when it is.
                Waiting::Say(_) => {}
                // It is filled once more.
                Waiting::Filled(..) => {}
            }
        }
    }

    /// Takes away the reads of a partition, or all: what others said was relative to what this node held then,
    /// and no longer does.
    pub(crate) fn take_reads(&mut self, of: Option<PartitionId>) -> Vec<GatherOp> {
        let is_read = |operation: &Operation| match operation {
            Operation::Gather(gather) => of.is_none_or(|of| gather.partition() == of),
            Operation::Write(_)
            | Operation::Forward(_)
            | Operation::Digest(_)
            | Operation::Probe(_) => false,
        };
        let reads = self
            .operations
            .extract_if(.., |_, operation| is_read(operation));
        let reads = reads.filter_map(|(_, operation)| match operation {
            Operation::Gather(gather) => Some(*gather),
            _ => None,
        });
        reads.collect()
    }

    fn change_view(&mut self, view: Arc<View>, now: Now, effects: &mut Vec<Effect>) {
        let back: Vec<NodeId> = view
            .peers
            .iter()
            .filter(|(node, peer)| peer.reachable && !self.view.is_reachable(**node))
            .map(|(node, _)| *node)
            .collect();
        self.follow(view, effects);
        self.write_on(now, effects);
        for node in back {
            // Whoever was away may come back with another disk: compare everything anew.
            self.repair.peer_is_back(node);
            self.handoff.peer_is_back(node);
            self.handover.peer_is_back(node);
        }
        self.handoff_round_once(now, effects);
    }

    fn report(&self) -> ShardReport {
        let owned = self.replica.owned().count() as u64;
        let whole = self
            .replica
            .owned()
            .filter(|p| self.counts_for_reads(*p))
            .count() as u64;
        ShardReport {
            tally: self.replica.tally(),
            partitions: owned,
            filling: owned - whole,
            clocks_behind: self.clocks_behind(),
            damaged: self.scrub.damaged(),
            unreadable: self.scrub.unreadable(),
            proven: self.proven(),
            in_flight: self.requests() as u64,
            peers: self.health.all().clone(),
            unsynced: self.commits.unsynced(),
            counters: self.counters.clone(),
        }
    }

    /// Requests in progress; questions of how peers are do not count.
    pub(crate) fn requests(&self) -> usize {
        let is_request = |operation: &&Operation| !matches!(operation, Operation::Probe(_));
        self.operations.values().filter(is_request).count()
    }

    pub(crate) fn new_op(&mut self) -> PeerOp {
        self.next_op = self.next_op.wrapping_add(1);
        PeerOp(self.next_op)
    }

    pub(crate) fn answer(origin: Origin, answer: Answer) -> Effect {
        match origin {
            Origin::Client(to) => Effect::Reply { to, answer },
            Origin::Peer {
                node,
                partition,
                op,
            } => {
                let message = OperationMessage::Forwarded {
                    answer: Box::new(answer),
                };
                send_operation(node, partition, op, message)
            }
        }
    }

    pub(crate) fn fail(&mut self, origin: Origin, failure: Failure, effects: &mut Vec<Effect>) {
        self.counters.add("failed");
        effects.push(Self::answer(origin, Answer::Failed(failure)));
    }

    pub(crate) fn bucket(&self, id: BucketId) -> Result<&Bucket, Failure> {
        self.view.bucket(id).ok_or(Failure::NoSuchBucket)
    }

    pub(crate) fn partition_of(&self, bucket: BucketId, key: &[u8]) -> PartitionId {
        self.view.partitions().partition_of(bucket, key)
    }

    /// Tells of a failure of the store. A damaged row is fetched from a co-owner; for a damaged key its
    /// whole partition is refilled, for which row it was is unknown.
    pub(crate) fn note_store_error(&mut self, error: &StoreError, effects: &mut Vec<Effect>) {
        self.counters.add("store_errors");
        effects.push(Effect::Note(Note::StoreFailed {
            reason: error.to_string(),
        }));
        match error {
            StoreError::CorruptRow { partition, key } => {
                self.note_damage(*partition, key.clone(), effects);
            }
            StoreError::CorruptKey { partition } => self.distrust(*partition, effects),
            _ => {}
        }
    }
}

/// The partition that a request is about; `None` if it is about the node or the cluster.
pub fn partition_of(request: &Request, view: &View) -> Option<PartitionId> {
    let partitions = view.partitions();
    match request {
        Request::Write(write) => Some(partitions.partition_of(write.bucket, &write.key)),
        Request::Read(read) => Some(partitions.partition_of(read.bucket, &read.key)),
        Request::Keys(keys) => Some(keys.partition),
        Request::Digest(partition) => Some(*partition),
        Request::Explain(explain) => Some(partitions.partition_of(explain.bucket, &explain.key)),
        Request::Layout
        | Request::OpenBucket(_)
        | Request::CreateBucket { .. }
        | Request::DropBucket(_)
        | Request::ListBuckets
        | Request::Status
        | Request::Compact
        | Request::Cluster(_) => None,
    }
}

pub(crate) fn send_operation(
    to: NodeId,
    partition: PartitionId,
    op: PeerOp,
    message: OperationMessage,
) -> Effect {
    Effect::Send {
        to,
        body: PeerBody::Operation {
            partition,
            op,
            message,
        },
    }
}

pub(crate) fn page_limit(limit: u32) -> Result<usize, Failure> {
    let max = dunlin_protocol::limits::PAGE_MAX;
    match limit {
        0 => Err(Failure::Invalid { what: Part::Page }),
        limit => Ok(limit.min(max) as usize),
    }
}

/// The page of a query that has one.
pub(crate) fn query_page(query: &Query) -> Option<&dunlin_protocol::request::Page> {
    match query {
        Query::Elements(page) | Query::Count(page) | Query::Fields { page, .. } => Some(page),
        Query::Value | Query::Has(_) | Query::Field(_) => None,
    }
}
