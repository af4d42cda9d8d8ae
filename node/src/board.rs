//! The cluster as the control part last saw it, for everything of the process that is no part of the
//! engine: links, answers, the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dunlin_engine::View;
use dunlin_ring::LayoutNumber;
use tokio::sync::watch;

/// The last view that was published. Any thread may look.
#[derive(Debug)]
pub(crate) struct ViewBoard {
    view: watch::Sender<Arc<View>>,
    /// The number of its newest layout, which every frame that leaves carries.
    newest: AtomicU64,
}

impl ViewBoard {
    pub(crate) fn new(view: Arc<View>) -> Self {
        Self {
            newest: AtomicU64::new(view.newest().number().0),
            view: watch::Sender::new(view),
        }
    }

    /// This is how the cluster is seen from now on.
    pub(crate) fn publish(&self, view: Arc<View>) {
        self.newest.store(view.newest().number().0, Relaxed);
        self.view.send_replace(view);
    }

    /// How the cluster is seen.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// The number of the newest layout.
    pub(crate) fn newest(&self) -> LayoutNumber {
        LayoutNumber(self.newest.load(Relaxed))
    }

    /// Says whenever it is seen otherwise.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }
}
