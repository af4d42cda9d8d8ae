//! What nodes say to each other: one enum per subsystem. Every message is one-way; an answer is a
//! message of its own, matched by its operation or its partition.

use bytes::Bytes;
use dunlin_crdt::{Clock, Event, Row};
use dunlin_ring::{LayoutNumber, NodeId, PartitionId};
use serde::{Deserialize, Serialize};

use crate::cluster::ClusterEntry;
use crate::request::Request;
use crate::response::Answer;
use crate::row_key::RowKey;

/// A message, and the newest layout of its sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerMessage {
    /// The newest layout that the sender knows.
    #[serde(rename = "l")]
    pub layout: LayoutNumber,
    /// What it says.
    #[serde(rename = "m")]
    pub body: PeerBody,
}

/// What a message says, by subsystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerBody {
    /// Operations of clients, in one partition.
    #[serde(rename = "o")]
    Operation {
        /// The partition.
        #[serde(rename = "p")]
        partition: PartitionId,
        /// Names the operation for the node that coordinates it.
        #[serde(rename = "i")]
        op: PeerOp,
        /// What is said.
        #[serde(rename = "m")]
        message: OperationMessage,
    },
    /// Repair of one partition.
    #[serde(rename = "r")]
    Repair {
        /// The partition.
        #[serde(rename = "p")]
        partition: PartitionId,
        /// What is said.
        #[serde(rename = "m")]
        message: RepairMessage,
    },
    /// Hashes of the clocks of shared partitions, to find those that differ.
    #[serde(rename = "d")]
    Digests(Vec<ClockDigest>),
    /// Hints for the receiver.
    #[serde(rename = "h")]
    Handoff {
        /// The partition.
        #[serde(rename = "p")]
        partition: PartitionId,
        /// What is said.
        #[serde(rename = "m")]
        message: HandoffMessage,
    },
    /// Who is there, and what the cluster knows of itself.
    #[serde(rename = "c")]
    Control(ControlMessage),
}

/// Names an operation for the node that coordinates it; unique while that node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerOp(pub u64);

/// One event and its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowEvent {
    /// The row.
    #[serde(rename = "k")]
    pub key: RowKey,
    /// What happened on it.
    #[serde(rename = "e")]
    pub event: Event,
}

/// How far a node's store is. Others remember it, so that a store that came back from an older state, a
/// backup or a clone of its disk, is recognised however whole it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreMark {
    /// The store, by a number drawn when it was new, and whenever it had forgotten something.
    #[serde(rename = "i")]
    pub store: u64,
    /// The process that has it open, by a number drawn at its start.
    #[serde(rename = "l")]
    pub life: u64,
    /// The last batch that it held when the process opened it.
    #[serde(rename = "o")]
    pub opened: u64,
    /// The last batch that is synced.
    #[serde(rename = "y")]
    pub synced: u64,
}

/// What a node remembers of another's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreWord {
    /// The life that was asked about, from the mark.
    #[serde(rename = "l")]
    pub life: u64,
    /// The last batch that is known to have been synced in that store, if it held less when that life
    /// began: then it came back from an older state.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub remembers: Option<u64>,
}

/// When the receiver shall answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AckWhen {
    /// When it is synced.
    #[serde(rename = "s")]
    Synced,
    /// When it is written.
    #[serde(rename = "w")]
    Written,
}

/// Operations of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationMessage {
    /// To an owner, or to a fallback for one: hold these events, all or none.
    #[serde(rename = "rep")]
    Replicate {
        /// The events.
        #[serde(rename = "e")]
        events: Vec<RowEvent>,
        /// When to answer.
        #[serde(rename = "a")]
        ack: AckWhen,
        /// The owner for which to keep a hint; `None` addresses an owner.
        #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
        hint_for: Option<NodeId>,
    },
    /// They are held.
    #[serde(rename = "ack")]
    Replicated {
        /// Whether they are synced.
        #[serde(rename = "s")]
        synced: bool,
        /// As in the request.
        #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
        hint_for: Option<NodeId>,
    },
    /// They are not, and will not be.
    #[serde(rename = "nack")]
    Refused(Refusal),
    /// To an owner: do you hold exactly these dots of the row?
    #[serde(rename = "get")]
    Compare {
        /// The rows of one key, each with the dots that the coordinator has.
        #[serde(rename = "r")]
        rows: Vec<RowDots>,
        /// Dots that a session has seen and the coordinator lacks: which of them do you hold?
        #[serde(rename = "s", default, skip_serializing_if = "Clock::is_empty")]
        seen: Clock,
    },
    /// Of the rows asked for, those that differ (none if all are the same), and the clock they are
    /// read under.
    #[serde(rename = "got")]
    Compared {
        /// Those that differ.
        #[serde(rename = "r")]
        rows: Vec<KeyedRow>,
        /// The clock of the partition, if any differs.
        #[serde(rename = "c", default, skip_serializing_if = "Clock::is_empty")]
        clock: Clock,
        /// Those of the dots asked for that are held.
        #[serde(rename = "s", default, skip_serializing_if = "Clock::is_empty")]
        holds: Clock,
    },
    /// To an owner: which rows of the range have events that my clock lacks?
    #[serde(rename = "ran")]
    CompareRange {
        /// The range.
        #[serde(rename = "r")]
        range: RowRange,
        /// The coordinator's clock.
        #[serde(rename = "c")]
        clock: Clock,
        /// How many rows the coordinator will look at.
        #[serde(rename = "n")]
        rows_max: u32,
    },
    /// Those rows, and the clock they are read under.
    #[serde(rename = "rdf")]
    RangeCompared {
        /// What the rows are.
        #[serde(rename = "v")]
        coverage: Coverage,
        /// The rows; those up to `complete_to` if that is given.
        #[serde(rename = "r")]
        rows: Vec<KeyedRow>,
        /// The clock of the partition.
        #[serde(rename = "c")]
        clock: Clock,
        /// The last row up to which the answer is complete; to the end of the range if `None`.
        #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
        complete_to: Option<RowKey>,
    },
    /// To a fallback: which events do you keep for owners of this key?
    #[serde(rename = "hin")]
    ReadHints {
        /// The bucket and key, and the subkey to which to confine it.
        #[serde(rename = "k")]
        key: RowKey,
        /// Whether only that subkey, or all that start with it.
        #[serde(rename = "s")]
        scope: HintScope,
        /// Dots that a session has seen: which of them do you keep, whatever their key?
        #[serde(rename = "d", default, skip_serializing_if = "Clock::is_empty")]
        seen: Clock,
    },
    /// Those events.
    #[serde(rename = "hev")]
    HintsRead {
        /// The events.
        #[serde(rename = "e")]
        events: Vec<RowEvent>,
        /// Those of the dots asked for of which there are hints; those of the key are all in `events`.
        #[serde(rename = "d", default, skip_serializing_if = "Clock::is_empty")]
        holds: Clock,
    },
    /// To an owner: coordinate this request of a client.
    #[serde(rename = "fwd")]
    Forward {
        /// The request.
        #[serde(rename = "r")]
        request: Box<Request>,
        /// Milliseconds until its deadline.
        #[serde(rename = "t")]
        deadline_ms: u32,
    },
    /// Its answer.
    #[serde(rename = "fwa")]
    Forwarded {
        /// The answer.
        #[serde(rename = "a")]
        answer: Box<Answer>,
    },
    /// To an owner that answered a read and was behind: rows under their context. Not answered.
    #[serde(rename = "rrp")]
    ReadRepair {
        /// The rows.
        #[serde(rename = "r")]
        rows: Vec<RepairRow>,
        /// What is settled in them.
        #[serde(rename = "c")]
        context: Clock,
    },
}

/// Why a replica refused. It holds nothing of what it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It is no owner of the partition by its layout.
    NotOwner,
    /// It is being refilled and does not count for reads.
    Filling,
    /// A stamp lies too far ahead of its clock.
    Skew,
    /// Its disk is full, or it keeps as many hints as it may.
    Full,
    /// Its disk failed.
    Failed,
    /// It has as much to do as it accepts.
    Overloaded,
}

/// A row and the dots that the sender has of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowDots {
    /// The row.
    #[serde(rename = "k")]
    pub key: RowKey,
    /// The dots of its cells.
    #[serde(rename = "d")]
    pub dots: Clock,
}

/// A row and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedRow {
    /// Which row.
    #[serde(rename = "k")]
    pub key: RowKey,
    /// The row.
    #[serde(rename = "r")]
    pub row: Row,
}

/// A contiguous range of rows of one bucket in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowRange {
    /// The bucket.
    #[serde(rename = "b")]
    pub bucket: dunlin_ring::BucketId,
    /// Which keys and subkeys.
    #[serde(rename = "s")]
    pub scope: RangeScope,
}

/// Which rows of a range an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coverage {
    /// Those that events outside the asker's clock have touched; of the others nothing is said.
    #[serde(rename = "d")]
    Differences,
    /// All of them: a row that is not there has no cells under the clock of the answer.
    #[serde(rename = "a")]
    All,
}

/// Which keys and subkeys a range covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RangeScope {
    /// Rows of one key.
    #[serde(rename = "k")]
    Key {
        /// The key.
        #[serde(rename = "k")]
        key: Bytes,
        /// Subkeys that start with this.
        #[serde(rename = "p")]
        prefix: Bytes,
        /// Subkeys after this one.
        #[serde(rename = "a")]
        after: Option<Bytes>,
    },
    /// All rows of many keys.
    #[serde(rename = "m")]
    Keys {
        /// Keys that start with this.
        #[serde(rename = "p")]
        prefix: Bytes,
        /// Keys after this one.
        #[serde(rename = "a")]
        after: Option<Bytes>,
    },
}

/// Which hints of a key to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HintScope {
    /// Those of exactly this row.
    Row,
    /// Those of every row whose subkey starts with the one given.
    Prefix,
}

/// A row that repair sends, with the dots that touched it and that the receiver lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairRow {
    /// Which row.
    #[serde(rename = "k")]
    pub key: RowKey,
    /// The row.
    #[serde(rename = "r")]
    pub row: Row,
    /// The events that the receiver will hold once it has taken the row: named, never guessed.
    #[serde(rename = "d")]
    pub dots: Clock,
}

/// Repair of one partition, pulled by the side that lacks something, a page at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepairMessage {
    /// Send me what my clock lacks.
    #[serde(rename = "pull")]
    Pull {
        /// The receiver's own clock.
        #[serde(rename = "c")]
        clock: Clock,
        /// Which part.
        #[serde(rename = "w")]
        want: Want,
    },
    /// Rows found through the log.
    #[serde(rename = "rows")]
    Rows {
        /// The rows.
        #[serde(rename = "r")]
        rows: Vec<RepairRow>,
        /// The sender's clock, under which they were read.
        #[serde(rename = "c")]
        clock: Clock,
        /// Whether there is more to pull.
        #[serde(rename = "m")]
        more: bool,
    },
    /// A page of all rows, in order: the log no longer reaches back to what is missing.
    #[serde(rename = "whole")]
    Whole {
        /// Where the page starts; from the beginning if `None`.
        #[serde(rename = "a")]
        after: Option<RowKey>,
        /// The rows.
        #[serde(rename = "r")]
        rows: Vec<KeyedRow>,
        /// The sender's clock, under which they were read.
        #[serde(rename = "c")]
        clock: Clock,
        /// The last row of the page if there are more; `None` at the end.
        #[serde(rename = "n")]
        next: Option<RowKey>,
    },
    /// From a node that no longer owns the partition, to an owner: do you hold all of this, synced? If
    /// not, pull it from me.
    #[serde(rename = "offer")]
    Offer {
        /// The sender's clock.
        #[serde(rename = "c")]
        clock: Clock,
    },
    /// The sender has read its copy to the end: what it holds, if the receiver's clock is the same.
    #[serde(rename = "scrub")]
    Scrubbed {
        /// The hash of the sender's clock.
        #[serde(rename = "c")]
        clock: u64,
        /// The hash of its content.
        #[serde(rename = "h")]
        content: u64,
    },
    /// Copies of these rows are wanted: the sender's are damaged.
    #[serde(rename = "fetch")]
    Fetch {
        /// The rows.
        #[serde(rename = "k")]
        keys: Vec<RowKey>,
    },
    /// Those rows; one that is not there has no cells.
    #[serde(rename = "copy")]
    Fetched {
        /// The rows.
        #[serde(rename = "r")]
        rows: Vec<KeyedRow>,
        /// The clock under which they were read.
        #[serde(rename = "c")]
        clock: Clock,
    },
    /// I do.
    #[serde(rename = "held")]
    Held {
        /// The clock that was offered.
        #[serde(rename = "c")]
        clock: Clock,
    },
}

/// What a pull asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// Events that should have arrived by now.
    #[serde(rename = "s")]
    Settled,
    /// Every event, those still on their way too: the sender is refilling.
    #[serde(rename = "e")]
    Everything,
    /// The page of all rows after this one.
    #[serde(rename = "w")]
    WholeAfter(RowKey),
}

/// The hash of the clock of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockDigest {
    /// The partition.
    #[serde(rename = "p")]
    pub partition: PartitionId,
    /// The hash of the sender's clock.
    #[serde(rename = "h")]
    pub hash: u64,
}

/// Hints on their way to their owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandoffMessage {
    /// Take these events, which were written for you while you were away.
    #[serde(rename = "d")]
    Deliver {
        /// Names the batch for its sender.
        #[serde(rename = "i")]
        batch: u64,
        /// The events.
        #[serde(rename = "e")]
        events: Vec<RowEvent>,
    },
    /// They are synced here; forget them.
    #[serde(rename = "t")]
    Taken {
        /// The batch.
        #[serde(rename = "i")]
        batch: u64,
    },
}

/// Who is there, and what the cluster knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlMessage {
    /// Are you there?
    #[serde(rename = "?")]
    Ping {
        /// Comes back in the answer.
        #[serde(rename = "n")]
        nonce: u64,
        /// The hash of what the sender knows of the cluster, but for how far each node is.
        #[serde(rename = "k")]
        knows: u64,
        /// The hash of what it knows of that.
        #[serde(rename = "p")]
        progress: u64,
        /// How far the sender's store is; absent from a node that has none yet.
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        store: Option<StoreMark>,
    },
    /// I am.
    #[serde(rename = "!")]
    Pong {
        /// From the question.
        #[serde(rename = "n")]
        nonce: u64,
        /// What the sender remembers of the store of the node that asked, if that said how far it is.
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        store: Option<StoreWord>,
    },
    /// What the sender knows of the cluster, or news of it; merge it.
    #[serde(rename = "k")]
    Know {
        /// The entries.
        #[serde(rename = "e")]
        entries: Vec<ClusterEntry>,
        /// Whether the receiver shall say when they are kept (synced).
        #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
        confirm: Option<u64>,
    },
    /// They are kept.
    #[serde(rename = "y")]
    Kept {
        /// From the message.
        #[serde(rename = "c")]
        confirm: u64,
    },
}
