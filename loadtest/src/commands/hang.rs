//! A node that hangs under load: it keeps its connections and answers nothing.
//!
//! ```text
//!   load ──────────────────────────────────────────────────────────────> settle ── read every key
//!          before │ SIGSTOP … hanging … SIGCONT │ after
//! ```
//!
//! Each key is written by one worker only, one write after the other, and each value carries its
//! number. So it is known what a read may show: no less than what was acknowledged before the read
//! began (reads and writes ask for two of three owners), and nothing that was never written.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dunlin_client::{Bucket, Bytes, Durability, Kind};
use rustix::process::Signal;

use crate::args::{HangArgs, LoadArgs};
use crate::cluster::{Cluster, START_MAX, signal};
use crate::error::LoadError;
use crate::load::{Class, End, Pace, Reason, Step, Tally, Work, fill, key, lock, measured};
use crate::report::{Cell, Report, Table};

/// Bytes of a value: the number of the write, and something to carry.
const VALUE_BYTES: usize = 256;
/// Cases of wrong answers that are described; more are only counted.
const DESCRIBED_MAX: usize = 10;
/// The library turns to another node after a second.
const LATE: Duration = Duration::from_millis(900);
/// While every key is read at the end.
const READERS: u16 = 32;

const PHASES: [&str; 3] = ["before", "hanging", "after"];

/// Loads, checks every answer, and keeps what each phase was like.
struct Checked {
    bucket: Bucket,
    workers: u64,
    /// Guards the keys of each worker, which no other touches while the load is on.
    keys: Vec<Mutex<Vec<Known>>>,
    phase: AtomicUsize,
    phases: Mutex<[Phase; 3]>,
    /// When the last request succeeded, of any worker. Taken while the phases are held.
    last_done: Mutex<Option<Instant>>,
    described: Mutex<Vec<String>>,
}

/// What is known of a key: numbers of writes.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The last one that was acknowledged.
    acknowledged: u64,
    /// The last one that was sent.
    sent: u64,
    /// The last one that was answered so late that the library may have sent it to two nodes.
    late: u64,
}

/// What a phase was like.
#[derive(Default)]
struct Phase {
    tally: Tally,
    gap: Duration,
    stale: u64,
    unwritten: u64,
}

/// What a read shows beside what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Fine,
    /// An older value than one that was acknowledged before.
    Stale,
    /// A value that was never written.
    Unwritten,
}

impl Judgement {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "the",
            Self::Stale => "the older",
            Self::Unwritten => "the unwritten",
        }
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            acknowledged, late, ..
        } = self;
        write!(f, "{acknowledged} was acknowledged")?;
        match late {
            0 => Ok(()),
            late => write!(
                f,
                ", {late} only after the library had turned to another node"
            ),
        }
    }
}

impl Known {
    fn judge(self, shown: u64) -> Judgement {
        if shown > self.sent {
            Judgement::Unwritten
        } else if shown < self.acknowledged {
            Judgement::Stale
        } else {
            Judgement::Fine
        }
    }
}

impl Work for Checked {
    async fn step(&self, worker: usize, draw: u64) -> Step {
        let Some(keys) = self.keys.get(worker) else {
            let (what, end) = (Class::Read, End::Failed(Reason::ours("no such worker")));
            return Step { what, end };
        };
        let at = (draw & 0xffff_ffff) as usize % lock(keys).len();
        let number = at as u64 * self.workers + worker as u64;
        let start = Instant::now();
        let step = match draw >> 63 {
            0 => self.write(keys, at, number).await,
            _ => self.read(keys, at, number).await,
        };
        let now = Instant::now();
        let mut phases = lock(&self.phases);
        if let Some(phase) = phases.get_mut(self.phase.load(Relaxed)) {
            phase
                .tally
                .add(step.clone(), now.saturating_duration_since(start));
            if step.end == End::Done {
                // A gap belongs to the phase in which it ends.
                let last = lock(&self.last_done).replace(now).unwrap_or(now);
                phase.gap = phase.gap.max(now.saturating_duration_since(last));
            }
        }
        step
    }
}

impl Checked {
    async fn write(&self, keys: &Mutex<Vec<Known>>, at: usize, number: u64) -> Step {
        let what = Class::Update;
        let mut sent = 0;
        if let Some(known) = lock(keys).get_mut(at) {
            known.sent += 1;
            sent = known.sent;
        }
        let start = Instant::now();
        match put(&self.bucket, number, sent).await {
            Ok(()) => {
                if let Some(known) = lock(keys).get_mut(at) {
                    known.acknowledged = sent;
                    if start.elapsed() >= LATE {
                        known.late = sent;
                    }
                }
                Step {
                    what,
                    end: End::Done,
                }
            }
            Err(error) => Step {
                what,
                end: End::Failed((&error).into()),
            },
        }
    }

    async fn read(&self, keys: &Mutex<Vec<Known>>, at: usize, number: u64) -> Step {
        let what = Class::Read;
        let known = lock(keys).get(at).copied().unwrap_or_default();
        let read = match self.bucket.lww(key(number)) {
            Ok(handle) => handle.read().await,
            Err(error) => Err(error),
        };
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                return Step {
                    what,
                    end: End::Failed((&error).into()),
                };
            }
        };
        let said = read.info.coordinator;
        let Some(latest) = read.value else {
            self.describe(|| format!("{} was not found by {said}; {known}", key(number)));
            return Step {
                what,
                end: End::NotFound,
            };
        };
        let shown = number_in(&latest.value);
        match known.judge(shown) {
            Judgement::Fine => {}
            judgement => {
                let mut phases = lock(&self.phases);
                if let Some(phase) = phases.get_mut(self.phase.load(Relaxed)) {
                    phase.stale += u64::from(judgement == Judgement::Stale);
                    phase.unwritten += u64::from(judgement == Judgement::Unwritten);
                }
                self.describe(|| {
                    let what = judgement.word();
                    format!(
                        "{} showed {what} write {shown} at {said}; {known}",
                        key(number)
                    )
                });
            }
        }
        Step {
            what,
            end: End::Done,
        }
    }

    fn describe(&self, what: impl FnOnce() -> String) {
        let mut described = lock(&self.described);
        if described.len() < DESCRIBED_MAX {
            let phase = PHASES.get(self.phase.load(Relaxed)).unwrap_or(&"");
            described.push(format!("{phase}: {}", what()));
        }
    }
}

/// `dunlin-loadtest hang`
pub(crate) async fn run(args: &HangArgs) -> Result<Report, LoadError> {
    let mut cluster = Cluster::open(&args.cluster).await?;
    let nodes = cluster.nodes()?;
    if nodes.len() < 3 {
        let (needed, nodes) = (3, nodes.len());
        return Err(LoadError::TooFewNodes { needed, nodes });
    }
    let bucket = cluster
        .bucket("hang", Kind::Lww, Durability::Synced)
        .await?;
    let checked = Arc::new(prepare(bucket, args).await?);
    let (around, hanging) = (seconds(args.around), seconds(args.seconds));
    let load = LoadArgs {
        in_flight: args.in_flight,
        measure: around + (hanging + around) * u32::from(args.times),
        warm_up: Duration::ZERO,
        rounds: 1,
        seed: args.seed,
    };
    let script = async {
        tokio::time::sleep(around).await;
        for time in 0..args.times {
            if let Some(node) = nodes.get(usize::from(time) % nodes.len()) {
                let paused = Paused::pause(node.pid)?;
                checked.phase.store(1, Relaxed);
                tokio::time::sleep(hanging).await;
                // Before it goes on: what it does then belongs to the time after.
                checked.phase.store(2, Relaxed);
                paused.resume()?;
            }
            tokio::time::sleep(around).await;
        }
        Ok::<(), LoadError>(())
    };
    let pace = Pace::Closed {
        in_flight: args.in_flight.into(),
    };
    let processes: Vec<u32> = nodes.iter().map(|node| node.pid).collect();
    let loading = measured(&checked, &pace, &load, args.seed, &processes);
    let (_, played) = tokio::join!(loading, script);
    played?;
    let equal_after = cluster.wait_until_equal(START_MAX).await?;
    let (lost, missing) = read_all(&checked).await?;

    let times = u32::from(args.times);
    let mut report = Report::new("hang");
    report.fact("nodes", Cell::Count(nodes.len() as u64));
    report.fact("keys", Cell::Count(args.keys));
    report.fact("in flight", Cell::Count(args.in_flight.into()));
    report.fact("hanging for", Cell::seconds(hanging));
    report.fact("times", Cell::Count(args.times.into()));
    report.fact("equal after the load", Cell::seconds(equal_after));
    report.fact("keys in the end older than acknowledged", Cell::Count(lost));
    report.fact("keys in the end not found", Cell::Count(missing));
    tell(
        &mut report,
        &checked,
        [around, hanging * times, around * times],
    );
    if lost + missing > 0 {
        report.wrong(format!(
            "{} keys lost an acknowledged write",
            lost + missing
        ));
    }
    for case in lock(&checked.described).drain(..) {
        report.wrong(case);
    }
    cluster.close().await;
    Ok(report)
}

/// Writes every key once.
async fn prepare(bucket: Bucket, args: &HangArgs) -> Result<Checked, LoadError> {
    let to = bucket.clone();
    fill(args.keys, args.in_flight, move |index| {
        let to = to.clone();
        async move { put(&to, index, 1).await }
    })
    .await?;
    let workers = u64::from(args.in_flight).min(args.keys);
    let known = Known {
        acknowledged: 1,
        sent: 1,
        late: 0,
    };
    // Worker w has the keys w, w + workers, …
    let of = |worker: u64| (args.keys - worker).div_ceil(workers) as usize;
    Ok(Checked {
        bucket,
        workers,
        keys: (0..workers)
            .map(|worker| Mutex::new(vec![known; of(worker)]))
            .collect(),
        phase: AtomicUsize::new(0),
        phases: Mutex::default(),
        last_done: Mutex::default(),
        described: Mutex::default(),
    })
}

/// Reads every key; says how many are older than acknowledged, and how many are not there.
async fn read_all(checked: &Arc<Checked>) -> Result<(u64, u64), LoadError> {
    let keys: usize = checked.keys.iter().map(|keys| lock(keys).len()).sum();
    let wrong: Arc<Mutex<(u64, u64)>> = Arc::default();
    let (into, checked) = (Arc::clone(&wrong), Arc::clone(checked));
    fill(keys as u64, READERS, move |number| {
        let (into, checked) = (Arc::clone(&into), Arc::clone(&checked));
        async move {
            let (worker, at) = (number % checked.workers, number / checked.workers);
            let keys = checked.keys.get(worker as usize);
            let known = keys.and_then(|keys| lock(keys).get(at as usize).copied());
            let shown = checked.bucket.lww(key(number))?.get().await?;
            let known = known.unwrap_or_default();
            match shown.map(|value| known.judge(number_in(&value))) {
                Some(Judgement::Fine) => {}
                Some(Judgement::Stale | Judgement::Unwritten) => lock(&into).0 += 1,
                None => lock(&into).1 += 1,
            }
            Ok(())
        }
    })
    .await?;
    let counts = *lock(&wrong);
    Ok(counts)
}

async fn put(bucket: &Bucket, number: u64, write: u64) -> Result<(), dunlin_client::Error> {
    let mut value = vec![0x5a; VALUE_BYTES];
    if let Some(head) = value.first_chunk_mut::<8>() {
        *head = write.to_be_bytes();
    }
    bucket
        .lww(key(number))?
        .put(Bytes::from(value))
        .await
        .map(|_| ())
}

/// The number of the write that a value comes from; no write has the number 0.
fn number_in(value: &[u8]) -> u64 {
    value
        .first_chunk::<8>()
        .map_or(0, |head| u64::from_be_bytes(*head))
}

/// A process that hangs. Dropped, it goes on.
struct Paused(u32);

impl Paused {
    fn pause(pid: u32) -> Result<Self, LoadError> {
        signal(pid, Signal::STOP)?;
        Ok(Self(pid))
    }

    fn resume(self) -> Result<(), LoadError> {
        signal(self.0, Signal::CONT)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // To go on twice is to go on; if it is gone, so is the reason to.
        let _ = signal(self.0, Signal::CONT);
    }
}

fn tell(report: &mut Report, checked: &Checked, lengths: [Duration; 3]) {
    let mut table = Table::new([
        "phase",
        "done",
        "longest gap",
        "put p50",
        "put p99.9",
        "put max",
        "get p50",
        "get p99.9",
        "get max",
        "failed",
        "false not-founds",
        "stale",
        "never written",
    ]);
    let phases = lock(&checked.phases);
    for ((name, phase), length) in PHASES.into_iter().zip(&*phases).zip(lengths) {
        let (puts, gets) = (phase.tally.of(Class::Update), phase.tally.of(Class::Read));
        table.row([
            Cell::text(name),
            Cell::PerSecond(phase.tally.done() as f64 / length.as_secs_f64()),
            Cell::micros(phase.gap),
            Cell::micros(puts.per_mille(500)),
            Cell::micros(puts.per_mille(999)),
            Cell::micros(puts.max()),
            Cell::micros(gets.per_mille(500)),
            Cell::micros(gets.per_mille(999)),
            Cell::micros(gets.max()),
            Cell::text(phase.tally.failures_in_words()),
            Cell::Count(phase.tally.not_found()),
            Cell::Count(phase.stale),
            Cell::Count(phase.unwritten),
        ]);
        phase.tally.complain(name);
        let bad = phase.tally.not_found() + phase.stale + phase.unwritten;
        if bad > 0 {
            report.wrong(format!("{name}: {bad} wrong answers"));
        }
    }
    report.table("under load", table);
    report.note("Longest gap: between two requests that succeeded, of all workers together.");
    report.note("Stale: a read showed less than what was acknowledged before it began.");
}

fn seconds(count: u16) -> Duration {
    Duration::from_secs(count.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_may_show_what_is_acknowledged_or_under_way_and_nothing_else() {
        let known = Known {
            acknowledged: 4,
            sent: 6,
            late: 0,
        };
        assert_eq!(known.judge(3), Judgement::Stale);
        for shown in 4..=6 {
            assert_eq!(known.judge(shown), Judgement::Fine);
        }
        assert_eq!(known.judge(7), Judgement::Unwritten);
    }

    #[test]
    fn a_value_says_which_write_it_comes_from() {
        assert_eq!(number_in(&[0, 0, 0, 0, 0, 0, 1, 2, 0x5a]), 258);
        assert_eq!(number_in(b"short"), 0);
    }
}
