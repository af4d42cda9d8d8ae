//! A store whose every batch is known, killed or closed, and copies of it to be harmed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dunlin_storage::{Batch, FjallKv, FjallOptions, Keyspace, Kv};
use tempfile::TempDir;

pub(crate) type Entries = BTreeMap<Bytes, Bytes>;
/// What a store holds; keyspaces that hold nothing are left out.
pub(crate) type State = BTreeMap<Keyspace, Entries>;

const MARK: &str = "mark";

/// How a store came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// Few small batches, all of them in the journal; killed.
    Small,
    /// Batches over many pages of the journal; killed.
    Long,
    /// Half of the batches in tables; killed.
    WithTables,
    /// As that, closed in order.
    Closed,
}

impl Made {
    pub(crate) fn has_tables(self) -> bool {
        matches!(self, Self::WithTables | Self::Closed)
    }
}

pub(crate) struct Victim {
    pub(crate) dir: TempDir,
    pub(crate) made: Made,
    pub(crate) batches: u64,
    /// The last batch that was synced.
    pub(crate) synced: u64,
    /// The journal, below the directory.
    pub(crate) journal: PathBuf,
    /// Every entry that was ever written.
    pub(crate) written: BTreeSet<(Keyspace, Bytes, Bytes)>,
    /// Every file as it was left.
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Holds the file `mark` itself: `clean` says which one it was written beside.
    mark: TempDir,
}

impl Victim {
    pub(crate) fn make(made: Made) -> Self {
        let (batches, synced) = match made {
            Made::Small => (6, 4),
            Made::Long => (60, 35),
            Made::WithTables => (40, 35),
            Made::Closed => (40, 40),
        };
        let dir = fast_dir();
        let kv = FjallKv::open(dir.path(), &options()).unwrap().kv;
        for number in 1..=batches {
            kv.commit(&batch(made, number)).unwrap();
            if number == synced / 2 || number == synced {
                kv.sync().unwrap();
            }
            if number == batches / 2 && matches!(made, Made::WithTables | Made::Closed) {
                kv.compact().unwrap();
            }
        }
        if made == Made::Closed {
            kv.close_clean().unwrap();
        }
        drop(kv);
        let mark = fast_dir();
        fs::hard_link(dir.path().join(MARK), mark.path().join(MARK)).unwrap();
        let mut written = BTreeSet::new();
        for number in 1..=batches {
            let batch = batch(made, number);
            let puts = batch
                .iter()
                .filter_map(|(at, key, value)| Some((at, key.clone(), value?.clone())));
            written.extend(puts);
        }
        let mut victim = Self {
            dir,
            made,
            batches,
            synced,
            journal: PathBuf::new(),
            written,
            files: Vec::new(),
            mark,
        };
        let journals = victim.files().into_iter();
        let journals: Vec<_> = journals
            .filter(|file| file.extension().is_some_and(|e| e == "jnl"))
            .collect();
        victim.journal = journals.into_iter().next_back().unwrap();
        // As it is after any reopening; and copies need not carry 64 MiB of zeros.
        let path = victim.dir.path().join(&victim.journal);
        let journal = fs::read(&path).unwrap();
        let end = journal
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(end as u64)
            .unwrap();
        let files = victim.files();
        victim.files = files
            .into_iter()
            .map(|file| {
                (
                    file.clone(),
                    fs::read(victim.dir.path().join(file)).unwrap(),
                )
            })
            .collect();
        victim
    }

    /// Its files below the directory, in order.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        list(self.dir.path(), Path::new(""), &mut files);
        files.sort();
        files
    }

    /// Makes everything as it was left. Cost: what has changed since, and one look at the rest.
    pub(crate) fn restore(&self) {
        let root = self.dir.path();
        for entry in fs::read_dir(root).unwrap() {
            let name = entry.unwrap().file_name();
            if name.to_string_lossy().starts_with("store.") {
                fs::remove_dir_all(root.join(name)).unwrap();
            }
        }
        for found in self.files() {
            if found == Path::new(MARK) || self.files.iter().all(|(file, _)| *file != found) {
                fs::remove_file(root.join(found)).unwrap();
            }
        }
        // The same file as then, not only the same bytes.
        fs::hard_link(self.mark.path().join(MARK), root.join(MARK)).unwrap();
        for (file, bytes) in &self.files {
            let path = root.join(file);
            let same_length =
                fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64);
            if same_length && fs::read(&path).unwrap() == *bytes {
                continue;
            }
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// A file as it was left.
    pub(crate) fn file(&self, file: &Path) -> &[u8] {
        let found = self.files.iter().find(|(name, _)| name == file);
        &found.unwrap().1
    }

    /// All of its files but the journal.
    pub(crate) fn other_files(&self) -> impl Iterator<Item = &Path> {
        let files = self.files.iter().map(|(file, _)| &**file);
        files.filter(|file| *file != self.journal)
    }

    /// Changes one file, or removes it, and nothing else.
    pub(crate) fn harm(&self, file: &Path, bytes: Option<&[u8]>) {
        self.restore();
        let path = self.dir.path().join(file);
        match bytes {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
    }

    /// What is there if these batches are, and no other.
    pub(crate) fn state_of(&self, numbers: &BTreeSet<u64>) -> State {
        let mut state = State::new();
        for number in numbers {
            for (keyspace, key, value) in batch(self.made, *number).iter() {
                let entries = state.entry(keyspace).or_default();
                match value {
                    Some(value) => entries.insert(key.clone(), value.clone()),
                    None => entries.remove(key),
                };
            }
        }
        state.retain(|_, entries| !entries.is_empty());
        state
    }
}

pub(crate) fn options() -> FjallOptions {
    FjallOptions {
        worker_threads: 1,
        ..FjallOptions::default()
    }
}

pub(crate) fn key(number: u64) -> Bytes {
    number.to_be_bytes().to_vec().into()
}

/// Each batch has a row and a log entry of its own, says that it is the latest, leaves a hint, and takes
/// away the hint of the batch before the last.
fn batch(made: Made, number: u64) -> Batch {
    let value_bytes = if made == Made::Small { 8 } else { 700 };
    let mut rng = fastrand::Rng::with_seed(number);
    let value: Bytes = std::iter::repeat_with(|| rng.u8(..))
        .take(value_bytes)
        .collect();
    let mut batch = Batch::new();
    batch.put(Keyspace::Rows, key(number), value);
    batch.put(Keyspace::Log, key(number), key(number));
    batch.put(Keyspace::Meta, Bytes::from_static(b"latest"), key(number));
    batch.put(Keyspace::Hints, key(number), key(number));
    if let Some(before) = number.checked_sub(2) {
        batch.delete(Keyspace::Hints, key(before));
    }
    batch
}

fn list(root: &Path, below: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            list(root, &path, files);
        } else {
            files.push(path);
        }
    }
}

/// A directory in memory, if the machine has such: what is tested is not how fast a disk syncs.
fn fast_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}
