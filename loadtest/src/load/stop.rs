//! To end a load before its time.

use std::sync::Arc;

use tokio::sync::watch;

/// Says that no more requests are to be made. What is under way is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    /// Asks for it.
    pub(crate) fn ask(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until somebody asks.
    pub(crate) async fn asked(&self) {
        // The sender is ours, so it can't be gone.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}
