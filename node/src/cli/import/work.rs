//! The workers of an import: each writes the lines of its keys, in their order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dunlin_client::Bucket;
use dunlin_protocol::limits::CHANGES_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use xxhash_rust::xxh3::xxh3_64;

use super::apply::{Problem, apply};
use super::mapping::Change;
use super::source::Parsed;
use super::tally::Tally;
use crate::cli::record::Data;

/// KiB of changes that may wait for workers in all.
const WAITING_KIB_MAX: u32 = 64 << 10;
/// The last line that there can be.
const LAST_LINE: u64 = u64::MAX;

/// What the parts of an import know together.
pub(super) struct Shared {
    stop_on_error: bool,
    /// The last line that is to be written. Lines before one that failed are, as they would be if
    /// lines were written one after the other.
    last: AtomicU64,
    /// Guards what became of the lines; held to note one.
    tally: Mutex<Tally>,
}

impl Shared {
    /// Nothing is known yet.
    pub(super) fn new(stop_on_error: bool) -> Self {
        Self {
            stop_on_error,
            last: AtomicU64::new(LAST_LINE),
            tally: Mutex::default(),
        }
    }

    /// What became of the lines so far.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        // A tally is never half changed.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, line: u64, result: Result<(), Problem>) {
        let mut tally = self.tally();
        tally.note(line, result);
        if self.stop_on_error && tally.has_problems() {
            tally.stop(format!("line {line} was not written"));
            self.last.fetch_min(line, Ordering::Relaxed);
        }
    }

    /// Ends it before its end: lines after `last` are not written.
    pub(super) fn stop(&self, last: u64, why: String) {
        self.tally().stop(why);
        self.last.fetch_min(last, Ordering::Relaxed);
    }

    /// Whether it comes to an end before the file does.
    pub(super) fn is_stopped(&self) -> bool {
        self.last.load(Ordering::Relaxed) != LAST_LINE
    }

    fn is_wanted(&self, line: u64) -> bool {
        line <= self.last.load(Ordering::Relaxed)
    }
}

/// One line, on its way to a worker.
pub(super) struct Job {
    line: u64,
    key: Bytes,
    change: Change,
    /// Its share of what may wait.
    _waiting: OwnedSemaphorePermit,
}

/// Gives each line to the worker of its key.
pub(super) async fn hand_out(
    mut batches: mpsc::Receiver<Vec<Parsed>>,
    workers: Vec<mpsc::Sender<Job>>,
    shared: Arc<Shared>,
) {
    let waiting = Arc::new(Semaphore::new(WAITING_KIB_MAX as usize));
    while let Some(batch) = batches.recv().await {
        for Parsed { line, change } in batch {
            if !shared.is_wanted(line) {
                return;
            }
            let (key, change) = match change {
                Ok(change) => change,
                Err(reason) => {
                    shared.note(line, Err(Problem::Failed(reason)));
                    continue;
                }
            };
            let kib = u32::try_from(size_of(&key, &change) / 1024 + 1).unwrap_or(u32::MAX);
            let share = waiting
                .clone()
                .acquire_many_owned(kib.min(WAITING_KIB_MAX))
                .await;
            // The semaphore is never closed.
            let Ok(share) = share else { return };
            let number = usize::try_from(xxh3_64(&key) % (workers.len() as u64)).unwrap_or(0);
            let Some(worker) = workers.get(number) else {
                return;
            };
            if worker
                .send(Job {
                    line,
                    key,
                    change,
                    _waiting: share,
                })
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// Writes line after line; lines that add to the set of one key, as they wait, together.
pub(super) async fn work(bucket: Bucket, mut jobs: mpsc::Receiver<Job>, shared: Arc<Shared>) {
    let mut left = None;
    loop {
        let next = match left.take() {
            None => jobs.recv().await,
            left => left,
        };
        let Some(first) = next else { return };
        let mut together = vec![first];
        let mut rows = together.iter().map(rows_to_add).sum::<usize>();
        while rows > 0
            && let Ok(job) = jobs.try_recv()
        {
            rows += rows_to_add(&job);
            let fits = rows_to_add(&job) > 0 && rows <= CHANGES_MAX;
            if !fits || together.iter().any(|first| first.key != job.key) {
                left = Some(job);
                break;
            }
            together.push(job);
        }
        together.retain(|job| shared.is_wanted(job.line));
        write(&bucket, together, &shared).await;
    }
}

/// The elements that a line adds to a set, if that is what it does.
fn rows_to_add(job: &Job) -> usize {
    match &job.change {
        Change::Hold(Data::Set(elements)) => elements.len(),
        Change::Hold(_) | Change::Increment(_) => 0,
    }
}

/// Writes lines of one key. If what was put together is refused, each line gets its own answer:
/// nothing was written, so no line is written twice.
async fn write(bucket: &Bucket, jobs: Vec<Job>, shared: &Shared) {
    if let [first, _, ..] = jobs.as_slice() {
        let elements = jobs.iter().flat_map(|job| match &job.change {
            Change::Hold(Data::Set(elements)) => elements.clone(),
            Change::Hold(_) | Change::Increment(_) => Vec::new(),
        });
        let all = Change::Hold(Data::Set(elements.collect()));
        let result = apply(bucket, &first.key, all).await;
        if !matches!(result, Err(Problem::Failed(_))) {
            for job in jobs {
                shared.note(job.line, result.clone());
            }
            return;
        }
    }
    for job in jobs.into_iter().filter(|job| shared.is_wanted(job.line)) {
        let result = apply(bucket, &job.key, job.change).await;
        shared.note(job.line, result);
    }
}

/// Roughly the bytes that a change takes in memory.
pub(super) fn size_of(key: &Bytes, change: &Change) -> usize {
    match change {
        Change::Increment(_) => key.len(),
        Change::Hold(data) => key.len() + data_size(data),
    }
}

fn data_size(data: &Data) -> usize {
    let sum = |all: &[Bytes]| all.iter().map(|bytes| bytes.len() + 32).sum();
    match data {
        Data::Register(all) | Data::Set(all) => sum(all),
        Data::Lww(value) => value.len(),
        Data::Counter(_) | Data::Flag(_) | Data::Max(_) | Data::Min(_) => 0,
        Data::Map(fields) => fields.iter().map(|(_, data)| 64 + data_size(data)).sum(),
    }
}
