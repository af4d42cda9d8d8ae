//! The one thread that writes to the store: it commits what has queued up from all parts as one
//! batch, and syncs once for all that asked.
//!
//! ```text
//!   control ─┐                     ┌─ commit ─> Committed { written } ─┐
//!   shard-0 ─┼─> inbox ─take all─> ┤                                   ├─> to the parts
//!   shard-1 ─┘                     └─ sync ───> Committed { synced } ──┘
//!                                  └─ full ───> Refused, once a part and epoch
//! ```
//!
//! A full disk is an answer: the parts concerned roll back, everybody is told, and a small write is
//! tried every second until it is taken. While it lasts nothing is merged, so that deletes alone, by
//! which room is made, pass. Any other error means that what is on the disk is not known: the node
//! stops, and its next start finds out. A sync is never tried again.
//!
//! What queues here is bounded by what the parts accept: `operations_max` and
//! `commits_waiting_max` of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_engine::{Input, SyncWhen};
use dunlin_protocol::status::StorageState;
use dunlin_storage::{Batch, BatchId, Keyspace, Kv, KvError};

use crate::counters::NodeCounters;
use crate::driver::Parts;
use crate::driver::inbox::{Inbox, InboxBounds};
use crate::driver::part::{PartId, PartMessage};
use crate::writer::board::StorageBoard;
use crate::writer::watchdog::Stopwatch;

pub(crate) mod board;
#[cfg(test)]
mod tests;
pub(crate) mod watchdog;

/// Bytes after which a merged batch is committed and the next begun: large enough that one commit
/// costs little beside them, small enough that the store's memtables take it in one piece.
const MERGED_BYTES_MAX: usize = 8 << 20;

/// How often a full disk is tried again.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// The key that is written to find out whether the disk takes writes again.
const PROBE_KEY: &[u8] = b"writer/probe";

/// One part's batch, or its wish for a sync if the batch is empty.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) part: PartId,
    /// How many refusals the part had taken note of when it staged this.
    pub(crate) epoch: u64,
    pub(crate) id: BatchId,
    pub(crate) batch: Batch,
    pub(crate) sync: SyncWhen,
}

#[derive(Debug)]
enum WriterMessage {
    Write(Box<Submission>),
    Stop,
}

/// Hands batches to the writer. Never waits.
#[derive(Clone, Debug)]
pub(crate) struct WriterHandle {
    inbox: Arc<Inbox<WriterMessage>>,
}

impl WriterHandle {
    pub(crate) fn new() -> Self {
        // Nothing is offered here, only pushed; see the module for what bounds it.
        let bounds = InboxBounds {
            items_max: 0,
            bytes_max: 0,
        };
        Self {
            inbox: Arc::new(Inbox::new(bounds)),
        }
    }

    /// Queues a batch. Those of one part are committed in the order in which it submits them.
    pub(crate) fn submit(&self, submission: Submission) {
        self.inbox.push(WriterMessage::Write(Box::new(submission)));
    }

    /// Lets the writer end once it has committed and synced all that was submitted before.
    pub(crate) fn stop(&self) {
        self.inbox.push(WriterMessage::Stop);
    }
}

/// What the writer has done for one part.
#[derive(Clone, Copy, Debug)]
struct Progress {
    written: BatchId,
    synced: BatchId,
    /// The epoch in which a batch was refused: others of it are not committed.
    refused: Option<u64>,
    /// Whether the part is to be told.
    news: bool,
}

/// The state of the writer's thread.
pub(crate) struct Writer {
    kv: Arc<dyn Kv>,
    parts: Arc<Parts>,
    board: Arc<StorageBoard>,
    stopwatch: Arc<Stopwatch>,
    counters: Arc<NodeCounters>,
    sync_interval: Duration,
    progress: Vec<Progress>,
    /// When the oldest batch that is not synced was written.
    unsynced_since: Option<Instant>,
    /// When to try again after the store refused a batch; until then nothing is merged.
    probe_at: Option<Instant>,
}

/// What a writer works with.
pub(crate) struct WriterParts {
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) parts: Arc<Parts>,
    pub(crate) board: Arc<StorageBoard>,
    pub(crate) stopwatch: Arc<Stopwatch>,
    pub(crate) counters: Arc<NodeCounters>,
    pub(crate) sync_interval: Duration,
}

/// Batches of several parts on their way to one commit.
#[derive(Default)]
struct Merged {
    batch: Batch,
    /// Whose, and which: the last of each.
    members: Vec<Member>,
}

#[derive(Clone, Copy)]
struct Member {
    part: PartId,
    epoch: u64,
    /// The first of the part's batches in the commit.
    first: BatchId,
    last: BatchId,
}

impl Writer {
    pub(crate) fn new(with: WriterParts) -> Self {
        let none = BatchId {
            generation: 0,
            number: 0,
        };
        let progress = Progress {
            written: none,
            synced: none,
            refused: None,
            news: false,
        };
        Self {
            progress: vec![progress; with.parts.all().count()],
            kv: with.kv,
            parts: with.parts,
            board: with.board,
            stopwatch: with.stopwatch,
            counters: with.counters,
            sync_interval: with.sync_interval,
            unsynced_since: None,
            probe_at: None,
        }
    }

    /// Writes until it is told to stop.
    ///
    /// # Errors
    /// The store failed, for good. The parts have been told, and nothing they submit is written any
    /// more.
    pub(crate) fn run(&mut self, handle: &WriterHandle) -> Result<(), KvError> {
        let mut messages = Vec::new();
        loop {
            handle.inbox.take(self.wakes_at(), &mut messages);
            let mut stop = false;
            let mut submissions = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    WriterMessage::Write(submission) => submissions.push(*submission),
                    WriterMessage::Stop => stop = true,
                }
            }
            let done = self
                .turn(submissions, Instant::now())
                .and_then(|()| if stop { self.sync() } else { Ok(()) });
            if let Err(error) = done {
                self.board.set(StorageState::Failed);
                return Err(error);
            }
            self.tell();
            if stop {
                return Ok(());
            }
        }
    }

    fn wakes_at(&self) -> Option<Instant> {
        let sync_at = self.unsynced_since.map(|since| since + self.sync_interval);
        [sync_at, self.probe_at].into_iter().flatten().min()
    }

    /// Commits what was submitted, syncs if somebody asked or it is time, and tells the parts.
    fn turn(&mut self, submissions: Vec<Submission>, now: Instant) -> Result<(), KvError> {
        if self.probe_at.is_some_and(|at| now >= at) {
            self.probe(now)?;
        }
        let mut sync = SyncWhen::Later;
        let mut merged = Merged::default();
        for submission in submissions {
            self.counters.batches.add();
            let apart = self.probe_at.is_some();
            let bytes = merged.batch.bytes() + submission.batch.bytes();
            if apart || bytes > MERGED_BYTES_MAX {
                self.commit(std::mem::take(&mut merged), now)?;
            }
            if self.is_refused(submission.part, submission.epoch) {
                continue;
            }
            sync = sync.max(submission.sync);
            if submission.sync == SyncWhen::Later {
                self.news(submission.part);
            }
            merged.add(submission);
        }
        self.commit(merged, now)?;
        let due = self
            .unsynced_since
            .is_some_and(|since| now >= since + self.sync_interval);
        if sync == SyncWhen::Now || due {
            // What waits for the commit only need not wait for the sync. Parts that asked for the
            // sync hear of both at once: a second message would only wake them twice.
            self.tell();
            self.sync()?;
        }
        Ok(())
    }

    fn commit(&mut self, merged: Merged, now: Instant) -> Result<(), KvError> {
        let Merged { batch, members } = merged;
        if members.is_empty() {
            return Ok(());
        }
        if !batch.is_empty() {
            let committed = self.stopwatch.measure(|| self.kv.commit(&batch));
            self.counters.commits.add();
            match committed {
                Ok(()) => self.unsynced_since = self.unsynced_since.or(Some(now)),
                Err(error @ (KvError::Full | KvError::TooLarge { .. })) => {
                    self.refuse(&members, &error, now);
                    return Ok(());
                }
                Err(
                    error @ (KvError::Poisoned
                    | KvError::Closed
                    | KvError::Corrupt { .. }
                    | KvError::Io { .. }
                    | KvError::Locked { .. }
                    | KvError::FormatNewer { .. }),
                ) => return Err(error),
            }
        }
        for member in members {
            if let Some(progress) = self.progress.get_mut(member.part.index()) {
                progress.written = progress.written.max(member.last);
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), KvError> {
        self.stopwatch.measure(|| self.kv.sync())?;
        self.counters.syncs.add();
        self.unsynced_since = None;
        for progress in &mut self.progress {
            progress.news |= progress.synced < progress.written;
            progress.synced = progress.written;
        }
        Ok(())
    }

    /// Nothing of these was written: their parts roll back.
    fn refuse(&mut self, members: &[Member], error: &KvError, now: Instant) {
        self.counters.commits_refused.add();
        tracing::warn!(%error, parts = members.len(), "the store refused a batch");
        self.probe_at = Some(now + PROBE_EVERY);
        if *error == KvError::Full {
            self.board.set(StorageState::Full);
        }
        for member in members {
            if let Some(progress) = self.progress.get_mut(member.part.index()) {
                progress.refused = Some(member.epoch);
            }
            if let Some(inbox) = self.parts.of(member.part) {
                inbox.push(PartMessage::Refused { id: member.first });
            }
        }
    }

    fn is_refused(&self, part: PartId, epoch: u64) -> bool {
        self.progress
            .get(part.index())
            .is_some_and(|progress| progress.refused.is_some_and(|refused| epoch <= refused))
    }

    /// Tries whether there is room again.
    fn probe(&mut self, now: Instant) -> Result<(), KvError> {
        let mut batch = Batch::new();
        batch.put(Keyspace::Meta, Bytes::from_static(PROBE_KEY), Bytes::new());
        match self.stopwatch.measure(|| self.kv.commit(&batch)) {
            Ok(()) => {
                self.unsynced_since = self.unsynced_since.or(Some(now));
                self.probe_at = None;
                self.board.set(StorageState::Ready);
                Ok(())
            }
            Err(KvError::Full) => {
                self.probe_at = Some(now + PROBE_EVERY);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn news(&mut self, part: PartId) {
        if let Some(progress) = self.progress.get_mut(part.index()) {
            progress.news = true;
        }
    }

    /// Tells the parts for which there is news.
    fn tell(&mut self) {
        for (progress, inbox) in self.progress.iter_mut().zip(self.parts.all()) {
            if std::mem::take(&mut progress.news) {
                inbox.push(PartMessage::Told(Input::Committed {
                    written: progress.written,
                    synced: progress.synced,
                }));
            }
        }
    }
}

impl Merged {
    fn add(&mut self, submission: Submission) {
        self.batch.append(submission.batch);
        let known = self
            .members
            .iter_mut()
            .find(|member| member.part == submission.part && member.epoch == submission.epoch);
        match known {
            Some(member) => member.last = member.last.max(submission.id),
            None => self.members.push(Member {
                part: submission.part,
                epoch: submission.epoch,
                first: submission.id,
                last: submission.id,
            }),
        }
    }
}
