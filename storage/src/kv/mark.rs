//! The two small files beside the store: the high-water mark and the clean mark.
//!
//! `mark` holds the highest batch number that was synced. It is written after every sync, over
//! itself, in two slots by turns, and **not** synced with every write: that would double the cost
//! of a sync. It is synced when it is created, at a clean close, and otherwise whenever the
//! operating system writes it out. So after a kill of the process it is exact; after a loss of
//! power it may lag, and then misses a loss that it could have proven, but never invents one. (Each
//! batch carries what was synced before it, so only the last batches depend on the mark.)
//!
//! `clean` says that the store was closed in order, at which batch, and which file `mark` was. It
//! is removed, and the removal synced, before anything else is read. A copied or restored directory
//! has another `mark` file and is therefore never clean: its twin may be alive.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

const MARK: &str = "mark";
const CLEAN: &str = "clean";
const MARK_MAGIC: &[u8; 8] = b"DUNLMARK";
const CLEAN_MAGIC: &[u8; 8] = b"DUNLCLEN";

/// The slots lie a page apart, so that no disk tears both in one write.
const SLOT_BYTES: u64 = 4096;
const SLOTS: u64 = 2;

/// The open high-water mark.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    next_slot: u64,
}

/// What was found of a high-water mark.
#[derive(Debug)]
pub(super) enum Found {
    /// No file.
    Absent,
    /// A file that says nothing readable.
    Damaged,
    /// The mark and what it says.
    Valid(Mark, u64),
}

impl Mark {
    /// Writes a new mark, synced, in place of whatever is there.
    pub(super) fn create(dir: &Path, sequence: u64) -> io::Result<Self> {
        let mut bytes = sealed(MARK_MAGIC, &[sequence]);
        bytes.resize((SLOT_BYTES * SLOTS) as usize, 0);
        replace_file(dir, MARK, &bytes)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.join(MARK))?;
        Ok(Self { file, next_slot: 1 })
    }

    /// Reads the mark.
    pub(super) fn open(dir: &Path) -> io::Result<Found> {
        let file = match OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.join(MARK))
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
            Err(error) => return Err(error),
        };
        let mut best: Option<(u64, u64)> = None;
        for slot in 0..SLOTS {
            let mut bytes = [0; 24];
            match file.read_exact_at(&mut bytes, slot * SLOT_BYTES) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(error),
            }
            if let Some([sequence]) = unsealed(MARK_MAGIC, &bytes) {
                best = best.max(Some((sequence, slot)));
            }
        }
        Ok(match best {
            None => Found::Damaged,
            Some((sequence, slot)) => Found::Valid(
                Self {
                    file,
                    next_slot: (slot + 1) % SLOTS,
                },
                sequence,
            ),
        })
    }

    /// Raises the mark, without syncing it.
    pub(super) fn write(&mut self, sequence: u64) -> io::Result<()> {
        let bytes = sealed(MARK_MAGIC, &[sequence]);
        self.file
            .write_all_at(&bytes, self.next_slot * SLOT_BYTES)?;
        self.next_slot = (self.next_slot + 1) % SLOTS;
        Ok(())
    }

    /// Declares the store closed in order after batch `sequence`.
    ///
    /// Ordering: called after the last sync; the clean mark is only true if everything else is on
    /// disk before it.
    pub(super) fn declare_clean(&self, dir: &Path, sequence: u64) -> io::Result<()> {
        self.file.sync_all()?;
        let bytes = sealed(CLEAN_MAGIC, &[sequence, self.file.metadata()?.ino()]);
        replace_file(dir, CLEAN, &bytes)
    }
}

/// Takes the clean mark away, for good, and says at which batch the store was closed if it was this
/// very directory that was.
pub(super) fn take_clean(dir: &Path) -> io::Result<Option<u64>> {
    let path = dir.join(CLEAN);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    fs::remove_file(&path)?;
    sync_dir(dir)?;
    let inode = match fs::metadata(dir.join(MARK)) {
        Ok(metadata) => metadata.ino(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let closed = unsealed::<2>(CLEAN_MAGIC, &bytes);
    Ok(closed
        .filter(|[_, closed_inode]| *closed_inode == inode)
        .map(|[sequence, _]| sequence))
}

/// Puts a file in place whole or not at all, synced.
pub(super) fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new: PathBuf = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, dir.join(name))?;
    sync_dir(dir)
}

/// Makes creations, renames and removals in a directory survive a loss of power.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn sealed(magic: &[u8; 8], words: &[u64]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    for word in words {
        bytes.extend(word.to_be_bytes());
    }
    let checksum = xxh3_64(&bytes);
    bytes.extend(checksum.to_be_bytes());
    bytes
}

fn unsealed<const N: usize>(magic: &[u8; 8], bytes: &[u8]) -> Option<[u64; N]> {
    let (head, checksum) = bytes.split_last_chunk::<8>()?;
    let (found_magic, mut rest) = head.split_first_chunk::<8>()?;
    let mut words = [0; N];
    for word in &mut words {
        let (bytes, after) = rest.split_first_chunk::<8>()?;
        *word = u64::from_be_bytes(*bytes);
        rest = after;
    }
    let whole = rest.is_empty() && u64::from_be_bytes(*checksum) == xxh3_64(head);
    (whole && found_magic == magic).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path) -> Option<u64> {
        match Mark::open(dir).unwrap() {
            Found::Valid(_, sequence) => Some(sequence),
            Found::Absent | Found::Damaged => None,
        }
    }

    #[test]
    fn the_files_have_their_golden_bytes() {
        let dir = tempfile::tempdir().unwrap();
        Mark::create(dir.path(), 0x0102).unwrap();
        let bytes = fs::read(dir.path().join(MARK)).unwrap();
        assert_eq!(bytes.len(), 8192);
        assert_eq!(bytes[..16], *b"DUNLMARK\0\0\0\0\0\0\x01\x02");
        assert_eq!(bytes[16..24], [66, 252, 250, 91, 247, 168, 249, 57]);
        assert_eq!(
            sealed(CLEAN_MAGIC, &[1, 2])[..24],
            *b"DUNLCLEN\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02"
        );
    }

    #[test]
    fn a_torn_write_leaves_the_mark_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut mark = Mark::create(dir.path(), 0).unwrap();
        for sequence in 1..6 {
            mark.write(sequence).unwrap();
            assert_eq!(read(dir.path()), Some(sequence));
        }
        let last_slot = mark.next_slot ^ 1;
        mark.file
            .write_all_at(b"torn", last_slot * SLOT_BYTES + 9)
            .unwrap();
        assert_eq!(read(dir.path()), Some(4));
        mark.file
            .write_all_at(b"torn", mark.next_slot * SLOT_BYTES + 9)
            .unwrap();
        assert!(matches!(Mark::open(dir.path()).unwrap(), Found::Damaged));
    }

    #[test]
    fn a_clean_mark_is_taken_once_and_only_where_it_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let mark = Mark::create(dir.path(), 9).unwrap();
        mark.declare_clean(dir.path(), 9).unwrap();
        assert_eq!(take_clean(dir.path()).unwrap(), Some(9));
        assert_eq!(take_clean(dir.path()).unwrap(), None);

        mark.declare_clean(dir.path(), 9).unwrap();
        let copy = tempfile::tempdir().unwrap();
        for name in [MARK, CLEAN] {
            fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        assert_eq!(take_clean(copy.path()).unwrap(), None);
    }
}
