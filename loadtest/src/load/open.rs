//! The open loop: requests are due at a fixed rate, whether or not earlier ones were answered.
//!
//! A thread of its own keeps the time: the runtime's timers are a millisecond coarse. How late it is
//! itself, some 60 µs as systems sleep, is in the latencies.

use std::future::Future;
use std::thread;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Arrivals, Stop};

/// Makes what is due before `end`, and waits for what is under way then. Above `under_way_max` requests
/// that are due are not made: nodes that are so far behind do not keep up with the rate.
pub(crate) async fn open_loop<F: Future<Output = ()> + Send + 'static>(
    arrivals: Arrivals,
    under_way_max: usize,
    end: Instant,
    stop: &Stop,
    mut make: impl FnMut(Instant) -> F,
    mut not_sent: impl FnMut(Instant),
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
            not_sent(at);
            continue;
        }
        under_way.spawn(make(at));
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
