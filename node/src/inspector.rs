//! Looks at the store's files when something could not be read, and has a damaged store opened anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dunlin_storage::FjallKv;
use tokio::sync::mpsc::UnboundedSender;

use crate::server::ServerError;

/// How long a look that found nothing stands: it reads the whole store.
const STANDS: Duration = Duration::from_secs(600);

/// Reads all files of the store, on a thread of its own, once at a time.
#[derive(Debug, Default)]
pub(crate) struct Inspector(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Idle,
    Looks,
    FoundNothing(Instant),
    /// The store is to be opened anew.
    Done,
}

impl Inspector {
    /// Looks at the files, unless that is being done, or was lately. If some are damaged, the node ends to be
    /// started anew, with all that can be read.
    pub(crate) fn look(self: &Arc<Self>, kv: &Arc<FjallKv>, failed: &UnboundedSender<ServerError>) {
        if !self.begin() {
            return;
        }
        tracing::warn!("some rows can't be read: all files of the store are looked at");
        let (inspector, kv, failed) = (Arc::clone(self), Arc::clone(kv), failed.clone());
        let thread = std::thread::Builder::new().name("inspector".to_owned());
        let looks = thread.spawn(move || {
            let state = match look_at(&kv) {
                true => {
                    // Nobody is left to tell if the node is gone already.
                    let _ = failed.send(ServerError::Damaged);
                    State::Done
                }
                false => State::FoundNothing(Instant::now()),
            };
            inspector.set(state);
        });
        if let Err(error) = looks {
            tracing::error!(%error, "cannot start a thread that looks at the store");
            self.set(State::FoundNothing(Instant::now()));
        }
    }

    fn begin(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = match *state {
            State::Idle => true,
            State::FoundNothing(at) => at.elapsed() >= STANDS,
            State::Looks | State::Done => false,
        };
        if may {
            *state = State::Looks;
        }
        may
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Reads all files of the store. If some are damaged, and there is room, has the next open copy what can be
/// read; whether it will.
pub(crate) fn look_at(kv: &FjallKv) -> bool {
    let damaged = kv.damaged_tables();
    if damaged.is_empty() {
        tracing::warn!("every file of the store is what was written");
        return false;
    }
    for table in &damaged {
        tracing::error!("DAMAGE: {table}");
    }
    match kv.salvage(&damaged) {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(
                %error,
                "the damaged store cannot be copied, which takes as much space as it has: make room"
            );
            false
        }
    }
}
