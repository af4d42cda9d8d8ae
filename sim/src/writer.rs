//! The one writer of a node: group commit, on a disk that takes its time.
//!
//! ```text
//!   queue ──commit delay──> every batch that has queued up is committed   -> Committed { written }
//!         ──sync delay────> if any of them asked for it, or its time came -> Committed { synced }
//! ```
//!
//! A batch that the disk refuses takes all later ones of its generation with it.

use std::collections::{BTreeMap, VecDeque};

use dunlin_engine::SyncWhen;
use dunlin_storage::{Batch, BatchId};

/// A part of a node that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The node-wide one.
    Control,
    /// A shard.
    Shard(usize),
}

/// A batch that waits.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) part: Part,
    pub(crate) id: BatchId,
    pub(crate) batch: Batch,
    pub(crate) sync: SyncWhen,
}

/// What the writer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Idle,
    Committing,
    Syncing,
}

/// How far a part's batches have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) written: BatchId,
    pub(crate) synced: BatchId,
}

const NONE: BatchId = BatchId {
    generation: 0,
    number: 0,
};

/// The writer's queue and its promises.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) queue: VecDeque<Job>,
    pub(crate) stage: Stage,
    pub(crate) progress: BTreeMap<Part, Progress>,
    /// The newest generation of a part that was refused.
    refused: BTreeMap<Part, u32>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            stage: Stage::Idle,
            progress: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Whether a batch belongs to a generation that was given up. The node-wide part has none.
    pub(crate) fn is_void(&self, job: &Job) -> bool {
        self.refused
            .get(&job.part)
            .is_some_and(|generation| job.id.generation <= *generation)
    }

    pub(crate) fn refuse(&mut self, job: &Job) {
        if job.part != Part::Control {
            self.refused.insert(job.part, job.id.generation);
        }
    }

    pub(crate) fn wrote(&mut self, part: Part, id: BatchId) {
        let progress = self.progress.entry(part).or_insert(Progress {
            written: NONE,
            synced: NONE,
        });
        progress.written = progress.written.max(id);
    }

    /// Everything written is synced.
    pub(crate) fn synced(&mut self) {
        for progress in self.progress.values_mut() {
            progress.synced = progress.written;
        }
    }

    pub(crate) fn has_unsynced(&self) -> bool {
        self.progress
            .values()
            .any(|progress| progress.synced < progress.written)
    }
}
