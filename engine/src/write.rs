//! Coordinating a write: an owner, or a fallback where no owner answers.
//!
//! ```text
//!   steps ── Apply ──────────────────────────────┐
//!         ├─ ReadThenApply  -> gather ─> resume ──┤
//!         └─ FindThenRemove -> gather ─> resume ──┴─> replicate: own copy, owners, fallbacks
//!   replicate ── enough said they hold it ─> answered ── all said so, or deadline ─> over
//!             └─ too few left, or deadline ─> failed (Unknown: what is written is not undone)
//! ```
//!
//! A strict write that lacks owners is refused before anything is written. The copies leave for the
//! other owners while this node's own waits for the disk; should this node lose it, its next dots have
//! another actor. An owner that stays silent is given a fallback with a hint, also after the answer.

use std::collections::VecDeque;
use std::sync::Arc;

use dunlin_crdt::{Change, Clock, OpId, Replaces, RowKind};
use dunlin_protocol::peer::{AckWhen, OperationMessage, PeerOp, Refusal, RowEvent};
use dunlin_protocol::request::{Request, Write, WriteOptions};
use dunlin_protocol::response::{Answer, HeldBy, Receipt, Rest};
use dunlin_protocol::status::StorageState;
use dunlin_protocol::{Bucket, Context, Durability, Failure};
use dunlin_ring::{
    Fallbacks, Layout, Needed, NodeId, PartitionId, Quorum, QuorumTally, ReplicaPlan, Synced,
};
use dunlin_storage::{CellMeta, RowChange, WriteError};

use crate::changes::{Steps, steps};
use crate::gather::{Found, Then};
use crate::io::{Effect, Note, Now, Time, TimerId};
use crate::shard::{Operation, Origin, Shard, Waiting, send_operation};
use crate::view::ActiveLayouts;

/// A write that is understood and not yet applied: what a read before it must not lose.
#[derive(Clone, Debug)]
pub(crate) struct PreparedWrite {
    pub(crate) origin: Origin,
    pub(crate) deadline: Time,
    pub(crate) partition: PartitionId,
    changes: Vec<RowChange>,
    /// Only these dots are removed by a removal in search, if given.
    only: Option<Clock>,
    id: OpId,
    needs: Needs,
    fallbacks: Fallbacks,
    ack: AckWhen,
    /// What was asked, if it reads first: that may be for another node by then.
    pub(crate) request: Option<Box<Write>>,
}

/// A write that is on its way to its owners.
#[derive(Debug)]
pub(crate) struct WriteOp {
    origin: Origin,
    partition: PartitionId,
    deadline: Time,
    events: Vec<RowEvent>,
    ack: AckWhen,
    tally: QuorumTally,
    copies: Vec<HeldBy>,
    /// Asked, and silent so far: the node, and the owner for which it would keep a hint.
    waiting: Vec<(NodeId, Option<NodeId>)>,
    /// Fallbacks that are not asked yet.
    spares: VecDeque<NodeId>,
    rest: Rest,
    phase: Phase,
    /// By which it was planned.
    layouts: Arc<ActiveLayouts>,
    /// Asked as owners, and they say that they are none: they know of a layout under which they are not,
    /// or not yet of the one under which they are.
    disowned: Vec<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The client waits.
    Pending,
    /// The client has its receipt; owners that are silent are still given fallbacks.
    Answered,
}

impl Shard {
    pub(crate) fn start_write(
        &mut self,
        origin: Origin,
        write: Write,
        deadline: Time,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let bucket = self.bucket(write.bucket)?;
        let steps = steps(bucket.kind, &write)?;
        let partition = self.partition_of(write.bucket, &write.key);
        let needs = Needs::new(bucket, &write.options);
        for applied in self.view.layouts.all() {
            needs.check(applied.layout.owners(partition).len())?;
        }
        if !self.is_owner_here(partition) {
            let nearest = self.nearest(self.view.owners(partition));
            match (nearest.is_empty(), write.options.fallbacks, origin) {
                (false, _, Origin::Client(_)) => {
                    let request = Request::Write(write);
                    self.start_forward(origin, partition, request, nearest, deadline, now, effects);
                    return Ok(());
                }
                (false, _, Origin::Peer { .. }) => return Err(Failure::NotOwner),
                // Nobody reaches an owner: this node coordinates as a fallback.
                (true, Fallbacks::Allowed, _) => {}
                (true, Fallbacks::Forbidden, _) => {
                    let needed = needs.of(self.view.readers(partition).len());
                    return Err(Failure::Unavailable {
                        needed: needed.nodes.max(needed.owners) as u8,
                        reachable: Vec::new(),
                    });
                }
            }
        }
        let (id, fallbacks) = (write.id, write.options.fallbacks);
        let prepared = |changes, only, request| PreparedWrite {
            origin,
            deadline,
            partition,
            changes,
            only,
            id,
            needs,
            fallbacks,
            ack: needs.ack,
            request,
        };
        match steps {
            Steps::Apply(changes) => {
                self.replicate(prepared(changes, None, None), Rest::Done, now, effects)
            }
            Steps::ReadThenApply(changes) => {
                self.check_reachable(&prepared(Vec::new(), None, None))?;
                let rows = changes
                    .iter()
                    .map(|change| (change.key.clone(), change.kind))
                    .collect();
                let request = Some(Box::new(write));
                let then = Then::Write(Box::new(prepared(changes, None, request)));
                self.read_for_write(then, partition, rows, deadline, now, effects);
                Ok(())
            }
            Steps::FindThenRemove { prefix, only } => {
                self.check_reachable(&prepared(Vec::new(), None, None))?;
                let (bucket, key) = (write.bucket, write.key.clone());
                let request = Some(Box::new(write));
                let then = Then::Write(Box::new(prepared(Vec::new(), only, request)));
                self.find_for_removal(then, partition, bucket, key, prefix, deadline, now, effects);
                Ok(())
            }
        }
    }

    /// A read before a write is over: what it showed is what the write replaces.
    pub(crate) fn resume_write(
        &mut self,
        mut write: PreparedWrite,
        found: Found,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        // A layout has been retired meanwhile, or an owner is back: nothing is done yet, so one of them does it.
        let is_for_others = !self.is_owner_here(write.partition)
            && !self.nearest(self.view.owners(write.partition)).is_empty();
        if let Some(request) = write.request.take_if(|_| is_for_others) {
            self.counters.add("restarted");
            let request = Request::Write(*request);
            return self.request(write.origin, request, write.deadline, now, effects);
        }
        let rest = match found {
            Found::Rows(rows) => {
                for change in &mut write.changes {
                    if change.replaces == Replaces::Seen
                        && let Some((_, _, row)) =
                            rows.iter().find(|(key, _, _)| *key == change.key)
                    {
                        // The writes may have met in this read alone, and are gone with this one.
                        self.note_lww_losers_of(&change.key, row, effects);
                        change.replaces = Replaces::Context(row.dots());
                    }
                }
                Rest::Done
            }
            Found::Range { rows, next } => {
                for (key, row) in rows {
                    self.note_lww_losers_of(&key, &row, effects);
                    let seen = row.dots();
                    let dots = write
                        .only
                        .as_ref()
                        .map_or(seen.clone(), |o| seen.intersection(o));
                    // The kind does not matter to a removal.
                    let (kind, change) = (RowKind::Element, Change::Remove);
                    let replaces = Replaces::Context(dots);
                    write.changes.push(RowChange {
                        key,
                        kind,
                        change,
                        replaces,
                    });
                }
                if next.is_some() {
                    Rest::More
                } else {
                    Rest::Done
                }
            }
        };
        // A removal that saw nothing has nothing to remove, and writes nothing.
        write.changes.retain(|change| {
            !matches!((&change.change, &change.replaces),
                (Change::Remove, Replaces::Context(dots)) if dots.is_empty())
        });
        let origin = write.origin;
        if write.changes.is_empty() {
            let receipt = Receipt {
                copies: Vec::new(),
                context: Context::default(),
                rest,
            };
            effects.push(Self::answer(origin, Answer::Written(receipt)));
        } else if let Err(failure) = self.replicate(write, rest, now, effects) {
            self.fail(origin, failure, effects);
        }
    }

    /// Refuses, before anything is done, what too few nodes can be reached for.
    fn check_reachable(&self, write: &PreparedWrite) -> Result<ReplicaPlan, Failure> {
        let plan = self.plan(write.partition, write.fallbacks);
        for set in plan.owner_sets() {
            let of_set = |node: &&NodeId| set.contains(node);
            let owners = plan.reachable_owners().iter().filter(of_set).count();
            let stand_ins = plan.assigned().iter();
            let stand_ins = stand_ins.filter(|(_, owner)| set.contains(owner)).count();
            let Needed {
                nodes,
                owners: of_owners,
                synced,
            } = write.needs.of(set.len());
            if owners < of_owners || owners + stand_ins < nodes.max(synced) {
                let needed = nodes.max(of_owners).max(synced) as u8;
                let mut reachable = plan.reachable_owners().to_vec();
                reachable.extend(plan.assigned().iter().map(|(fallback, _)| *fallback));
                return Err(Failure::Unavailable { needed, reachable });
            }
        }
        match self.storage {
            StorageState::Ready => Ok(plan),
            StorageState::Full => Err(Failure::StorageFull),
            StorageState::Failed => Err(Failure::StorageFailed),
        }
    }

    pub(crate) fn plan(&self, partition: PartitionId, fallbacks: Fallbacks) -> ReplicaPlan {
        let reachable = |node| self.view.is_reachable(node);
        let layouts: Vec<&Layout> = self.view.layouts.all().map(|a| &a.layout).collect();
        ReplicaPlan::new(&layouts, partition, reachable, fallbacks)
    }

    /// Applies a write here and sends it to the other owners.
    fn replicate(
        &mut self,
        write: PreparedWrite,
        rest: Rest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let plan = self.check_reachable(&write)?;
        // Others may have acknowledged what this node's disk has yet to take, so operations come to their
        // end and their waits do not.
        if self.must_not_wait() {
            self.counters.add("overloaded");
            return Err(Failure::Overloaded);
        }
        let me = self.view.me;
        let as_owner = self.is_owner_here(write.partition);
        let stand_ins = stand_ins(&plan, me, as_owner);
        let allowed_ms = self.options.clock_skew_max_ms;
        let stamp = self.hlc.tick_within(now.wall, allowed_ms);
        let meta = CellMeta {
            stamp,
            op: write.id,
            expires_at: None,
        };
        let staged = match stand_ins.first() {
            _ if as_owner => self.replica.write_all(&write.changes, meta),
            Some((_, owner)) => {
                self.replica
                    .write_as_fallback(plan.owners(), *owner, &write.changes, meta)
            }
            None => {
                let needed = write.needs.of(plan.owners().len()).nodes as u8;
                return Err(Failure::Unavailable {
                    needed,
                    reachable: Vec::new(),
                });
            }
        };
        let events = staged.map_err(|error| self.refused_write(error, effects))?;
        // The bucket may have been dropped while this write was reading.
        self.note_rows(write.partition, events.iter().map(|event| &event.key));
        if !as_owner {
            // They may have met in these hints alone.
            for event in events.iter().filter(|e| e.event.replaces.len() > 1) {
                self.note_lww_concurrent(&event.key, effects);
            }
        }
        if self.options.notes_minted {
            let (op, events) = (write.id, events.clone());
            effects.push(Effect::Note(Note::Minted { op, events }));
        }

        let op = self.new_op();
        self.commits.wait(write.ack, Waiting::Own(op));
        let mut waiting = vec![(
            me,
            if as_owner {
                None
            } else {
                stand_ins.first().map(|s| s.1)
            },
        )];
        let others = plan.reachable_owners().iter().filter(|node| **node != me);
        waiting.extend(others.map(|node| (*node, None)));
        waiting.extend(
            stand_ins
                .iter()
                .filter(|(node, _)| *node != me)
                .map(|(node, owner)| (*node, Some(*owner))),
        );
        for (node, hint_for) in waiting.iter().filter(|(node, _)| *node != me) {
            effects.push(replicate_to(
                *node,
                write.partition,
                op,
                &events,
                write.ack,
                *hint_for,
            ));
        }
        let spares = match write.fallbacks {
            Fallbacks::Allowed => plan
                .spares()
                .iter()
                .filter(|node| **node != me)
                .copied()
                .collect(),
            Fallbacks::Forbidden => VecDeque::new(),
        };
        let state = WriteOp {
            origin: write.origin,
            partition: write.partition,
            deadline: write.deadline,
            tally: QuorumTally::new(&plan, |owners| write.needs.of(owners)),
            events,
            ack: write.ack,
            copies: Vec::new(),
            waiting,
            spares,
            rest,
            phase: Phase::Pending,
            layouts: Arc::clone(&self.view.layouts),
            disowned: Vec::new(),
        };
        self.counters.add("writes");
        self.operations
            .insert(op, Operation::Write(Box::new(state)));
        let at = now
            .time
            .plus_ms(self.options.fallback_after_ms)
            .min(write.deadline);
        effects.push(Effect::SetTimer {
            id: TimerId::Operation(op.0),
            at,
        });
        Ok(())
    }

    fn refused_write(&mut self, error: WriteError, effects: &mut Vec<Effect>) -> Failure {
        match error {
            WriteError::Change(dunlin_crdt::ChangeError::CounterOverflow) => {
                Failure::CounterOverflow
            }
            // The kinds were checked with the request; a row of another kind under the same name
            // can't be, since the path or bucket carries the kind.
            WriteError::Change(dunlin_crdt::ChangeError::WrongKind) => Failure::NotUnderstood,
            WriteError::TooManySiblings { bytes } => Failure::TooManySiblings {
                bytes: bytes as u64,
            },
            WriteError::Hint(_) => Failure::Overloaded,
            WriteError::Store(error) => {
                self.note_store_error(&error, effects);
                Failure::StorageFailed
            }
        }
    }

    /// This node's own copy is written or synced.
    pub(crate) fn own_copy_held(
        &mut self,
        op: PeerOp,
        when: AckWhen,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(Operation::Write(mut write)) = self.operations.remove(&op) {
            let me = self.view.me;
            let hint_for = write
                .waiting
                .iter()
                .find(|(node, _)| *node == me)
                .and_then(|w| w.1);
            write.held(me, hint_for, when == AckWhen::Synced);
            self.settle_write(op, write, now, effects);
        }
    }

    /// The disk refused this node's own copy.
    pub(crate) fn own_copy_lost(&mut self, op: PeerOp, now: Now, effects: &mut Vec<Effect>) {
        if let Some(Operation::Write(mut write)) = self.operations.remove(&op) {
            let me = self.view.me;
            write.tally.failed(me);
            write.waiting.retain(|(node, _)| *node != me);
            self.settle_write(op, write, now, effects);
        }
    }

    pub(crate) fn write_answered(
        &mut self,
        op: PeerOp,
        mut write: Box<WriteOp>,
        from: NodeId,
        message: &OperationMessage,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        match message {
            OperationMessage::Replicated { synced, hint_for } => {
                write.held(from, *hint_for, *synced);
            }
            OperationMessage::Refused(refusal) => {
                self.counters.add("replicas_refused");
                let asked = write.waiting.iter().position(|(node, _)| *node == from);
                if let Some(at) = asked {
                    let (node, hint_for) = write.waiting.swap_remove(at);
                    match (refusal, hint_for) {
                        // One of the two has yet to hear of a layout.
                        (Refusal::NotOwner, None) => write.disowned.push(node),
                        _ => write.tally.failed(node),
                    }
                    // A wrong clock is not cured by writing around it; all else is.
                    if *refusal != Refusal::Skew {
                        write.ask_spare(op, hint_for.unwrap_or(node), effects);
                    }
                }
            }
            _ => {}
        }
        self.settle_write(op, write, now, effects);
    }

    /// Nodes have been silent for as long as they may: fallbacks take their copies. At the deadline
    /// the operation is over.
    pub(crate) fn write_silent(
        &mut self,
        op: PeerOp,
        mut write: Box<WriteOp>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if now.time >= write.deadline {
            if write.phase == Phase::Pending {
                self.counters.add("write_timeouts");
                let needed = write.tally.needed().nodes as u8;
                let failure = Failure::WriteTimeout {
                    needed,
                    copies: write.copies,
                };
                self.fail(write.origin, failure, effects);
            }
            return;
        }
        let me = self.view.me;
        let silent: Vec<NodeId> = write
            .waiting
            .iter()
            .filter(|(node, _)| *node != me)
            .map(|(node, hint_for)| hint_for.unwrap_or(*node))
            .collect();
        for owner in silent {
            write.ask_spare(op, owner, effects);
        }
        effects.push(Effect::SetTimer {
            id: TimerId::Operation(op.0),
            at: write.deadline,
        });
        self.settle_write(op, write, now, effects);
    }

    /// There may be news of layouts. No quorum is needed any more in those that are retired, whose owners
    /// may refuse the write; and owners that had not heard of the newest one are
    /// asked again.
    pub(crate) fn write_on(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let oldest = self.view.layouts.oldest().id;
        let waits = |write: &WriteOp| {
            let retired = write.layouts.oldest().id < oldest;
            write.is_pending() && (retired || !write.disowned.is_empty())
        };
        let pending = self
            .operations
            .iter()
            .filter(|(_, operation)| matches!(operation, Operation::Write(write) if waits(write)));
        let pending: Vec<PeerOp> = pending.map(|(op, _)| *op).collect();
        for op in pending {
            let Some(Operation::Write(mut write)) = self.operations.remove(&op) else {
                continue;
            };
            let (layouts, partition) = (&write.layouts, write.partition);
            let is_active = |owners: &[NodeId]| {
                let mut active = layouts.all().filter(|layout| layout.id >= oldest);
                active.any(|layout| layout.layout.owners(partition) == owners)
            };
            write.tally.keep_sets(is_active);
            for node in std::mem::take(&mut write.disowned) {
                if self.view.is_owner(node, partition) {
                    write.waiting.push((node, None));
                    let (events, ack) = (&write.events, write.ack);
                    effects.push(replicate_to(node, partition, op, events, ack, None));
                }
            }
            self.settle_write(op, write, now, effects);
        }
    }

    /// Answers as soon as enough hold the write, or too few can; forgets it when all have answered.
    fn settle_write(
        &mut self,
        op: PeerOp,
        mut write: Box<WriteOp>,
        _now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if write.phase == Phase::Pending {
            let pending_fallbacks = write
                .waiting
                .iter()
                .filter(|(_, hint)| hint.is_some())
                .count();
            if write.tally.is_met() {
                write.phase = Phase::Answered;
                let receipt = Receipt {
                    copies: write.copies.clone(),
                    context: Context::of(&write.events.iter().map(|e| e.event.dot).collect()),
                    rest: write.rest,
                };
                effects.push(Self::answer(write.origin, Answer::Written(receipt)));
            } else if write
                .tally
                .is_impossible(pending_fallbacks + write.spares.len())
            {
                let needed = write.tally.needed().nodes as u8;
                let failure = Failure::Partial {
                    needed,
                    copies: write.copies.clone(),
                };
                write.phase = Phase::Answered;
                self.fail(write.origin, failure, effects);
            }
        }
        if write.phase == Phase::Pending || !write.waiting.is_empty() {
            self.operations.insert(op, Operation::Write(write));
        }
    }
}

impl WriteOp {
    /// Whether the client still waits for it.
    pub(crate) fn is_pending(&self) -> bool {
        self.phase == Phase::Pending
    }

    fn held(&mut self, node: NodeId, hint_for: Option<NodeId>, synced: bool) {
        let mark = if synced { Synced::Yes } else { Synced::No };
        match hint_for {
            None => self.tally.owner_answered(node, mark),
            Some(owner) => self.tally.fallback_answered(node, owner, mark),
        }
        self.waiting.retain(|(waiting, _)| *waiting != node);
        match self.copies.iter_mut().find(|copy| copy.node == node) {
            Some(copy) => copy.synced |= synced,
            None => self.copies.push(HeldBy {
                node,
                hint_for,
                synced,
            }),
        }
    }

    /// Has the next fallback keep a hint for an owner.
    fn ask_spare(&mut self, op: PeerOp, owner: NodeId, effects: &mut Vec<Effect>) {
        if let Some(spare) = self.spares.pop_front() {
            self.waiting.push((spare, Some(owner)));
            let (events, ack) = (&self.events, self.ack);
            effects.push(replicate_to(
                spare,
                self.partition,
                op,
                events,
                ack,
                Some(owner),
            ));
        }
    }
}

/// Who stands in for which owner. A node that coordinates without owning a copy is the first of them.
fn stand_ins(plan: &ReplicaPlan, me: NodeId, as_owner: bool) -> Vec<(NodeId, NodeId)> {
    if as_owner {
        return plan.assigned().to_vec();
    }
    let others = plan
        .assigned()
        .iter()
        .map(|(node, _)| *node)
        .chain(plan.spares().iter().copied());
    let fallbacks = std::iter::once(me).chain(others.filter(|node| *node != me));
    fallbacks
        .zip(plan.unreachable_owners().iter().copied())
        .collect()
}

fn replicate_to(
    node: NodeId,
    partition: PartitionId,
    op: PeerOp,
    events: &[RowEvent],
    ack: AckWhen,
    hint_for: Option<NodeId>,
) -> Effect {
    let message = OperationMessage::Replicate {
        events: events.to_vec(),
        ack,
        hint_for,
    };
    send_operation(node, partition, op, message)
}

/// How many must hold a write, and when they may say so.
#[derive(Clone, Copy, Debug)]
struct Needs {
    w: Quorum,
    pw: Option<Quorum>,
    dw: Option<Quorum>,
    durability: Durability,
    ack: AckWhen,
}

impl Needs {
    fn new(bucket: &Bucket, options: &WriteOptions) -> Self {
        let defaults = &bucket.defaults;
        let (dw, durability) = (options.dw.or(defaults.dw), defaults.durability);
        let synced = dw.is_some_and(|dw| dw != Quorum::Exactly(0));
        let ack = match durability {
            Durability::Synced => AckWhen::Synced,
            Durability::Periodic if synced => AckWhen::Synced,
            Durability::Periodic => AckWhen::Written,
        };
        Self {
            w: options.w.unwrap_or(defaults.w),
            pw: options.pw,
            dw,
            durability,
            ack,
        }
    }

    /// Refuses what a set of so many owners can't reach.
    fn check(&self, owners: usize) -> Result<(), Failure> {
        let asked = [Some(self.w), self.pw, self.dw];
        match asked
            .into_iter()
            .flatten()
            .find(|quorum| quorum.needed(owners) > owners)
        {
            None => Ok(()),
            Some(asked) => Err(Failure::QuorumTooLarge {
                asked,
                owners: owners as u8,
            }),
        }
    }

    /// What a set of so many owners must reach.
    fn of(&self, owners: usize) -> Needed {
        let nodes = self.w.needed(owners);
        let synced = match (self.dw, self.durability) {
            (Some(dw), _) => dw.needed(owners),
            (None, Durability::Synced) => nodes,
            (None, Durability::Periodic) => 0,
        };
        Needed {
            nodes: nodes.max(1),
            owners: self.pw.map_or(0, |pw| pw.needed(owners)),
            synced,
        }
    }
}
