//! The kinds a bucket can have, the kinds a map's field can have, and the kinds of rows they are made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What the keys of a bucket are. Fixed when the bucket is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A value; concurrent writes are all kept, as siblings.
    Register,
    /// A value; of concurrent writes the one with the highest stamp is shown.
    Lww,
    /// A sum.
    Counter,
    /// On or off; on wins over a concurrent off.
    Flag,
    /// The largest number observed.
    Max,
    /// The smallest number observed.
    Min,
    /// A set of byte strings; an add wins over a concurrent removal.
    Set,
    /// Named fields, each of a [`FieldKind`].
    Map,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Register,
        Self::Lww,
        Self::Counter,
        Self::Flag,
        Self::Max,
        Self::Min,
        Self::Set,
        Self::Map,
    ];

    /// The lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Lww => "lww",
            Self::Counter => "counter",
            Self::Flag => "flag",
            Self::Max => "max",
            Self::Min => "min",
            Self::Set => "set",
            Self::Map => "map",
        }
    }

    /// The kind of the one row under a key, or `None` where a key has many rows.
    pub fn single_row(self) -> Option<RowKind> {
        match self {
            Self::Register => Some(RowKind::Register),
            Self::Lww => Some(RowKind::Lww),
            Self::Counter => Some(RowKind::Counter),
            Self::Flag => Some(RowKind::Flag),
            Self::Max => Some(RowKind::Max),
            Self::Min => Some(RowKind::Min),
            Self::Set | Self::Map => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
                format!("no kind is called {name:?}; there are {}", known.join(", "))
            })
    }
}

/// What a field of a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// As [`Kind::Register`].
    Register,
    /// As [`Kind::Lww`].
    Lww,
    /// As [`Kind::Counter`].
    Counter,
    /// As [`Kind::Flag`].
    Flag,
    /// As [`Kind::Set`].
    Set,
    /// A map in the map.
    Map,
}

impl FieldKind {
    /// Every field kind, in the order of their tags in a path.
    pub const ALL: [Self; 6] = [
        Self::Register,
        Self::Lww,
        Self::Counter,
        Self::Flag,
        Self::Set,
        Self::Map,
    ];

    /// The kind of bucket that behaves like it.
    pub fn kind(self) -> Kind {
        match self {
            Self::Register => Kind::Register,
            Self::Lww => Kind::Lww,
            Self::Counter => Kind::Counter,
            Self::Flag => Kind::Flag,
            Self::Set => Kind::Set,
            Self::Map => Kind::Map,
        }
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

impl FromStr for FieldKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.kind().name() == name)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|kind| kind.kind().name()).collect();
                format!(
                    "no field kind is called {name:?}; there are {}",
                    known.join(", ")
                )
            })
    }
}

/// What one row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKind {
    /// A `register`.
    Register,
    /// An `lww`.
    Lww,
    /// A `counter`.
    Counter,
    /// A `flag`.
    Flag,
    /// A `max`.
    Max,
    /// A `min`.
    Min,
    /// One element of a `set`: present while a cell is left.
    Element,
}
