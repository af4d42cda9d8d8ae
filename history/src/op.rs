//! One operation of a client: what it asked, when, and what it was told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a history is about: its first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the form.
    pub format: u32,
    /// How many owners each key has.
    pub owners: u8,
    /// The kind of the keys of each bucket.
    pub buckets: BTreeMap<String, Kind>,
    /// How far the clocks of any two nodes were apart at most. Without it nothing is claimed about which of
    /// two lww writes wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_us: Option<u64>,
}

/// What is under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Values that nobody replaced.
    Register,
    /// The value with the highest stamp.
    Lww,
    /// A sum.
    Counter,
    /// On or off; on wins.
    Flag,
    /// Elements; adding wins.
    Set,
    /// The greatest number observed.
    Max,
    /// The least number observed.
    Min,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Who asked.
    pub client: u32,
    /// The session of this client that it belongs to, if it was promised what sessions are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u32>,
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// What was asked.
    #[serde(rename = "do")]
    pub action: Action,
    /// When it was asked.
    pub start_us: u64,
    /// When the answer came, or the client gave up.
    pub end_us: u64,
    /// What the client was told.
    pub outcome: Outcome,
    /// How often it was sent: of an operation that was sent again, an earlier attempt may have been applied,
    /// or may be applied yet.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub sent: u32,
    /// The node that coordinated it, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How many nodes had to hold the write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<u8>,
    /// How many nodes had to answer the read; or the read that a removal or an overwrite begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<u8>,
    /// Whether only owners counted for these.
    #[serde(default, skip_serializing_if = "is_false")]
    pub strict: bool,
    /// Whether it was read when all writes were at all their owners.
    #[serde(default, skip_serializing_if = "is_false")]
    pub settled: bool,
    /// What was going on, and on which side: for whoever reads the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A value is put, in a register or an lww.
    Put {
        /// The value, of which there is no other in the history.
        value: String,
        /// What it replaces. Means nothing in an lww.
        replaces: Replaces,
    },
    /// The key is deleted.
    Delete {
        /// What is deleted of it.
        replaces: Replaces,
    },
    /// A counter goes up, or down.
    Increment(i64),
    /// A number is observed, by a max or a min.
    Observe(i64),
    /// Elements are added.
    Add(Vec<String>),
    /// Elements are removed.
    Remove(Vec<String>),
    /// The flag is set.
    Enable,
    /// The flag is cleared.
    Disable,
    /// The key is read.
    Read,
}

/// What a put or delete replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replaces {
    /// Whatever a read shows to the node that carries it out.
    Seen,
    /// These values, which its client had read or written, and no others.
    Read(Vec<String>),
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The write is acknowledged.
    Done,
    /// Nothing was written, and nothing will be. Also of reads that failed.
    NotApplied,
    /// It may be applied, now or later.
    Unknown,
    /// The read found this.
    Read(Found),
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The values of a register, or the one of an lww; none if there is nothing.
    Values(Vec<String>),
    /// The sum of a counter.
    Sum(i64),
    /// The extreme, if anything was observed.
    Number(Option<i64>),
    /// All elements of a set.
    Elements(Vec<String>),
    /// Whether the flag is on.
    Flag(bool),
}

impl Found {
    /// The same in an order that does not depend on who was asked.
    pub(crate) fn sorted(&self) -> Self {
        let sort = |texts: &[String]| {
            let mut texts = texts.to_vec();
            texts.sort();
            texts
        };
        match self {
            Self::Values(values) => Self::Values(sort(values)),
            Self::Elements(elements) => Self::Elements(sort(elements)),
            Self::Sum(_) | Self::Number(_) | Self::Flag(_) => self.clone(),
        }
    }
}

/// A history in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// What it is about.
    pub header: Header,
    /// The operations, numbered from 1 in this order.
    pub ops: Vec<Op>,
}

fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_once(sent: &u32) -> bool {
    *sent == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !*flag
}
