//! The `[storage]` section: how much memory and disk the store may take.

use dunlin_storage::FjallOptions;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StorageSection {
    cache_bytes: u64,
    memtable_bytes: u64,
    journal_bytes_max: u64,
    disk_reserve_bytes: u64,
    worker_threads: usize,
}

impl Default for StorageSection {
    fn default() -> Self {
        let FjallOptions {
            cache_bytes,
            memtable_bytes,
            journal_bytes_max,
            disk_reserve_bytes,
            worker_threads,
        } = FjallOptions::default();
        Self {
            cache_bytes,
            memtable_bytes,
            journal_bytes_max,
            disk_reserve_bytes,
            worker_threads,
        }
    }
}

impl From<StorageSection> for FjallOptions {
    fn from(section: StorageSection) -> Self {
        Self {
            cache_bytes: section.cache_bytes,
            memtable_bytes: section.memtable_bytes,
            journal_bytes_max: section.journal_bytes_max,
            disk_reserve_bytes: section.disk_reserve_bytes,
            worker_threads: section.worker_threads.max(1),
        }
    }
}
