//! Reading at a quorum: ask owners how their rows differ from this node's, join, answer, repair.
//!
//! ```text
//!   start ─> ask R owners (this node counts if it is a whole owner)
//!         ── silent ─> hedge: ask the next one as well     ── refused ─> ask the next one
//!         ── R answered ─> join and answer, then read repair
//!            └─ more dots than some owner was asked about: ask that one again, about all of them
//!         ── no owner left, sloppy ─> ask fallbacks for the hints they keep
//!         ── in a session, and it has seen more than that ─> ask on, see `session`
//!         ── deadline ─> ReadTimeout
//! ```
//!
//! For known rows the question is *do you hold exactly these dots*, and the usual answer a few bytes.
//! For a range it is *which rows have events that my clock lacks*, answered from the log, so that a
//! page of a huge set costs one local scan and the difference. A fallback's hints are shown only where
//! owners do not suffice, are marked, and never make a not-found: what they lack proves nothing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use dunlin_crdt::{Clock, Row, RowKind};
use dunlin_protocol::limits::PAGE_MAX;
use dunlin_protocol::peer::{
    Coverage, HintScope, KeyedRow, OperationMessage, PeerOp, RangeScope, RowDots, RowEvent,
    RowRange,
};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::{Answer, Found as Shown, ReadAnswer};
use dunlin_protocol::{Failure, RowKey};
use dunlin_ring::{Fallbacks, NodeId, PartitionId};
use dunlin_storage::StoreError;

use crate::io::{Effect, Now, Time, TimerId};
use crate::scan::{Shape, scan};
use crate::shard::{Operation, Origin, Shard, send_operation};
use crate::show;
use crate::write::PreparedWrite;

/// What is asked of the owners.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// These rows of one key.
    Rows(Vec<(RowKey, RowKind)>),
    /// A range, of which this much is shown.
    Range {
        range: RowRange,
        limit: usize,
        shape: Shape,
    },
}

/// What happens with what was read.
#[derive(Debug)]
pub(crate) enum Then {
    /// It is shown to a client, which asked this, and whose session has seen this much, if it has one.
    Show {
        origin: Origin,
        request: Box<Request>,
        seen: Option<Clock>,
    },
    /// A write replaces it.
    Write(Box<PreparedWrite>),
}

/// What a read before a write found.
#[derive(Debug)]
pub(crate) enum Found {
    /// The rows that were asked for.
    Rows(Vec<(RowKey, RowKind, Row)>),
    /// The rows in the range that show something, and where the rest starts if there may be more.
    Range {
        rows: Vec<(RowKey, Row)>,
        next: Option<Bytes>,
    },
}

/// What another owner said.
#[derive(Debug)]
pub(crate) struct OwnerSays {
    pub(crate) node: NodeId,
    pub(crate) rows: BTreeMap<RowKey, Row>,
    pub(crate) clock: Clock,
    /// Dots that it holds besides, of those that it was asked about.
    pub(crate) holds: Clock,
    pub(crate) coverage: Coverage,
    pub(crate) complete_to: Option<RowKey>,
}

/// A read in progress.
#[derive(Debug)]
pub(crate) struct GatherOp {
    pub(crate) question: Question,
    then: Then,
    partition: PartitionId,
    deadline: Time,
    started: Time,
    needed: usize,
    needed_owners: usize,
    /// Whether this node is an owner that counts.
    counts_itself: bool,
    pub(crate) says: Vec<OwnerSays>,
    pub(crate) hints: Vec<(NodeId, Vec<RowEvent>)>,
    /// Dots of other keys that hints are known of.
    pub(crate) hints_hold: Clock,
    /// Whether hints were looked for because of what the session has seen.
    pub(crate) has_searched_hints: bool,
    fallbacks: Fallbacks,
    /// Asked, and silent so far.
    pub(crate) waiting: Vec<NodeId>,
    /// Owners that are not asked yet, nearest first.
    owners_left: VecDeque<NodeId>,
    /// Fallbacks that are not asked yet.
    fallbacks_left: VecDeque<NodeId>,
    /// The dots of each row that an owner was asked about: what *the same* means when it says so.
    asked: BTreeMap<NodeId, Vec<RowDots>>,
}

impl Shard {
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one operation, named by its struct"
    )]
    pub(crate) fn gather(
        &mut self,
        question: Question,
        then: Then,
        partition: PartitionId,
        needs: Needs,
        deadline: Time,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let me = self.view.me;
        let owners = self.view.readers(partition);
        let counts_itself = owners.contains(&me) && self.counts_for_reads(partition);
        let owners_left: VecDeque<NodeId> = self.nearest(owners.iter().copied()).into();
        // A listing of keys needs owners.
        let searches_hints = question.has_hints();
        let enough =
            owners_left.len() + usize::from(counts_itself) >= needs.nodes.max(needs.owners);
        let use_hints = searches_hints && !enough && needs.fallbacks == Fallbacks::Allowed;
        let fallbacks_left = if use_hints {
            let preference = self.view.newest().preference(partition).iter();
            preference
                .copied()
                .filter(|node| !owners.contains(node))
                .filter(|node| *node != me && self.view.is_reachable(*node))
                .take(owners.len())
                .collect()
        } else {
            VecDeque::new()
        };
        let mut gather = GatherOp {
            question,
            then,
            partition,
            deadline,
            started: now.time,
            needed: needs.nodes,
            needed_owners: needs.owners,
            counts_itself,
            says: Vec::new(),
            hints: Vec::new(),
            hints_hold: Clock::new(),
            has_searched_hints: false,
            fallbacks: needs.fallbacks,
            waiting: Vec::new(),
            owners_left,
            fallbacks_left,
            asked: BTreeMap::new(),
        };
        if use_hints && !owners.contains(&me) {
            self.take_own_hints(&mut gather, effects);
        }
        self.counters.add("reads");
        let op = self.new_op();
        let missing = gather
            .needed
            .max(gather.needed_owners)
            .saturating_sub(usize::from(counts_itself));
        for _ in 0..missing {
            self.ask_next(op, &mut gather, effects);
        }
        while let Some(fallback) = gather.fallbacks_left.pop_front() {
            self.ask_for_hints(op, &mut gather, fallback, effects);
        }
        self.settle_gather(op, Box::new(gather), now, effects);
    }

    /// Asks the next owner; false if all have been.
    pub(crate) fn ask_next(
        &mut self,
        op: PeerOp,
        gather: &mut GatherOp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(node) = gather.owners_left.pop_front() else {
            return false;
        };
        let message = match &gather.question {
            Question::Rows(rows) => {
                let mut asked = Vec::with_capacity(rows.len());
                for (key, _) in rows {
                    match self.replica.row(key) {
                        Ok(row) => asked.push(RowDots {
                            key: key.clone(),
                            dots: row.dots(),
                        }),
                        Err(error) => {
                            // Asked with no dots, the other owner sends what it has.
                            self.note_store_error(&error, effects);
                            asked.push(RowDots {
                                key: key.clone(),
                                dots: Clock::new(),
                            });
                        }
                    }
                }
                gather.asked.insert(node, asked.clone());
                let seen = self.seen_elsewhere(gather);
                OperationMessage::Compare { rows: asked, seen }
            }
            Question::Range {
                range,
                limit,
                shape,
            } => OperationMessage::CompareRange {
                range: range.clone(),
                clock: self.replica.clock(gather.partition).clone(),
                // A key can have any number of rows, so a number of keys says nothing about theirs.
                rows_max: match shape {
                    Shape::Keys => PAGE_MAX,
                    _ => u32::try_from(*limit).unwrap_or(u32::MAX),
                },
            },
        };
        gather.waiting.push(node);
        effects.push(send_operation(node, gather.partition, op, message));
        true
    }

    pub(crate) fn ask_for_hints(
        &mut self,
        op: PeerOp,
        gather: &mut GatherOp,
        node: NodeId,
        effects: &mut Vec<Effect>,
    ) {
        for (key, scope) in hint_questions(&gather.question) {
            let seen = self.seen_elsewhere(gather);
            let message = OperationMessage::ReadHints { key, scope, seen };
            effects.push(send_operation(node, gather.partition, op, message));
        }
        gather.waiting.push(node);
    }

    /// Joins in the hints that this node keeps itself.
    pub(crate) fn take_own_hints(&mut self, gather: &mut GatherOp, effects: &mut Vec<Effect>) {
        let owners = self.view.owners(gather.partition);
        let mut events = Vec::new();
        for (key, scope) in hint_questions(&gather.question) {
            match self.replica.hint_events(&owners, &key, scope) {
                Ok(found) => events.extend(found),
                Err(error) => self.note_store_error(&error, effects),
            }
        }
        gather.hints.push((self.view.me, events));
        match self.hinted_dots(gather.partition, &self.seen_elsewhere(gather)) {
            Ok(held) => gather.hints_hold.join(&held),
            Err(error) => self.note_store_error(&error, effects),
        }
    }

    pub(crate) fn gather_answered(
        &mut self,
        op: PeerOp,
        mut gather: Box<GatherOp>,
        from: NodeId,
        message: OperationMessage,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let was_asked = gather.waiting.contains(&from);
        let by_key = |rows: Vec<KeyedRow>| rows.into_iter().map(|r| (r.key, r.row)).collect();
        match message {
            OperationMessage::Compared { rows, clock, holds } if was_asked => {
                gather.says.push(OwnerSays {
                    node: from,
                    rows: by_key(rows),
                    clock,
                    holds,
                    coverage: Coverage::Differences,
                    complete_to: None,
                });
            }
            OperationMessage::RangeCompared {
                coverage,
                rows,
                clock,
                complete_to,
            } if was_asked => {
                let rows = by_key(rows);
                gather.says.push(OwnerSays {
                    node: from,
                    rows,
                    clock,
                    holds: Clock::new(),
                    coverage,
                    complete_to,
                });
            }
            OperationMessage::HintsRead { events, holds } if was_asked => {
                gather.hints_hold.join(&holds);
                gather.hints.push((from, events));
            }
            OperationMessage::Refused(_) if was_asked => {
                self.ask_next(op, &mut gather, effects);
            }
            _ => {}
        }
        gather.waiting.retain(|node| *node != from);
        self.settle_gather(op, gather, now, effects);
    }

    pub(crate) fn gather_silent(
        &mut self,
        op: PeerOp,
        mut gather: Box<GatherOp>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if now.time >= gather.deadline {
            self.counters.add("read_timeouts");
            return self.give_up(*gather, effects);
        }
        if self.ask_next(op, &mut gather, effects) {
            self.counters.add("hedged_reads");
        }
        self.settle_gather(op, gather, now, effects);
    }

    /// Answers if enough have answered; gives up if nobody is left to ask; else waits on.
    fn settle_gather(
        &mut self,
        op: PeerOp,
        mut gather: Box<GatherOp>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let owners = gather.says.len() + usize::from(gather.counts_itself);
        let shown = gather
            .hints
            .iter()
            .filter(|(_, events)| !events.is_empty())
            .count();
        let enough_owners = owners >= gather.needed_owners;
        let needed = gather.needed;
        let nobody_left =
            |gather: &GatherOp| gather.waiting.is_empty() && gather.owners_left.is_empty();
        let enough = if enough_owners && owners >= needed {
            Some(Vec::new())
        } else if nobody_left(&gather) && enough_owners && shown > 0 && owners + shown >= needed {
            let from = gather.hints.iter().filter(|(_, events)| !events.is_empty());
            Some(from.map(|(node, _)| *node).collect())
        } else if nobody_left(&gather) && owners > 0 && gather.then.is_write() {
            // An owner that is there and does not count, such as one that is refilled, is as good as away.
            Some(Vec::new())
        } else {
            None
        };
        if let Some(fallbacks) = enough {
            if self.unreflected(&gather).is_empty() {
                return self.complete_if_sure(gather, fallbacks, now, effects);
            }
            self.ask_for_seen(op, &mut gather, effects);
            // What this node keeps itself may do.
            if self.unreflected(&gather).is_empty() {
                return self.settle_gather(op, gather, now, effects);
            }
        }
        if nobody_left(&gather) {
            return self.give_up(*gather, effects);
        }
        let hedge = now.time.plus_ms(self.hedge_after_ms());
        let may_ask_more = !gather.owners_left.is_empty()
            || (!gather.has_searched_hints && !self.unreflected(&gather).is_empty());
        let at = if may_ask_more { hedge } else { gather.deadline };
        let at = at.min(gather.deadline);
        effects.push(Effect::SetTimer {
            id: TimerId::Operation(op.0),
            at,
        });
        self.operations.insert(op, Operation::Gather(gather));
    }

    /// Completes, unless an owner that said *the same* was not asked about all that is shown now: it
    /// may know that the rest was replaced. That one is asked again.
    fn complete_if_sure(
        &mut self,
        mut gather: Box<GatherOp>,
        fallbacks: Vec<NodeId>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let shown = match self.dots_shown(&gather) {
            Ok(shown) => shown,
            Err(error) => {
                self.note_store_error(&error, effects);
                return self.fail(gather.origin(), Failure::StorageFailed, effects);
            }
        };
        let unsure: Vec<NodeId> = gather
            .says
            .iter()
            .filter(|says| !gather.is_sure(says, &shown))
            .map(|says| says.node)
            .collect();
        if unsure.is_empty() {
            return self.complete(*gather, fallbacks, now, effects);
        }
        self.counters.add("asked_again");
        // Under a new name, so that no late answer is taken for one to this question.
        let op = self.new_op();
        for node in std::mem::take(&mut gather.waiting) {
            if self.view.readers(gather.partition).contains(&node) {
                gather.owners_left.push_front(node);
            }
        }
        gather.says.retain(|says| !unsure.contains(&says.node));
        for node in unsure {
            let message = OperationMessage::Compare {
                rows: shown.clone(),
                seen: self.seen_elsewhere(&gather),
            };
            effects.push(send_operation(node, gather.partition, op, message));
            gather.asked.insert(node, shown.clone());
            gather.waiting.push(node);
        }
        self.settle_gather(op, gather, now, effects);
    }

    /// The dots of the rows asked for, as they would be shown now; nothing for a range, whose answers
    /// always come with a clock.
    fn dots_shown(&self, gather: &GatherOp) -> Result<Vec<RowDots>, StoreError> {
        let Question::Rows(rows) = &gather.question else {
            return Ok(Vec::new());
        };
        let clock = self.replica.clock(gather.partition);
        let shown = |(key, _): &(RowKey, RowKind)| {
            let dots = gather.join(key, self.replica.row(key)?, clock).dots();
            let key = key.clone();
            Ok(RowDots { key, dots })
        };
        rows.iter().map(shown).collect()
    }

    /// About the 95th percentile of reads: four times the smoothed latency, within its bounds.
    fn hedge_after_ms(&self) -> u64 {
        let usual = self.read_latency_us * 4 / 1000;
        usual.clamp(
            self.options.hedge_after_min_ms,
            self.options.hedge_after_max_ms,
        )
    }

    fn give_up(&mut self, gather: GatherOp, effects: &mut Vec<Effect>) {
        let mut answered: Vec<NodeId> = gather.says.iter().map(|says| says.node).collect();
        if gather.counts_itself {
            answered.push(self.view.me);
        }
        let needed = gather.needed.max(gather.needed_owners) as u8;
        let missing = self.unreflected(&gather).len();
        let failure = if missing > 0 && answered.len() >= usize::from(needed) {
            self.counters.add("session_behind");
            Failure::BehindSession { missing, answered }
        } else if gather.waiting.is_empty() {
            Failure::Unavailable {
                needed,
                reachable: answered,
            }
        } else {
            Failure::ReadTimeout { needed, answered }
        };
        self.fail(gather.then.origin(), failure, effects);
    }

    /// Enough have answered: joins what they said and shows it, or hands it to the write.
    fn complete(
        &mut self,
        gather: GatherOp,
        fallbacks: Vec<NodeId>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let took_us = now.time.0.saturating_sub(gather.started.0);
        self.read_latency_us = (self.read_latency_us * 15 + took_us) / 16;
        let found = match &gather.question {
            Question::Rows(rows) => self.join_rows(&gather, rows, effects).map(Found::Rows),
            Question::Range {
                range,
                limit,
                shape,
            } => scan(&self.replica, &gather, range, *limit, *shape, now.wall),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.note_store_error(&error, effects);
                return self.fail(gather.then.origin(), Failure::StorageFailed, effects);
            }
        };
        let seen = match self.seen_now(&gather) {
            Ok(seen) => seen,
            Err(error) => {
                self.note_store_error(&error, effects);
                return self.fail(gather.then.origin(), Failure::StorageFailed, effects);
            }
        };
        let origin = match gather.then {
            Then::Write(write) => return self.resume_write(*write, found, now, effects),
            Then::Show { origin, .. } => origin,
        };
        let mut owners: Vec<NodeId> = gather.says.iter().map(|says| says.node).collect();
        if gather.counts_itself {
            owners.insert(0, self.view.me);
        }
        let found = match (found, &gather.question) {
            (Found::Rows(rows), _) => rows.first().map_or(Shown::Nothing, |(_, kind, row)| {
                show::row(*kind, row, now.wall)
            }),
            (Found::Range { rows, next }, Question::Range { shape, .. }) => {
                shape.show(rows, next, now.wall)
            }
            (Found::Range { .. }, Question::Rows(_)) => Shown::Nothing,
        };
        if !fallbacks.is_empty() && found == Shown::Nothing {
            let failure = Failure::Unavailable {
                needed: gather.needed as u8,
                reachable: owners,
            };
            return self.fail(origin, failure, effects);
        }
        effects.push(Self::answer(
            origin,
            Answer::Read(ReadAnswer {
                found,
                owners,
                fallbacks,
                seen,
            }),
        ));
    }
}

impl GatherOp {
    /// The partition that is read.
    pub(crate) fn partition(&self) -> PartitionId {
        self.partition
    }

    /// What the session has seen for which it is read, if there is one.
    pub(crate) fn seen(&self) -> Option<&Clock> {
        match &self.then {
            Then::Show { seen, .. } => seen.as_ref(),
            Then::Write(_) => None,
        }
    }

    /// Whether fallbacks may be asked.
    pub(crate) fn allowed(&self) -> Fallbacks {
        self.fallbacks
    }

    /// When its answer is due.
    pub(crate) fn deadline(&self) -> Time {
        self.deadline
    }

    /// What was asked, to be begun anew.
    pub(crate) fn into_request(self) -> Option<Request> {
        match self.then {
            Then::Show { request, .. } => Some(*request),
            Then::Write(write) => write.request.map(|request| Request::Write(*request)),
        }
    }

    /// Where its answer goes.
    pub(crate) fn origin(&self) -> Origin {
        self.then.origin()
    }

    /// Whether an owner has said all that it knows of what is shown.
    fn is_sure(&self, says: &OwnerSays, shown: &[RowDots]) -> bool {
        let asked = self.asked.get(&says.node);
        shown.iter().all(|RowDots { key, dots }| {
            let same_as = asked.and_then(|asked| asked.iter().find(|row| row.key == *key));
            says.rows.contains_key(key) || same_as.is_some_and(|row| dots.is_subset(&row.dots))
        })
    }

    /// One row, joined with what the others said of it.
    pub(crate) fn join(&self, key: &RowKey, mut row: Row, clock: &Clock) -> Row {
        let nothing = Row::new();
        for says in &self.says {
            match (says.rows.get(key), says.coverage) {
                (Some(theirs), _) => row.join(clock, theirs, &says.clock),
                (None, Coverage::All) => row.join(clock, &nothing, &says.clock),
                (None, Coverage::Differences) => {}
            }
        }
        for (_, events) in &self.hints {
            for event in events.iter().filter(|event| event.key == *key) {
                row.take(clock, &event.event);
            }
        }
        row
    }
}

impl Then {
    fn is_write(&self) -> bool {
        matches!(self, Self::Write(_))
    }

    fn origin(&self) -> Origin {
        match self {
            Self::Show { origin, .. } => *origin,
            Self::Write(write) => write.origin,
        }
    }
}

/// How many must answer, and whether hints may be shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) nodes: usize,
    pub(crate) owners: usize,
    pub(crate) fallbacks: Fallbacks,
}

/// What to ask a fallback; nothing for a listing of keys.
fn hint_questions(question: &Question) -> Vec<(RowKey, HintScope)> {
    match question {
        Question::Rows(rows) => rows
            .iter()
            .map(|(key, _)| (key.clone(), HintScope::Row))
            .collect(),
        Question::Range { range, .. } => match &range.scope {
            RangeScope::Key { key, prefix, .. } => {
                let (bucket, key, subkey) = (range.bucket, key.clone(), prefix.clone());
                vec![(
                    RowKey {
                        bucket,
                        key,
                        subkey,
                    },
                    HintScope::Prefix,
                )]
            }
            RangeScope::Keys { .. } => Vec::new(),
        },
    }
}
