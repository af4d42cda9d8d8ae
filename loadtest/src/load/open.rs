//! The open loop: requests are due at a fixed rate, whether or not earlier ones were answered.
//!
//! A thread of its own keeps the time: the runtime's timers are a millisecond coarse. How late it is
//! itself, some 60 µs as systems sleep, is in the latencies.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{End, Meter, Reason, Spent, Step, Tally, Work};
use crate::args::LoadArgs;
use crate::cluster::Node;

/// Requests under way, above which more are counted as failed without being made: nodes that are so
/// far behind do not keep up with the rate.
const UNDER_WAY_MAX: usize = 20_000;

/// Loads at `per_second`; what was due within the measurement counts, however late it was answered.
pub(crate) async fn open_loop<W: Work>(
    work: &Arc<W>,
    load: &LoadArgs,
    per_second: u32,
    seed: u64,
    nodes: &[Node],
) -> (Tally, Spent) {
    let (due, mut dues) = mpsc::channel(UNDER_WAY_MAX);
    let start = Instant::now();
    let begin = start + load.warm_up;
    let end = begin + load.measure;
    let pacer = thread::spawn(move || {
        let every = Duration::from_secs(1) / per_second;
        let mut at = start;
        while at < end {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            // Full: the loop below is behind; it is due all the same, and counted as soon as it is seen.
            if due.blocking_send(at).is_err() {
                return;
            }
            at += every;
        }
    });
    let mut rng = Rng::with_seed(seed);
    let mut tally = Tally::default();
    let mut under_way: JoinSet<(Step, Instant, Duration)> = JoinSet::new();
    let mut meter = None;
    let mut count = |(step, at, latency): (Step, Instant, Duration)| {
        if at >= begin {
            tally.add(step, latency);
        }
    };
    while let Some(at) = dues.recv().await {
        if at >= begin && meter.is_none() {
            meter = Some(Meter::start(nodes));
        }
        while let Some(joined) = under_way.try_join_next() {
            count(finished(joined));
        }
        if under_way.len() >= UNDER_WAY_MAX {
            let what = super::Class::Write;
            let end = End::Failed(Reason::ours("too many under way"));
            count((Step { what, end }, at, Duration::ZERO));
            continue;
        }
        let (work, draw) = (Arc::clone(work), rng.u64(..));
        under_way.spawn(async move {
            let step = work.step(0, draw).await;
            (step, at, at.elapsed())
        });
    }
    let spent = meter.map(|meter| meter.read()).unwrap_or_default();
    while let Some(joined) = under_way.join_next().await {
        count(finished(joined));
    }
    if let Err(panic) = pacer.join() {
        std::panic::resume_unwind(panic);
    }
    (tally, spent)
}

fn finished<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    match joined {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
