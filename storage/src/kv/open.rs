//! Opens a store, believing as little as it must.
//!
//! ```text
//!   dir/lock      one process at a time
//!   dir/format    the version of all this
//!   dir/clean     it was closed in order; consumed first            (mark.rs)
//!   dir/mark      the highest batch that was synced                 (mark.rs)
//!   dir/amnesia   what an earlier open found and nobody has noted yet
//!   dir/store/    fjall; its journals are judged before it runs     (inspect.rs)
//!   dir/salvage   tables are damaged: what can be read is copied    (salvage.rs)
//!   dir/store.forgotten-N/   what was found damaged, the newest few
//! ```
//!
//! Evidence of amnesia: a batch number below the mark, or below what a batch says was synced before
//! it; whole batches after a bad stretch; gaps in the numbers; a journal that ends before what the
//! tables know; a missing store, journal, keyspace, mark or format; a list of tables that is not what was
//! written (tables.rs); a store that does not open.

use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fjall::{Database, PersistMode};

use super::disk::{FjallKv, Health, Opened, Shared, Writer};
use super::inspect::Inspection;
use super::mark::{self, Found, Mark, replace_file, sync_dir};
use super::options::FjallOptions;
use super::reading::kv_error;
use super::record;
use super::salvage;
use super::space::SpaceGuard;
use super::tables;
use super::{Keyspace, KvError, Start};

const LOCK: &str = "lock";
const FORMAT: &str = "format";
const AMNESIA: &str = "amnesia";
const STORE: &str = "store";
const FORGOTTEN: &str = "store.forgotten-";

/// The format of the directory that this version writes, and the newest that it reads.
const FORMAT_VERSION: u32 = 1;
const FORMAT_PREFIX: &str = "dunlin-store ";

/// How many damaged stores are kept for a look. Each may be as large as the store.
const FORGOTTEN_MAX: usize = 2;

/// See [`FjallKv::open`].
pub(super) fn open(dir: &Path, options: &FjallOptions) -> Result<Opened, KvError> {
    fs::create_dir_all(dir).map_err(|error| KvError::io("create the directory", &error))?;
    let lock = lock(dir)?;
    let store = dir.join(STORE);
    let mut doubts = Doubts::recall(dir)?;

    let had_format = check_format(dir)?;
    // Ordering: consumed before anything that may fail or change the store.
    let clean =
        mark::take_clean(dir).map_err(|error| KvError::io("consume the clean mark", &error))?;
    let found = Mark::open(dir).map_err(|error| KvError::io("read the mark", &error))?;
    if let Some(damaged) = salvage::noted(dir)? {
        let marked = match &found {
            Found::Valid(_, sequence) => *sequence,
            Found::Absent | Found::Damaged => 0,
        };
        let again = lock.try_clone();
        let again = again.map_err(|error| KvError::io("lock the directory", &error))?;
        replace_by_copy(dir, damaged, marked, options, again, &mut doubts)?;
    }
    let has_store = store
        .try_exists()
        .map_err(|error| KvError::io("look for the store", &error))?;

    let is_new = match &found {
        Found::Absent if !has_store || is_unfinished(&store)? => {
            // A kill while the store was first created: nothing was ever committed.
            if has_store {
                fs::remove_dir_all(&store)
                    .map_err(|error| KvError::io("remove an unfinished store", &error))?;
            }
            true
        }
        Found::Absent => {
            doubts.add("the high-water mark is missing".to_owned());
            false
        }
        Found::Damaged => {
            doubts.add("the high-water mark is damaged".to_owned());
            false
        }
        Found::Valid(..) if !has_store => {
            doubts.add("the store directory is missing".to_owned());
            false
        }
        Found::Valid(..) => false,
    };
    if !is_new && !had_format {
        doubts.add("the format file is missing".to_owned());
    }

    // What must be there: everything synced, as far as the mark and the batches themselves know.
    let mut owed = match &found {
        Found::Valid(_, sequence) => *sequence,
        Found::Absent | Found::Damaged => 0,
    };
    let in_journal = if has_store && !is_new {
        let inspection = judge_journals(dir, &store, owed, &mut doubts)?;
        owed = owed.max(inspection.synced);
        inspection.last
    } else {
        None
    };

    let shared = open_fjall(dir, &store, options, lock, is_new, &mut doubts)?;
    let in_tables = shared
        .last_record()
        .map_err(|error| kv_error("read the last batch", dir, error))?
        .map_or(0, |record| record.sequence);
    if in_tables < owed {
        doubts.add(format!(
            "the store ends at batch {in_tables}, but batch {owed} was synced"
        ));
    }
    if let Some(in_journal) = in_journal
        && in_journal != in_tables
    {
        doubts.add(format!(
            "the journal ends at batch {in_journal}, but the tables at batch {in_tables}"
        ));
    }
    if let Some(closed) = clean
        && closed > in_tables
    {
        doubts.add(format!(
            "the store was closed at batch {closed} but ends at {in_tables}"
        ));
    }
    let is_doubted = !doubts.sentences.is_empty();
    doubts.keep(dir)?;

    let sequence = in_tables
        .max(owed)
        .max(in_journal.unwrap_or(0))
        .max(clean.unwrap_or(0));
    // Whatever the kill left in the operating system's buffers counts as synced from here on: it is
    // what readers see.
    shared
        .database
        .persist(PersistMode::SyncAll)
        .map_err(|error| kv_error("sync the journal", dir, error))?;
    let mut mark = match found {
        Found::Valid(mark, _) => mark,
        Found::Absent | Found::Damaged => Mark::create(dir, sequence)
            .map_err(|error| KvError::io("create the high-water mark", &error))?,
    };
    mark.write(sequence)
        .map_err(|error| KvError::io("write the high-water mark", &error))?;
    let writer = Writer {
        sequence,
        synced: sequence,
        mark,
        space: SpaceGuard::new(dir, options.disk_reserve_bytes),
        health: Health::Sound,
        merges_seen: 0,
    };
    let kv = FjallKv::new(shared, dir, writer);
    if is_doubted {
        kv.resume()?;
    }
    let start = match (is_doubted, is_new, clean) {
        (true, _, _) => Start::Amnesia {
            evidence: doubts.sentences,
        },
        (false, true, _) => Start::Blank,
        (false, false, Some(closed)) if closed == in_tables => Start::Clean,
        (false, false, _) => Start::Unclean,
    };
    Ok(Opened { kv, start })
}

/// Forgets what earlier opens found, once it has been noted elsewhere.
pub(super) fn forget_doubts(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(AMNESIA)) {
        Ok(()) => sync_dir(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Adds to what the next open finds.
pub(super) fn add_doubt(dir: &Path, sentence: String) -> Result<(), KvError> {
    let mut doubts = Doubts::recall(dir)?;
    doubts.add(sentence);
    doubts.keep(dir)
}

/// What was found against the store, by this open and by earlier ones that nobody noted.
struct Doubts {
    sentences: Vec<String>,
    recalled: usize,
}

impl Doubts {
    /// What earlier opens found.
    fn recall(dir: &Path) -> Result<Self, KvError> {
        let sentences: Vec<String> = match fs::read(dir.join(AMNESIA)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes)
                .lines()
                .map(str::to_owned)
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(KvError::io("read the amnesia file", &error)),
        };
        Ok(Self {
            recalled: sentences.len(),
            sentences,
        })
    }

    /// Adds a finding, once.
    fn add(&mut self, sentence: String) {
        if !self.sentences.contains(&sentence) {
            self.sentences.push(sentence);
        }
    }

    /// Writes down what is new.
    ///
    /// Ordering: before the store takes its first batch, which would cover the evidence up.
    fn keep(&self, dir: &Path) -> Result<(), KvError> {
        if self.sentences.len() == self.recalled {
            return Ok(());
        }
        let text = self.sentences.join("\n");
        replace_file(dir, AMNESIA, text.as_bytes())
            .map_err(|error| KvError::io("write the amnesia file", &error))
    }
}

fn lock(dir: &Path) -> Result<File, KvError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join(LOCK))
        .map_err(|error| KvError::io("open the lock file", &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(KvError::Locked {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(KvError::io("lock the directory", &error)),
    }
}

/// Refuses a format that this version cannot read, writes its own if there is none, and says whether
/// there was one.
fn check_format(dir: &Path) -> Result<bool, KvError> {
    match fs::read(dir.join(FORMAT)) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let version = text
                .strip_prefix(FORMAT_PREFIX)
                .and_then(|rest| rest.trim().parse().ok());
            match version {
                Some(1..=FORMAT_VERSION) => Ok(true),
                Some(0) | Some(_) | None => Err(KvError::FormatNewer {
                    found: text.trim().chars().take(64).collect(),
                    supported: FORMAT_VERSION,
                }),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!("{FORMAT_PREFIX}{FORMAT_VERSION}\n");
            replace_file(dir, FORMAT, text.as_bytes())
                .map_err(|error| KvError::io("write the format file", &error))?;
            Ok(false)
        }
        Err(error) => Err(KvError::io("read the format file", &error)),
    }
}

/// Whether a store without a mark was never used: the mark is made right after the store, before
/// the first batch.
fn is_unfinished(store: &Path) -> Result<bool, KvError> {
    let action = "read the journals";
    let inspection = Inspection::of(store).map_err(|error| KvError::io(action, &error))?;
    let has_tables = has_tables(store).map_err(|error| KvError::io(action, &error))?;
    Ok(inspection.last.is_none() && inspection.evidence.is_empty() && !has_tables)
}

/// Whether any keyspace but fjall's own has a table.
fn has_tables(store: &Path) -> io::Result<bool> {
    let keyspaces = match fs::read_dir(store.join("keyspaces")) {
        Ok(keyspaces) => keyspaces,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for keyspace in keyspaces {
        let keyspace = keyspace?;
        let tables = fs::read_dir(keyspace.path().join("tables"));
        if keyspace.file_name() != "0" && tables.is_ok_and(|mut tables| tables.next().is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn judge_journals(
    dir: &Path,
    store: &Path,
    marked: u64,
    doubts: &mut Doubts,
) -> Result<Inspection, KvError> {
    let mut inspection =
        Inspection::of(store).map_err(|error| KvError::io("read the journals", &error))?;
    if inspection.is_without_journals() {
        inspection
            .evidence
            .push("the store has no journal".to_owned());
    }
    let owed = inspection.synced.max(marked);
    if let Some(last) = inspection.last
        && last < owed
    {
        inspection.evidence.push(format!(
            "the journal ends at batch {last}, but batch {owed} was synced"
        ));
    }
    if !inspection.evidence.is_empty() {
        // Ordering: written down before the journals are changed, lest a kill in between leave them
        // looking sound.
        inspection
            .evidence
            .iter()
            .for_each(|sentence| doubts.add(sentence.clone()));
        doubts.keep(dir)?;
        doubts.recalled = doubts.sentences.len();
    }
    let copies = forgotten(dir, &inspection.evidence)?;
    inspection
        .repair(store, &copies)
        .map_err(|error| KvError::io("repair the journals", &error))?;
    Ok(inspection)
}

/// Puts a copy of all that can be read in the place of a store of which tables are damaged. A store that does
/// not open is left for [`open_fjall`] to judge.
fn replace_by_copy(
    dir: &Path,
    damaged: Vec<String>,
    marked: u64,
    options: &FjallOptions,
    lock: File,
    doubts: &mut Doubts,
) -> Result<(), KvError> {
    let (store, finished) = (dir.join(STORE), dir.join(salvage::FINISHED));
    if !finished.exists() && !copy_readable(dir, &store, marked, options, lock, doubts)? {
        return salvage::forget_note(dir);
    }
    // Ordering: before the copy takes the place of the store, which knows more.
    for sentence in &damaged {
        doubts.add(sentence.clone());
    }
    doubts.keep(dir)?;
    doubts.recalled = doubts.sentences.len();
    let moved = |error| KvError::io("put the copy in the store's place", &error);
    // Ordering: if it is not there, an earlier open came as far as here.
    if store.exists() {
        fs::rename(&store, forgotten(dir, &damaged)?).map_err(moved)?;
    }
    fs::rename(finished, store).map_err(moved)?;
    sync_dir(dir).map_err(moved)?;
    salvage::forget_note(dir)
}

/// Copies all that can be read of the store; whether that could be opened.
fn copy_readable(
    dir: &Path,
    store: &Path,
    marked: u64,
    options: &FjallOptions,
    lock: File,
    doubts: &mut Doubts,
) -> Result<bool, KvError> {
    let moved = |error| KvError::io("make place for a copy of the store", &error);
    let unfinished = dir.join(salvage::UNFINISHED);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(moved)?;
    }
    let journals = judge_journals(dir, store, marked, doubts)?;
    let damage = tables::damage(store);
    if damage
        .map_err(|error| KvError::io("look at the tables", &error))?
        .is_some()
    {
        return Ok(false);
    }
    let Ok((database, _)) = try_fjall(dir, store, options, Workers::None)? else {
        return Ok(false);
    };
    let again = lock.try_clone();
    let again = again.map_err(|error| KvError::io("lock the directory", &error))?;
    let from = shared(dir, options, again, database)?;
    let in_tables = from.last_record();
    // Where the record can't be read, the journals and the mark know enough.
    let in_tables = in_tables.ok().flatten().map_or(0, |last| last.sequence);
    let known = [
        in_tables,
        marked,
        journals.synced,
        journals.last.unwrap_or(0),
    ];
    let last = known.into_iter().max().unwrap_or(0);
    let (database, _) = fjall_in(&unfinished, options, Workers::AsSet)
        .map_err(|error| kv_error("create a store", dir, error))?;
    let to = shared(dir, options, lock, database)?;
    salvage::copy(dir, &from, &to, last)?;
    drop((from, to));
    fs::rename(unfinished, dir.join(salvage::FINISHED)).map_err(moved)?;
    sync_dir(dir).map_err(moved)?;
    Ok(true)
}

/// Opens fjall in `store`; if what is there cannot be opened, moves it aside and begins anew.
fn open_fjall(
    dir: &Path,
    store: &Path,
    options: &FjallOptions,
    lock: File,
    is_new: bool,
    doubts: &mut Doubts,
) -> Result<Shared, KvError> {
    let had_keyspaces = !is_new && store.exists();
    let damage =
        tables::damage(store).map_err(|error| KvError::io("look at the tables", &error))?;
    let opened = match damage {
        Some(sentence) => Err(sentence),
        None => try_fjall(dir, store, options, Workers::AsSet)?,
    };
    let sentence = match opened {
        Ok((database, found)) => {
            if had_keyspaces && found < Keyspace::ALL.len() + 1 {
                doubts.add(format!("only {found} of the store's keyspaces are there"));
            }
            return shared(dir, options, lock, database);
        }
        Err(sentence) => sentence,
    };
    doubts.add(sentence.clone());
    doubts.keep(dir)?;
    doubts.recalled = doubts.sentences.len();
    let aside = forgotten(dir, &[sentence])?;
    fs::rename(store, &aside).map_err(|error| KvError::io("move the store aside", &error))?;
    let (database, _) = fjall_in(store, options, Workers::AsSet)
        .map_err(|error| kv_error("create a store", dir, error))?;
    shared(dir, options, lock, database)
}

/// Whether a database flushes and merges by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Workers {
    AsSet,
    None,
}

/// Opens or creates the database, or says in a sentence what damage is in the way.
fn try_fjall(
    dir: &Path,
    store: &Path,
    options: &FjallOptions,
    workers: Workers,
) -> Result<Result<(Database, usize), String>, KvError> {
    // fjall asserts what it expects of its files, and damage can break an assertion. What it leaves
    // behind then is dropped unseen.
    let attempt = catch_unwind(AssertUnwindSafe(|| fjall_in(store, options, workers)));
    let sentence = match attempt {
        Ok(Ok(opened)) => return Ok(Ok(opened)),
        Ok(Err(fjall::Error::InvalidVersion(Some(version)))) => {
            return Err(KvError::FormatNewer {
                found: format!("fjall {version:?}"),
                supported: FORMAT_VERSION,
            });
        }
        Ok(Err(error)) => match kv_error("open the store", dir, error) {
            KvError::Corrupt { detail } => detail,
            KvError::Io {
                kind: io::ErrorKind::NotFound,
                detail,
                ..
            } => {
                format!("the store lacks a file: {detail}")
            }
            // A seek to before the beginning of a file: fjall reads tables from their ends.
            KvError::Io {
                kind: io::ErrorKind::InvalidInput,
                detail,
                ..
            } => {
                format!("a file of the store is cut short: {detail}")
            }
            // Without its version marker, fjall takes the store for a new one.
            KvError::Io {
                kind: io::ErrorKind::AlreadyExists,
                detail,
                ..
            } => {
                format!("the store lacks its version: {detail}")
            }
            // The machine's fault, not the data's.
            error => return Err(error),
        },
        Err(_panic) => "the store broke an assertion while it was opened".to_owned(),
    };
    Ok(Err(sentence))
}

/// Opens or creates the database and says how many keyspaces it has.
fn fjall_in(
    store: &Path,
    options: &FjallOptions,
    workers: Workers,
) -> fjall::Result<(Database, usize)> {
    let threads = match workers {
        Workers::AsSet => options.worker_threads.max(1),
        Workers::None => 0,
    };
    let database = Database::builder(store)
        .cache_size(options.cache_bytes)
        .max_journaling_size(options.journals())
        .worker_threads_unchecked(threads)
        .open()?;
    let keyspaces = database.keyspace_count();
    Ok((database, keyspaces))
}

fn shared(
    dir: &Path,
    options: &FjallOptions,
    lock: File,
    database: Database,
) -> Result<Shared, KvError> {
    let failed = |error| kv_error("open a keyspace", dir, error);
    let mut keyspaces = Vec::with_capacity(Keyspace::ALL.len());
    for keyspace in Keyspace::ALL {
        let opened = database.keyspace(keyspace.name(), || options.keyspace(keyspace));
        keyspaces.push(opened.map_err(failed)?);
    }
    let batches = database
        .keyspace(record::KEYSPACE, || options.batches())
        .map_err(failed)?;
    let Ok(keyspaces) = keyspaces.try_into() else {
        return Err(KvError::Corrupt {
            detail: "a keyspace is missing".to_owned(),
        });
    };
    Ok(Shared {
        database,
        keyspaces,
        batches,
        _lock: lock,
    })
}

/// A new name for damaged files. If there is evidence, so that it will be used, makes room for it.
fn forgotten(dir: &Path, evidence: &[String]) -> Result<PathBuf, KvError> {
    let action = "list the directory";
    let mut numbers: Vec<u64> = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| KvError::io(action, &error))? {
        let name = entry
            .map_err(|error| KvError::io(action, &error))?
            .file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_prefix(FORGOTTEN)?.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    let path = |number: u64| dir.join(format!("{FORGOTTEN}{number}"));
    let next = numbers.last().map_or(1, |last| last + 1);
    if !evidence.is_empty() {
        let excess = (numbers.len() + 1).saturating_sub(FORGOTTEN_MAX);
        for number in numbers.iter().take(excess) {
            fs::remove_dir_all(path(*number))
                .map_err(|error| KvError::io("remove an old damaged store", &error))?;
        }
    }
    Ok(path(next))
}
