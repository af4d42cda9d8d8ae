//! One change of one key, as requests of the client library.
//!
//! Everything but `Increment` can be done again with the same result, so that a line that failed half
//! way is mended by importing it again: registers are replaced, elements and fields are added, and a
//! counter of an export is brought to its value by what it differs from it at the moment.

use bytes::Bytes;
use dunlin_client::{Bucket, DataEffect, Error, FieldPath, Map};
use dunlin_protocol::limits::{CHANGES_MAX, VALUE_BYTES_MAX};

use super::mapping::Change;
use crate::cli::fault::reason;
use crate::cli::record::Data;

/// Rows of one request for fields: well below what is refused.
const ROWS_AT_ONCE: usize = CHANGES_MAX / 2;
/// Bytes of values of such a request, above which no more are added.
const BYTES_AT_ONCE: usize = VALUE_BYTES_MAX;

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Nothing of what failed was written; what went before, in a line of many requests, was.
    Failed(String),
    /// It may be written, now or later.
    Unknown(String),
}

impl Problem {
    fn of(error: Error) -> Self {
        match error.effect() {
            DataEffect::NotApplied => Self::Failed(reason(&error)),
            DataEffect::Unknown => Self::Unknown(reason(&error)),
        }
    }
}

/// Makes a change.
///
/// # Errors
/// [`Problem`] says what it means for the data.
pub(crate) async fn apply(bucket: &Bucket, key: &Bytes, change: Change) -> Result<(), Problem> {
    match change {
        Change::Increment(by) => {
            let counter = bucket.counter(key).map_err(Problem::of)?;
            counter.increment(by).await.map_err(Problem::of)?;
            Ok(())
        }
        Change::Hold(data) => hold(bucket, key, data).await,
    }
}

async fn hold(bucket: &Bucket, key: &Bytes, data: Data) -> Result<(), Problem> {
    match data {
        Data::Register(values) => {
            let register = bucket.register(key).map_err(Problem::of)?;
            settle(&register, values).await
        }
        Data::Lww(value) => {
            let lww = bucket.lww(key).map_err(Problem::of)?;
            lww.put(value).await.map_err(Problem::of)?;
            Ok(())
        }
        Data::Counter(sum) => {
            let counter = bucket.counter(key).map_err(Problem::of)?;
            bring_to(&counter, sum).await
        }
        Data::Flag(on) => {
            let flag = bucket.flag(key).map_err(Problem::of)?;
            let written = if on {
                flag.enable().await
            } else {
                flag.disable().await
            };
            written.map_err(Problem::of)?;
            Ok(())
        }
        Data::Max(number) => {
            let max = bucket.max(key).map_err(Problem::of)?;
            max.observe(number).await.map_err(Problem::of)?;
            Ok(())
        }
        Data::Min(number) => {
            let min = bucket.min(key).map_err(Problem::of)?;
            min.observe(number).await.map_err(Problem::of)?;
            Ok(())
        }
        Data::Set(elements) => {
            let set = bucket.set(key).map_err(Problem::of)?;
            for some in elements.chunks(CHANGES_MAX) {
                set.add(some).await.map_err(Problem::of)?;
            }
            Ok(())
        }
        Data::Map(fields) => {
            let map = bucket.map(key).map_err(Problem::of)?;
            hold_fields(&map, fields).await
        }
    }
}

/// Replaces what is there by the first value, and writes the others beside it.
async fn settle(register: &dunlin_client::Register, values: Vec<Bytes>) -> Result<(), Problem> {
    let mut values = values.into_iter();
    if let Some(first) = values.next() {
        register.overwrite(first).await.map_err(Problem::of)?;
    }
    for sibling in values {
        register.put_new(sibling).await.map_err(Problem::of)?;
    }
    Ok(())
}

async fn bring_to(counter: &dunlin_client::Counter, sum: i64) -> Result<(), Problem> {
    let now = counter
        .get()
        .await
        .map_err(|error| Problem::Failed(reason(&error)))?;
    match sum.checked_sub(now) {
        // A counter of zero is written too: it is a key like any other.
        Some(0) if sum != 0 => Ok(()),
        Some(by) => counter.increment(by).await.map(|_| ()).map_err(Problem::of),
        None => Err(Problem::Failed(format!(
            "from {now} to {sum} is further than 2^63-1"
        ))),
    }
}

/// Writes fields, as many together as one request takes. Fields of one map in the map go together.
async fn hold_fields(map: &Map, fields: Vec<(FieldPath, Data)>) -> Result<(), Problem> {
    let mut pending = Pending::default();
    let mut alone = Vec::new();
    for (path, data) in fields {
        let outer = outer_of(&path);
        if pending.outer != outer || pending.is_full() {
            pending.send(map).await?;
            pending.outer = outer;
        }
        match data {
            Data::Register(mut values) if !values.is_empty() => {
                let others = values.split_off(1);
                pending.extend(path.clone(), Data::Register(values));
                alone.extend(
                    others
                        .into_iter()
                        .map(|value| (path.clone(), Alone::Sibling(value))),
                );
            }
            Data::Counter(sum) => alone.push((path, Alone::Counter(sum))),
            Data::Set(elements) if elements.len() > ROWS_AT_ONCE => {
                for some in elements.chunks(ROWS_AT_ONCE) {
                    pending.send(map).await?;
                    pending.extend(path.clone(), Data::Set(some.to_vec()));
                }
            }
            data => pending.extend(path, data),
        }
    }
    pending.send(map).await?;
    // A sibling comes after the value beside which it stands; a counter needs to be read first.
    for (path, what) in alone {
        let field = map.field(path);
        match what {
            Alone::Sibling(value) => {
                let register = field.register().map_err(Problem::of)?;
                register.put_new(value).await.map_err(Problem::of)?;
            }
            Alone::Counter(sum) => {
                bring_to(&field.counter().map_err(Problem::of)?, sum).await?;
            }
        }
    }
    Ok(())
}

/// What takes a request of its own.
enum Alone {
    Sibling(Bytes),
    Counter(i64),
}

/// Fields of one map, on their way into one request.
#[derive(Default)]
struct Pending {
    /// The map that they are in, if it is not the outermost.
    outer: Option<FieldPath>,
    fields: Vec<(FieldPath, Data)>,
    rows: usize,
    bytes: usize,
}

impl Pending {
    fn is_full(&self) -> bool {
        self.rows >= ROWS_AT_ONCE || self.bytes >= BYTES_AT_ONCE
    }

    fn extend(&mut self, path: FieldPath, data: Data) {
        let (rows, bytes) = match &data {
            Data::Set(elements) => (elements.len(), elements.iter().map(Bytes::len).sum()),
            Data::Register(values) => (1, values.iter().map(Bytes::len).sum()),
            Data::Lww(value) => (1, value.len()),
            Data::Counter(_) | Data::Flag(_) | Data::Max(_) | Data::Min(_) | Data::Map(_) => (1, 0),
        };
        self.rows += rows;
        self.bytes += bytes;
        self.fields.push((path, data));
    }

    async fn send(&mut self, map: &Map) -> Result<(), Problem> {
        if self.fields.is_empty() {
            return Ok(());
        }
        let map = match &self.outer {
            None => map.clone(),
            Some(outer) => map.field(outer.clone()).map().map_err(Problem::of)?,
        };
        let mut changes = map.changes();
        for (path, data) in std::mem::take(&mut self.fields) {
            let Some((name, _)) = path.steps().last() else {
                continue;
            };
            changes = match data {
                Data::Register(values) => values
                    .into_iter()
                    .fold(changes, |changes, value| changes.overwrite(name, value)),
                Data::Lww(value) => changes.put(name, value),
                Data::Flag(true) => changes.enable(name),
                Data::Flag(false) => changes.disable(name),
                Data::Set(elements) => changes.add(name, elements),
                Data::Counter(_) | Data::Max(_) | Data::Min(_) | Data::Map(_) => changes,
            };
        }
        (self.rows, self.bytes) = (0, 0);
        changes.send().await.map_err(Problem::of)?;
        Ok(())
    }
}

/// The map in the map that a field is in.
fn outer_of(path: &FieldPath) -> Option<FieldPath> {
    let (_, outer) = path.steps().split_last()?;
    FieldPath::new(outer.to_vec()).ok()
}
