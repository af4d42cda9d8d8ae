//! The load of an experiment: requests are due at a fixed rate, whoever is slow, and each ends in the history.
//!
//! Each write puts a value that no other does, and names what it replaces, so that the history alone tells
//! whether anything was lost. A group of clients has one connection to each node, and knows it by the doors
//! of its own place.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dunlin_client::{Bucket, Bytes, Client, DataEffect, Error, Options, Receipt};
use dunlin_history::{Action, Found, Op, Outcome, Replaces};
use fastrand::Rng;
use tokio::sync::watch;

use super::parts::{BUCKETS, PARTS, Part, open, text};
use super::plan::{ClientsPlan, LoadPlan};
use super::recorder::{Ended, Recorder};
use crate::error::word;
use crate::load::{Arrivals, Spread, Stop, open_loop};

/// Requests under way, above which more are not made.
const UNDER_WAY_MAX: usize = 5_000;
/// Elements of one set.
const ELEMENTS: u64 = 24;

/// A group of clients.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) share: u32,
    /// Without a session.
    buckets: Vec<Bucket>,
    /// Of each session.
    sessions: Vec<Vec<Bucket>>,
}

/// What all operations share.
pub(crate) struct Load {
    plan: LoadPlan,
    groups: Vec<Group>,
    recorder: Recorder,
    start: Instant,
    /// What is going on now.
    phase: watch::Receiver<String>,
    values: AtomicU64,
    /// Of each key of `max` the greatest number that was sent.
    numbers: Vec<AtomicI64>,
    r: u8,
    w: u8,
}

/// What is due.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    draw: u64,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Register,
    Blind,
    Lww,
    Counter,
    Set,
    Max,
    Map,
}

/// Who does it, and to what.
#[derive(Clone, Copy, Debug)]
struct At<'a> {
    group: usize,
    session: Option<u32>,
    part: usize,
    key: &'a str,
    due: Instant,
}

impl Group {
    /// Opens the buckets, whose names begin with `prefix`, through a client of this group.
    pub(crate) async fn open(
        plan: &ClientsPlan,
        client: &Client,
        options: &Options,
        prefix: &str,
    ) -> Result<Self, Error> {
        let client = client.with_options(*options);
        let mut sessions = Vec::new();
        for _ in 0..plan.sessions {
            let session = client.session();
            let mut buckets = Vec::new();
            for (name, _) in BUCKETS {
                buckets.push(session.bucket(&format!("{prefix}{name}")).await?);
            }
            sessions.push(buckets);
        }
        Ok(Self {
            name: plan.name.clone(),
            share: plan.share,
            buckets: open(&client, prefix).await?,
            sessions,
        })
    }

    fn bucket(&self, session: Option<u32>, part: Part) -> Option<&Bucket> {
        let buckets = match session {
            Some(session) => self.sessions.get(session as usize)?,
            None => &self.buckets,
        };
        buckets.get(part.bucket)
    }
}

impl Load {
    pub(crate) fn new(
        plan: LoadPlan,
        groups: Vec<Group>,
        recorder: Recorder,
        start: Instant,
        phase: watch::Receiver<String>,
        owners: usize,
    ) -> Self {
        let numbers = (0..plan.keys).map(|_| AtomicI64::new(0)).collect();
        let quorum =
            |quorum: super::plan::Quorum| u8::try_from(quorum.of(owners)).unwrap_or(u8::MAX);
        Self {
            r: quorum(plan.r),
            w: quorum(plan.w),
            plan,
            groups,
            recorder,
            start,
            phase,
            values: AtomicU64::new(0),
            numbers,
        }
    }

    /// Makes requests until `ends`, and waits for the last of them.
    pub(crate) async fn run(self: Arc<Self>, ends: Instant) {
        let (rate, seed) = (f64::from(self.plan.rate.max(1)), self.plan.seed);
        let arrivals = Arrivals::new(rate, Spread::Even, seed);
        let mut rng = Rng::with_seed(seed);
        let make = |at: tokio::time::Instant| {
            let (load, draw) = (Arc::clone(&self), rng.u64(..));
            let at = at.into_std();
            async move { load.one(Due { at, draw }).await }
        };
        let (ends, stop) = (ends.into(), Stop::default());
        // What is not made was not asked, and is no part of the history.
        open_loop(arrivals, UNDER_WAY_MAX, ends, &stop, make, |_| ()).await;
    }

    /// One request, or a read and the write that follows it.
    async fn one(&self, due: Due) {
        let mut rng = Rng::with_seed(due.draw);
        let group = pick(&mut rng, self.groups.iter().map(|group| group.share));
        let works = [
            Work::Register,
            Work::Blind,
            Work::Lww,
            Work::Counter,
            Work::Set,
            Work::Max,
            Work::Map,
        ];
        let Some(work) = works.get(pick(&mut rng, self.plan.mix.shares().into_iter())) else {
            return;
        };
        let key = rng.u64(..self.plan.keys);
        let reads = rng.f64() < self.plan.reads;
        let sessions = self
            .groups
            .get(group)
            .map_or(0, |group| group.sessions.len());
        let session =
            (sessions > 0).then(|| rng.u32(..u32::try_from(sessions).unwrap_or(u32::MAX)));
        let name = format!("k{key}");
        let at = |part| At {
            group,
            session,
            part,
            key: &name,
            due: due.at,
        };
        // Errors of handles are mistakes of this program, which a first run shows: no key and no kind is drawn.
        let _ = match work {
            Work::Register => self.register(at(0), reads, false).await,
            Work::Blind => self.register(at(0), reads, true).await,
            Work::Lww => self.lww(at(1), reads).await,
            Work::Counter => self.counter(at(2), reads, &mut rng).await,
            Work::Set => self.set(at(3), reads, &mut rng).await,
            Work::Max => self.max(at(4), reads, key).await,
            Work::Map => match rng.u8(..3) {
                0 => self.register(at(5), reads, false).await,
                1 => self.counter(at(6), reads, &mut rng).await,
                _ => self.set(at(7), reads, &mut rng).await,
            },
        };
    }

    /// What `at` names.
    fn find(&self, at: At<'_>) -> Option<(Part, &Bucket)> {
        let part = *PARTS.get(at.part)?;
        let bucket = self.groups.get(at.group)?.bucket(at.session, part)?;
        Some((part, bucket))
    }

    fn asked<'a>(&'a self, at: At<'a>) -> Asked<'a> {
        Asked {
            load: self,
            at,
            started: Instant::now(),
        }
    }

    async fn register(&self, at: At<'_>, reads: bool, blind: bool) -> Option<()> {
        let (part, bucket) = self.find(at)?;
        let register = part.register(bucket, at.key).ok()?;
        if blind && !reads {
            let (value, asked) = (self.value(), self.asked(at));
            let put = register.put_new(value.clone()).await;
            let replaces = Replaces::Read(Vec::new());
            asked.write(Action::Put { value, replaces }, put);
            return Some(());
        }
        let asked = self.asked(at);
        let answer = register.get().await;
        let (values, context) = match &answer {
            Ok(Some(siblings)) => {
                let values: Vec<String> = siblings.values.iter().map(text).collect();
                (values, Some(siblings.context.clone()))
            }
            Ok(None) | Err(_) => (Vec::new(), None),
        };
        let is_known = answer.is_ok();
        asked.read(answer.map(|_| Found::Values(values.clone())));
        if reads || !is_known {
            return Some(());
        }
        let value = self.value();
        // The write is due when the read is over.
        let asked = self.asked(At {
            due: Instant::now(),
            ..at
        });
        let put = match &context {
            Some(context) => register.put(value.clone(), context).await,
            None => register.put_new(value.clone()).await,
        };
        let replaces = Replaces::Read(values);
        asked.write(Action::Put { value, replaces }, put);
        Some(())
    }

    async fn lww(&self, at: At<'_>, reads: bool) -> Option<()> {
        let (_, bucket) = self.find(at)?;
        let lww = bucket.lww(at.key).ok()?;
        let asked = self.asked(at);
        if reads {
            let found = lww.get().await;
            asked.read(found.map(|value| Found::Values(value.iter().map(text).collect())));
        } else {
            let value = self.value();
            let put = lww.put(value.clone()).await;
            let replaces = Replaces::Seen;
            asked.write(Action::Put { value, replaces }, put);
        }
        Some(())
    }

    async fn counter(&self, at: At<'_>, reads: bool, rng: &mut Rng) -> Option<()> {
        let (part, bucket) = self.find(at)?;
        let counter = part.counter(bucket, at.key).ok()?;
        let asked = self.asked(at);
        if reads {
            asked.read(counter.get().await.map(Found::Sum));
        } else {
            let by = rng.i64(1..=9);
            let done = counter.increment(by).await;
            asked.write(Action::Increment(by), done);
        }
        Some(())
    }

    async fn set(&self, at: At<'_>, reads: bool, rng: &mut Rng) -> Option<()> {
        let (part, bucket) = self.find(at)?;
        let set = part.set(bucket, at.key).ok()?;
        let element = format!("e{}", rng.u64(..ELEMENTS));
        let asked = self.asked(at);
        match (reads, rng.u8(..4)) {
            (true, _) => {
                let found = set.elements().collect().await;
                let elements =
                    |found: Vec<Bytes>| Found::Elements(found.iter().map(text).collect());
                asked.read(found.map(elements));
            }
            (false, 0) => {
                let done = set.remove([&element]).await;
                asked.write(Action::Remove(vec![element]), done);
            }
            (false, _) => {
                let done = set.add([&element]).await;
                asked.write(Action::Add(vec![element]), done);
            }
        }
        Some(())
    }

    async fn max(&self, at: At<'_>, reads: bool, key: u64) -> Option<()> {
        let (_, bucket) = self.find(at)?;
        let max = bucket.max(at.key).ok()?;
        if reads {
            let asked = self.asked(at);
            asked.read(max.get().await.map(Found::Number));
        } else {
            let number = self.numbers.get(usize::try_from(key).ok()?)?;
            let number = number.fetch_add(1, Relaxed) + 1;
            let asked = self.asked(at);
            let done = max.observe(number).await;
            asked.write(Action::Observe(number), done);
        }
        Some(())
    }

    /// A value that there is no other of.
    fn value(&self) -> String {
        let number = self.values.fetch_add(1, Relaxed);
        format!(
            "v{number:0width$}",
            width = self.plan.value_bytes.saturating_sub(1)
        )
    }
}

/// A request that was made.
struct Asked<'a> {
    load: &'a Load,
    at: At<'a>,
    started: Instant,
}

impl Asked<'_> {
    fn read(self, answer: Result<Found, Error>) {
        match answer {
            Ok(found) => self.ended(Action::Read, Outcome::Read(found), 1, None),
            Err(error) => self.ended(Action::Read, Outcome::NotApplied, 1, Some(error)),
        }
    }

    fn write(self, action: Action, answer: Result<Receipt, Error>) {
        match answer {
            Ok(receipt) => self.ended(action, Outcome::Done, receipt.attempts, None),
            Err(error) => {
                let outcome = match error.effect() {
                    DataEffect::NotApplied => Outcome::NotApplied,
                    DataEffect::Unknown => Outcome::Unknown,
                };
                let sent = u32::try_from(error.asked().len()).unwrap_or(u32::MAX);
                self.ended(action, outcome, sent.max(1), Some(error));
            }
        }
    }

    fn ended(self, action: Action, outcome: Outcome, sent: u32, error: Option<Error>) {
        let Self { load, at, started } = self;
        let At {
            group,
            session,
            part,
            key,
            due,
        } = at;
        let (now, is_read) = (Instant::now(), action == Action::Read);
        let at_us = |at: Instant| micros(at.saturating_duration_since(load.start));
        let name = load.groups.get(group).map(|group| group.name.as_str());
        let phase = format!("{}/{}", *load.phase.borrow(), name.unwrap_or_default());
        let op = Op {
            client: u32::try_from(group).unwrap_or(u32::MAX),
            session,
            bucket: PARTS.get(part).map_or("", |part| part.name).to_owned(),
            key: key.to_owned(),
            start_us: at_us(started),
            end_us: at_us(now),
            sent,
            node: None,
            w: (!is_read).then_some(load.w),
            r: Some(load.r),
            strict: !load.plan.sloppy,
            settled: false,
            phase: Some(phase),
            action,
            outcome,
        };
        load.recorder.ended(Ended {
            op,
            group,
            latency: now.saturating_duration_since(due),
            error: error.as_ref().map(word),
        });
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The position of one of these, in proportion to their shares.
fn pick(rng: &mut Rng, shares: impl Iterator<Item = u32> + Clone) -> usize {
    let sum: u32 = shares.clone().sum();
    let mut at = rng.u32(..sum.max(1));
    for (position, share) in shares.enumerate() {
        match at.checked_sub(share) {
            Some(left) => at = left,
            None => return position,
        }
    }
    0
}
