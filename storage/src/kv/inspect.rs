//! Judges the journals before fjall opens them, and makes them fit to be opened.
//!
//! ```text
//!   3.jnl  [ 41 ][ 42 ][ 43 ]0000        batches are numbered without gaps, across files
//!   4.jnl  [ 44 ][ 45 ]<torn>0000        a torn tail of the last file: a kill, nothing more
//!   4.jnl  [ 44 ]<bad>[ 46 ]             whole batches after a bad one: something was forgotten
//! ```
//!
//! Every batch that is whole is kept, also after a bad one: it may be the only copy of an
//! acknowledged write, and rows merge in any order. What is *not* kept is trust, see
//! [`Start::Amnesia`](super::Start::Amnesia).

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::journal::{Piece, pieces};
use super::mark::{replace_file, sync_dir};
use super::record::Continuity;

/// A step in fjall's own numbers that cannot be one: it counts batches and table changes, and
/// reserves the top bit.
const SEQNO_STEP_MAX: u64 = 1 << 32;

/// No store lives long enough to number this far.
const SEQNO_MAX: u64 = 1 << 56;

/// What the journals of a store hold.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    /// The files, oldest first.
    journals: Vec<Journal>,
    /// The number of the last whole batch.
    pub(super) last: Option<u64>,
    /// The highest number that any batch says was synced before it.
    pub(super) synced: u64,
    /// Why the journals may have forgotten something, one sentence each.
    pub(super) evidence: Vec<String>,
}

#[derive(Debug)]
struct Journal {
    id: u64,
    path: PathBuf,
    /// What is whole, neighbours joined.
    whole: Vec<Range<usize>>,
    /// Where what is not whole begins.
    broken: Option<usize>,
}

/// What is carried from one batch to the next.
#[derive(Debug, Default)]
struct Walk {
    seqno: Option<u64>,
    /// Numbers that cannot be or are missing, unless a later batch says that this is known.
    oddities: Vec<String>,
    /// A bad stretch, which is a mere torn tail unless something follows.
    tear: Option<String>,
}

impl Inspection {
    /// Reads every journal in `store`. Changes nothing.
    ///
    /// Cost: one journal in memory at a time, 64 MB and the batches of one flush.
    pub(super) fn of(store: &Path) -> io::Result<Self> {
        let mut inspection = Self::default();
        let mut walk = Walk::default();
        for (id, path) in journal_files(store)? {
            // A file is synced before the next one is begun, so a kill tears only the newest.
            inspection.evidence.extend(walk.tear.take());
            let bytes = fs::read(&path)?;
            let mut journal = Journal {
                id,
                path,
                whole: Vec::new(),
                broken: None,
            };
            for piece in pieces(&bytes) {
                let at = piece.range();
                if inspection.keeps(&piece, &mut walk) {
                    journal.keep(at);
                } else {
                    journal.broken.get_or_insert(at.start);
                    walk.tear.get_or_insert_with(|| {
                        format!("bytes {at:?} of {id}.jnl are no batch, and more follows")
                    });
                }
            }
            inspection.journals.push(journal);
        }
        inspection.evidence.append(&mut walk.oddities);
        Ok(inspection)
    }

    /// Makes the journals what fjall can open without cutting anything whole. If there is evidence,
    /// the journals as they were found are kept in `copies` first.
    pub(super) fn repair(&self, store: &Path, copies: &Path) -> io::Result<()> {
        if !self.evidence.is_empty() {
            fs::create_dir_all(copies)?;
            for journal in &self.journals {
                journal.preserve(copies)?;
            }
            sync_dir(copies)?;
        }
        for journal in &self.journals {
            journal.repair(store)?;
        }
        if self.journals.is_empty() {
            // Without any journal fjall begins its numbers anew, below those in the tables, and
            // every write would be hidden by what it overwrites.
            File::create_new(store.join("0.jnl"))?.sync_all()?;
        }
        sync_dir(store)
    }

    /// Whether there is no journal at all, which a finished store always has.
    pub(super) fn is_without_journals(&self) -> bool {
        self.journals.is_empty()
    }

    /// Judges a piece and says whether it is a batch to be kept.
    fn keeps(&mut self, piece: &Piece, walk: &mut Walk) -> bool {
        let Piece::Batch { seqno, record, .. } = piece else {
            return false;
        };
        self.evidence.extend(walk.tear.take());
        let sequence = record.sequence;
        let plausible = match walk.seqno.replace(*seqno) {
            None => *seqno < SEQNO_MAX,
            // Two batches never share a number.
            Some(before) => *seqno > before && *seqno < before + SEQNO_STEP_MAX,
        };
        if !plausible {
            walk.oddities.push(format!(
                "batch {sequence} has the impossible number {seqno}"
            ));
        }
        if *seqno >= SEQNO_MAX {
            walk.seqno = None;
            return false;
        }
        match (record.continuity, self.last) {
            // What is odd before it was reported when it was written, and stays in the file.
            (Continuity::Resumes, _) => walk.oddities.clear(),
            (Continuity::Follows, Some(last)) if sequence != last + 1 => {
                walk.oddities.push(format!(
                    "batch {sequence} follows batch {last} in the journal"
                ));
            }
            (Continuity::Follows, Some(_) | None) => {}
        }
        self.last = Some(sequence);
        self.synced = self.synced.max(record.synced);
        true
    }
}

impl Journal {
    fn keep(&mut self, at: Range<usize>) {
        match self.whole.last_mut() {
            Some(before) if before.end == at.start => before.end = at.end,
            Some(_) | None => self.whole.push(at),
        }
    }

    /// Keeps the file as it was found. One that will be replaced is linked, which takes no space;
    /// one that fjall will write to is copied.
    fn preserve(&self, copies: &Path) -> io::Result<()> {
        let copy = copies.join(format!("{}.jnl", self.id));
        match self.broken {
            Some(_) => fs::hard_link(&self.path, copy),
            None => {
                fs::copy(&self.path, &copy)?;
                File::open(copy)?.sync_all()
            }
        }
    }

    /// Puts a file with only the whole batches in its place, if it has any other bytes.
    fn repair(&self, store: &Path) -> io::Result<()> {
        if self.broken.is_none() {
            return Ok(());
        }
        let bytes = fs::read(&self.path)?;
        let mut whole = Vec::with_capacity(self.whole.iter().map(Range::len).sum());
        for at in &self.whole {
            whole.extend_from_slice(bytes.get(at.clone()).unwrap_or_default());
        }
        replace_file(store, &format!("{}.jnl", self.id), &whole)
    }
}

/// The journals in a store by age. A name that fjall would stumble over is not one.
fn journal_files(store: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_suffix(".jnl")?.parse().ok());
        if let Some(id) = id {
            files.push((id, entry.path()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::journal::encode;
    use super::super::record::Record;
    use super::*;

    fn batch(sequence: u64) -> Vec<u8> {
        record(sequence, 0, Continuity::Follows)
    }

    fn record(sequence: u64, synced: u64, continuity: Continuity) -> Vec<u8> {
        encode(
            sequence,
            Record {
                sequence,
                synced,
                continuity,
            },
            &[(b"key", Some(b"value"))],
        )
    }

    fn inspect(files: &[&[Vec<u8>]]) -> (tempfile::TempDir, Inspection) {
        let store = tempfile::tempdir().unwrap();
        for (id, batches) in files.iter().enumerate() {
            // Names sort by number, not by letter.
            fs::write(
                store.path().join(format!("{}.jnl", id + 9)),
                batches.concat(),
            )
            .unwrap();
        }
        let inspection = Inspection::of(store.path()).unwrap();
        (store, inspection)
    }

    const TORN: [u8; 5] = [1, 9, 9, 9, 9];

    #[test]
    fn numbers_run_on_across_files() {
        let (_store, found) = inspect(&[&[batch(4), batch(5)], &[], &[batch(6)]]);
        assert_eq!((found.last, found.evidence), (Some(6), Vec::new()));
    }

    #[test]
    fn only_the_end_of_the_newest_file_may_be_torn() {
        let (store, found) = inspect(&[&[batch(1)], &[batch(2), TORN.to_vec()]]);
        assert_eq!((found.last, &found.evidence), (Some(2), &Vec::new()));
        found
            .repair(store.path(), &store.path().join("copies"))
            .unwrap();
        assert_eq!(fs::read(store.path().join("10.jnl")).unwrap(), batch(2));
        assert!(!store.path().join("copies").exists());

        let (store, found) = inspect(&[&[batch(1), TORN.to_vec()], &[vec![0; 64]]]);
        assert_eq!(
            found.evidence.len(),
            1,
            "a file is synced before the next is begun"
        );
        found
            .repair(store.path(), &store.path().join("copies"))
            .unwrap();
        assert_eq!(fs::read(store.path().join("9.jnl")).unwrap(), batch(1));
        let kept = fs::read(store.path().join("copies/9.jnl")).unwrap();
        assert_eq!(kept, [batch(1), TORN.to_vec()].concat());
    }

    #[test]
    fn a_gap_is_evidence_until_a_batch_says_that_it_is_known() {
        let (_store, found) = inspect(&[&[batch(1), batch(4)]]);
        assert_eq!(found.evidence, ["batch 4 follows batch 1 in the journal"]);
        let resumed = record(9, 8, Continuity::Resumes);
        let (_store, found) = inspect(&[&[batch(1), batch(4)], &[resumed, batch(10)]]);
        assert_eq!(
            (found.last, found.synced, found.evidence),
            (Some(10), 8, Vec::new())
        );
    }

    #[test]
    fn a_number_out_of_order_is_evidence_and_its_batch_is_kept() {
        let odd = encode(
            3 + SEQNO_STEP_MAX,
            Record {
                sequence: 2,
                synced: 0,
                continuity: Continuity::Follows,
            },
            &[],
        );
        let (store, found) = inspect(&[&[batch(1), odd.clone()]]);
        assert_eq!(found.evidence.len(), 1);
        found
            .repair(store.path(), &store.path().join("copies"))
            .unwrap();
        assert_eq!(
            fs::read(store.path().join("9.jnl")).unwrap(),
            [batch(1), odd].concat()
        );
    }
}
