//! Opens a harmed store, reads all of it, and condemns what breaks the claim:
//!
//! | opened as | then |
//! |---|---|
//! | clean, unclean | it is what some number of batches left, the synced ones among them |
//! | amnesia | whatever it shows was written once; if only the journal was harmed, batches are whole |
//! | refused | an error that says what is wrong |
//! | blank | never |
//!
//! What cannot be read must say so: an entry that is silently missing is condemned like a wrong one.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_storage::{FjallKv, Keyspace, Kv, KvError, Start};

use crate::victim::{Entries, Victim, key, options};

/// Opening takes milliseconds; what takes this long has no end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of a store that the claim holds for.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nothing that was synced is missing.
    Sound,
    /// It says that it may have forgotten something.
    Amnesia,
    /// It opens, has what it shows, and says that the rest cannot be read.
    Unreadable,
    /// It does not open.
    Refused,
}

impl Verdict {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Amnesia => "amnesia",
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
        }
    }
}

/// What a store shows.
struct Shown {
    start: Start,
    /// What each keyspace holds, up to the end or to what cannot be read.
    keyspaces: Vec<(Keyspace, Entries, Option<KvError>)>,
    /// The rows, each asked for by its key.
    rows: Vec<(u64, Result<Option<Bytes>, KvError>)>,
}

/// Opens the store of `victim` after `harm` was done to it.
pub(crate) fn judge(victim: &Victim, harm: &str) -> Verdict {
    let (dir, batches) = (victim.dir.path().to_owned(), victim.batches);
    let (answer, answered) = mpsc::channel();
    let open = move || {
        let shown = catch_unwind(AssertUnwindSafe(|| look(&dir, batches)));
        // Nobody waits any more after a timeout.
        let _ = answer.send(shown.map_err(drop));
    };
    std::thread::Builder::new().spawn(open).unwrap();
    let shown = match answered.recv_timeout(PATIENCE) {
        Ok(Ok(Ok(shown))) => shown,
        Ok(Ok(Err(refusal))) => return refused(&refusal, harm),
        Ok(Err(())) => panic!("{harm}: it panicked"),
        Err(_) => panic!("{harm}: it does not end"),
    };
    let wrong = match &shown.start {
        Start::Blank => Some("it takes itself for new".to_owned()),
        Start::Clean | Start::Unclean => shown.forgot(victim),
        Start::Amnesia { .. } => shown.invented(victim),
    };
    if let Some(wrong) = wrong {
        panic!("{harm}: {:?}, but {wrong}", shown.start);
    }
    let unreadable = shown
        .keyspaces
        .iter()
        .find_map(|(.., error)| error.as_ref());
    match (shown.start, unreadable) {
        (Start::Amnesia { .. }, _) => Verdict::Amnesia,
        (_, Some(_)) => Verdict::Unreadable,
        (_, None) => Verdict::Sound,
    }
}

fn refused(refusal: &KvError, harm: &str) -> Verdict {
    match refusal {
        KvError::Corrupt { .. } | KvError::Io { .. } | KvError::FormatNewer { .. } => {
            Verdict::Refused
        }
        KvError::Full
        | KvError::Poisoned
        | KvError::Closed
        | KvError::TooLarge { .. }
        | KvError::Locked { .. } => panic!("{harm}: refused with {refusal}"),
    }
}

fn look(dir: &Path, batches: u64) -> Result<Shown, KvError> {
    let opened = FjallKv::open(dir, &options())?;
    let keyspaces = Keyspace::ALL.map(|keyspace| {
        let (mut entries, mut broken) = (Entries::new(), None);
        for entry in opened
            .kv
            .range(keyspace, Bound::Unbounded, Bound::Unbounded)
        {
            match entry {
                Ok((key, value)) => {
                    entries.insert(key, value);
                }
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        (keyspace, entries, broken)
    });
    let rows = (1..=batches).map(|number| (number, opened.kv.get(Keyspace::Rows, &key(number))));
    Ok(Shown {
        keyspaces: keyspaces.into(),
        rows: rows.collect(),
        start: opened.start,
    })
}

impl Shown {
    /// What is missing of the synced, or not as any number of batches leaves it.
    fn forgot(&self, victim: &Victim) -> Option<String> {
        let is_after = |last: u64| {
            let state = victim.state_of(&(1..=last).collect());
            let readable = self
                .keyspaces
                .iter()
                .filter(|(.., broken)| broken.is_none());
            let rows = state.get(&Keyspace::Rows);
            readable
                .into_iter()
                .all(|(at, shown, _)| state.get(at).unwrap_or(&Entries::new()) == shown)
                && self.rows.iter().all(|(number, row)| match row {
                    Ok(row) => row.as_ref() == rows.and_then(|rows| rows.get(&key(*number))),
                    Err(_) => true,
                })
        };
        if !(victim.synced..=victim.batches).any(is_after) {
            return Some(format!(
                "no {} batches or more left this: {:?}",
                victim.synced,
                self.numbers()
            ));
        }
        self.invented(victim)
    }

    /// What was never written, or only a part of a batch.
    fn invented(&self, victim: &Victim) -> Option<String> {
        let rows = self.rows.iter().filter_map(|(number, row)| {
            let row = row.clone().ok()??;
            Some((Keyspace::Rows, key(*number), row))
        });
        let entries = self.keyspaces.iter().flat_map(|(keyspace, entries, _)| {
            entries
                .iter()
                .map(|(key, value)| (*keyspace, key.clone(), value.clone()))
        });
        let never = |entry: &(Keyspace, Bytes, Bytes)| !victim.written.contains(entry);
        if let Some((keyspace, key, value)) = rows.chain(entries).find(never) {
            return Some(format!("{keyspace:?} shows {value:?} under {key:?}"));
        }
        if victim.made.has_tables() {
            return None;
        }
        // Which of two writes of one key came later may be forgotten, not that both are there.
        let log = self
            .keyspaces
            .iter()
            .find(|(keyspace, ..)| *keyspace == Keyspace::Log);
        let log: BTreeSet<&Bytes> = log.iter().flat_map(|(_, log, _)| log.keys()).collect();
        let rows: Vec<Bytes> = self.numbers().into_iter().map(key).collect();
        (rows.iter().collect::<BTreeSet<_>>() != log).then(|| format!("batches are torn: {rows:?}"))
    }

    /// The batches whose rows are there.
    fn numbers(&self) -> BTreeSet<u64> {
        let present = self
            .rows
            .iter()
            .filter(|(_, row)| matches!(row, Ok(Some(_))));
        present.map(|(number, _)| *number).collect()
    }
}
