//! What becomes of a store of which some tables are damaged: all that can be read of it goes into a new one.
//!
//! A flipped bit in a table makes one of its blocks unreadable, and with it some hundred rows; and the first
//! merge that meets the block ends all writing. fjall can't do without the table, so the store is copied:
//!
//! ```text
//!   dir/salvage           what was found damaged, one line each: the next open copies
//!   dir/store.salvage/    a copy that is not finished
//!   dir/store.salvaged/   a finished one, which takes the place of the store
//! ```
//!
//! Tables are copied from the oldest to the newest, so that of two versions of a key the newer one stays. Of a
//! key whose newest version can't be read an older one comes back, or one that was deleted: any batch may be
//! missing, as [`Start::Amnesia`](super::Start::Amnesia) says.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use fjall::{AbstractTree, Database, PersistMode};
use xxhash_rust::xxh3::Xxh3;

use super::disk::Shared;
use super::mark::{replace_file, sync_dir};
use super::reading::kv_error;
use super::record::{Continuity, Record};
use super::{Batch, Keyspace, KvError};

const NOTE: &str = "salvage";
pub(super) const UNFINISHED: &str = "store.salvage";
pub(super) const FINISHED: &str = "store.salvaged";

/// What one batch of the copy may hold, and how much of a table is read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// What was noted, if the store is to be copied.
pub(super) fn noted(dir: &Path) -> Result<Option<Vec<String>>, KvError> {
    match fs::read(dir.join(NOTE)) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(Some(text.lines().map(str::to_owned).collect()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KvError::io("read the note of damage", &error)),
    }
}

/// Notes what is damaged.
pub(super) fn note(dir: &Path, damaged: &[String]) -> Result<(), KvError> {
    replace_file(dir, NOTE, damaged.join("\n").as_bytes())
        .map_err(|error| KvError::io("write the note of damage", &error))
}

/// It was done, or can't be.
pub(super) fn forget_note(dir: &Path) -> Result<(), KvError> {
    match fs::remove_file(dir.join(NOTE)) {
        Ok(()) => sync_dir(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| KvError::io("remove the note of damage", &error))
}

/// The tables whose bytes are not those that were written, a sentence for each. Reads all of them.
pub(super) fn damaged_tables(shared: &Shared) -> Vec<String> {
    let mut damaged = Vec::new();
    let named = Keyspace::ALL.map(|keyspace| (keyspace.name(), shared.keyspace(keyspace)));
    let batches = ("batches", &shared.batches);
    for (name, keyspace) in named.into_iter().chain([batches]) {
        // Held, so that no merge removes a file that is being read.
        let version = keyspace.tree.current_version();
        for table in version.iter_tables() {
            let id = table.id();
            match checksum(&table.path) {
                Ok(checksum) if checksum == table.checksum().into_u128() => {}
                Ok(_) => damaged.push(format!("table {id} of keyspace {name} is damaged")),
                Err(error) => damaged.push(format!(
                    "table {id} of keyspace {name} can't be read: {error}"
                )),
            }
        }
    }
    damaged
}

fn checksum(file: &Path) -> io::Result<u128> {
    let (mut file, mut hasher) = (File::open(file)?, Xxh3::new());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.digest128()),
            read => hasher.update(piece.get(..read).unwrap_or_default()),
        }
    }
}

/// Copies what can be read. The first batch of the copy is the one after `sequence`, and closes the gap
/// before it.
///
/// `from` must have no thread that merges: it would stumble over what is damaged.
pub(super) fn copy(dir: &Path, from: &Shared, to: &Shared, sequence: u64) -> Result<(), KvError> {
    let failed = |error| kv_error("copy the store", dir, error);
    let mut copy = Copy {
        to,
        sequence,
        continuity: Continuity::Resumes,
        batch: Batch::new(),
    };
    for keyspace in Keyspace::ALL {
        let tree = &from.keyspace(keyspace).tree;
        tree.flush_active_memtable(0)
            .map_err(|error| failed(error.into()))?;
        let version = tree.current_version();
        let mut tables: Vec<_> = version.iter_tables().collect();
        tables.reverse();
        for table in tables {
            let mut last = None;
            for entry in table.iter() {
                // What can't be read is what the copy is made without.
                let Ok(entry) = entry else { continue };
                let key = Bytes::from(entry.key.user_key.clone());
                // Of several versions in one table the newest comes first.
                if last.replace(key.clone()).as_ref() == Some(&key) {
                    continue;
                }
                match entry.key.is_tombstone() {
                    true => copy.batch.delete(keyspace, key),
                    false => copy.batch.put(keyspace, key, Bytes::from(entry.value)),
                }
                if copy.batch.bytes() >= PIECE_BYTES {
                    copy.commit().map_err(failed)?;
                }
            }
        }
    }
    // Also one without entries has to say where it goes on.
    copy.commit().map_err(failed)?;
    sync(&to.database).map_err(failed)
}

fn sync(database: &Database) -> fjall::Result<()> {
    database.persist(PersistMode::SyncAll)
}

struct Copy<'a> {
    to: &'a Shared,
    sequence: u64,
    continuity: Continuity,
    batch: Batch,
}

impl Copy<'_> {
    fn commit(&mut self) -> fjall::Result<()> {
        let synced = self.sequence;
        self.sequence += 1;
        let record = Record {
            sequence: self.sequence,
            synced,
            continuity: std::mem::replace(&mut self.continuity, Continuity::Follows),
        };
        self.to.write(&std::mem::take(&mut self.batch), &record)
    }
}
