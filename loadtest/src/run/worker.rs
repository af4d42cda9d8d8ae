//! One process of load: does what its orders say, and says what it did.
//!
//! Orders come as lines of JSON on standard input, and what was done goes to standard output, from a thread of
//! its own, so that whoever reads slowly slows nobody's requests down. The end of the input is the order
//! to stop: so a worker outlives nobody who started it.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use dunlin_client::Client;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::args::Settings;
use super::keys::Progress;
use super::seconds::{SLOT, Seconds, Slot};
use super::target::{Target, items};
use crate::error::LoadError;
use crate::load::{Pace, Stop, Tally, fill, lock, put_on};

/// Requests of one process under way while keys are loaded.
const LOAD_IN_FLIGHT: u16 = 64;
/// Between words about how far a load of keys is.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// The first line of its input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Share {
    pub(super) settings: Settings,
    pub(super) cluster_file: std::path::PathBuf,
    /// Which of the processes it is, from 0.
    pub(super) worker: u16,
}

/// What to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Write this process's part of the keys.
    Load,
    /// Make requests.
    Put { pace: Pace, ms: u64, seed: u64 },
}

/// What is done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Said {
    /// It is connected.
    Ready,
    /// Keys that were written so far, and tries that failed.
    Loaded { keys: u64 },
    /// What came of a stretch of time.
    Slot(Slot, Tally),
    /// The order is carried out, or was stopped. Of a load: all keys before the `next`-th of its own are there.
    Over { next: u64 },
    /// It can't go on.
    Failed(String),
}

/// `dunlin-loadtest run-worker`
pub(crate) async fn run() -> Result<(String, bool), LoadError> {
    let (say, says) = mpsc::channel::<Said>();
    let speaker = thread::spawn(move || {
        let mut out = std::io::stdout().lock();
        for said in says {
            let written = serde_json::to_writer(&mut out, &said).is_ok() && writeln!(out).is_ok();
            if !written || out.flush().is_err() {
                // Nobody listens.
                return;
            }
        }
    });
    if let Err(error) = obey(&say).await {
        // If nobody listens there is nobody to tell.
        let _ = say.send(Said::Failed(error.to_string()));
    }
    drop(say);
    if let Err(panic) = speaker.join() {
        std::panic::resume_unwind(panic);
    }
    Ok((String::new(), false))
}

async fn obey(say: &mpsc::Sender<Said>) -> Result<(), LoadError> {
    let stop = Stop::default();
    let (order, mut orders) = tokio::sync::mpsc::unbounded_channel::<String>();
    let stopped = stop.clone();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || line.is_ok_and(|line| order.send(line).is_err()) {
                break;
            }
        }
        stopped.ask();
    });
    let garbled = |error: serde_json::Error| LoadError::Worker(format!("an order: {error}"));
    let Some(share) = orders.recv().await else {
        return Ok(());
    };
    let share: Share = serde_json::from_str(&share).map_err(garbled)?;
    let client = Client::builder().cluster_file(&share.cluster_file);
    let client = client.connect().await?;
    let target = Target::open(&client, &share.settings, share.worker).await?;
    let _ = say.send(Said::Ready);
    while let Some(order) = orders.recv().await {
        match serde_json::from_str(&order).map_err(garbled)? {
            Order::Load => load(&target, &share, say, &stop).await?,
            Order::Put { pace, ms, seed } => {
                let seed = seed.wrapping_mul(1_009).wrapping_add(share.worker.into());
                put(&target, &pace, Duration::from_millis(ms), seed, say, &stop).await;
            }
        }
    }
    client.close().await;
    Ok(())
}

async fn load(
    target: &Arc<Target>,
    share: &Share,
    say: &mpsc::Sender<Said>,
    stop: &Stop,
) -> Result<(), LoadError> {
    let (from, step) = (
        share.settings.load_from,
        u64::from(share.settings.processes),
    );
    let first = from + u64::from(share.worker);
    let count = items(&share.settings).saturating_sub(first).div_ceil(step);
    let progress = Arc::new(Mutex::new(Progress::default()));
    let written = Arc::new(AtomicU64::new(0));
    let (target, begun, counted) = (target.clone(), progress.clone(), written.clone());
    let filling = fill(count, LOAD_IN_FLIGHT, move |index| {
        let (target, begun, counted) = (target.clone(), begun.clone(), counted.clone());
        async move {
            // Noted once however often it is tried, and as it is asked for in order, so that what lies before
            // is known to be there.
            lock(&begun).begin_at(index);
            target.load(first + index * step).await?;
            lock(&begun).end(index);
            counted.fetch_add(1, Relaxed);
            Ok(())
        }
    });
    tokio::pin!(filling);
    let mut tell = tokio::time::interval(TELL_EVERY);
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut filling => break ended.map(|_| ()),
            () = stop.asked() => break Ok(()),
            _ = tell.tick() => {
                let _ = say.send(Said::Loaded { keys: written.load(Relaxed) });
            }
        }
    };
    let _ = say.send(Said::Loaded {
        keys: written.load(Relaxed),
    });
    ended?;
    let next = first + lock(&progress).ended() * step;
    let _ = say.send(Said::Over { next });
    Ok(())
}

async fn put(
    target: &Arc<Target>,
    pace: &Pace,
    span: Duration,
    seed: u64,
    say: &mpsc::Sender<Said>,
    stop: &Stop,
) {
    let start = Instant::now();
    let seconds = Arc::new(Mutex::new(Seconds::new(start, span)));
    let putting = put_on(target, pace, span, seed, &seconds, stop);
    tokio::pin!(putting);
    let mut over = interval_at(start + SLOT, SLOT);
    over.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_stopping = false;
    let tell = |taken: Vec<(Slot, Tally)>| {
        for (slot, tally) in taken {
            let _ = say.send(Said::Slot(slot, tally));
        }
    };
    loop {
        tokio::select! {
            biased;
            () = &mut putting => break,
            () = stop.asked(), if !is_stopping => {
                is_stopping = true;
                lock(&seconds).cut_short(Instant::now());
            }
            now = over.tick() => tell(lock(&seconds).take_over(now)),
        }
    }
    tell(lock(&seconds).take_rest(Instant::now()));
    let _ = say.send(Said::Over { next: 0 });
}
