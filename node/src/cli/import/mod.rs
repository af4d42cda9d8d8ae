//! `dunlin import`: the lines of a file, written into a bucket.
//!
//! ```text
//! thread: read, parse ──batches──> hand out, by key ──> worker ─┐
//!                                                   ──> worker ─┼─> tally
//!                                                   ──> worker ─┘
//! ```
//!
//! Each of `--concurrency` workers has one request under way. All lines of a key go to one worker, in
//! their order; lines that add to one set go together. What is read and not yet written is bounded in
//! bytes, whatever the size of lines. A line that is not written is noted with its number, and the
//! rest goes on; what may or may not have been written is never tried again here.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_client::Bucket;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use self::mapping::Mapping;
use self::source::{Opened, Parsed, Source};
use self::work::{Job, Shared, hand_out, size_of, work};
use super::args::{Format, ImportArgs};
use super::ended::Ended;
use super::fault::Fault;
use super::output::Output;
use super::progress::Progress;
use super::session::Session;

mod apply;
mod cell;
mod csv;
mod lines;
mod mapping;
mod source;
mod tally;
mod work;

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
/// How often the progress is looked at.
const TICK: Duration = Duration::from_millis(200);

/// `dunlin import`
pub(crate) async fn run(
    session: &Session,
    out: &mut Output,
    args: ImportArgs,
) -> Result<Ended, Fault> {
    let format = format_of(&args)?;
    let opened = Opened::open(&args.file, format).map_err(|source| Fault::Input {
        path: args.file.clone(),
        source,
    })?;
    let asking = args.asking.clone().with_timeout_default(TIMEOUT);
    let bucket = session.bucket(&args.bucket, &asking).await?;
    let kind = bucket.info().kind;
    if let Opened::Export { kind: exported, .. } = &opened {
        if *exported != kind {
            return Err(Fault::Refused {
                what: format!(
                    "the export is of kind {exported}, and bucket {} of kind {kind}",
                    args.bucket
                ),
                advice: format!("import it into a bucket of kind {exported}"),
            });
        }
        if has_mapping(&args) {
            let what = "the file was written by dunlin export and says itself what its lines are; \
                        leave out --key, --value, --amount and --element";
            return Err(Fault::Usage(what.to_owned()));
        }
    }
    let mapping = || Mapping::new(kind, &args).map_err(Fault::Usage);
    let source = opened.lines(kind, mapping)?;
    let started = Instant::now();
    let shared = Arc::new(Shared::new(args.stop_on_error));
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
