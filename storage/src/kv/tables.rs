//! Whether fjall's tables, and its lists of them, are such that it may be let near them.
//!
//! Each keyspace lists its tables in a file, and a small one names the list that counts:
//!
//! ```text
//!   keyspaces/N/current     version u64 | xxh3-128 of the list u128 | 0        little endian, 25 bytes
//!   keyspaces/N/v7          the tables of version 7, with the number from which each counts
//!   keyspaces/N/tables/12   sections | "TOC!" | count u32 | entries | "SFA!" 1 0 u128 | place of "TOC!" u64 | u64
//! ```
//!
//! fjall 3.1 (`=3.1.13`) writes the checksum in `current` and never looks at it. A flipped bit in a list
//! can make a table count from a number far ahead; then batches of the journal are taken for long
//! flushed, newer writes hide behind older ones, and nobody is told. And it makes room for as many
//! entries as a table's contents claim before it looks at their checksum; one flipped bit asks for 40 GB,
//! and the process is gone without a word. All else that can be wrong with these files, it notices.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

const CURRENT_BYTES: usize = 25;
const CHECKSUM_XXH3: u8 = 0;

const TRAILER_MAGIC: &[u8; 6] = b"SFA!\x01\x00";
const TRAILER_BYTES: u64 = 38;
const CONTENTS_MAGIC: &[u8; 4] = b"TOC!";
/// What an entry of the contents takes at least: place, length, the length of its name.
const CONTENTS_ENTRY_BYTES_MIN: u64 = 18;

/// What is wrong with the tables or the lists of tables in `store`, if anything is. What is missing
/// altogether is not judged here, as fjall notices, but for a list of tables that are there: it would begin
/// a new one.
pub(super) fn damage(store: &Path) -> io::Result<Option<String>> {
    let Some(keyspaces) = present(fs::read_dir(store.join("keyspaces")))? else {
        return Ok(None);
    };
    for keyspace in keyspaces {
        let keyspace = keyspace?;
        let name = keyspace.file_name();
        let damaged =
            |what: &str| Some(format!("{what} of keyspace {} is damaged", name.display()));
        let mut tables = present(fs::read_dir(keyspace.path().join("tables")))?
            .into_iter()
            .flatten()
            .peekable();
        let Some(current) = present(fs::read(keyspace.path().join("current")))? else {
            if tables.peek().is_some() {
                return Ok(Some(format!(
                    "the tables of keyspace {} are in no list",
                    name.display()
                )));
            }
            continue;
        };
        let Some((version, checksum)) = parse(&current) else {
            return Ok(damaged("the pointer to the list of tables"));
        };
        let list = present(fs::read(keyspace.path().join(format!("v{version}"))))?;
        if list.is_some_and(|list| xxh3_128(&list) != checksum) {
            return Ok(damaged(&format!("the list of tables v{version}")));
        }
        for table in tables {
            let table = table?;
            if claims_too_much(&File::open(table.path())?)? {
                return Ok(damaged(&format!("table {}", table.file_name().display())));
            }
        }
    }
    Ok(None)
}

/// Whether the contents of a table claim more entries than there are bytes. A table that was not
/// finished has no trailer, and claims nothing.
fn claims_too_much(table: &File) -> io::Result<bool> {
    let bytes = table.metadata()?.len();
    let mut trailer = [0; TRAILER_BYTES as usize];
    let Some(trailer_at) = bytes.checked_sub(TRAILER_BYTES) else {
        return Ok(false);
    };
    table.read_exact_at(&mut trailer, trailer_at)?;
    let (magic, rest) = trailer.split_at(TRAILER_MAGIC.len());
    // Behind a checksum the place of the contents, and their length.
    let Some((place, _)) = rest.get(16..).and_then(<[u8]>::split_first_chunk) else {
        return Ok(false);
    };
    let contents_at = u64::from_le_bytes(*place);
    let room = trailer_at
        .checked_sub(contents_at)
        .and_then(|room| room.checked_sub(8));
    let (true, Some(room)) = (magic == TRAILER_MAGIC, room) else {
        return Ok(false);
    };
    let mut head = [0; 8];
    table.read_exact_at(&mut head, contents_at)?;
    let [magic @ .., c0, c1, c2, c3] = head;
    let count = u64::from(u32::from_le_bytes([c0, c1, c2, c3]));
    Ok(magic == *CONTENTS_MAGIC && count * CONTENTS_ENTRY_BYTES_MIN > room)
}

fn parse(current: &[u8]) -> Option<(u64, u128)> {
    let current: &[u8; CURRENT_BYTES] = current.try_into().ok()?;
    let (version, rest) = current.split_first_chunk::<8>()?;
    let (checksum, kind) = rest.split_first_chunk::<16>()?;
    let known = *kind == [CHECKSUM_XXH3];
    known.then_some((u64::from_le_bytes(*version), u128::from_le_bytes(*checksum)))
}

/// Nothing, if it is not there.
fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, FjallKv, FjallOptions, Keyspace, Kv, KvError, Start};
    use super::*;

    /// A store with a table of rows, killed; the folder of the keyspace that holds it.
    fn store() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let kv = FjallKv::open(dir.path(), &FjallOptions::default())
            .unwrap()
            .kv;
        put(&kv, b"early");
        kv.compact().unwrap();
        put(&kv, b"late");
        kv.sync().unwrap();
        drop(kv);
        assert_eq!(damage(&dir.path().join("store")).unwrap(), None);
        let rows = dir.path().join("store/keyspaces/1");
        (dir, rows)
    }

    fn first_table(rows: &Path) -> fs::DirEntry {
        let mut tables = fs::read_dir(rows.join("tables")).unwrap();
        tables.next().unwrap().unwrap()
    }

    fn put(kv: &FjallKv, key: &'static [u8]) {
        let mut batch = Batch::new();
        batch.put(Keyspace::Rows, key.into(), key.into());
        kv.commit(&batch).unwrap();
    }

    fn is_amnesia_for(dir: &Path, sentence: &str) {
        let opened = FjallKv::open(dir, &FjallOptions::default()).unwrap();
        let Start::Amnesia { evidence } = opened.start else {
            panic!("{:?}", opened.start);
        };
        assert!(evidence.contains(&sentence.to_owned()), "{evidence:?}");
        put(&opened.kv, b"new");
        let new = opened.kv.get(Keyspace::Rows, b"new");
        assert_eq!(
            new,
            Ok::<_, KvError>(Some(b"new"[..].into())),
            "writes do not hide"
        );
    }

    #[test]
    fn synced_batches_behind_a_flipped_bit_in_a_list_of_tables_are_not_forgotten_in_silence() {
        let (dir, rows) = store();
        let current = fs::read(rows.join("current")).unwrap();
        let (version, _) = parse(&current).unwrap();
        let path = rows.join(format!("v{version}"));
        let list = fs::read(&path).unwrap();
        for place in 0..list.len() {
            let mut harmed = list.clone();
            harmed[place] ^= 0x40;
            fs::write(&path, harmed).unwrap();
            let found = damage(&dir.path().join("store")).unwrap();
            let sentence = format!("the list of tables v{version} of keyspace 1 is damaged");
            assert_eq!(found, Some(sentence), "byte {place}");
        }
        is_amnesia_for(
            dir.path(),
            &format!("the list of tables v{version} of keyspace 1 is damaged"),
        );
    }

    #[test]
    fn a_damaged_pointer_to_a_list_of_tables_is_amnesia() {
        let (dir, rows) = store();
        let mut current = fs::read(rows.join("current")).unwrap();
        current[24] ^= 1;
        fs::write(rows.join("current"), current).unwrap();
        is_amnesia_for(
            dir.path(),
            "the pointer to the list of tables of keyspace 1 is damaged",
        );
    }

    #[test]
    fn a_node_behind_a_flipped_bit_in_a_tables_contents_does_not_abort() {
        let (dir, rows) = store();
        let table = first_table(&rows);
        let mut bytes = fs::read(table.path()).unwrap();
        let contents = bytes
            .windows(4)
            .rposition(|at| at == CONTENTS_MAGIC)
            .unwrap();
        bytes[contents + 7] ^= 0x80;
        fs::write(table.path(), bytes).unwrap();
        let name = table.file_name().display().to_string();
        is_amnesia_for(
            dir.path(),
            &format!("table {name} of keyspace 1 is damaged"),
        );
    }

    #[test]
    fn a_table_of_no_bytes_is_amnesia_and_no_node_that_never_starts() {
        let (dir, rows) = store();
        let table = first_table(&rows);
        File::create(table.path()).unwrap();
        is_amnesia_for(
            dir.path(),
            "a file of the store is cut short: Invalid argument (os error 22)",
        );
    }

    #[test]
    fn a_lost_list_of_the_keyspaces_is_amnesia_and_no_node_that_never_starts() {
        let (dir, rows) = store();
        fs::remove_file(rows.join("../0/current")).unwrap();
        is_amnesia_for(dir.path(), "the tables of keyspace 0 are in no list");
    }
}
