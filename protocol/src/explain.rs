//! What one node holds under one key, to the dot: what `dunlin explain` compares.
//!
//! Unlike an answer to a read this is the word of one node about its own replica, whatever it is worth:
//! of an owner that is being refilled, of a former owner, of a node that keeps a hint. Two owners with
//! equal clocks hold equal rows; where rows differ, the clocks say who lacks what.

use bytes::Bytes;
use dunlin_crdt::{ActorId, Clock, Hlc};
use dunlin_ring::{NodeId, PartitionId};
use serde::{Deserialize, Serialize};

use crate::response::Found;

/// What a node holds under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyReport {
    /// The partition that the key belongs to.
    pub partition: PartitionId,
    /// Whether the node owns it under any active layout, by what it knows of them.
    pub owner: bool,
    /// Whether it holds the partition: owners do, former owners until they have handed it over.
    pub holds: bool,
    /// Whether it counts for reads: everything was pulled into it.
    pub whole: bool,
    /// Hash of the partition's clock.
    pub clock: u64,
    /// That clock: what it has and no row has was replaced or deleted.
    pub seen: Clock,
    /// Rows of the key in order, those without cells too: the first
    /// [`EXPLAINED_ROWS_MAX`](crate::limits::EXPLAINED_ROWS_MAX).
    pub rows: Vec<RowReport>,
    /// Whether there are more.
    pub more: bool,
    /// Events of the key that it keeps for other nodes.
    pub hints: Vec<KeptHints>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowReport {
    /// Empty for a single value; the element of a set; the field path of a map.
    #[serde(rename = "s")]
    pub subkey: Bytes,
    /// Its cells: the first [`EXPLAINED_CELLS_MAX`](crate::limits::EXPLAINED_CELLS_MAX).
    #[serde(rename = "c")]
    pub cells: Vec<CellReport>,
    /// Cells that are left out of the report.
    #[serde(rename = "m", default)]
    pub cells_more: u64,
    /// Dots known to be superseded that the partition's clock does not cover yet.
    #[serde(rename = "p")]
    pub past: Clock,
    /// What a reader of this replica alone would be shown; left out of long reports.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub shows: Option<Found>,
}

/// What one event left in a row. A dot names its event for ever, so equal dots are equal cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellReport {
    /// The actor of its dot.
    #[serde(rename = "a")]
    pub actor: ActorId,
    /// The counter of its dot.
    #[serde(rename = "n")]
    pub counter: u64,
    /// When it was written.
    #[serde(rename = "t")]
    pub stamp: Hlc,
    /// Whether its time is over.
    #[serde(rename = "x", default)]
    pub expired: bool,
}

/// Events of the key that are kept for a node that was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptHints {
    /// For whom.
    #[serde(rename = "o")]
    pub owner: NodeId,
    /// How many.
    #[serde(rename = "n")]
    pub events: u64,
}
