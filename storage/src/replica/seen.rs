//! What a session has to remember of what it read: the dots that some owner may lack.
//!
//! ```text
//!   clock of this owner ─── held by every owner for good: need not be remembered
//!                      └─── the rest, through the log: on which key?
//! ```
//!
//! *For good* means that an owner that comes back without them does not count before it has them again.
//! What was heard of a moment ago may not be on its disk yet, so it has to stay true for a while.

use bytes::Bytes;
use dunlin_crdt::Clock;
use dunlin_protocol::RowKey;
use dunlin_ring::{BucketId, NodeId, PartitionId};

use super::partition::TICKS_TO_SETTLE;
use super::repair::Untraced;
use super::{Replica, StoreError};
use crate::key;

/// What is known of the clock of another owner.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerClock {
    /// As last heard.
    pub(super) heard: Clock,
    /// Invariant: subsets of what was heard last. That at the last tick, and at the tick before it.
    at_last_tick: Clock,
    settled: Clock,
    unsettled_ticks: u8,
}

impl PeerClock {
    /// In place of what was known: it may have lost events.
    pub(super) fn hear(&mut self, clock: &Clock) {
        if self.heard == *clock {
            return;
        }
        if !self.heard.is_subset(clock) {
            self.at_last_tick = self.at_last_tick.intersection(clock);
            self.settled = self.settled.intersection(clock);
        }
        self.heard.clone_from(clock);
        self.unsettled_ticks = TICKS_TO_SETTLE;
    }

    pub(super) fn settle(&mut self) {
        if self.unsettled_ticks > 0 {
            self.unsettled_ticks -= 1;
            self.settled = std::mem::replace(&mut self.at_last_tick, self.heard.clone());
        }
    }
}

impl Replica {
    /// The dots that this owner and each of these others have held for a whole tick at least, see
    /// [`settle`](Self::settle). None if this node does not own the partition, or has not heard of one of
    /// the others.
    pub fn everywhere(&self, partition: PartitionId, co_owners: &[NodeId]) -> Clock {
        let Some(part) = self.partitions.get(&partition) else {
            return Clock::new();
        };
        let mut common = part.settled().clone();
        for owner in co_owners {
            match part.peers.get(owner) {
                Some(peer) => common = common.intersection(&peer.settled),
                None => return Clock::new(),
            }
        }
        common
    }

    /// Of these dots, which this owner holds, those that touched rows of one key. `None` if there are more
    /// than `dots_max`, or the log does not tell of them all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn dots_of_key(
        &self,
        partition: PartitionId,
        (bucket, key): (BucketId, &Bytes),
        dots: &Clock,
        dots_max: usize,
    ) -> Result<Option<Clock>, StoreError> {
        let part = self.owned_part(partition)?;
        if dots.len() > dots_max as u64 {
            return Ok(None);
        }
        let mut of_key = Clock::new();
        for touched in self.touched(partition, part, dots.clone()) {
            match touched {
                Ok((
                    dot,
                    RowKey {
                        bucket: b, key: k, ..
                    },
                )) => {
                    if b == bucket && k == *key {
                        of_key.add(dot);
                    }
                }
                Err(Untraced::LogTooShort) => return Ok(None),
                Err(Untraced::Store(error)) => return Err(error),
            }
        }
        Ok(Some(of_key))
    }

    /// Of these dots, those of which hints are kept for any of these owners, whatever their key, as far as
    /// the first `hints_max` hints for each owner tell.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub fn hinted_dots(
        &self,
        owners: &[NodeId],
        partition: PartitionId,
        dots: &Clock,
        hints_max: usize,
    ) -> Result<Clock, StoreError> {
        let mut found = Clock::new();
        for owner in owners.iter().filter(|_| !dots.is_empty()) {
            if !self.keeps_hints_for(*owner, partition) {
                continue;
            }
            let hints = self.hint_entries(&key::hints_for(*owner, partition));
            for entry in hints.take(hints_max) {
                let (stored_key, _) = entry?;
                if let Some((_, dot)) = key::parse_hint(&stored_key)
                    && dots.contains(&dot)
                {
                    found.add(dot);
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use dunlin_crdt::{ActorId, Dot};

    use super::*;

    fn clock(last: u64) -> Clock {
        (1..=last).map(|n| Dot::new(ActorId(1), n)).collect()
    }

    #[test]
    fn what_was_heard_counts_after_it_has_stayed_true_for_a_tick() {
        let mut peer = PeerClock::default();
        peer.hear(&clock(3));
        peer.settle();
        assert!(peer.settled.is_empty());
        peer.settle();
        assert_eq!(peer.settled, clock(3));
        peer.hear(&clock(5));
        assert_eq!(peer.settled, clock(3));
    }

    #[test]
    fn what_a_peer_has_lost_does_not_count_any_more() {
        let mut peer = PeerClock::default();
        peer.hear(&clock(3));
        peer.settle();
        peer.settle();
        peer.hear(&clock(1));
        assert_eq!(peer.settled, clock(1));
        peer.settle();
        assert_eq!(peer.settled, clock(1));
    }
}
