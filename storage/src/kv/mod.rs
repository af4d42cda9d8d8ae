//! The key-value layer: what a replica asks of a disk, and nothing more.
//!
//! Seven ordered keyspaces, point reads, ascending ranges, atomic batches, a sync, snapshots. Two
//! implementations stand behind one trait: [`FjallKv`] on a real disk, and [`MemoryKv`], whose
//! crash drops what was not synced, for the simulator. One conformance suite runs over both
//! (`tests/kv_conformance.rs`).
//!
//! ```text
//!   commit ──> survives a kill of the process      sync ──> survives a loss of power
//! ```
//!
//! What it does not do: it knows no rows, dots or clocks, reads no time, and never repairs. When a
//! store may have forgotten what it had acknowledged, it says so ([`Start::Amnesia`]) and leaves the
//! cure to the layers above, which can ask the peers.

mod batch;
mod disk;
mod error;
mod inspect;
mod journal;
mod keyspace;
mod mark;
mod memory;
mod open;
mod options;
mod reading;
mod record;
mod salvage;
mod space;
mod tables;

use std::ops::Bound;

use bytes::Bytes;

pub use batch::{Batch, KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use disk::{FjallKv, Opened};
pub use error::KvError;
pub use keyspace::Keyspace;
pub use memory::{DiskSpace, MemoryKv, MemorySnapshot};
pub use options::FjallOptions;

/// One step of a range: a key with its value, or why the rest cannot be read.
pub type Entry = Result<(Bytes, Bytes), KvError>;

/// A store of ordered keyspaces with atomic batches.
///
/// One thread writes (`commit`, `sync`, `compact`); any number read meanwhile. Writes of several
/// threads are safe but queue behind each other's syncs.
pub trait Kv: Send + Sync + 'static {
    /// The value under `key`, or `None`.
    ///
    /// # Errors
    /// [`KvError::Corrupt`] or [`KvError::Io`] if the disk could not say.
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, KvError>;

    /// The entries between two bounds in ascending order of their keys, as they were at the moment
    /// of the call: later commits do not show. Bounds that enclose nothing yield nothing.
    ///
    /// An iterator keeps what it may still read from being freed; don't park one.
    fn range<'a>(
        &'a self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Box<dyn Iterator<Item = Entry> + 'a>;

    /// Applies all of a batch or nothing of it. When it returns `Ok`, every read sees the batch and
    /// a kill of the process no longer undoes it; a loss of power may, until [`Kv::sync`].
    ///
    /// A batch of deletes alone is still taken when the disk is nearly full, so that delivered
    /// hints and pruned logs can make room; a batch with a put is refused with [`KvError::Full`].
    ///
    /// # Errors
    /// [`KvError::Full`], [`KvError::TooLarge`]: nothing of the batch was applied, the store goes
    /// on. [`KvError::Poisoned`], [`KvError::Closed`]: refused, for good. Any other: this batch may
    /// or may not be found at the next start, and the store is poisoned.
    fn commit(&self, batch: &Batch) -> Result<(), KvError>;

    /// Makes everything committed before the call survive a loss of power.
    ///
    /// # Errors
    /// Any error poisons the store for ever: whether the unsynced batches reached the disk cannot be
    /// known, and a second sync that succeeded would prove nothing about them.
    fn sync(&self) -> Result<(), KvError>;

    /// The number of the last batch that survives a loss of power. Batches are numbered one by one over
    /// the whole life of a store; right after it was opened this is what it was found to hold. Never
    /// waits for a sync.
    fn synced(&self) -> u64;

    /// All keyspaces at one instant between two commits.
    fn snapshot(&self) -> Box<dyn KvSnapshot>;

    /// Brings the disk down to near only what is live: flushes what is buffered and merges every
    /// keyspace into one sorted run. It needs as much free space as the largest keyspace holds, and
    /// takes as long as reading and writing everything.
    ///
    /// # Errors
    /// [`KvError::Full`] before it starts when there is not the space; others as in [`Kv::commit`].
    /// No data is lost either way.
    fn compact(&self) -> Result<(), KvError>;

    /// The bytes that the store occupies, stale ones included. Zero if the disk cannot say.
    fn disk_bytes(&self) -> u64;
}

/// The keyspaces at one instant. It keeps that instant's data from being freed; don't park one.
pub trait KvSnapshot: Send {
    /// As [`Kv::get`], at the snapshot's instant.
    ///
    /// # Errors
    /// As [`Kv::get`].
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, KvError>;

    /// As [`Kv::range`], at the snapshot's instant.
    fn range<'a>(
        &'a self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Box<dyn Iterator<Item = Entry> + 'a>;
}

/// What a store remembers when it is opened, and how far that can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// There was nothing here: a new store, or a wiped disk.
    Blank,
    /// It was closed in order and holds everything that was ever committed.
    Clean,
    /// The process or the machine died. Everything that was synced is there; of what was only
    /// committed, a part may be missing. Whoever mints names must draw new ones.
    Unclean,
    /// The store may have forgotten what it had synced. Every batch that could be read was kept, but
    /// **any batch may be missing, from the middle too, and one keyspace may remember what another
    /// forgot**: a clock must not be believed about rows. What is missing must come from peers.
    Amnesia {
        /// What was found, one sentence each, for the log and the operator.
        evidence: Vec<String>,
    },
}

/// Whether no key can lie between two bounds. Ordered maps panic on some of these, so every
/// implementation asks here first.
fn encloses_nothing(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
    }
}
