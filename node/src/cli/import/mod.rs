//! `dunlin import`: the lines of a file, written into a bucket.
//!
//! ```text
//! thread: read, parse ──batches──> hand out, by key ──> worker ─┐
//!                                                   ──> worker ─┼─> tally
//!                                                   ──> worker ─┘
//! ```
//!
//! Each of `--concurrency` workers has one request under way. All lines of a key go to one worker, in
//! their order. What is read and not yet written is bounded in bytes, whatever the size of lines.
//! A line that is not written is noted with its number, and the rest goes on; what may or may not have
//! been written is never tried again here.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_client::Bucket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinSet, spawn_blocking};
use xxhash_rust::xxh3::xxh3_64;

use self::apply::{Problem, apply};
use self::mapping::{Change, Mapping};
use self::source::{Opened, Parsed, Source};
use self::tally::Tally;
use super::args::{Format, ImportArgs};
use super::ended::Ended;
use super::fault::Fault;
use super::output::Output;
use super::progress::Progress;
use super::record::Data;
use super::session::Session;

mod apply;
mod cell;
mod csv;
mod lines;
mod mapping;
mod source;
mod tally;

/// A line may wait longer than a request of a person would: the cluster may be catching its breath.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Lines that the reader hands over at a time.
const BATCH_LINES: usize = 128;
/// Bytes of changes after which it hands them over anyway.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that may wait.
const BATCHES_AHEAD: usize = 4;
/// Lines that may wait for one worker.
const LINES_AHEAD: usize = 32;
/// KiB of changes that may wait for workers in all.
const WAITING_KIB_MAX: u32 = 64 << 10;
/// How often the progress is looked at.
const TICK: Duration = Duration::from_millis(200);

/// `dunlin import`
pub(crate) async fn run(
    session: &Session,
    out: &mut Output,
    args: ImportArgs,
) -> Result<Ended, Fault> {
    let format = format_of(&args)?;
    let unreadable = |source| Fault::Input {
        path: args.file.clone(),
        source,
    };
    let opened = Opened::open(&args.file, format).map_err(unreadable)?;
    let asking = args.asking.with_timeout_default(TIMEOUT);
    let bucket = session.bucket(&args.bucket, &asking).await?;
    let kind = bucket.info().kind;
    let source = match opened.exported() {
        Some(exported) if exported != kind => {
            return Err(Fault::Refused {
                what: format!(
                    "the export is of kind {exported}, and bucket {} of kind {kind}",
                    args.bucket
                ),
                advice: format!("import it into a bucket of kind {exported}"),
            });
        }
        Some(_) if has_mapping(&args) => {
            let what = "the file was written by dunlin export and says itself what its lines are; \
                        leave out --key, --value, --amount and --element";
            return Err(Fault::Usage(what.to_owned()));
        }
        Some(_) => opened.restore(kind),
        None => {
            let mapping = Mapping::new(kind, &args).map_err(Fault::Usage)?;
            opened.map(mapping).map_err(unreadable)?
        }
    };
    let started = Instant::now();
    let shared = Arc::new(Shared {
        stop_on_error: args.stop_on_error,
        last: AtomicU64::new(LAST_LINE),
        tally: Mutex::default(),
    });
    import(source, &bucket, args.concurrency, &shared).await;
    let tally = std::mem::take(&mut *shared.tally());
    let ended = tally.ended();
    tally.show(out, started.elapsed())?;
    Ok(ended)
}

fn has_mapping(args: &ImportArgs) -> bool {
    [&args.key, &args.value, &args.amount, &args.element]
        .into_iter()
        .any(Option::is_some)
}

fn format_of(args: &ImportArgs) -> Result<Format, Fault> {
    let ending = |ending| args.file.extension() == Some(std::ffi::OsStr::new(ending));
    match args.format {
        Some(format) => Ok(format),
        None if ending("csv") => Ok(Format::Csv),
        None if ["ndjson", "jsonl", "json"].into_iter().any(ending) => Ok(Format::Ndjson),
        None => Err(Fault::Usage(format!(
            "the ending of {} does not say what it is; add --format ndjson or --format csv",
            Path::new(&args.file).display()
        ))),
    }
}

/// The last line that there can be.
const LAST_LINE: u64 = u64::MAX;

/// What the parts of an import know together.
struct Shared {
    stop_on_error: bool,
    /// The last line that is to be written. Lines before one that failed are, as they would be if
    /// lines were written one after the other.
    last: AtomicU64,
    /// Guards what became of the lines; held to note one.
    tally: Mutex<Tally>,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
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
    fn stop(&self, last: u64, why: String) {
        self.tally().stop(why);
        self.last.fetch_min(last, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.last.load(Ordering::Relaxed) != LAST_LINE
    }

    fn is_wanted(&self, line: u64) -> bool {
        line <= self.last.load(Ordering::Relaxed)
    }
}

/// Writes all lines, showing how far it is, until the end or until somebody interrupts.
async fn import(source: Source, bucket: &Bucket, concurrency: u16, shared: &Arc<Shared>) {
    let (batches, ahead) = mpsc::channel(BATCHES_AHEAD);
    let reader = spawn_blocking({
        let shared = shared.clone();
        move || read(source, &batches, &shared)
    });
    let mut tasks = JoinSet::new();
    let workers: Vec<mpsc::Sender<Job>> = (0..concurrency)
        .map(|_| {
            let (sender, jobs) = mpsc::channel(LINES_AHEAD);
            tasks.spawn(work(bucket.clone(), jobs, shared.clone()));
            sender
        })
        .collect();
    tasks.spawn(hand_out(ahead, workers, shared.clone()));
    let started = Instant::now();
    let mut progress = Progress::new();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            // An interrupt is seen to first; the order of the others does not matter.
            biased;
            signal = tokio::signal::ctrl_c(), if !shared.is_stopped() => {
                if signal.is_ok() {
                    shared.stop(0, "interrupted".to_owned());
                }
            }
            ended = tasks.join_next() => {
                if ended.is_none() {
                    break;
                }
            }
            _ = tick.tick() => progress.show(|| shared.tally().progress(started.elapsed())),
        }
    }
    // It may wait for standard input for ever; the process does not wait for it.
    if !shared.is_stopped() {
        let _ = reader.await;
    }
}

/// Reads and parses on a thread of its own.
fn read(mut source: Source, batches: &mpsc::Sender<Vec<Parsed>>, shared: &Shared) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while !shared.is_stopped() {
        match source.next() {
            Ok(Some(parsed)) => {
                bytes += parsed
                    .change
                    .as_ref()
                    .map_or(0, |(key, change)| size_of(key, change));
                batch.push(parsed);
            }
            Ok(None) => break,
            Err(error) => {
                // What was read before is written.
                let why = format!("the file cannot be read any further: {error}");
                shared.tally().stop(why);
                break;
            }
        }
        if batch.len() >= BATCH_LINES || bytes >= BATCH_BYTES {
            bytes = 0;
            if batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                return;
            }
        }
    }
    // Nobody listens once all is stopped.
    let _ = batches.blocking_send(batch);
}

/// One line, on its way to a worker.
struct Job {
    line: u64,
    key: Bytes,
    change: Change,
    /// Its share of what may wait.
    _waiting: OwnedSemaphorePermit,
}

/// Gives each line to the worker of its key.
async fn hand_out(
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

/// Writes line after line.
async fn work(bucket: Bucket, mut jobs: mpsc::Receiver<Job>, shared: Arc<Shared>) {
    while let Some(job) = jobs.recv().await {
        if !shared.is_wanted(job.line) {
            continue;
        }
        let result = apply(&bucket, &job.key, job.change).await;
        shared.note(job.line, result);
    }
}

/// Roughly the bytes that a change takes in memory.
fn size_of(key: &Bytes, change: &Change) -> usize {
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
