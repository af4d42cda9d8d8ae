//! What waits for the writer: acknowledgements that may leave only when their batch is committed.
//!
//! ```text
//! handle    stages ops in the replica, and calls `wait` with what to do then
//! flush     takes the staged batch, and binds the new waits to it
//! Committed releases, in order, what waited for batches up to `written` and `synced`
//! ```

use std::collections::VecDeque;

use dunlin_protocol::peer::AckWhen;
use dunlin_storage::BatchId;

/// Waits, in the order of their batches.
#[derive(Debug)]
pub(crate) struct Commits<T> {
    unbound: Vec<(AckWhen, T)>,
    /// What can wait for long, and since which batch: no acknowledgement, and so not counted as one.
    patient: VecDeque<(Option<BatchId>, T)>,
    written: VecDeque<(BatchId, T)>,
    synced: VecDeque<(BatchId, T)>,
    last_taken: BatchId,
    last_written: BatchId,
    last_synced: BatchId,
}

impl<T> Default for Commits<T> {
    fn default() -> Self {
        let none = BatchId {
            generation: 0,
            number: 0,
        };
        Self {
            unbound: Vec::new(),
            patient: VecDeque::new(),
            written: VecDeque::new(),
            synced: VecDeque::new(),
            last_taken: none,
            last_written: none,
            last_synced: none,
        }
    }
}

impl<T> Commits<T> {
    /// Something to do when all that is staged now, and all before it, is written or synced.
    pub(crate) fn wait(&mut self, when: AckWhen, then: T) {
        self.unbound.push((when, then));
    }

    /// As [`wait`](Self::wait) for a sync, whenever there is one.
    pub(crate) fn wait_patiently(&mut self, then: T) {
        self.patient.push_back((None, then));
    }

    /// Whether a wait since the last `bind` needs a sync.
    pub(crate) fn wants_sync(&self) -> bool {
        self.unbound
            .iter()
            .any(|(when, _)| *when == AckWhen::Synced)
    }

    /// Whether something waits for what is staged now.
    pub(crate) fn has_unbound(&self) -> bool {
        !self.unbound.is_empty()
    }

    /// Binds the waits to the batch that was taken; to the last one if nothing was staged. Returns
    /// those that need not wait.
    pub(crate) fn bind(&mut self, taken: Option<BatchId>) -> Vec<(AckWhen, T)> {
        if let Some(id) = taken {
            self.last_taken = id;
        }
        let id = self.last_taken;
        let mut ready = Vec::new();
        for (bound_to, _) in &mut self.patient {
            bound_to.get_or_insert(id);
        }
        ready.extend(self.patient_ready());
        for (when, then) in self.unbound.drain(..) {
            let (done, queue) = match when {
                AckWhen::Written => (self.last_written, &mut self.written),
                AckWhen::Synced => (self.last_synced, &mut self.synced),
            };
            if id <= done {
                ready.push((when, then))
            } else {
                queue.push_back((id, then))
            }
        }
        ready
    }

    /// Whether what a wait was bound to is taken but not synced, so that a wait for a sync needs one.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.last_synced < self.last_taken
    }

    /// The last batch that was handed to the writer.
    pub(crate) fn last_taken(&self) -> BatchId {
        self.last_taken
    }

    /// How many batches are with the writer and not synced.
    pub(crate) fn unsynced(&self) -> u64 {
        self.last_taken
            .number
            .saturating_sub(self.last_synced.number)
    }

    /// Releases what waited for these, in order.
    pub(crate) fn committed(&mut self, written: BatchId, synced: BatchId) -> Vec<(AckWhen, T)> {
        self.last_written = self.last_written.max(written);
        self.last_synced = self.last_synced.max(synced);
        let mut ready = self.patient_ready();
        while self
            .written
            .front()
            .is_some_and(|(id, _)| *id <= self.last_written)
        {
            ready.extend(
                self.written
                    .pop_front()
                    .map(|(_, then)| (AckWhen::Written, then)),
            );
        }
        while self
            .synced
            .front()
            .is_some_and(|(id, _)| *id <= self.last_synced)
        {
            ready.extend(
                self.synced
                    .pop_front()
                    .map(|(_, then)| (AckWhen::Synced, then)),
            );
        }
        ready
    }

    fn patient_ready(&mut self) -> Vec<(AckWhen, T)> {
        let is_synced =
            |bound_to: &Option<BatchId>| bound_to.is_some_and(|id| id <= self.last_synced);
        let ready = self.patient.partition_point(|(id, _)| is_synced(id));
        let ready = self.patient.drain(..ready);
        ready.map(|(_, then)| (AckWhen::Synced, then)).collect()
    }

    /// Gives up everything that waits for batches that are not written: they never will be.
    pub(crate) fn refused(&mut self) -> Vec<T> {
        let last_written = self.last_written;
        let mut lost: Vec<T> = self.unbound.drain(..).map(|(_, then)| then).collect();
        let is_written = |bound_to: &Option<BatchId>| bound_to.is_some_and(|id| id <= last_written);
        let keep = self.patient.partition_point(|(id, _)| is_written(id));
        lost.extend(self.patient.drain(keep..).map(|(_, then)| then));
        for queue in [&mut self.written, &mut self.synced] {
            let keep = queue.partition_point(|(id, _)| *id <= last_written);
            lost.extend(queue.drain(keep..).map(|(_, then)| then));
        }
        self.last_taken = last_written;
        lost
    }

    /// How many acknowledgements wait.
    pub(crate) fn len(&self) -> usize {
        self.unbound.len() + self.written.len() + self.synced.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> BatchId {
        BatchId {
            generation: 0,
            number,
        }
    }

    #[test]
    fn wait_is_released_by_its_own_batch_and_not_before() {
        let mut commits = Commits::default();
        commits.wait(AckWhen::Synced, 'a');
        commits.wait(AckWhen::Written, 'b');
        assert!(commits.wants_sync());
        assert!(commits.bind(Some(id(1))).is_empty());
        assert_eq!(commits.committed(id(1), id(0)), [(AckWhen::Written, 'b')]);
        assert_eq!(commits.committed(id(1), id(1)), [(AckWhen::Synced, 'a')]);
        assert_eq!(commits.len(), 0);
    }

    #[test]
    fn wait_without_a_batch_of_its_own_waits_for_the_last_one() {
        let mut commits = Commits::default();
        commits.wait(AckWhen::Written, 'a');
        assert_eq!(commits.bind(None), [(AckWhen::Written, 'a')]);
        commits.bind(Some(id(1)));
        commits.wait(AckWhen::Synced, 'b');
        assert!(commits.bind(None).is_empty());
        assert!(commits.is_unsynced());
        assert_eq!(commits.committed(id(1), id(1)), [(AckWhen::Synced, 'b')]);
    }

    #[test]
    fn a_patient_wait_asks_for_no_sync_and_ends_with_one() {
        let mut commits = Commits::default();
        commits.wait_patiently('a');
        assert!(!commits.wants_sync());
        assert!(commits.bind(Some(id(1))).is_empty());
        assert!(commits.committed(id(1), id(0)).is_empty());
        assert_eq!(commits.committed(id(1), id(1)), [(AckWhen::Synced, 'a')]);
        commits.wait_patiently('b');
        assert_eq!(commits.bind(None), [(AckWhen::Synced, 'b')]);
        commits.wait_patiently('c');
        assert_eq!(commits.refused(), ['c']);
    }

    #[test]
    fn refusal_gives_up_what_is_not_written_and_keeps_what_is() {
        let mut commits = Commits::default();
        commits.wait(AckWhen::Synced, 'a');
        commits.bind(Some(id(1)));
        commits.committed(id(1), id(0));
        commits.wait(AckWhen::Written, 'b');
        commits.bind(Some(id(2)));
        commits.wait(AckWhen::Written, 'c');
        let mut lost = commits.refused();
        lost.sort_unstable();
        assert_eq!(lost, ['b', 'c']);
        assert_eq!(commits.committed(id(1), id(1)), [(AckWhen::Synced, 'a')]);
    }
}
