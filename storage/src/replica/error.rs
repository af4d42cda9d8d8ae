//! What can go wrong in a replica, and what then became of the data.

use dunlin_crdt::ChangeError;
use dunlin_protocol::RowKey;
use dunlin_ring::{NodeId, PartitionId};
use thiserror::Error;

use crate::kv::KvError;

/// Why a replica could not do what it was asked. Nothing was staged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The store below failed to read. Trying again helps only if the disk recovers.
    #[error("the store failed: {0}")]
    Kv(#[from] KvError),
    /// A stored row fails its checksum or cannot be decoded. It is left as it is; its data is lost
    /// here and comes back from a co-owner, by [`heal_row`](super::Replica::heal_row) or once the
    /// partition is distrusted and refilled.
    #[error("row {key:?} of partition {partition} is damaged")]
    CorruptRow {
        /// The partition.
        partition: PartitionId,
        /// The row.
        key: RowKey,
    },
    /// A stored key or log entry of the partition cannot be decoded. It is left as it is; distrust
    /// and refill the partition.
    #[error("a key or a log entry of partition {partition} is damaged")]
    CorruptKey {
        /// The partition.
        partition: PartitionId,
    },
    /// A stored hint fails its checksum or cannot be decoded. It is left as it is; what it held
    /// reaches its owner by repair, if another owner has it.
    #[error("a hint for node {owner} in partition {partition} is damaged")]
    CorruptHint {
        /// Whom it was kept for.
        owner: NodeId,
        /// The partition.
        partition: PartitionId,
    },
    /// This replica is no owner of the partition. Nothing was read or changed.
    #[error("partition {0} is not owned here")]
    NotOwned(PartitionId),
    /// Another shard of the node keeps this partition. Nothing was read or changed.
    #[error("partition {0} is kept by another shard")]
    OtherShard(PartitionId),
}

/// Why a write was refused. Nothing was staged: no row, no dot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The change does not fit the row.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The row would grow beyond what a row may hold. Read it and replace what you saw.
    #[error("the row would hold {bytes} bytes; read it and replace its siblings first")]
    TooManySiblings {
        /// The size that the row would have.
        bytes: usize,
    },
    /// It was to be kept as a hint, and that was refused.
    #[error("the hint was refused: {0}")]
    Hint(#[source] HintRefused),
    /// The replica failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a hint was not kept. Nothing was staged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HintRefused {
    /// Hints take as much space as they may. It will be taken when some were delivered.
    #[error("the hints kept here take {bytes} of {bytes_max} bytes")]
    Full {
        /// What they take.
        bytes: u64,
        /// What they may take.
        bytes_max: u64,
    },
    /// The replica failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
