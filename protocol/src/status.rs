//! How a node is: what `dunlin cluster status` and `verify` show.

use dunlin_ring::{LayoutNumber, NodeId, PartitionId};
use serde::{Deserialize, Serialize};

/// How one node is. All numbers are of this moment, this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// The newest layout that it knows.
    pub layout: LayoutNumber,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// How its store was found at the start.
    pub start: StartReport,
    /// Partitions that it owns.
    pub partitions: u64,
    /// Of those, partitions that are being refilled and do not count for reads.
    pub filling: u64,
    /// Rows that it holds as an owner.
    pub rows: u64,
    /// Bytes of those rows, keys and values.
    pub row_bytes: u64,
    /// Whether rows and bytes are still being counted after an unclean start.
    pub counting: bool,
    /// Log entries kept for owners that have not caught up.
    pub log_entries: u64,
    /// Rows that wait for an event they know to be superseded.
    pub pending: u64,
    /// Events that it keeps for other owners.
    pub hints: u64,
    /// Pairs of a partition and a co-owner whose clocks were not equal when last compared, or were not
    /// compared since.
    pub clocks_behind: u64,
    /// Actors under which it mints dots.
    pub actors: u64,
    /// Actors in all its clocks, the retired ones too.
    pub actors_known: u64,
    /// Bytes that the store takes on the disk.
    pub disk_bytes: u64,
    /// Bytes that are free there.
    pub disk_free_bytes: u64,
    /// Whether writes are refused, and why.
    pub storage: StorageState,
    /// Batches handed to the disk that are not synced yet.
    pub unsynced: u64,
    /// Requests in progress.
    pub in_flight: u64,
    /// Rows that are known to be damaged, and being fetched from other owners.
    #[serde(skip_serializing_if = "is_zero")]
    pub damaged: u64,
    /// Partitions of which some rows can't be read.
    #[serde(skip_serializing_if = "is_zero")]
    pub unreadable: u64,
    /// Partitions whose content was found equal at all owners since the start.
    #[serde(skip_serializing_if = "is_zero")]
    pub proven: u64,
    /// What it thinks of the other nodes.
    pub peers: Vec<PeerStatus>,
    /// Counts since the start, by name.
    pub counters: Vec<(String, u64)>,
}

/// How the store was found at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartReport {
    /// Empty.
    #[default]
    Blank,
    /// Closed properly.
    Clean,
    /// Not closed; nothing that was synced is missing.
    Unclean,
    /// It may have forgotten acknowledged writes; each sentence says why.
    Amnesia(Vec<String>),
}

/// Whether the store takes writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageState {
    /// It does.
    #[default]
    Ready,
    /// The disk is full; it will again when there is space.
    Full,
    /// A sync or write failed; it never will again.
    Failed,
}

/// One node's view of another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The other.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it is believed to be reachable.
    pub reachable: bool,
    /// Milliseconds since it was last heard.
    pub silent_ms: u64,
    /// The smoothed round trip, in microseconds.
    pub rtt_us: u64,
    /// How long it takes to answer a question of a shard, smoothed, in microseconds; the slowest shard's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub latency_us: u64,
    /// About the 99th percentile of that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub p99_us: u64,
    /// The share of such questions that were refused or not answered, in thousandths.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed_permille: u64,
    /// Why it is asked last, if it is: `slow` or `failing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demoted: Option<String>,
    /// What the network between the two is like, while they are linked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathStatus>,
}

/// The path of the link by which one node asks another, as the asker's end of it sees it. Counts are since
/// the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathStatus {
    /// The smoothed round trip of packets, in microseconds.
    pub rtt_us: u64,
    /// Packets sent.
    pub sent: u64,
    /// Of those, packets taken for lost.
    pub lost: u64,
    /// How often the path was found congested.
    pub congested: u64,
    /// The congestion window: what may be on its way at one time, in bytes.
    pub window_bytes: u64,
}

impl PathStatus {
    /// The share of packets that were lost, in thousandths.
    pub fn lost_permille(&self) -> u64 {
        let lost = u128::from(self.lost) * 1000;
        u64::try_from(lost / u128::from(self.sent.max(1))).unwrap_or(u64::MAX)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a node holds of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionDigest {
    /// The partition.
    pub partition: PartitionId,
    /// Whether the node owns it and counts for reads of it.
    pub whole: bool,
    /// Rows in it that show something.
    pub rows: u64,
    /// Hash of its clock.
    pub clock: u64,
    /// Hash of those rows, keys and cells: equal for owners with equal clocks.
    pub content: u64,
}
