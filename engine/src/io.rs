//! What goes into the engine and what comes out: the only ways in which it touches the world.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_crdt::Millis;
use dunlin_protocol::cluster::LayoutId;
use dunlin_protocol::peer::PeerBody;
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Answer;
use dunlin_protocol::status::StorageState;
use dunlin_ring::NodeId;
use dunlin_storage::{Batch, BatchId};

use crate::membership::To;
use crate::report::ShardReport;
use crate::view::View;

/// Microseconds since the node started; never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// This many milliseconds later.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// Whole milliseconds since an earlier time; 0 if that is later.
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }
}

/// The moment at which an input is handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For delays.
    pub time: Time,
    /// For stamps.
    pub wall: Millis,
}

/// Names a request for the driver, which knows the connection that the answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplyTo(pub u64);

/// What can happen to a shard or to the control part.
#[derive(Clone, Debug)]
pub enum Input {
    /// The node has started.
    Started,
    /// A client asks for something.
    Requested {
        /// Where the answer goes.
        reply_to: ReplyTo,
        /// What is asked.
        request: Request,
        /// When the client no longer waits.
        deadline: Time,
    },
    /// A peer said something.
    Received {
        /// Who.
        from: NodeId,
        /// What.
        body: PeerBody,
    },
    /// A timer that was set has run out.
    TimerFired(TimerId),
    /// The writer has committed batches of this part, in order.
    Committed {
        /// All batches up to this one are written.
        written: BatchId,
        /// All batches up to this one are synced.
        synced: BatchId,
    },
    /// The writer did not commit this batch, nor any later one of its generation.
    CommitRefused(BatchId),
    /// The store is synced up to this batch, by [`Kv::synced`](dunlin_storage::Kv::synced). For the control
    /// part, before each [`TimerId::Ping`].
    StoreSynced(u64),
    /// Whether the store takes writes has changed.
    StorageChanged(StorageState),
    /// The cluster as it is seen now.
    ViewChanged(Arc<View>),
    /// A shard has said how far it has followed the layouts. For the control part.
    ShardFollows {
        /// Which shard, by its number.
        shard: usize,
        /// How far.
        follows: Follows,
    },
    /// A datagram has come from a peer. For the control part.
    Datagram {
        /// Who sent it.
        from: NodeId,
        /// What it is.
        bytes: Bytes,
    },
    /// The driver wants to know how this part is.
    Inspected {
        /// Comes back with the report.
        reply_to: ReplyTo,
    },
    /// The node is about to stop: stage what makes the next start a clean one.
    Stopping,
}

/// What shall be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Say this to a peer. It may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        body: PeerBody,
    },
    /// Send this datagram, of at most [`DATAGRAM_BYTES_MAX`](crate::membership::DATAGRAM_BYTES_MAX)
    /// bytes. It may be lost.
    Datagram {
        /// To whom.
        to: To,
        /// What.
        bytes: Bytes,
    },
    /// Answer a client.
    Reply {
        /// Which request.
        to: ReplyTo,
        /// The answer.
        answer: Answer,
    },
    /// Hand this batch to the writer; it commits batches of one part in order.
    Commit {
        /// Its id.
        id: BatchId,
        /// What to write.
        batch: Batch,
        /// Whether to sync it at once.
        sync: SyncWhen,
    },
    /// Fire this timer then. A timer that is set again fires at both times.
    SetTimer {
        /// Which.
        id: TimerId,
        /// When.
        at: Time,
    },
    /// Give this to every shard: the cluster as it is seen now.
    Publish(Arc<View>),
    /// Tell the control part how far this shard has followed the layouts.
    Follows(Follows),
    /// The answer to `Inspected`.
    Report {
        /// Which question.
        reply_to: ReplyTo,
        /// The answer.
        report: Box<ShardReport>,
    },
    /// Worth a line in the log.
    Note(Note),
}

/// How far one shard has followed the active layouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Follows {
    /// The newest layout that it decides by.
    pub newest: LayoutId,
    /// The layout that its reads go by.
    pub reads: LayoutId,
    /// Whether every write in progress was begun under it.
    pub acked: bool,
    /// Partitions that it owns under it and that have yet to be filled.
    pub filling: u32,
    /// Partitions that it holds and does not own under it.
    pub handing_over: u32,
}

/// When a batch must be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncWhen {
    /// Within the interval at which everything is synced.
    Later,
    /// As soon as possible.
    Now,
}

/// What a timer is for. One that no longer means anything when it fires is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerId {
    /// The next step of an operation.
    Operation(u64),
    /// Compare clocks with co-owners.
    Repair,
    /// Ask for the next pages that the repair budget held back.
    RepairBudget,
    /// Offer hints.
    Handoff,
    /// Store clocks.
    Checkpoint,
    /// The next slice of background work.
    Slice,
    /// Ask the peers whether they are there.
    Ping,
    /// Ask the co-owners how they are.
    Health,
    /// The next slice of the scrub.
    Scrub,
    /// What membership wants to be woken for.
    Membership,
}

/// What an operator would want to read of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A peer counts as reachable, or no longer does.
    PeerReachable {
        /// Which.
        node: NodeId,
        /// Whether it does now.
        reachable: bool,
    },
    /// A peer's stamp was refused: one of the two clocks is wrong.
    ClockSkew {
        /// Whose.
        node: NodeId,
        /// How far ahead it is.
        ahead_ms: u64,
    },
    /// A partition has been refilled and counts for reads.
    Refilled {
        /// Which.
        partition: dunlin_ring::PartitionId,
    },
    /// Every partition of this shard counts for reads.
    AllRefilled,
    /// Reading or staging failed; the operation was refused.
    StoreFailed {
        /// What the store said.
        reason: String,
    },
    /// The disk refused a batch; what was not committed is forgotten here.
    RolledBack,
    /// The disk refused a batch, and what the store holds can't be read: this part does nothing more, and the
    /// process is to end and to start anew.
    NotRolledBack {
        /// What the store said.
        reason: String,
    },
    /// A stored row is damaged; a co-owner's copy takes its place.
    RowDamaged {
        /// The partition.
        partition: dunlin_ring::PartitionId,
        /// The row.
        key: dunlin_protocol::RowKey,
    },
    /// Some rows can't be read. If the store's files are damaged, it is to be opened anew without what can't be
    /// read, as after [`Start::Amnesia`](dunlin_storage::Start): others hold it, and can be reached.
    Unreadable,
    /// Two owners hold different rows at equal clocks: one of them has lost or changed some.
    ContentsDiffer {
        /// The partition.
        partition: dunlin_ring::PartitionId,
    },
    /// Another process of this node is there: one of the two runs on a copy of the other's disk, or was
    /// thought dead and is not.
    Twin {
        /// Where the other one is.
        address: String,
    },
    /// A later process of this node has taken its place: this one must end.
    Replaced {
        /// Where the other one is.
        address: String,
    },
    /// A layout was applied, here or elsewhere: it is the newest from now on.
    LayoutApplied {
        /// Which.
        layout: LayoutId,
    },
    /// Every owner holds what it owns under this layout; those before it are retired.
    LayoutComplete {
        /// Which.
        layout: LayoutId,
    },
    /// A layout was applied at the same time as another one, which stands in its place.
    LayoutLost {
        /// Which.
        layout: LayoutId,
    },
    /// A partition that this node no longer owns was handed over, and is given up.
    HandedOver {
        /// Which.
        partition: dunlin_ring::PartitionId,
    },
    /// A bucket was created twice under one name; this one does not stand.
    BucketLost {
        /// Its name.
        name: String,
    },
    /// A peer remembers more of this node's store than that held at its start: it came back from an older
    /// state. The node must end, and start as after [`Start::Amnesia`](dunlin_storage::Start). Until then it
    /// counts for no read.
    Forgot {
        /// Who remembers.
        by: NodeId,
        /// The last batch that the peer knows to have been synced.
        remembers: u64,
        /// The last batch that the store held.
        holds: u64,
    },
    /// Events were minted for a request, here and now. Only said if `notes_minted` is set.
    Minted {
        /// The request.
        op: dunlin_crdt::OpId,
        /// The events, not committed yet.
        events: Vec<dunlin_protocol::peer::RowEvent>,
    },
    /// Concurrent lww writes met in a row: all but the one with the highest stamp are lost.
    LwwConcurrent {
        /// The row.
        key: dunlin_protocol::RowKey,
    },
}
