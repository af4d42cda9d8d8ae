//! Reads in a session: what it has seen of the partition must be reflected, whatever node answers.
//!
//! ```text
//!   a quorum has answered ── joined clocks cover what the session has seen ──> complete
//!                         └─ ask the owners that are left ── then whoever may keep hints
//!                            └─ nobody left, or deadline ──> BehindSession, and nothing older
//! ```
//!
//! A row that is joined from copies under certain clocks reflects every event in these clocks. So what the
//! session has seen is a clock, too, and it is enough that the clocks together hold it. A fallback has no
//! clock, but its hints are events, each with its dot.
//!
//! The answer says what the session has seen with it: the dots of the key, removals too, that not every
//! owner holds for good. So a session carries what is on its way, not its history.

use bytes::Bytes;
use dunlin_crdt::Clock;
use dunlin_protocol::limits::CONTEXT_BYTES_MAX;
use dunlin_protocol::peer::{PeerOp, RangeScope, RowRange};
use dunlin_protocol::{Context, Failure, Part};
use dunlin_ring::{BucketId, Fallbacks, NodeId, PartitionId};
use dunlin_storage::StoreError;

use crate::changes::check_size;
use crate::gather::{GatherOp, Question};
use crate::io::Effect;
use crate::shard::Shard;

/// Dots whose key is looked up in the log, for one answer; about what a second of busy writing adds.
const LOOKUPS_MAX: usize = 1024;
/// Above so many bytes a clock without gaps is said instead of the exact dots, if it is shorter. It holds
/// other writes of the partition as well, so the session waits for these, too.
const EXACT_BYTES_MAX: usize = 1024;
/// Hints for one owner that are looked through for dots; those of the key itself are found in any case.
const HINTS_MAX: usize = 4096;
/// Fallbacks that are asked for hints.
const FALLBACKS_MAX: usize = 16;

/// What a request says that its session has seen.
pub(crate) fn parse(seen: Option<&Context>) -> Result<Option<Clock>, Failure> {
    let Some(seen) = seen else { return Ok(None) };
    check_size(Part::Context, seen.as_bytes().len(), CONTEXT_BYTES_MAX)?;
    let clock = seen.clock().map_err(|_| Failure::Invalid {
        what: Part::Context,
    })?;
    Ok(Some(clock))
}

impl Shard {
    /// What the session has seen and this node's own clock lacks.
    pub(crate) fn seen_elsewhere(&self, gather: &GatherOp) -> Clock {
        let mine = self.replica.clock(gather.partition());
        let seen = gather.seen().map(|seen| seen.minus(mine));
        seen.unwrap_or_default()
    }

    /// What the session has seen and nobody has shown to be reflected.
    pub(crate) fn unreflected(&self, gather: &GatherOp) -> Clock {
        let mut left = self.seen_elsewhere(gather);
        for says in &gather.says {
            if left.is_empty() {
                return left;
            }
            left = left.minus(&says.clock).minus(&says.holds);
        }
        if !left.is_empty() {
            left = left.minus(&gather.hints_hold).minus(&hinted(gather));
        }
        left
    }

    /// Asks whoever may hold what is missing: all owners that are left; and the next time, when these have
    /// answered or were silent for a while, the nodes that may keep hints.
    pub(crate) fn ask_for_seen(
        &mut self,
        op: PeerOp,
        gather: &mut GatherOp,
        effects: &mut Vec<Effect>,
    ) {
        self.counters.add("session_asked_more");
        let mut is_asked = false;
        while self.ask_next(op, gather, effects) {
            is_asked = true;
        }
        if is_asked || gather.has_searched_hints || gather.allowed() == Fallbacks::Forbidden {
            return;
        }
        gather.has_searched_hints = true;
        if !gather.question.has_hints() {
            return;
        }
        let me = self.view.me;
        if !gather.hints.iter().any(|(node, _)| *node == me) {
            self.take_own_hints(gather, effects);
        }
        let owners = self.view.readers(gather.partition());
        let newest = self.view.newest();
        let fallbacks: Vec<NodeId> = newest
            .preference(gather.partition())
            .iter()
            .copied()
            .filter(|node| *node != me && !owners.contains(node))
            .filter(|node| self.view.is_reachable(*node))
            .filter(|node| !gather.hints.iter().any(|(known, _)| known == node))
            .filter(|node| !gather.waiting.contains(node))
            .take(FALLBACKS_MAX)
            .collect();
        for fallback in fallbacks {
            self.ask_for_hints(op, gather, fallback, effects);
        }
    }

    /// Which dots this node keeps hints of.
    pub(crate) fn hinted_dots(
        &mut self,
        partition: PartitionId,
        dots: &Clock,
    ) -> Result<Clock, StoreError> {
        let owners = self.view.owners(partition);
        self.replica
            .hinted_dots(&owners, partition, dots, HINTS_MAX)
    }

    /// What the session has seen with this answer; `None` without a session.
    pub(crate) fn seen_now(&self, gather: &GatherOp) -> Result<Option<Context>, StoreError> {
        let Some(seen) = gather.seen() else {
            return Ok(None);
        };
        let partition = gather.partition();
        let owners = self.view.owners(partition);
        let everywhere = if owners.contains(&self.view.me) {
            let others = owners.into_iter().filter(|node| *node != self.view.me);
            let others: Vec<NodeId> = others.collect();
            self.replica.everywhere(partition, &others)
        } else {
            Clock::new()
        };
        let mut now = seen.minus(&everywhere);
        let Some(key) = gather.question.key() else {
            return Ok(Some(Context::of(&now)));
        };
        let clock = self.replica.clock(partition);
        let mine = clock.minus(&everywhere).minus(seen);
        let mut others = hinted(gather);
        for says in &gather.says {
            others.join(&says.clock);
        }
        let others = others.minus(clock).minus(&everywhere);
        now.join(&others);
        let mut coarse = now.clone();
        coarse.join(&mine);
        if !mine.is_empty() {
            let of_key = self
                .replica
                .dots_of_key(partition, key, &mine, LOOKUPS_MAX)?;
            now.join(of_key.as_ref().unwrap_or(&mine));
        }
        let exact = Context::of(&now);
        if exact.as_bytes().len() <= EXACT_BYTES_MAX {
            return Ok(Some(exact));
        }
        coarse.join(&clock.minus(&everywhere));
        let coarse = Context::of(&coarse);
        let is_shorter = coarse.as_bytes().len() < exact.as_bytes().len();
        Ok(Some(if is_shorter { coarse } else { exact }))
    }
}

/// The dots of the hints that were joined in.
fn hinted(gather: &GatherOp) -> Clock {
    let events = gather.hints.iter().flat_map(|(_, events)| events);
    events.map(|event| event.event.dot).collect()
}

impl Question {
    /// The key that is asked about; `None` for a listing of keys.
    fn key(&self) -> Option<(BucketId, &Bytes)> {
        match self {
            Self::Rows(rows) => rows.first().map(|(row, _)| (row.bucket, &row.key)),
            Self::Range {
                range: RowRange { bucket, scope },
                ..
            } => match scope {
                RangeScope::Key { key, .. } => Some((*bucket, key)),
                RangeScope::Keys { .. } => None,
            },
        }
    }

    /// Whether hints can be searched for it; those of many keys are not.
    pub(crate) fn has_hints(&self) -> bool {
        self.key().is_some()
    }
}
