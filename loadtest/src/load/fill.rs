//! So many writes, some at a time, each repeated until it is done.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dunlin_client::Error;
use dunlin_protocol::Retry;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::error::LoadError;

/// How often one write is tried: nodes that are busy flushing refuse for a moment.
const TRIES_MAX: u32 = 60;
/// After the first failure of a write; later ones wait longer.
const PAUSE: Duration = Duration::from_millis(50);

/// Does `write(0)` to `write(count - 1)`, `in_flight` at a time. Returns how many tries failed.
pub(crate) async fn fill<F, Fut>(count: u64, in_flight: u16, write: F) -> Result<u64, LoadError>
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send,
{
    let (next, write) = (Arc::new(AtomicU64::new(0)), Arc::new(write));
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        let (next, write) = (Arc::clone(&next), Arc::clone(&write));
        workers.spawn(async move {
            let mut failed = 0;
            loop {
                let index = next.fetch_add(1, Relaxed);
                if index >= count {
                    return Ok(failed);
                }
                failed += until_done(index, &*write).await?;
            }
        });
    }
    let mut failed = 0;
    while let Some(joined) = workers.join_next().await {
        match joined {
            Ok(Ok(tries)) => failed += tries,
            Ok(Err(error)) => {
                return Err(LoadError::Fill {
                    done: next.load(Relaxed).min(count),
                    count,
                    source: Box::new(error),
                });
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(failed)
}

async fn until_done<F, Fut>(index: u64, write: &F) -> Result<u64, Error>
where
    F: Fn(u64) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let mut tries = 1;
    loop {
        match write(index).await {
            Ok(()) => return Ok(u64::from(tries - 1)),
            Err(error) if tries >= TRIES_MAX || is_useless(&error) => return Err(error),
            Err(_) => sleep(PAUSE * tries).await,
        }
        tries += 1;
    }
}

/// Whether the same write will be refused however often it is tried.
fn is_useless(error: &Error) -> bool {
    let failure = error.failure();
    failure.is_some_and(|failure| failure.retry() == Retry::Useless)
}
