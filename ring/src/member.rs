//! A member of a layout: one node, where it is, and how much it may carry.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// The longest name, address or zone, in bytes: the longest host name there can be, and a port.
pub const TEXT_BYTES_MAX: usize = 261;

/// One node as a layout sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which node this is.
    pub id: NodeId,
    /// What operators call it. Unique in a layout.
    pub name: String,
    /// Where its peers reach it, as `host:port`.
    pub address: String,
    /// What it may fail together with: a rack, a room, an availability zone.
    pub zone: String,
    /// Its weight beside the other members, at least 1. Only the ratios count, so any unit will do:
    /// `1` for all, or gigabytes of disk.
    pub capacity: u32,
    /// Whether it owns partitions in this layout.
    pub state: MemberState,
}

/// Whether a member owns partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Owns its share of the partitions, and stands in for others.
    Active,
    /// On its way out: owns nothing in this layout and stands in for nobody, but it is still a
    /// member, reachable, with data to hand over under the layout before.
    Leaving,
}
