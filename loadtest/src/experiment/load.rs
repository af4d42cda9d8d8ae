//! The load of an experiment: requests are due at a fixed rate, whoever is slow, and each ends in the history.
//!
//! Each write puts a value that no other does, and names what it replaces, so that the history alone tells
//! whether anything was lost. A group of clients has one connection to each node, and knows it by the doors
//! of its own place.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dunlin_client::{Bucket, Bytes, Client, DataEffect, Error, Options, Receipt};
use dunlin_history::{Action, Found, Kind, Op, Outcome, Replaces};
use fastrand::Rng;
use tokio::sync::watch;

use super::plan::{LoadPlan, Mix};
use super::recorder::{Ended, Recorder};
use crate::error::word;
use crate::load::{Arrivals, Spread, Stop, open_loop};

/// Requests under way, above which more are not made.
const UNDER_WAY_MAX: usize = 5_000;
/// Elements of one set.
const ELEMENTS: u64 = 24;

/// The buckets of a run, by the name that the history gives them.
pub(crate) const BUCKETS: [(&str, Kind, dunlin_client::Kind); 5] = [
    ("register", Kind::Register, dunlin_client::Kind::Register),
    ("lww", Kind::Lww, dunlin_client::Kind::Lww),
    ("counter", Kind::Counter, dunlin_client::Kind::Counter),
    ("set", Kind::Set, dunlin_client::Kind::Set),
    ("max", Kind::Max, dunlin_client::Kind::Max),
];

/// A group of clients.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) share: u32,
    buckets: Vec<Bucket>,
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
}

impl Group {
    /// Opens the buckets through a client of this group.
    pub(crate) async fn open(
        name: String,
        share: u32,
        client: &Client,
        options: &Options,
    ) -> Result<Self, Error> {
        let client = client.with_options(*options);
        let mut buckets = Vec::new();
        for (bucket, ..) in BUCKETS {
            buckets.push(client.bucket(bucket).await?);
        }
        Ok(Self {
            name,
            share,
            buckets,
        })
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
        let Mix {
            register,
            blind,
            lww,
            counter,
            set,
            max,
        } = self.plan.mix;
        let shares = [register, blind, lww, counter, set, max];
        let works = [
            Work::Register,
            Work::Blind,
            Work::Lww,
            Work::Counter,
            Work::Set,
            Work::Max,
        ];
        let work = works.get(pick(&mut rng, shares.into_iter()));
        let (Some(group), Some(work)) = (self.groups.get(group).map(|_| group), work) else {
            return;
        };
        let key = rng.u64(..self.plan.keys);
        let reads = rng.f64() < self.plan.reads;
        self.work(group, *work, key, reads, due.at, &mut rng).await;
    }

    async fn work(
        &self,
        group: usize,
        work: Work,
        key: u64,
        reads: bool,
        due: Instant,
        rng: &mut Rng,
    ) {
        let name = format!("k{key}");
        let at = |bucket: usize| Asked {
            load: self,
            group,
            bucket,
            key: name.clone(),
            due,
            started: Instant::now(),
        };
        let bucket = |at: usize| {
            self.groups
                .get(group)
                .and_then(|group| group.buckets.get(at))
        };
        match work {
            Work::Register | Work::Blind => {
                let (asked, Some(bucket)) = (at(0), bucket(0)) else {
                    return;
                };
                let Ok(register) = bucket.register(&name) else {
                    return;
                };
                if reads || work == Work::Register {
                    let answer = register.get().await;
                    let (values, context) = match &answer {
                        Ok(Some(siblings)) => {
                            let values = siblings.values.iter().map(text).collect();
                            (values, Some(siblings.context.clone()))
                        }
                        Ok(None) | Err(_) => (Vec::new(), None),
                    };
                    let answered = answer.map(|_| Found::Values(values.clone()));
                    let is_known = answered.is_ok();
                    asked.read(answered);
                    if reads || !is_known {
                        return;
                    }
                    let value = self.value();
                    let asked = Asked {
                        due: Instant::now(),
                        ..at(0)
                    };
                    let put = match &context {
                        Some(context) => register.put(value.clone(), context).await,
                        None => register.put_new(value.clone()).await,
                    };
                    let replaces = Replaces::Read(values);
                    asked.write(Action::Put { value, replaces }, put);
                    return;
                }
                let value = self.value();
                let put = register.put_new(value.clone()).await;
                let replaces = Replaces::Read(Vec::new());
                asked.write(Action::Put { value, replaces }, put);
            }
            Work::Lww => {
                let (asked, Some(bucket)) = (at(1), bucket(1)) else {
                    return;
                };
                let Ok(lww) = bucket.lww(&name) else { return };
                if reads {
                    let found = lww.get().await;
                    asked.read(found.map(|value| Found::Values(value.iter().map(text).collect())));
                } else {
                    let value = self.value();
                    let put = lww.put(value.clone()).await;
                    let replaces = Replaces::Seen;
                    asked.write(Action::Put { value, replaces }, put);
                }
            }
            Work::Counter => {
                let (asked, Some(bucket)) = (at(2), bucket(2)) else {
                    return;
                };
                let Ok(counter) = bucket.counter(&name) else {
                    return;
                };
                if reads {
                    asked.read(counter.get().await.map(Found::Sum));
                } else {
                    let by = rng.i64(1..=9);
                    let done = counter.increment(by).await;
                    asked.write(Action::Increment(by), done);
                }
            }
            Work::Set => {
                let (asked, Some(bucket)) = (at(3), bucket(3)) else {
                    return;
                };
                let Ok(set) = bucket.set(&name) else { return };
                let element = format!("e{}", rng.u64(..ELEMENTS));
                match (reads, rng.u8(..4)) {
                    (true, _) => {
                        let found = set.elements().collect().await;
                        asked.read(
                            found.map(|elements| {
                                Found::Elements(elements.iter().map(text).collect())
                            }),
                        );
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
            }
            Work::Max => {
                let (asked, Some(bucket)) = (at(4), bucket(4)) else {
                    return;
                };
                let Ok(max) = bucket.max(&name) else { return };
                if reads {
                    asked.read(max.get().await.map(Found::Number));
                } else {
                    let number = self.numbers.get(key as usize);
                    let number = number.map_or(0, |number| number.fetch_add(1, Relaxed) + 1);
                    let done = max.observe(number).await;
                    asked.write(Action::Observe(number), done);
                }
            }
        }
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
    group: usize,
    bucket: usize,
    key: String,
    due: Instant,
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
        let Self {
            load,
            group,
            bucket,
            key,
            due,
            started,
        } = self;
        let (now, is_read) = (Instant::now(), action == Action::Read);
        let at_us = |at: Instant| micros(at.saturating_duration_since(load.start));
        let name = load.groups.get(group).map(|group| group.name.as_str());
        let phase = format!("{}/{}", *load.phase.borrow(), name.unwrap_or_default());
        let op = Op {
            client: u32::try_from(group).unwrap_or(u32::MAX),
            session: None,
            bucket: BUCKETS.get(bucket).map_or("", |(name, ..)| name).to_owned(),
            key,
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

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
