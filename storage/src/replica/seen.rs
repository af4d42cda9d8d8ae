//! What a session has to remember of what it read: the dots that some owner may lack.
//!
//! ```text
//!   clock of this owner ─── held by every owner for good: need not be remembered
//!                      └─── the rest, through the log: on which key?
//! ```
//!
//! *For good* means on its disk: an owner that comes back without what it had there does not count before it has
//! it again. What was heard in passing may be lost with the power; what an owner says in a digest is synced.

use bytes::Bytes;
use dunlin_crdt::Clock;
use dunlin_protocol::RowKey;
use dunlin_ring::{BucketId, NodeId, PartitionId};

use super::repair::Untraced;
use super::{Replica, StoreError};
use crate::key;

/// What is known of the clock of another owner.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerClock {
    /// As last heard.
    pub(super) heard: Clock,
    /// Invariant: a subset of it. What the owner has said is on its disk.
    synced: Clock,
}

impl PeerClock {
    /// In place of what was known: it may have lost events.
    pub(super) fn hear(&mut self, clock: &Clock) {
        if self.heard == *clock {
            return;
        }
        if !self.heard.is_subset(clock) {
            self.synced = self.synced.intersection(clock);
        }
        self.heard.clone_from(clock);
    }
}

impl Replica {
    /// The clocks of this owner's partitions that are not known to be on its disk.
    pub fn clocks_not_known_synced(&self) -> Vec<(PartitionId, Clock)> {
        let parts = self.partitions.iter();
        let unknown = parts.filter(|(_, part)| part.synced != *part.clock());
        unknown
            .map(|(partition, part)| (*partition, part.clock().clone()))
            .collect()
    }

    /// So much of a partition is on this owner's disk.
    pub fn note_synced(&mut self, partition: PartitionId, clock: Clock) {
        if let Some(part) = self.partitions.get_mut(&partition) {
            part.synced = clock;
        }
    }

    /// Notes that another owner has so much of a partition on its disk, in place of what was known of it.
    pub fn note_peer_synced(&mut self, partition: PartitionId, node: NodeId, clock: &Clock) {
        if let Some(part) = self.partitions.get_mut(&partition) {
            let peer = part.peers.entry(node).or_default();
            peer.hear(clock);
            peer.synced.clone_from(clock);
        }
    }

    /// The dots that this owner and each of these others have on their disks, as far as is known. None if this node
    /// does not own the partition, or has not heard of one of the others.
    pub fn everywhere(&self, partition: PartitionId, co_owners: &[NodeId]) -> Clock {
        let Some(part) = self.partitions.get(&partition) else {
            return Clock::new();
        };
        let mut common = part.synced.intersection(part.clock());
        for owner in co_owners {
            match part.peers.get(owner) {
                Some(peer) => common = common.intersection(&peer.synced),
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
    fn what_was_heard_in_passing_does_not_count_as_synced() {
        let mut peer = PeerClock::default();
        peer.hear(&clock(3));
        assert!(peer.synced.is_empty());
        peer.synced = clock(3);
        peer.hear(&clock(5));
        assert_eq!(peer.synced, clock(3));
    }

    #[test]
    fn what_a_peer_has_lost_does_not_count_any_more() {
        let mut peer = PeerClock::default();
        peer.hear(&clock(3));
        peer.synced = clock(3);
        peer.hear(&clock(1));
        assert_eq!(peer.synced, clock(1));
    }
}
