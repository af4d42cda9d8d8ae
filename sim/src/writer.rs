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

use crate::options::below;

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

/// A step of the writer at which its process dies, or its machine.
///
/// ```text
///   ─ Idle ──> batch ─ BetweenBatches ─> batch ─ Committed ─> sync ─ Synced ─> report ─ Reported ─>
/// ```
///
/// Those who are told of a commit or of a sync have sent what waited for it by the time of `Reported`, and
/// know nothing of it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Before anything of a group is committed.
    Idle,
    /// When so many batches of a group are committed, and at least one is not.
    BetweenBatches(usize),
    /// When a group is committed and nothing of it synced.
    Committed,
    /// When a group is synced, and nobody knows it.
    Synced,
    /// When those who wait for a sync have heard of it.
    Reported,
}

/// What waits for a process at a step of its writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trap {
    pub(crate) at: Step,
    /// Of a thousand unsynced batches so many are on the disk; of a process that is killed all are.
    kept_permille: u64,
    /// After how long it starts again.
    pub(crate) lasts: u64,
}

impl Trap {
    pub(crate) fn draw(rng: &mut fastrand::Rng, lasts: u64) -> Self {
        let at = match rng.u64(..6) {
            0 => Step::Idle,
            1 | 2 => Step::BetweenBatches(1 + below(rng, 2)),
            3 => Step::Committed,
            4 => Step::Synced,
            _ => Step::Reported,
        };
        let kept_permille = if rng.bool() { 1_000 } else { rng.u64(..=1_000) };
        Self {
            at,
            kept_permille,
            lasts,
        }
    }

    /// How many of so many unsynced batches are on the disk.
    pub(crate) fn kept(self, unsynced: usize) -> usize {
        match self.kept_permille {
            1_000 => usize::MAX,
            permille => (unsynced as u64 * permille / 1_000) as usize,
        }
    }
}

/// A disk that is slow for a while.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlowDisk {
    pub(crate) until: u64,
    /// Everything takes so many times as long.
    pub(crate) factor: u64,
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
    /// What the parts were told of that.
    told: BTreeMap<Part, Progress>,
    pub(crate) trap: Option<Trap>,
    /// The newest generation of a part that was refused.
    refused: BTreeMap<Part, u32>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            stage: Stage::Idle,
            progress: BTreeMap::new(),
            told: BTreeMap::new(),
            trap: None,
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

    /// How far the parts have come that have not been told so.
    pub(crate) fn news(&mut self) -> Vec<(Part, Progress)> {
        let told = &self.told;
        let is_news = |(part, progress): &(&Part, &Progress)| told.get(part) != Some(progress);
        let news = self.progress.iter().filter(is_news);
        let news: Vec<_> = news.map(|(part, progress)| (*part, *progress)).collect();
        self.told.extend(news.iter().copied());
        news
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
