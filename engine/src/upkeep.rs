//! Background work in slices: counting rows after an unclean start, removing dropped buckets and what is
//! left of partitions that were given up.

use std::collections::BTreeSet;

use dunlin_protocol::RowKey;
use dunlin_protocol::status::StorageState;
use dunlin_ring::{BucketId, PartitionId};
use dunlin_storage::Progress;

use crate::io::{Effect, Now, TimerId};
use crate::shard::Shard;

/// How long a slice waits for the next one while there is work, and while there is none.
const BUSY_MS: u64 = 2;
const IDLE_MS: u64 = 1000;

/// What is left to do.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Dropped buckets of which a partition may hold rows.
    to_remove: BTreeSet<(BucketId, PartitionId)>,
    /// The same, where a row could not be read: tried again with the next slice that finds nothing else.
    to_try_again: BTreeSet<(BucketId, PartitionId)>,
    /// Dropped buckets that were removed once; rows that come later are noted one by one.
    removed: BTreeSet<BucketId>,
}

impl Upkeep {
    /// What was removed may be back: the disk did not take it.
    pub(crate) fn forget(&mut self) {
        self.removed.clear();
    }

    /// A row of a dropped bucket has come.
    fn bucket_has_rows(&mut self, partition: PartitionId, bucket: BucketId) {
        self.to_remove.insert((bucket, partition));
    }
}

impl Shard {
    /// Rows have come, from wherever: those of dropped buckets are to be removed again.
    pub(crate) fn note_rows<'a>(
        &mut self,
        partition: PartitionId,
        rows: impl IntoIterator<Item = &'a RowKey>,
    ) {
        for row in rows {
            if self.view.is_dropped(row.bucket) {
                self.upkeep.bucket_has_rows(partition, row.bucket);
            }
        }
    }

    pub(crate) fn upkeep_slice(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut busy = self.replica.count_some(self.options.slice_rows) == Progress::More;
        if self.storage == StorageState::Ready {
            match self.replica.drop_some(self.options.slice_rows) {
                Ok(Progress::More) => busy = true,
                Ok(Progress::Done) => {}
                Err(error) => self.note_store_error(&error, effects),
            }
            busy |= self.remove_dropped(effects);
        }
        let at = now.time.plus_ms(if busy { BUSY_MS } else { IDLE_MS });
        effects.push(Effect::SetTimer {
            id: TimerId::Slice,
            at,
        });
    }

    /// Removes some rows of dropped buckets; whether there is more to do.
    fn remove_dropped(&mut self, effects: &mut Vec<Effect>) -> bool {
        let dropped = self.view.buckets.values().filter(|bucket| bucket.dropped);
        let news: Vec<BucketId> = dropped
            .map(|b| b.id)
            .filter(|id| !self.upkeep.removed.contains(id))
            .collect();
        for bucket in news {
            self.upkeep.removed.insert(bucket);
            self.upkeep
                .to_remove
                .extend(self.replica.owned().map(|p| (bucket, p)));
        }
        // What was given up goes as a whole.
        let replica = &self.replica;
        self.upkeep.to_remove.retain(|(_, p)| replica.owns(*p));
        let Some((bucket, partition)) = self.upkeep.to_remove.first().copied() else {
            self.upkeep.to_remove.append(&mut self.upkeep.to_try_again);
            return false;
        };
        match self
            .replica
            .drop_bucket(partition, bucket, self.options.slice_rows)
        {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => {
                self.upkeep.to_remove.remove(&(bucket, partition));
            }
            Err(error) => {
                self.upkeep.to_remove.remove(&(bucket, partition));
                self.upkeep.to_try_again.insert((bucket, partition));
                self.note_store_error(&error, effects);
            }
        }
        !self.upkeep.to_remove.is_empty()
    }
}
