//! What the load of an experiment reads and writes, and how the history calls it.

use dunlin_client::{Bucket, Bytes, Client, Counter, Error, Register, Set};
use dunlin_history::{Found, Kind};

/// The buckets of a run.
pub(crate) const BUCKETS: [(&str, dunlin_client::Kind); 6] = [
    ("register", dunlin_client::Kind::Register),
    ("lww", dunlin_client::Kind::Lww),
    ("counter", dunlin_client::Kind::Counter),
    ("set", dunlin_client::Kind::Set),
    ("max", dunlin_client::Kind::Max),
    ("map", dunlin_client::Kind::Map),
];

/// What is read and written in them: rows, and fields of maps. The history takes a field for a row of a bucket
/// of its own.
pub(crate) const PARTS: [Part; 8] = [
    Part::row("register", Kind::Register, 0),
    Part::row("lww", Kind::Lww, 1),
    Part::row("counter", Kind::Counter, 2),
    Part::row("set", Kind::Set, 3),
    Part::row("max", Kind::Max, 4),
    Part::field("map.register", Kind::Register),
    Part::field("map.counter", Kind::Counter),
    Part::field("map.set", Kind::Set),
];
const MAPS: usize = 5;

/// One of [`PARTS`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// As the history calls it, and a field of a map too.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Its place among [`BUCKETS`].
    pub(super) bucket: usize,
}

impl Part {
    const fn row(name: &'static str, kind: Kind, bucket: usize) -> Self {
        Self { name, kind, bucket }
    }

    const fn field(name: &'static str, kind: Kind) -> Self {
        Self::row(name, kind, MAPS)
    }

    pub(super) fn register(self, bucket: &Bucket, key: &str) -> Result<Register, Error> {
        match self.bucket {
            MAPS => Ok(bucket.map(key)?.register(self.name)),
            _ => bucket.register(key),
        }
    }

    pub(super) fn counter(self, bucket: &Bucket, key: &str) -> Result<Counter, Error> {
        match self.bucket {
            MAPS => Ok(bucket.map(key)?.counter(self.name)),
            _ => bucket.counter(key),
        }
    }

    pub(super) fn set(self, bucket: &Bucket, key: &str) -> Result<Set, Error> {
        match self.bucket {
            MAPS => Ok(bucket.map(key)?.set(self.name)),
            _ => bucket.set(key),
        }
    }

    /// Reads it, in one of a list of all [`BUCKETS`].
    pub(crate) async fn read(self, buckets: &[Bucket], key: &str) -> Result<Option<Found>, Error> {
        let Some(bucket) = buckets.get(self.bucket) else {
            return Ok(None);
        };
        Ok(Some(match self.kind {
            Kind::Register => {
                let found = self.register(bucket, key)?.get().await?;
                let values = found.iter().flat_map(|siblings| &siblings.values);
                Found::Values(values.map(text).collect())
            }
            Kind::Lww => Found::Values(bucket.lww(key)?.get().await?.iter().map(text).collect()),
            Kind::Counter => Found::Sum(self.counter(bucket, key)?.get().await?),
            Kind::Set => {
                let elements = self.set(bucket, key)?.elements().collect().await?;
                Found::Elements(elements.iter().map(text).collect())
            }
            _ => Found::Number(bucket.max(key)?.get().await?),
        }))
    }
}

/// Opens all buckets, whose names begin with `prefix`.
pub(crate) async fn open(client: &Client, prefix: &str) -> Result<Vec<Bucket>, Error> {
    let mut buckets = Vec::new();
    for (name, _) in BUCKETS {
        buckets.push(client.bucket(&format!("{prefix}{name}")).await?);
    }
    Ok(buckets)
}

pub(crate) fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
