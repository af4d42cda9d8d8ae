//! Disks that change what they hold: bits of stored rows flip, while the node runs.
//!
//! ```text
//!   a row of which all other owners have on their disks what this one knows ─> a bit of it flips here
//!   ... is read, is scrubbed ─> found damaged ─> healed by another owner's copy
//! ```
//!
//! Never the same row on two nodes: that the others hold it is what is promised to be enough. So there is
//! no such damage where disks are lost in other ways too, or owners change.
//!
//! Left out, because nothing is promised there: a row of which some owner knows less, for the copy that
//! comes may be that one's, and reads miss the rest until repair has brought it; and a row that vanishes by itself. To whoever reads it looks
//! like one that was removed; a store whose blocks have checksums does not lose one value in silence.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use dunlin_ring::PartitionId;
use dunlin_storage::{Keyspace, Kv};

use crate::mutant::Mutant;
use crate::options::{Options, below, pick, shuffle};
use crate::world::World;

/// Rows that are looked at for one that may be damaged.
const LOOKS_MAX: usize = 64;
/// Bytes of the place before what names a row in every node: partition 2 | epoch 4.
const PLACE_BYTES: usize = 6;

/// What was damaged.
#[derive(Debug, Default)]
pub(crate) struct Rot {
    /// By partition and name of the row.
    rows: BTreeMap<(PartitionId, Bytes), Damage>,
}

/// One damaged row.
#[derive(Debug)]
struct Damage {
    node: usize,
    stored_key: Bytes,
    value: Bytes,
}

impl Rot {
    /// Whether the node ever had a damaged row.
    pub(crate) fn has_struck(&self, node: usize) -> bool {
        self.rows.values().any(|damage| damage.node == node)
    }

    /// Whether a row of the partition was ever damaged, on any node.
    pub(crate) fn has_struck_in(&self, partition: PartitionId) -> bool {
        self.rows.keys().any(|(of, _)| *of == partition)
    }
}

/// How often rows are damaged. Drawn apart from the other options: so that seeds are what they were
/// without.
pub(crate) fn draw(seed: u64) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x726f_7474_656e_2121);
    *pick(&mut rng, &[0, 0, 2, 6])
}

/// What rules out that the only sound copy is lost, and has the scrub come round in time.
pub(crate) fn adapt(options: &mut Options) {
    (options.faults.amnesia, options.faults.wipe) = (0, 0);
    options.engine.scrub_every_ms = 200;
    options.engine.scrub_interval_ms = 3_000;
}

impl World {
    /// A bit of a row of this node flips, if there is one that others hold.
    pub(crate) fn let_rot(&mut self, node: usize, rng: &mut fastrand::Rng) {
        let kv = self.nodes[node].kv.clone();
        let all = kv.range(Keyspace::Rows, Bound::Unbounded, Bound::Unbounded);
        let mut rows: Vec<(Bytes, Bytes)> = all.flatten().collect();
        shuffle(rng, &mut rows);
        let may = |(key, _): &(Bytes, Bytes)| self.may_rot(node, key);
        let Some((stored_key, sound)) = rows.into_iter().take(LOOKS_MAX).find(may) else {
            return;
        };
        let Some(row) = row_of(&stored_key) else {
            return;
        };
        let mut value = sound.to_vec();
        let at = below(rng, value.len());
        value[at] ^= 1 << self.rng.u32(..8);
        let value = Bytes::from(value);
        let kept = match self.options.mutant {
            Some(Mutant::DamageAsAbsence) => None,
            _ => Some(value.clone()),
        };
        self.trace
            .say(self.now, format_args!("n{node} has a damaged {row:?}"));
        self.nodes[node]
            .kv
            .damage(Keyspace::Rows, stored_key.clone(), kept);
        self.count("damaged rows");
        let damage = Damage {
            node,
            stored_key,
            value,
        };
        self.rot.rows.insert(row, damage);
    }

    /// Whether all other owners have on their disks what this node knows of the row's partition, and the
    /// row was never damaged.
    fn may_rot(&self, node: usize, stored_key: &[u8]) -> bool {
        let was_damaged = row_of(stored_key).is_some_and(|row| self.rot.rows.contains_key(&row));
        !was_damaged && self.others_hold(node, stored_key)
    }

    /// Whether all other owners have on their disks what this node knows of the row's partition.
    pub(crate) fn others_hold(&self, node: usize, stored_key: &[u8]) -> bool {
        let (Some(process), Some(row)) = (&self.nodes[node].process, row_of(stored_key)) else {
            return false;
        };
        let mut replicas = process.shards.iter().map(|shard| shard.replica());
        let holds = replicas.find(|replica| replica.is_whole(row.0));
        let Some(clock) = holds.map(|replica| replica.clock(row.0)) else {
            return false;
        };
        let owners = self.layout.owners(row.0);
        let others = self.nodes.iter().enumerate().filter(|(at, _)| *at != node);
        let mut owners = others.filter(|(_, other)| owners.contains(&other.id));
        owners.all(|(_, other)| other.durable.claims_all(row.0, clock))
    }

    /// Whether a row that was damaged on the node is so still.
    pub(crate) fn has_rotten_rows(&self, node: usize) -> bool {
        let mut here = self.rot.rows.values().filter(|d| d.node == node);
        here.any(|damage| {
            let held = self.nodes[node].kv.get(Keyspace::Rows, &damage.stored_key);
            held.is_ok_and(|held| held.as_ref() == Some(&damage.value))
        })
    }

    /// Whether a row of the partition is damaged on the node.
    pub(crate) fn has_rotten_rows_in(&self, node: usize, partition: PartitionId) -> bool {
        let mut rows = self.rot.rows.iter();
        rows.any(|((of, _), damage)| *of == partition && damage.node == node)
    }
}

/// The partition of a stored row, and what names the row in every node.
pub(crate) fn row_of(stored_key: &[u8]) -> Option<(PartitionId, Bytes)> {
    let partition = u16::from_be_bytes(stored_key.get(..2)?.try_into().ok()?);
    let name = stored_key.get(PLACE_BYTES..)?;
    Some((PartitionId(partition), Bytes::copy_from_slice(name)))
}
