//! The open loop: requests are due at a fixed rate, whether or not earlier ones were answered.
//!
//! A thread of its own keeps the time: the runtime's timers are a millisecond coarse. How late it is
//! itself, some 60 µs as systems sleep, is in the latencies.

use std::sync::{Arc, Mutex};
use std::thread;

use fastrand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Arrivals, Ended, Record, Stop, Work, lock};

/// Loads with what is due before `end`, and waits for what is under way then. Above `under_way_max`
/// requests that are due are not made: nodes that are so far behind do not keep up with the rate.
pub(super) async fn open_loop<W: Work, R: Record>(
    work: &Arc<W>,
    arrivals: Arrivals,
    under_way_max: usize,
    seed: u64,
    end: Instant,
    record: &Arc<Mutex<R>>,
    stop: &Stop,
) {
    let (due, mut dues) = mpsc::channel(under_way_max.max(1));
    let start = Instant::now();
    let pacer = thread::spawn(move || {
        let moments = arrivals.map(|after| start + after);
        for at in moments.take_while(|at| *at < end) {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            // Full: the loop below is behind; it is due all the same, and counted as soon as it is seen.
            if due.blocking_send(at).is_err() {
                return;
            }
        }
    });
    let mut rng = Rng::with_seed(seed);
    let mut under_way: JoinSet<()> = JoinSet::new();
    loop {
        let at = tokio::select! {
            biased;
            () = stop.asked() => break,
            at = dues.recv() => match at {
                Some(at) => at,
                None => break,
            },
        };
        while let Some(joined) = under_way.try_join_next() {
            finished(joined);
        }
        if under_way.len() >= under_way_max {
            lock(record).not_sent(at);
            continue;
        }
        let (work, record, draw) = (Arc::clone(work), Arc::clone(record), rng.u64(..));
        under_way.spawn(async move {
            let step = work.step(0, draw).await;
            let ended = Ended {
                step,
                due: at,
                at: Instant::now(),
            };
            lock(&record).ended(ended);
        });
    }
    while let Some(joined) = under_way.join_next().await {
        finished(joined);
    }
    // A pacer that was stopped early sleeps until the next request would be due, and ends by itself.
    if !stop.is_asked()
        && let Err(panic) = pacer.join()
    {
        std::panic::resume_unwind(panic);
    }
}

fn finished<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    match joined {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
