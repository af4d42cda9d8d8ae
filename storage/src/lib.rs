//! What one replica keeps.

pub mod kv;

pub use kv::{
    Batch, DiskSpace, Entry, Keyspace, Kv, KvError, KvSnapshot, MemoryKv, MemorySnapshot, Start,
};
