//! Typed handles on keys and on fields of maps.
//!
//! A handle says where its data lies, a [`Target`]: the key of a bucket, or a field below the key of a
//! map. The operations are the same for both, so a counter in a map is a [`Counter`] like any other.

use bytes::Bytes;
use dunlin_crdt::FieldPath;
use dunlin_protocol::request::{FieldChange, Query, Replace, WriteOp};
use dunlin_protocol::response::{Found, Rest};

use crate::bucket::Bucket;
use crate::error::Error;
use crate::receipt::{Read, Receipt};

/// What every handle can do.
macro_rules! common {
    ($handle:ident) => {
        impl $handle {
            pub(crate) fn new(target: Target) -> Self {
                Self { target }
            }

            /// The same data, with these options.
            #[must_use]
            pub fn with_options(mut self, options: crate::Options) -> Self {
                self.target.bucket = self.target.bucket.with_options(options);
                self
            }

            /// The key.
            pub fn key(&self) -> &bytes::Bytes {
                &self.target.key
            }
        }
    };
}

/// What handles of one row can do besides.
macro_rules! single_row {
    ($handle:ident) => {
        impl $handle {
            /// Removes what is there, as far as a quorum shows it; what is written concurrently
            /// stays. Not repeated if its outcome is unknown.
            ///
            /// # Errors
            /// [`Error`](crate::Error), whose [`effect`](crate::Error::effect) says what it means.
            pub async fn delete(&self) -> Result<crate::Receipt, crate::Error> {
                let seen = dunlin_protocol::request::Replace::Seen;
                let op = dunlin_protocol::request::WriteOp::Delete(seen);
                self.target.write(op).await
            }
        }
    };
}

mod changes;
mod counter;
mod extreme;
mod field;
mod flag;
mod lww;
mod map;
mod register;
mod set;

pub use changes::Changes;
pub use counter::Counter;
pub use extreme::Extreme;
pub use field::{Field, FieldEntry, FieldValue};
pub use flag::Flag;
pub use lww::Lww;
pub use map::Map;
pub use register::Register;
pub use set::Set;

/// Where a handle's data lies.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) bucket: Bucket,
    pub(crate) key: Bytes,
    /// The field, if it lies in a map.
    pub(crate) path: Option<FieldPath>,
}

impl Target {
    /// Changes the data.
    pub(crate) async fn write(&self, op: WriteOp) -> Result<Receipt, Error> {
        let op = match &self.path {
            None => op,
            Some(path) => WriteOp::Fields(vec![FieldChange {
                path: path.subkey(),
                op,
            }]),
        };
        self.bucket.write(&self.key, op).await
    }

    /// Reads the one row.
    pub(crate) async fn read_value(&self) -> Result<Read<Found>, Error> {
        self.read(match &self.path {
            None => Query::Value,
            Some(path) => Query::Field(path.subkey()),
        })
        .await
    }

    pub(crate) async fn read(&self, query: Query) -> Result<Read<Found>, Error> {
        self.bucket.read(&self.key, query).await
    }

    /// Removes all rows, in as many requests as it takes.
    pub(crate) async fn delete_rows(&self) -> Result<Receipt, Error> {
        let mut removed_pages = 0;
        loop {
            match self.write(WriteOp::Delete(Replace::Seen)).await {
                Ok(receipt) if receipt.rest == Rest::Done => return Ok(receipt),
                Ok(_) => removed_pages += 1,
                Err(error) if removed_pages == 0 => return Err(error),
                Err(error) => {
                    return Err(Error::Incomplete {
                        removed_pages,
                        source: Box::new(error),
                    });
                }
            }
        }
    }
}
