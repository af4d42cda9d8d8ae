//! What is known of a bucket: fixed at its creation, except that it can be dropped.

use std::fmt;

use dunlin_crdt::{Hlc, Kind};
use dunlin_ring::{BucketId, Quorum};
use serde::{Deserialize, Serialize};

use crate::limits::BUCKET_NAME_MAX;

/// The name of a bucket: 1 to 64 of `a-z A-Z 0-9 _ - .`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

impl BucketName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BucketName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let fits = (1..=BUCKET_NAME_MAX).contains(&name.len());
        if fits
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        {
            Ok(Self(name))
        } else {
            Err(format!(
                "{name:?} is no bucket name: 1 to {BUCKET_NAME_MAX} of letters, digits, '_', '-', '.'"
            ))
        }
    }
}

impl std::str::FromStr for BucketName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::try_from(name.to_owned())
    }
}

impl From<BucketName> for String {
    fn from(name: BucketName) -> Self {
        name.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// When a node says that it holds a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// After it is on the node's disk (commits are grouped).
    Synced,
    /// After it is handed to the operating system; the disk has it within the sync interval.
    Periodic,
}

impl Durability {
    /// The lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Periodic => "periodic",
        }
    }
}

impl std::str::FromStr for Durability {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Synced, Self::Periodic]
            .into_iter()
            .find(|durability| durability.name() == name)
            .ok_or_else(|| format!("{name:?} is no durability: there are synced and periodic"))
    }
}

/// What requests that name no quorum of their own get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketDefaults {
    /// Nodes that answer a read.
    pub r: Quorum,
    /// Nodes that hold a write.
    pub w: Quorum,
    /// Nodes of those that have synced it. `None`: as many as `w` if `synced`, none if `periodic`.
    pub dw: Option<Quorum>,
    /// When a node says that it holds a write.
    pub durability: Durability,
}

impl Default for BucketDefaults {
    fn default() -> Self {
        Self {
            r: Quorum::Majority,
            w: Quorum::Majority,
            dw: None,
            durability: Durability::Synced,
        }
    }
}

/// One creation of a bucket. Everything but `dropped` is fixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Drawn at random at creation; rows carry it.
    pub id: BucketId,
    /// Its name.
    pub name: BucketName,
    /// What its keys are.
    pub kind: Kind,
    /// What requests get that ask for nothing else.
    pub defaults: BucketDefaults,
    /// When it was created. Of two creations of one name the earlier stands (then the lower id).
    pub created: Hlc,
    /// Set for ever once it is dropped.
    pub dropped: bool,
}
