//! A load with its warm-up, and what was counted and spent in it.

use std::sync::{Arc, Mutex};

use tokio::time::{Instant, sleep_until};

use super::{Ended, Meter, Pace, Reason, Record, Spent, Stop, Tally, Work, lock, put_on};
use crate::args::LoadArgs;

/// Loads for the warm-up, then for the measurement. Of a closed loop, what ended within the measurement
/// counts; of an open one, what was due within it, however late it was answered.
pub(crate) async fn measured<W: Work>(
    work: &Arc<W>,
    pace: &Pace,
    load: &LoadArgs,
    seed: u64,
    servers: &[u32],
) -> (Tally, Spent) {
    let stop = Stop::default();
    if !load.warm_up.is_zero() {
        let uncounted = Arc::new(Mutex::new(Counted::default()));
        put_on(work, pace, load.warm_up, !seed, &uncounted, &stop).await;
    }
    let end = Instant::now() + load.measure;
    let counted = Arc::new(Mutex::new(Counted {
        tally: Tally::default(),
        until: matches!(pace, Pace::Closed { .. }).then_some(end),
    }));
    let meter = Meter::of_processes(servers.to_vec(), vec![std::process::id()]);
    let metered = async {
        sleep_until(end).await;
        meter.read()
    };
    let load = put_on(work, pace, load.measure, seed, &counted, &stop);
    let ((), spent) = tokio::join!(load, metered);
    let tally = std::mem::take(&mut lock(&counted).tally);
    (tally, spent)
}

#[derive(Default)]
struct Counted {
    tally: Tally,
    until: Option<Instant>,
}

impl Record for Counted {
    fn ended(&mut self, ended: Ended) {
        if self.until.is_none_or(|until| ended.at < until) {
            let latency = ended.at.saturating_duration_since(ended.due);
            self.tally.add(ended.step, latency);
        }
    }

    fn not_sent(&mut self, _due: Instant) {
        self.tally.fail(Reason::ours("too many under way"));
    }
}
