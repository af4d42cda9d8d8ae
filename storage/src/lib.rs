//! What one replica keeps.

pub(crate) mod key;
pub mod kv;
pub mod replica;

pub use kv::{
    Batch, DiskSpace, Entry, FjallKv, FjallOptions, Keyspace, Kv, KvError, KvSnapshot, MemoryKv,
    MemorySnapshot, Opened, Start,
};
pub use replica::{
    BatchId, CellMeta, Healed, HintRefused, Horizon, Missing, PartitionDigest, Progress, RangeDiff,
    Replica, ReplicaOptions, RowChange, ScrubSlice, StoreError, Taken, Tally, WholeTaken,
    WriteError,
};
