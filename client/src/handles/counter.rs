//! A sum that everybody may add to at once.

use dunlin_protocol::request::WriteOp;
use dunlin_protocol::response::Found;

use super::Target;
use crate::error::Error;
use crate::receipt::{Read, Receipt};

/// A counter.
#[derive(Clone, Debug)]
pub struct Counter {
    target: Target,
}

common!(Counter);
single_row!(Counter);

impl Counter {
    /// The sum; zero for a key that was never counted.
    ///
    /// # Errors
    /// [`Error`] if no quorum answers.
    pub async fn get(&self) -> Result<i64, Error> {
        Ok(self.read().await?.value)
    }

    /// As [`get`](Self::get), and who said so.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn read(&self) -> Result<Read<i64>, Error> {
        self.target
            .read_value()
            .await?
            .fold("read of a counter", |found| match found {
                Found::Nothing => Some(0),
                Found::Sum(sum) => Some(sum),
                _ => None,
            })
    }

    /// Adds, or subtracts a negative number.
    ///
    /// Never repeated when the outcome is unknown, since it might count twice: that is for the caller
    /// to decide.
    ///
    /// # Errors
    /// [`Error`], whose [`effect`](Error::effect) says whether it may have been counted.
    pub async fn increment(&self, by: i64) -> Result<Receipt, Error> {
        self.target.write(WriteOp::Increment(by)).await
    }
}
