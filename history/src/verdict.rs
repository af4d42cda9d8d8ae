//! All checkers over one history.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::check::convergence::Convergence;
use crate::check::counters::Counters;
use crate::check::extremes::Extremes;
use crate::check::flags::Flags;
use crate::check::freshness::Freshness;
use crate::check::provenance::Provenance;
use crate::check::resurrection::Resurrection;
use crate::check::sessions::Sessions;
use crate::check::sets::Sets;
use crate::check::survival::Survival;
use crate::check::{Answered, Check, Checker, Tally, Violation};
use crate::file::{ReadError, Reader};
use crate::op::{Action, Header, History, Op, Outcome};
use crate::writes::{KeyWrites, Number, Place, Writes};

/// A key that cannot be because of one write is shown by many reads: so many violations of each checker are
/// kept, and all are counted.
const KEPT_MAX: usize = 20;

/// What the checkers say of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Operations in all.
    pub ops: u64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes whose outcome is unknown.
    pub unknown: u64,
    /// Operations that were denied or failed without effect.
    pub not_applied: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Keys with an acknowledged write that no settled read looked at: nothing is known of their end.
    pub unread_keys: u64,
    /// What each checker says.
    pub checks: BTreeMap<Check, Checked>,
}

/// What one checker says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Reads that it looked at.
    pub looked: u64,
    /// What it found, in all.
    pub found: u64,
    /// The first of these.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether nothing was found.
    pub fn holds(&self) -> bool {
        self.checks.values().all(|checked| checked.found == 0)
    }

    /// The violations that are kept.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.checks.values().flat_map(|checked| &checked.violations)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} operations: {} writes acknowledged, {} unknown, {} not applied; {} reads",
            self.ops, self.acknowledged, self.unknown, self.not_applied, self.reads
        )?;
        if self.unread_keys > 0 {
            writeln!(
                f,
                "{} written keys were not read in the end",
                self.unread_keys
            )?;
        }
        for (check, checked) in &self.checks {
            let Checked { looked, found, .. } = checked;
            writeln!(f, "{check:<12}  {looked:>7} reads  {found} violations")?;
            for violation in &checked.violations {
                writeln!(f, "  {violation}")?;
            }
        }
        Ok(())
    }
}

/// What is to be said of a history in memory.
pub fn verdict(history: &History) -> Report {
    let mut judge = Judge::new(&history.header);
    history.ops.iter().for_each(|op| judge.learn(op));
    judge.learned();
    history.ops.iter().for_each(|op| judge.look(op));
    judge.report()
}

/// What is to be said of a history in a file, which is read twice.
///
/// # Errors
/// [`ReadError`].
pub fn verdict_of_file(path: &Path) -> Result<Report, ReadError> {
    let open = || -> Result<_, ReadError> { Reader::new(BufReader::new(File::open(path)?)) };
    let reader = open()?;
    let header = reader.header().clone();
    let mut judge = Judge::new(&header);
    for op in reader {
        judge.learn(&op?);
    }
    judge.learned();
    for op in open()? {
        judge.look(&op?);
    }
    Ok(judge.report())
}

/// First learns every write, then looks at every read.
struct Judge<'a> {
    header: &'a Header,
    writes: Writes,
    sessions: Sessions,
    checkers: Vec<(Check, Box<dyn Checker>)>,
    tallies: BTreeMap<Check, Tally>,
    /// Keys whose end somebody has looked at.
    settled: BTreeSet<Place>,
    number: Number,
    report: Report,
}

impl<'a> Judge<'a> {
    fn new(header: &'a Header) -> Self {
        let checkers: [(Check, Box<dyn Checker>); 9] = [
            (Check::Survival, Box::new(Survival)),
            (Check::Provenance, Box::new(Provenance)),
            (Check::Counters, Box::new(Counters)),
            (Check::Sets, Box::new(Sets)),
            (Check::Resurrection, Box::new(Resurrection)),
            (Check::Extremes, Box::new(Extremes)),
            (Check::Flags, Box::new(Flags)),
            (Check::Convergence, Box::<Convergence>::default()),
            (Check::Freshness, Box::new(Freshness)),
        ];
        Self {
            header,
            writes: Writes::default(),
            sessions: Sessions::default(),
            checkers: checkers.into(),
            tallies: Check::ALL.map(|check| (check, Tally::default())).into(),
            settled: BTreeSet::new(),
            number: 0,
            report: Report::default(),
        }
    }

    fn learn(&mut self, op: &Op) {
        self.number += 1;
        self.report.ops += 1;
        match (&op.outcome, &op.action) {
            (Outcome::Read(_), _) => self.report.reads += 1,
            (Outcome::Done, _) => self.report.acknowledged += 1,
            (Outcome::NotApplied, _) | (Outcome::Unknown, Action::Read) => {
                self.report.not_applied += 1;
            }
            (Outcome::Unknown, _) => self.report.unknown += 1,
        }
        self.writes.take(self.number, op);
        if op.action != Action::Read {
            self.sessions.wrote(self.number, op);
        }
    }

    fn learned(&mut self) {
        self.number = 0;
        let tally = self.tallies.entry(Check::Provenance).or_default();
        Provenance::unique(&self.writes, tally);
    }

    fn look(&mut self, op: &Op) {
        self.number += 1;
        let Outcome::Read(found) = &op.outcome else {
            return;
        };
        let place = Place::of(op);
        if op.settled {
            self.settled.insert(place.clone());
        }
        let Some(kind) = self.header.buckets.get(&op.bucket) else {
            let tally = self.tallies.entry(Check::Provenance).or_default();
            tally.violations.push(Violation {
                check: Check::Provenance,
                bucket: op.bucket.clone(),
                key: op.key.clone(),
                ops: vec![self.number],
                sentence: "the header does not know this bucket".into(),
            });
            return;
        };
        let none = KeyWrites::default();
        let read = Answered {
            header: self.header,
            kind: *kind,
            number: self.number,
            op,
            found,
            writes: self.writes.keys.get(&place).unwrap_or(&none),
        };
        for (check, checker) in &mut self.checkers {
            checker.read(&read, self.tallies.entry(*check).or_default());
        }
        let tally = self.tallies.entry(Check::Sessions).or_default();
        self.sessions.read(&read, tally);
    }

    fn report(mut self) -> Report {
        let unread = self.writes.keys.iter().filter(|(place, writes)| {
            !self.settled.contains(place) && writes.all.iter().any(|w| w.acknowledged.is_some())
        });
        self.report.unread_keys = unread.count() as u64;
        for (check, mut tally) in self.tallies {
            let found = tally.violations.len() as u64;
            tally.violations.truncate(KEPT_MAX);
            let checked = Checked {
                looked: tally.looked,
                found,
                violations: tally.violations,
            };
            self.report.checks.insert(check, checked);
        }
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Writer;
    use crate::op::{Kind, Replaces};
    use crate::testing::{at, header, put, read, settled, values};

    fn history() -> History {
        let seen = || Replaces::Read(Vec::new());
        let mut ops = vec![
            put("k", "a", seen()),
            put("l", "b", seen()),
            put("m", "c", seen()),
            read("k", values(&["a"])),
            settled("k", values(&["a"])),
            settled("l", values(&[])),
        ];
        ops[2].outcome = Outcome::Unknown;
        at(&mut ops);
        let header = header(&[("b", Kind::Register)]);
        History { header, ops }
    }

    #[test]
    fn a_report_counts_what_it_looked_at_and_names_what_it_found() {
        let report = verdict(&history());
        assert_eq!((report.ops, report.acknowledged, report.unknown), (6, 2, 1));
        assert_eq!(report.checks[&Check::Survival].looked, 2);
        assert_eq!(report.unread_keys, 0);
        assert!(!report.holds());
        let text = report.to_string();
        assert!(
            text.contains("survival: b/l: a read does not show \"b\""),
            "{text}"
        );
    }

    #[test]
    fn a_key_that_nobody_read_in_the_end_is_counted() {
        let mut history = history();
        history.ops.truncate(5);
        assert_eq!(verdict(&history).unread_keys, 1);
    }

    #[test]
    fn a_file_has_the_verdict_of_the_history_that_was_written() {
        let history = history();
        let dir = std::env::temp_dir().join(format!("dunlin-history-{}", std::process::id()));
        let mut writer = Writer::new(File::create(&dir).unwrap(), &history.header).unwrap();
        history.ops.iter().for_each(|op| writer.write(op).unwrap());
        let report = verdict_of_file(&dir);
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(report.unwrap(), verdict(&history));
    }

    #[test]
    fn a_report_survives_its_own_json() {
        let report = verdict(&history());
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
