//! What the process itself counts, beside what the engine does: connections, frames, refusals.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One count. Any thread may add to it.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// It happened.
    pub(crate) fn add(&self) {
        self.add_many(1);
    }

    /// It happened this often.
    pub(crate) fn add_many(&self, times: u64) {
        self.0.fetch_add(times, Relaxed);
    }

    /// How often it happened since the start.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct NodeCounters {
    /// Clients accepted.
    pub(crate) clients_accepted: Counter,
    /// Connections of clients refused because there were too many.
    pub(crate) clients_refused: Counter,
    /// Handshakes refused because too many were going on.
    pub(crate) handshakes_refused: Counter,
    /// Handshakes that failed or took too long.
    pub(crate) handshakes_failed: Counter,
    /// Connections whose certificate does not allow what they came for.
    pub(crate) not_allowed: Counter,
    /// Links that ended because the other side sent no sound frames.
    pub(crate) links_broken: Counter,
    /// Frames whose body could not be understood.
    pub(crate) not_understood: Counter,
    /// Requests answered with `Overloaded` because a part's inbox was full.
    pub(crate) requests_shed: Counter,
    /// Answers that could not be delivered.
    pub(crate) answers_lost: Counter,
    /// Messages of peers dropped because a part's inbox was full.
    pub(crate) peer_messages_shed: Counter,
    /// Messages to peers dropped because there was no link or its queue was full.
    pub(crate) peer_messages_unsent: Counter,
    /// Datagrams to peers that could not be sent.
    pub(crate) peer_datagrams_unsent: Counter,
    /// Links between nodes that came to be.
    pub(crate) peer_links_opened: Counter,
    /// Batches of one part that the writer merged into a commit with others.
    pub(crate) batches: Counter,
    /// Commits of the store.
    pub(crate) commits: Counter,
    /// Syncs of the store.
    pub(crate) syncs: Counter,
    /// Commits refused because the disk was full.
    pub(crate) commits_refused: Counter,
}

impl NodeCounters {
    /// The counts with their names.
    pub(crate) fn all(&self) -> [(&'static str, u64); 17] {
        [
            ("clients_accepted", self.clients_accepted.count()),
            ("clients_refused", self.clients_refused.count()),
            ("handshakes_refused", self.handshakes_refused.count()),
            ("handshakes_failed", self.handshakes_failed.count()),
            ("not_allowed", self.not_allowed.count()),
            ("links_broken", self.links_broken.count()),
            ("not_understood", self.not_understood.count()),
            ("requests_shed", self.requests_shed.count()),
            ("answers_lost", self.answers_lost.count()),
            ("peer_messages_shed", self.peer_messages_shed.count()),
            ("peer_messages_unsent", self.peer_messages_unsent.count()),
            ("peer_datagrams_unsent", self.peer_datagrams_unsent.count()),
            ("peer_links_opened", self.peer_links_opened.count()),
            ("batches", self.batches.count()),
            ("commits", self.commits.count()),
            ("syncs", self.syncs.count()),
            ("commits_refused", self.commits_refused.count()),
        ]
    }
}
