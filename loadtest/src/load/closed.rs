//! The closed loop: each worker asks again when it was answered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{End, Ended, Record, Stop, Work, lock};

/// Loads with `in_flight` workers until `end`, and waits for what is under way then.
pub(super) async fn closed_loop<W: Work, R: Record>(
    work: &Arc<W>,
    in_flight: usize,
    seed: u64,
    end: Instant,
    record: &Arc<Mutex<R>>,
    stop: &Stop,
) {
    let mut workers = JoinSet::new();
    for worker in 0..in_flight {
        let (work, record, stop) = (Arc::clone(work), Arc::clone(record), stop.clone());
        // Consecutive seeds give unrelated sequences.
        let rng = Rng::with_seed(seed.wrapping_mul(10_007).wrapping_add(worker as u64));
        workers.spawn(one_worker(work, worker, rng, end, record, stop));
    }
    while let Some(joined) = workers.join_next().await {
        if let Err(error) = joined {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

async fn one_worker<W: Work, R: Record>(
    work: Arc<W>,
    worker: usize,
    mut rng: Rng,
    end: Instant,
    record: Arc<Mutex<R>>,
    stop: Stop,
) {
    let mut now = Instant::now();
    while now < end && !stop.is_asked() {
        let due = now;
        let step = work.step(worker, rng.u64(..)).await;
        now = Instant::now();
        let failed = matches!(step.end, End::Failed(_));
        lock(&record).ended(Ended { step, due, at: now });
        if failed {
            // A node that refuses at once must not be asked in a tight loop.
            tokio::time::sleep(Duration::from_millis(1)).await;
            now = Instant::now();
        }
    }
}
