//! How a part of the node is: its share of what `dunlin cluster status` shows.

use std::collections::BTreeMap;

use dunlin_ring::NodeId;
use dunlin_storage::Tally;

use crate::health::PeerHealth;

/// Counts of things that happened, by a name that is also its metric's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    /// It happened.
    pub(crate) fn add(&mut self, name: &'static str) {
        self.add_many(name, 1);
    }

    /// It happened this often.
    pub(crate) fn add_many(&mut self, name: &'static str, times: u64) {
        *self.0.entry(name).or_default() += times;
    }

    /// The counts, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(name, count)| (*name, *count))
    }
}

/// How much of each queue of a shard is taken. Every one has a bound in the options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Requests in progress, of clients and passed on: at most `operations_max`.
    pub requests: usize,
    /// Acknowledgements that wait for the disk: at most `commits_waiting_max`.
    pub commits_waiting: usize,
    /// Bytes of hints: at most the replica's `hints_bytes_max`.
    pub hints_bytes: u64,
    /// Partitions that are pulled from a co-owner now: at most `repairs_max`.
    pub pulls: usize,
    /// Pulls that wait for their turn: at most one for each partition and node.
    pub pulls_wanted: usize,
    /// Batches of hints on their way: at most one for each node.
    pub deliveries: usize,
}

/// How one shard is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardReport {
    /// What it keeps.
    pub tally: Tally,
    /// Partitions that it owns.
    pub partitions: u64,
    /// Of those, how many do not count for reads yet.
    pub filling: u64,
    /// Pairs of partition and co-owner whose clocks are not known to be equal.
    pub clocks_behind: u64,
    /// Rows known to be damaged.
    pub damaged: u64,
    /// Partitions of which some rows can't be read.
    pub unreadable: u64,
    /// Partitions whose content was found equal at all owners.
    pub proven: u64,
    /// Operations in progress.
    pub in_flight: u64,
    /// Batches taken by the writer and not synced.
    pub unsynced: u64,
    /// How its co-owners answer.
    pub peers: BTreeMap<NodeId, PeerHealth>,
    /// What happened since the start.
    pub counters: Counters,
}
