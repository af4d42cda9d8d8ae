//! Refuses writes while there is still room to refuse them in.
//!
//! fjall does not survive a full disk: a journal write that fails poisons it, and so does a flush
//! or a merge in the background, which nobody asked for at that moment. So the store stops taking
//! writes while everything that fjall may still have to write fits:
//!
//! ```text
//!   needed = the reserve + what is buffered (it will be flushed) + the next merge (it writes its
//!            output before it drops its input; bounded by an eighth of the disk)
//! ```
//!
//! Batches of deletes go on down to a quarter of that, since they are how room is made. The check
//! is a `statvfs`, once per [`CHECK_BYTES`] or [`CHECK_BATCHES`] written while there is plenty, for others write to
//! the disk too, and at every commit when there is not. So the store comes back by itself when space does.

use std::path::{Path, PathBuf};

use super::KvError;

/// How much may be written unchecked. Far below the smallest reserve that makes sense.
const CHECK_BYTES: u64 = 256 << 10;
/// How many batches may be. A few dozen take some ten milliseconds; in that time nobody fills the reserve.
const CHECK_BATCHES: u32 = 32;
/// The reserve is never above this part of the disk: a tiny disk keeps most of itself usable.
const RESERVE_SHARE: u64 = 16;
/// The allowance for a merge is never above this part of the disk.
const MERGE_SHARE: u64 = 8;

/// What fjall may write without being asked again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backlog {
    /// What the memtables hold.
    pub(super) buffered_bytes: u64,
    /// What the largest likely merge reads, and therefore writes.
    pub(super) merge_bytes: u64,
}

/// What a batch does to the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Its size.
    pub(super) bytes: u64,
    /// Whether it only deletes.
    pub(super) only_deletes: bool,
}

/// Watches the free space of the directory's disk.
#[derive(Debug)]
pub(super) struct SpaceGuard {
    dir: PathBuf,
    reserve_bytes: u64,
    unchecked_bytes: u64,
    unchecked_batches: u32,
    /// Whether the last check found less than twice what is needed.
    tight: bool,
}

impl SpaceGuard {
    /// A guard whose first demand is checked.
    pub(super) fn new(dir: &Path, reserve_bytes: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            reserve_bytes,
            unchecked_bytes: 0,
            unchecked_batches: 0,
            tight: true,
        }
    }

    /// Admits a batch or refuses it with [`KvError::Full`]. `backlog` is asked only when it counts.
    pub(super) fn admit(
        &mut self,
        demand: Demand,
        backlog: impl FnOnce() -> Backlog,
    ) -> Result<(), KvError> {
        self.unchecked_bytes += demand.bytes;
        self.unchecked_batches += 1;
        let is_due = self.unchecked_bytes >= CHECK_BYTES || self.unchecked_batches >= CHECK_BATCHES;
        if !self.tight && !is_due {
            return Ok(());
        }
        (self.unchecked_bytes, self.unchecked_batches) = (0, 0);
        // A disk that cannot say how full it is gets the benefit of the doubt: if it is broken, the
        // write itself will tell.
        let Some(disk) = Disk::of(&self.dir) else {
            return Ok(());
        };
        let needed = disk.needed(self.reserve_bytes, backlog());
        self.tight = disk.free_bytes < needed.saturating_mul(2);
        let floor = if demand.only_deletes {
            needed / 4
        } else {
            needed
        };
        if disk.free_bytes < floor.saturating_add(demand.bytes) {
            return Err(KvError::Full);
        }
        Ok(())
    }

    /// Refuses with [`KvError::Full`] unless `bytes` fit and leave the reserve.
    pub(super) fn require(&self, bytes: u64) -> Result<(), KvError> {
        match Disk::of(&self.dir) {
            Some(disk)
                if disk.free_bytes < bytes.saturating_add(disk.reserve(self.reserve_bytes)) =>
            {
                Err(KvError::Full)
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Disk {
    total_bytes: u64,
    free_bytes: u64,
}

impl Disk {
    fn of(dir: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(dir).ok()?;
        Some(Self {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn reserve(self, wanted_bytes: u64) -> u64 {
        wanted_bytes.min(self.total_bytes / RESERVE_SHARE)
    }

    fn needed(self, reserve_bytes: u64, backlog: Backlog) -> u64 {
        self.reserve(reserve_bytes)
            .saturating_add(backlog.buffered_bytes)
            .saturating_add(backlog.merge_bytes.min(self.total_bytes / MERGE_SHARE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_others_fill_is_noticed_by_a_store_that_writes_little() {
        let dir = tempfile::tempdir().unwrap();
        let mut guard = SpaceGuard::new(dir.path(), 0);
        let demand = Demand {
            bytes: 10,
            only_deletes: false,
        };
        let mut looks = 0;
        for _ in 0..=3 * CHECK_BATCHES {
            let admitted = guard.admit(demand, || {
                looks += 1;
                Backlog::default()
            });
            assert_eq!(admitted, Ok(()));
        }
        assert_eq!(looks, 4, "the first one, and every {CHECK_BATCHES}");
    }

    #[test]
    fn what_is_needed_scales_down_with_the_disk() {
        let backlog = Backlog {
            buffered_bytes: 10,
            merge_bytes: 1 << 30,
        };
        let large = Disk {
            total_bytes: 1 << 40,
            free_bytes: 0,
        };
        assert_eq!(large.needed(64 << 20, backlog), (64 << 20) + 10 + (1 << 30));
        let tiny = Disk {
            total_bytes: 32 << 20,
            free_bytes: 0,
        };
        assert_eq!(tiny.needed(64 << 20, backlog), (2 << 20) + 10 + (4 << 20));
    }
}
