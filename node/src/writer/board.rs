//! Whether the store takes writes, as every part is told it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dunlin_engine::Input;
use dunlin_protocol::status::StorageState;

use crate::driver::Parts;
use crate::driver::part::PartMessage;

/// How the disk keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As it should.
    Fair,
    /// A commit or sync does not return: more writes would only queue.
    Stuck,
}

/// The state of the store, told to all parts whenever it changes.
#[derive(Debug)]
pub(crate) struct StorageBoard {
    parts: Arc<Parts>,
    /// Guards what was last told; held while it is told, so that all hear of changes in one order.
    told: Mutex<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    state: StorageState,
    pace: Pace,
}

impl StorageBoard {
    /// A store that takes writes, which every part assumes at first.
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        let told = Told {
            state: StorageState::Ready,
            pace: Pace::Fair,
        };
        Self {
            parts,
            told: Mutex::new(told),
        }
    }

    /// What everybody goes by.
    pub(crate) fn state(&self) -> StorageState {
        self.lock().effective()
    }

    /// The store has said so.
    pub(crate) fn set(&self, state: StorageState) {
        self.change(|told| told.state = state);
    }

    /// The watchdog has said so.
    pub(crate) fn set_pace(&self, pace: Pace) {
        self.change(|told| told.pace = pace);
    }

    fn change(&self, change: impl FnOnce(&mut Told)) {
        let mut told = self.lock();
        let before = told.effective();
        change(&mut told);
        let after = told.effective();
        if before == after {
            return;
        }
        match after {
            StorageState::Ready => tracing::info!("the store takes writes again"),
            StorageState::Full => tracing::error!(
                pace = ?told.pace,
                "the store takes no writes for now; reads go on"
            ),
            StorageState::Failed => tracing::error!("the store failed; the node stops"),
        }
        for part in self.parts.all() {
            part.push(PartMessage::Told(Input::StorageChanged(after)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        // Two plain values: nothing can be half done.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// A disk that is stuck takes no more than a full one.
    fn effective(self) -> StorageState {
        match (self.state, self.pace) {
            (StorageState::Ready, Pace::Stuck) => StorageState::Full,
            (state, Pace::Fair | Pace::Stuck) => state,
        }
    }
}
