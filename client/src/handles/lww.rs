//! A value of which the last write wins.

use bytes::Bytes;
use dunlin_protocol::request::{Replace, WriteOp};
use dunlin_protocol::response::Found;

use super::Target;
use crate::error::Error;
use crate::receipt::{Latest, Read, Receipt};

/// A last-write-wins value. Of concurrent writes the one with the highest stamp is shown; the others
/// are gone.
#[derive(Clone, Debug)]
pub struct Lww {
    target: Target,
}

common!(Lww);
single_row!(Lww);

impl Lww {
    /// The value, or nothing.
    ///
    /// # Errors
    /// [`Error`] if no quorum answers.
    pub async fn get(&self) -> Result<Option<Bytes>, Error> {
        Ok(self.read().await?.value.map(|latest| latest.value))
    }

    /// As [`get`](Self::get), with the stamp, and who said so.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn read(&self) -> Result<Read<Option<Latest>>, Error> {
        self.target
            .read_value()
            .await?
            .fold("read of an lww", |found| match found {
                Found::Nothing => Some(None),
                Found::Latest { value, stamp } => Some(Some(Latest { value, stamp })),
                _ => None,
            })
    }

    /// Writes the value.
    ///
    /// # Errors
    /// [`Error`], whose [`effect`](Error::effect) says what it means for the data.
    pub async fn put(&self, value: impl Into<Bytes>) -> Result<Receipt, Error> {
        self.target
            .write(WriteOp::Put {
                value: value.into(),
                replaces: Replace::Seen,
            })
            .await
    }
}
