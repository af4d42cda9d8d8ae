//! How the store is set up: memory, journal, filters and blocks, and why each is what it is.

use std::sync::Arc;

use fjall::KeyspaceCreateOptions;
use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry};

use super::Keyspace;

/// fjall turns its journal at 64 MB and asserts that all of them may hold at least as much.
const JOURNAL_BYTES_MIN: u64 = 64 << 20;
/// Below this, a memtable makes more files than it saves memory.
const MEMTABLE_BYTES_MIN: u64 = 64 << 10;

/// How much memory and disk a store may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FjallOptions {
    /// Memory for blocks read from disk, shared by all keyspaces.
    pub cache_bytes: u64,
    /// Memory for what is not yet in tables, divided among the keyspaces by how much each is
    /// written. While a flush lags, up to four full memtables of a keyspace wait beside the one
    /// being filled; then commits wait too. **Fixed when the store is created**: later values are
    /// not looked at.
    pub memtable_bytes: u64,
    /// How much the journals may hold before the keyspaces that keep the oldest alive are flushed;
    /// at least 64 MiB. It also bounds the memory of slow keyspaces and the time to open. Keep it
    /// above `memtable_bytes`, or the memtables never fill.
    pub journal_bytes_max: u64,
    /// Free disk space below which writes are refused, beside what flushes and merges will need. On
    /// a disk below sixteen times this, a sixteenth of the disk.
    pub disk_reserve_bytes: u64,
    /// Threads that flush and merge; at least 1.
    pub worker_threads: usize,
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            memtable_bytes: 64 << 20,
            journal_bytes_max: 256 << 20,
            disk_reserve_bytes: 64 << 20,
            worker_threads: 2,
        }
    }
}

impl FjallOptions {
    /// The journals' bound, as fjall accepts it.
    pub(super) fn journals(&self) -> u64 {
        self.journal_bytes_max.max(JOURNAL_BYTES_MIN)
    }

    /// How a keyspace is created.
    pub(super) fn keyspace(&self, keyspace: Keyspace) -> KeyspaceCreateOptions {
        match keyspace {
            // Most reads before a put miss, so filters pay; 4 KiB blocks suit reads of one row.
            Keyspace::Rows => Profile {
                share: 16,
                block: 4,
                table: 32,
                filter: Filter::Bloom,
            },
            // Appended and scanned: a filter would be built and never asked.
            Keyspace::Log => Profile {
                share: 4,
                block: 16,
                table: 32,
                filter: Filter::None,
            },
            Keyspace::Hints => Profile {
                share: 4,
                block: 16,
                table: 32,
                filter: Filter::None,
            },
            Keyspace::Pending => Profile {
                share: 2,
                block: 4,
                table: 8,
                filter: Filter::None,
            },
            // Read by point and mostly there, but a miss is a new key.
            Keyspace::Cas => Profile {
                share: 2,
                block: 4,
                table: 8,
                filter: Filter::Bloom,
            },
            // Few and hot: one table, in the cache.
            Keyspace::Clocks => Profile {
                share: 2,
                block: 4,
                table: 8,
                filter: Filter::None,
            },
            Keyspace::Meta => Profile {
                share: 1,
                block: 4,
                table: 8,
                filter: Filter::None,
            },
        }
        .options(self.memtable_bytes)
    }

    /// How the store's own keyspace, of one key, is created.
    pub(super) fn batches(&self) -> KeyspaceCreateOptions {
        Profile {
            share: 1,
            block: 4,
            table: 8,
            filter: Filter::None,
        }
        .options(self.memtable_bytes)
    }
}

/// The shares of all eight keyspaces add up to this.
const SHARES: u64 = 32;

#[derive(Clone, Copy)]
enum Filter {
    None,
    Bloom,
}

#[derive(Clone, Copy)]
struct Profile {
    /// Its part of the memory for memtables, in [`SHARES`].
    share: u64,
    /// KiB of a data block.
    block: u32,
    /// MiB of a table. Small tables keep a merge, and the space it needs, small.
    table: u64,
    filter: Filter,
}

impl Profile {
    fn options(self, memtable_bytes: u64) -> KeyspaceCreateOptions {
        let memtable = (memtable_bytes / SHARES * self.share).max(MEMTABLE_BYTES_MIN);
        let filter = match self.filter {
            Filter::None => FilterPolicy::disabled(),
            // Ten bits a key: one miss in a hundred reads a block in vain.
            Filter::Bloom => FilterPolicy::all(FilterPolicyEntry::Bloom(
                BloomConstructionPolicy::BitsPerKey(10.0),
            )),
        };
        KeyspaceCreateOptions::default()
            .max_memtable_size(memtable)
            .data_block_size_policy(BlockSizePolicy::all(self.block << 10))
            .filter_policy(filter)
            .compaction_strategy(Arc::new(
                Leveled::default().with_table_target_size(self.table << 20),
            ))
    }
}
