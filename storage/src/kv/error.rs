//! What can go wrong with a store, and what then became of the data.

use std::io;
use std::path::PathBuf;

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The disk has less free space than the store keeps in reserve. Nothing of the batch was
    /// applied. Reads go on, batches of deletes alone are still taken, and the same batch can be
    /// tried again: it is taken as soon as there is space.
    #[error("the disk is nearly full; nothing was written")]
    Full,
    /// An earlier sync or write failed, and what it left on disk cannot be known. Nothing of this
    /// batch was applied and nothing will be, until the store is opened again. Reads go on.
    #[error("an earlier write failed and the store takes no more; open it again")]
    Poisoned,
    /// The store was closed. Nothing was applied.
    #[error("the store is closed")]
    Closed,
    /// A key is empty or above [`KEY_BYTES_MAX`](super::KEY_BYTES_MAX), or a value is above
    /// [`VALUE_BYTES_MAX`](super::VALUE_BYTES_MAX). Nothing of the batch was applied; trying again
    /// is in vain.
    #[error("a key of {key_bytes} bytes with a value of {value_bytes} bytes cannot be stored")]
    TooLarge {
        /// The length of the key.
        key_bytes: usize,
        /// The length of its value.
        value_bytes: usize,
    },
    /// What was read fails its checksum or makes no sense. Nothing was changed; the data asked for
    /// is lost here and must come from a peer.
    #[error("the store is damaged: {detail}")]
    Corrupt {
        /// What was found, for the operator.
        detail: String,
    },
    /// The operating system refused. On a read nothing was changed. On a commit or a sync the store
    /// is poisoned, and the batches since the last sync may or may not survive. On open nothing was
    /// changed that the next open does not expect.
    #[error("could not {action}: {detail}")]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The kind of refusal.
        kind: io::ErrorKind,
        /// The operating system's own words.
        detail: String,
    },
    /// Another process has this directory open. Nothing was read or changed.
    #[error("{} is in use by another process", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory was written by a newer version, or by something else. Nothing was changed; use
    /// the version that wrote it.
    #[error("the store has format {found}; this version reads up to {supported}")]
    FormatNewer {
        /// What the directory says.
        found: String,
        /// The newest format that this version can read.
        supported: u32,
    },
}

impl KvError {
    /// An error of the operating system while doing `action`.
    pub(crate) fn io(action: &'static str, error: &io::Error) -> Self {
        Self::Io {
            action,
            kind: error.kind(),
            detail: error.to_string(),
        }
    }
}
