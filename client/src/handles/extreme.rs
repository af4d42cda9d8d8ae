//! The largest or the smallest number observed.

use dunlin_protocol::request::WriteOp;
use dunlin_protocol::response::Found;

use super::Target;
use crate::error::Error;
use crate::receipt::{Read, Receipt};

/// A key of a `max` or a `min` bucket.
#[derive(Clone, Debug)]
pub struct Extreme {
    target: Target,
}

common!(Extreme);
single_row!(Extreme);

impl Extreme {
    /// The extreme of what was observed, or nothing.
    ///
    /// # Errors
    /// [`Error`] if no quorum answers.
    pub async fn get(&self) -> Result<Option<i64>, Error> {
        Ok(self.read().await?.value)
    }

    /// As [`get`](Self::get), and who said so.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn read(&self) -> Result<Read<Option<i64>>, Error> {
        self.target
            .read_value()
            .await?
            .fold("read of a max or min", |found| match found {
                Found::Nothing => Some(None),
                Found::Extreme(number) => Some(Some(number)),
                _ => None,
            })
    }

    /// Takes a number into account.
    ///
    /// # Errors
    /// [`Error`], whose [`effect`](Error::effect) says what it means for the data.
    pub async fn observe(&self, number: i64) -> Result<Receipt, Error> {
        self.target.write(WriteOp::Observe(number)).await
    }
}
