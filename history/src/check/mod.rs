//! What must hold, one file each: which reads are looked at, and what these must know.

pub(crate) mod convergence;
pub(crate) mod counters;
pub(crate) mod extremes;
pub(crate) mod flags;
pub(crate) mod freshness;
pub(crate) mod provenance;
pub(crate) mod resurrection;
pub(crate) mod sessions;
pub(crate) mod sets;
pub(crate) mod survival;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kinds::{Finding, Sight};
use crate::op::{Found, Header, Kind, Op};
use crate::writes::{KeyWrites, Number, Place, Write};

/// A property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// An acknowledged write of a register or lww is in the settled reads, or what can have replaced it.
    Survival,
    /// What is read was written, by no write that was denied.
    Provenance,
    /// A counter is the sum of its acknowledged steps, and of each other one once or not.
    Counters,
    /// Adding wins; what was removed stays so unless it is added again.
    Sets,
    /// What was replaced or deleted with knowledge of it does not come back.
    Resurrection,
    /// Within a session: own writes are read, and what was read once.
    Sessions,
    /// A max or min is the extreme of what was observed.
    Extremes,
    /// On wins; what was turned off stays so unless it is turned on again.
    Flags,
    /// All settled reads of a key are equal, whichever node is asked.
    Convergence,
    /// With R + W > N, and owners only, a read knows of each write that was acknowledged before.
    Freshness,
}

impl Check {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Survival,
        Self::Provenance,
        Self::Counters,
        Self::Sets,
        Self::Resurrection,
        Self::Sessions,
        Self::Extremes,
        Self::Flags,
        Self::Convergence,
        Self::Freshness,
    ];
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Survival => "survival",
            Self::Provenance => "provenance",
            Self::Counters => "counters",
            Self::Sets => "sets",
            Self::Resurrection => "resurrection",
            Self::Sessions => "sessions",
            Self::Extremes => "extremes",
            Self::Flags => "flags",
            Self::Convergence => "convergence",
            Self::Freshness => "freshness",
        })
    }
}

/// Something that can't be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which property does not hold.
    pub check: Check,
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The operations that it is about, by their numbers; the read is the last.
    pub ops: Vec<u64>,
    /// What is wrong.
    pub sentence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            check,
            bucket,
            key,
            ops,
            sentence,
        } = self;
        write!(f, "{check}: {bucket}/{key}: {sentence} (operations")?;
        ops.iter().try_for_each(|op| write!(f, " {op}"))?;
        f.write_str(")")
    }
}

/// A read that was answered.
#[derive(Clone, Copy)]
pub(crate) struct Answered<'a> {
    pub(crate) header: &'a Header,
    pub(crate) kind: Kind,
    pub(crate) number: Number,
    pub(crate) op: &'a Op,
    pub(crate) found: &'a Found,
    pub(crate) writes: &'a KeyWrites,
}

impl<'a> Answered<'a> {
    fn sight(&self, knows: &'a dyn Fn(usize, &Write) -> bool) -> Sight<'a> {
        Sight {
            header: self.header,
            kind: self.kind,
            writes: self.writes,
            found: self.found,
            end: self.op.end_us,
            knows,
        }
    }

    /// Whether the write was acknowledged before the read began.
    fn follows(&self, write: &Write) -> bool {
        write.acknowledged.is_some_and(|end| end < self.op.start_us)
    }

    fn complain(&self, check: Check, findings: Vec<Finding>, tally: &mut Tally) {
        let of = match &self.op.node {
            Some(node) => format!("a read through {node} "),
            None => "a read ".into(),
        };
        for Finding { mut ops, sentence } in findings {
            ops.push(self.number);
            tally.violations.push(Violation {
                check,
                bucket: self.op.bucket.clone(),
                key: self.op.key.clone(),
                ops,
                sentence: format!("{of}{sentence}"),
            });
        }
    }
}

/// What a checker has looked at and found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) looked: u64,
    pub(crate) violations: Vec<Violation>,
}

/// A checker: told of every read that was answered, in the order of the history.
pub(crate) trait Checker {
    fn read(&mut self, read: &Answered<'_>, tally: &mut Tally);
}

/// The key of a read.
fn place(read: &Answered<'_>) -> Place {
    Place::of(read.op)
}
