//! The closed loop: each worker asks again when it was answered.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{End, Meter, Spent, Tally, Work};
use crate::args::LoadArgs;
use crate::cluster::Node;

/// Loads for the warm-up and the measurement; what ended within the measurement counts.
pub(crate) async fn closed_loop<W: Work>(
    work: &Arc<W>,
    load: &LoadArgs,
    seed: u64,
    nodes: &[Node],
) -> (Tally, Spent) {
    let begin = Instant::now() + load.warm_up;
    let end = begin + load.measure;
    let mut workers = JoinSet::new();
    for worker in 0..usize::from(load.in_flight) {
        let work = Arc::clone(work);
        // Consecutive seeds give unrelated sequences.
        let rng = Rng::with_seed(seed.wrapping_mul(10_007).wrapping_add(worker as u64));
        workers.spawn(one_worker(work, worker, rng, begin, end));
    }
    sleep_until(begin).await;
    let meter = Meter::start(nodes);
    sleep_until(end).await;
    let spent = meter.read();
    let mut tally = Tally::default();
    while let Some(joined) = workers.join_next().await {
        match joined {
            Ok(one) => tally.merge(&one),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    (tally, spent)
}

async fn one_worker<W: Work>(
    work: Arc<W>,
    worker: usize,
    mut rng: Rng,
    begin: Instant,
    end: Instant,
) -> Tally {
    let mut tally = Tally::default();
    let mut now = Instant::now();
    while now < end {
        let asked = now;
        let step = work.step(worker, rng.u64(..)).await;
        now = Instant::now();
        let failed = matches!(step.end, End::Failed(_));
        if now >= begin && now < end {
            tally.add(step, now.saturating_duration_since(asked));
        }
        if failed {
            // A node that refuses at once must not be asked in a tight loop.
            tokio::time::sleep(Duration::from_millis(1)).await;
            now = Instant::now();
        }
    }
    tally
}
