//! Reads of the store on disk, and what fjall's errors say about the data.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Guard, Readable, Snapshot};

use super::disk::Shared;
use super::{Entry, KEY_BYTES_MAX, Keyspace, KvError, KvSnapshot, encloses_nothing};

/// A fjall snapshot with what it needs to be read.
pub(super) struct FjallSnapshot {
    pub(super) snapshot: Snapshot,
    pub(super) shared: Arc<Shared>,
    pub(super) dir: PathBuf,
}

impl KvSnapshot for FjallSnapshot {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let value = self.snapshot.get(self.shared.keyspace(keyspace), key);
        let value = value.map_err(|error| kv_error("read a key", &self.dir, error))?;
        Ok(value.map(Bytes::from))
    }

    fn range<'a>(
        &'a self,
        keyspace: Keyspace,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Box<dyn Iterator<Item = Entry> + 'a> {
        range(
            &self.shared,
            &self.snapshot,
            &self.dir,
            keyspace,
            (from, to),
        )
    }
}

/// A range at a snapshot's instant.
pub(super) fn range<'a>(
    shared: &Shared,
    snapshot: &Snapshot,
    dir: &'a Path,
    keyspace: Keyspace,
    (from, to): (Bound<&[u8]>, Bound<&[u8]>),
) -> Box<dyn Iterator<Item = Entry> + 'a> {
    let (from, to) = (storable_from(from), storable_to(to));
    if encloses_nothing(from, to) {
        return Box::new(std::iter::empty());
    }
    let entries = snapshot.range::<&[u8], _>(shared.keyspace(keyspace), (from, to));
    Box::new(entries.map(move |entry: Guard| match entry.into_inner() {
        Ok((key, value)) => Ok((Bytes::from(key), Bytes::from(value))),
        Err(error) => Err(kv_error("read a range", dir, error)),
    }))
}

/// The same lower bound among keys that can be stored: fjall panics at a longer one.
fn storable_from(from: Bound<&[u8]>) -> Bound<&[u8]> {
    match from {
        Bound::Included(key) | Bound::Excluded(key) => match key.get(..KEY_BYTES_MAX) {
            Some(head) if key.len() > KEY_BYTES_MAX => Bound::Excluded(head),
            Some(_) | None => from,
        },
        Bound::Unbounded => from,
    }
}

/// The same upper bound among keys that can be stored.
fn storable_to(to: Bound<&[u8]>) -> Bound<&[u8]> {
    match storable_from(to) {
        Bound::Excluded(head) if to != Bound::Excluded(head) => Bound::Included(head),
        same => same,
    }
}

/// What an error of fjall says about the data.
pub(super) fn kv_error(action: &'static str, dir: &Path, error: fjall::Error) -> KvError {
    match error {
        fjall::Error::Poisoned => KvError::Poisoned,
        fjall::Error::Locked => KvError::Locked {
            dir: dir.to_owned(),
        },
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => KvError::Corrupt {
                    detail: format!("could not {action}: {error}"),
                },
                _ => KvError::io(action, &error),
            }
        }
        // All that is left, and all that later versions may add, says that what is on disk is not
        // what was written.
        error => KvError::Corrupt {
            detail: format!("could not {action}: {error}"),
        },
    }
}
