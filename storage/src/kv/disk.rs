//! The store on disk: fjall behind the [`Kv`] trait.
//!
//! What this adds to fjall: a number and a checksum in every batch, a mark of what was synced, a
//! refusal of writes before the disk is full, and one writer at a time. How it is opened, and what
//! is believed then, is in `open.rs`.
//!
//! ```text
//!   commit   reserve space, number the batch, one fjall batch, handed to the operating system
//!   sync     fdatasync of the journal, then the mark
//! ```
//!
//! A commit can wait: fjall holds its journal through a sync, and sleeps when flushes or merges
//! lag. Call it from a thread of its own, never from an async worker.

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fjall::{AbstractTree, Database, PersistMode, Slice};

use super::mark::Mark;
use super::options::FjallOptions;
use super::reading::{FjallSnapshot, kv_error, range};
use super::record::{self, Continuity, Digest, Record};
use super::space::{Backlog, Demand, SpaceGuard};
use super::{Batch, Entry, KEY_BYTES_MAX, Keyspace, Kv, KvError, KvSnapshot, Start, open, salvage};

/// How often a flush is looked after.
const FLUSH_POLL: Duration = Duration::from_millis(1);

/// A store on disk. Dropping it without [`FjallKv::close_clean`] is as good as a kill. The directory
/// stays locked until its last snapshot is gone too.
pub struct FjallKv {
    shared: Arc<Shared>,
    dir: PathBuf,
    /// Guards the order of batches; held through a commit and a sync.
    writer: Mutex<Writer>,
    /// The number of the last synced batch, for those who must not wait for the writer.
    synced: AtomicU64,
}

/// A store and what it remembers.
#[derive(Debug)]
pub struct Opened {
    /// The store, ready for use.
    pub kv: FjallKv,
    /// How far it can be trusted.
    pub start: Start,
}

/// What readers and snapshots use. The lock outlives the database.
pub(super) struct Shared {
    pub(super) database: Database,
    pub(super) keyspaces: [fjall::Keyspace; Keyspace::ALL.len()],
    pub(super) batches: fjall::Keyspace,
    pub(super) _lock: File,
}

pub(super) struct Writer {
    /// The number of the last batch.
    pub(super) sequence: u64,
    /// The number of the last batch that was synced. Invariant: never above `sequence`.
    pub(super) synced: u64,
    pub(super) mark: Mark,
    pub(super) space: SpaceGuard,
    pub(super) health: Health,
    /// How many merges had ended when dead tables were last let go.
    pub(super) merges_seen: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Sound,
    Poisoned,
    Closed,
}

impl FjallKv {
    /// Opens the store in `dir`, or creates it, and says what it remembers.
    ///
    /// The clean mark is consumed first, so that whatever happens next is not clean. Journals are
    /// judged and made fit before fjall sees them; what was found damaged is kept aside in
    /// `store.forgotten-N`, the newest few. See [`Start`].
    ///
    /// # Errors
    /// [`KvError::Locked`], [`KvError::FormatNewer`]: nothing was touched. [`KvError::Io`] when the
    /// operating system refuses for reasons that are not damage (permissions, no space, too many
    /// files): mend them and open again; no data is lost.
    pub fn open(dir: &Path, options: &FjallOptions) -> Result<Opened, KvError> {
        open::open(dir, options)
    }

    pub(super) fn new(shared: Shared, dir: &Path, writer: Writer) -> Self {
        Self {
            shared: Arc::new(shared),
            dir: dir.to_owned(),
            synced: AtomicU64::new(writer.synced),
            writer: Mutex::new(writer),
        }
    }

    /// Says that what [`Start::Amnesia`] asked for has been noted durably by the caller. Until then
    /// every open reports it again, so that a kill right after the first cannot hide it.
    ///
    /// # Errors
    /// [`KvError::Io`]: the next open may report it once more.
    pub fn amnesia_noted(&self) -> Result<(), KvError> {
        open::forget_doubts(&self.dir)
            .map_err(|error| KvError::io("clear the amnesia file", &error))
    }

    /// Says that the store may have forgotten what it had synced, though it looks whole: peers remember
    /// more of it than it holds. The next open finds [`Start::Amnesia`] with this sentence.
    ///
    /// # Errors
    /// [`KvError::Io`]: the next open may not know of it.
    pub fn doubt(&self, sentence: String) -> Result<(), KvError> {
        open::add_doubt(&self.dir, sentence)
    }

    /// The tables whose bytes are not those that were written, or can't be read, a sentence for each. Reads all
    /// of the store: as long as the disk takes for that.
    pub fn damaged_tables(&self) -> Vec<String> {
        salvage::damaged_tables(&self.shared)
    }

    /// Has the next open copy all that can be read of the store into a new one, and find
    /// [`Start::Amnesia`] with these sentences. Takes as much space as the store does: what it was stays in
    /// `store.forgotten-N`.
    ///
    /// # Errors
    /// [`KvError::Full`] if there is not the space; [`KvError::Io`]. Then nothing is to happen.
    pub fn salvage(&self, damaged: &[String]) -> Result<(), KvError> {
        let writer = self.writer.lock();
        // Also of a store that takes no more.
        let writer = writer.unwrap_or_else(PoisonError::into_inner);
        writer.space.require(self.disk_bytes())?;
        salvage::note(&self.dir, damaged)
    }

    /// Syncs everything and declares the store closed in order. Reads go on, commits and syncs are
    /// refused from now on; drop it to let go of the directory.
    ///
    /// # Errors
    /// As [`Kv::sync`]; then the next open is not clean.
    pub fn close_clean(&self) -> Result<(), KvError> {
        let mut writer = self.writer()?;
        self.sync_all(&mut writer)?;
        writer.health = Health::Closed;
        writer
            .mark
            .declare_clean(&self.dir, writer.sequence)
            .map_err(|error| KvError::io("write the clean mark", &error))
    }

    /// The writer, unless the store takes no more.
    fn writer(&self) -> Result<MutexGuard<'_, Writer>, KvError> {
        let writer = self
            .writer
            .lock()
            .map_err(|PoisonError { .. }| KvError::Poisoned)?;
        match writer.health {
            Health::Sound => Ok(writer),
            Health::Poisoned => Err(KvError::Poisoned),
            Health::Closed => Err(KvError::Closed),
        }
    }

    /// Numbers a batch and gives it to fjall.
    fn write(
        &self,
        writer: &mut Writer,
        batch: &Batch,
        continuity: Continuity,
    ) -> Result<(), KvError> {
        let sequence = writer.sequence + 1;
        let record = Record {
            sequence,
            synced: writer.synced,
            continuity,
        };
        writer.health = Health::Poisoned;
        self.shared
            .write(batch, &record)
            .map_err(|error| self.broken("write a batch", error))?;
        writer.health = Health::Sound;
        writer.sequence = sequence;
        Ok(())
    }

    /// Writes an empty batch that closes the gap below it.
    pub(super) fn resume(&self) -> Result<(), KvError> {
        let mut writer = self.writer()?;
        self.write(&mut writer, &Batch::new(), Continuity::Resumes)?;
        self.sync_all(&mut writer)
    }

    fn sync_all(&self, writer: &mut Writer) -> Result<(), KvError> {
        // fjall's workers poison it in the background; a sync must not pass that over.
        writer.health = Health::Poisoned;
        self.shared
            .database
            .persist(PersistMode::SyncData)
            .map_err(|error| self.broken("sync the journal", error))?;
        // Ordering: the mark may lag behind the journal, never run ahead of it.
        writer
            .mark
            .write(writer.sequence)
            .map_err(|error| KvError::io("write the high-water mark", &error))?;
        writer.synced = writer.sequence;
        // It guards nothing else: whoever reads it a moment later learns of it a moment later.
        self.synced.store(writer.synced, Ordering::Relaxed);
        writer.health = Health::Sound;
        Ok(())
    }

    /// What an error of fjall means when it broke a write.
    fn broken(&self, action: &'static str, error: fjall::Error) -> KvError {
        kv_error(action, &self.dir, error)
    }

    /// Refuses what does not fit. Tables that a merge has replaced leave the disk only at the next
    /// flush, and with writes refused there would be none: so force a small one.
    fn admit(&self, writer: &mut Writer, batch: &Batch) -> Result<(), KvError> {
        let demand = Demand {
            bytes: batch.bytes() as u64,
            only_deletes: batch.only_deletes(),
        };
        let admitted = writer.space.admit(demand, || self.shared.backlog());
        let merges = self.shared.database.compactions_completed();
        if admitted.is_err() && merges != writer.merges_seen {
            writer.merges_seen = merges;
            self.shared
                .batches
                .rotate_memtable()
                .map_err(|error| self.broken("flush a memtable", error))?;
        }
        admitted
    }

    /// Flushes what a keyspace buffers and waits until it is in tables.
    fn flush(&self, keyspace: &fjall::Keyspace) -> Result<(), KvError> {
        keyspace
            .rotate_memtable()
            .map_err(|error| self.broken("flush a memtable", error))?;
        while keyspace.tree.sealed_memtable_count() > 0 {
            // The flush runs in a worker, which on failure ends and poisons the database; without
            // this check the wait would have no end.
            self.shared
                .database
                .persist(PersistMode::Buffer)
                .map_err(|error| self.broken("flush a memtable", error))?;
            #[expect(
                clippy::disallowed_methods,
                reason = "fjall offers no signal to wait for"
            )]
            std::thread::sleep(FLUSH_POLL);
        }
        Ok(())
    }

    /// Writes an empty batch, so that versions and tables before it can be let go.
    fn tick(&self) -> Result<(), KvError> {
        let mut writer = self.writer()?;
        self.write(&mut writer, &Batch::new(), Continuity::Follows)
    }
}

impl Shared {
    /// Writes a batch with its record.
    pub(super) fn write(&self, batch: &Batch, record: &Record) -> fjall::Result<()> {
        let mut write = self.database.batch().durability(Some(PersistMode::Buffer));
        let mut digest = Digest::new();
        for (keyspace, key, value) in batch.iter() {
            digest.add(key, value.map(|value| &value[..]));
            let keyspace = self.keyspace(keyspace);
            // Copied, not shared: a slice of a network buffer would keep all of the buffer in
            // memory until the flush, and the memtables' bound would mean nothing.
            match value {
                Some(value) => {
                    write.insert(keyspace, Slice::from(&key[..]), Slice::from(&value[..]))
                }
                None => write.remove(keyspace, Slice::from(&key[..])),
            }
        }
        write.insert(&self.batches, record::KEY, record.encode(digest));
        write.commit()
    }

    /// The keyspace in fjall.
    #[expect(
        clippy::indexing_slicing,
        reason = "the array has a slot for each keyspace"
    )]
    pub(super) fn keyspace(&self, keyspace: Keyspace) -> &fjall::Keyspace {
        &self.keyspaces[keyspace.index()]
    }

    /// What fjall may write by itself: all it buffers, and the first two levels of a keyspace, which
    /// is what a merge begins with.
    fn backlog(&self) -> Backlog {
        let merge_bytes = self.keyspaces.iter().map(|keyspace| {
            let version = keyspace.tree.current_version();
            let levels = version.iter_levels().map(|level| level.size());
            levels.filter(|bytes| *bytes > 0).take(2).sum()
        });
        Backlog {
            buffered_bytes: self.database.write_buffer_size(),
            merge_bytes: merge_bytes.max().unwrap_or(0),
        }
    }

    /// The last record, as the tables and memtables know it.
    pub(super) fn last_record(&self) -> fjall::Result<Option<Record>> {
        let bytes = self.batches.get(record::KEY)?;
        Ok(bytes.and_then(|bytes| Record::decode(&bytes)))
    }
}

impl Kv for FjallKv {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let value = self.shared.keyspace(keyspace).get(key);
        Ok(value
            .map_err(|error| self.broken("read a key", error))?
            .map(Bytes::from))
    }

    fn range<'a>(
        &'a self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Box<dyn Iterator<Item = Entry> + 'a> {
        // A range without a snapshot would see half of a batch that is being committed.
        let snapshot = self.shared.database.snapshot();
        range(&self.shared, &snapshot, &self.dir, keyspace, (from, to))
    }

    fn commit(&self, batch: &Batch) -> Result<(), KvError> {
        batch.check()?;
        let mut writer = self.writer()?;
        if batch.is_empty() {
            return Ok(());
        }
        self.admit(&mut writer, batch)?;
        self.write(&mut writer, batch, Continuity::Follows)
    }

    fn sync(&self) -> Result<(), KvError> {
        let mut writer = self.writer()?;
        if writer.synced == writer.sequence {
            return Ok(());
        }
        self.sync_all(&mut writer)
    }

    fn synced(&self) -> u64 {
        self.synced.load(Ordering::Relaxed)
    }

    fn snapshot(&self) -> Box<dyn KvSnapshot> {
        Box::new(FjallSnapshot {
            snapshot: self.shared.database.snapshot(),
            shared: Arc::clone(&self.shared),
            dir: self.dir.clone(),
        })
    }

    fn compact(&self) -> Result<(), KvError> {
        let all = || self.shared.keyspaces.iter().chain([&self.shared.batches]);
        {
            let writer = self.writer()?;
            let largest = all().map(fjall::Keyspace::disk_space).max().unwrap_or(0);
            writer
                .space
                .require(largest + self.shared.database.write_buffer_size())?;
        }
        // Ordering: the first tick moves what may be forgotten past every overwritten version, the
        // flushes then make the merges see all, and only a flush after the merges removes the
        // tables that they replaced.
        self.tick()?;
        for keyspace in all() {
            self.flush(keyspace)?;
        }
        for keyspace in all() {
            keyspace
                .major_compact()
                .map_err(|error| self.broken("merge a keyspace", error))?;
        }
        self.tick()?;
        self.flush(&self.shared.batches)
    }

    fn disk_bytes(&self) -> u64 {
        occupied_bytes(&self.dir).unwrap_or(0)
    }
}

impl std::fmt::Debug for FjallKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallKv")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// The space that a directory takes, holes in files not counted.
fn occupied_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A table can vanish between the listing and the look at it.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        bytes += if metadata.is_dir() {
            occupied_bytes(&entry.path()).unwrap_or(0)
        } else {
            metadata.blocks() * 512
        };
    }
    Ok(bytes)
}
