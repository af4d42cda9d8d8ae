//! What a thread of the engine drives: a shard, or the control part. The loop is the same for both.

use dunlin_engine::{Control, Counters, Effect, Input, Now, ReplyTo, Shard, ShardReport};
use dunlin_protocol::peer::PeerBody;
use dunlin_protocol::request::Request;
use dunlin_protocol::status::PeerStatus;
use dunlin_ring::NodeId;
use tokio::sync::oneshot;

use crate::listener::clients::Asker;

/// Which part of the node: the control part, or one of the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartId(usize);

impl PartId {
    /// The control part.
    pub(crate) const CONTROL: Self = Self(0);

    /// A shard.
    pub(crate) const fn shard(index: usize) -> Self {
        Self(index + 1)
    }

    /// Which shard it is, if it is one.
    pub(crate) const fn as_shard(self) -> Option<usize> {
        self.0.checked_sub(1)
    }

    /// Its place among all parts, the control part first.
    pub(crate) const fn index(self) -> usize {
        self.0
    }
}

impl std::fmt::Display for PartId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("control"),
            shard => write!(f, "shard-{}", shard - 1),
        }
    }
}

/// What reaches a part.
#[derive(Debug)]
pub(crate) enum PartMessage {
    /// A client asks.
    Asked {
        /// Who, and where the answer goes.
        asker: Asker,
        /// What.
        request: Request,
        /// When it no longer waits.
        deadline: dunlin_engine::Time,
    },
    /// A peer says something.
    Said {
        /// Who.
        from: NodeId,
        /// What.
        body: PeerBody,
    },
    /// The node itself says something.
    Told(Input),
    /// The writer refused a batch that was handed over in this epoch, and will refuse all others of
    /// it; the next begins when the part has taken note.
    Refused {
        /// Which batch.
        id: dunlin_storage::BatchId,
    },
    /// Somebody wants to know how the part is.
    Inspect(oneshot::Sender<PartReport>),
    /// Hand over what is to be kept, and end.
    Stop,
}

/// How a part is.
#[derive(Debug)]
pub(crate) enum PartReport {
    /// A shard.
    Shard(Box<ShardReport>),
    /// The control part.
    Control {
        /// What it thinks of the other nodes.
        peers: Vec<PeerStatus>,
        /// What happened since the start.
        counters: Counters,
    },
}

/// A part of the engine.
pub(crate) trait Part: Send {
    /// Takes one input.
    fn handle(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>);
    /// Ends a run of inputs.
    fn flush(&mut self, now: Now, effects: &mut Vec<Effect>);
    /// How it is.
    fn inspect(&mut self, now: Now) -> PartReport;
}

impl Part for Shard {
    fn handle(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>) {
        Shard::handle(self, input, now, effects);
    }

    fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        Shard::flush(self, now, effects);
    }

    fn inspect(&mut self, now: Now) -> PartReport {
        let mut effects = Vec::with_capacity(1);
        let reply_to = ReplyTo(u64::MAX);
        Shard::handle(self, Input::Inspected { reply_to }, now, &mut effects);
        let reports = effects.into_iter().find_map(|effect| match effect {
            Effect::Report { report, .. } => Some(report),
            _ => None,
        });
        PartReport::Shard(reports.unwrap_or_default())
    }
}

impl Part for Control {
    fn handle(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>) {
        Control::handle(self, input, now, effects);
    }

    fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        Control::flush(self, now, effects);
    }

    fn inspect(&mut self, now: Now) -> PartReport {
        PartReport::Control {
            peers: self.peer_statuses(now),
            counters: self.counters().clone(),
        }
    }
}
