//! What one replica keeps.

pub mod kv;

pub use kv::{
    Batch, DiskSpace, Entry, FjallKv, FjallOptions, Keyspace, Kv, KvError, KvSnapshot, MemoryKv,
    MemorySnapshot, Opened, Start,
};
