//! On or off.

use dunlin_protocol::request::WriteOp;
use dunlin_protocol::response::Found;

use super::Target;
use crate::error::Error;
use crate::receipt::{Read, Receipt};

/// A flag. On wins over a concurrent off.
#[derive(Clone, Debug)]
pub struct Flag {
    target: Target,
}

common!(Flag);
single_row!(Flag);

impl Flag {
    /// Whether it is on.
    ///
    /// # Errors
    /// [`Error`] if no quorum answers.
    pub async fn get(&self) -> Result<bool, Error> {
        Ok(self.read().await?.value)
    }

    /// As [`get`](Self::get), and who said so.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn read(&self) -> Result<Read<bool>, Error> {
        self.target
            .read_value()
            .await?
            .fold("read of a flag", |found| match found {
                Found::Nothing => Some(false),
                Found::On => Some(true),
                _ => None,
            })
    }

    /// Turns it on.
    ///
    /// # Errors
    /// [`Error`], whose [`effect`](Error::effect) says what it means for the data.
    pub async fn enable(&self) -> Result<Receipt, Error> {
        self.target.write(WriteOp::Enable).await
    }

    /// Turns it off, as far as a quorum shows it on. Not repeated if its outcome is unknown.
    ///
    /// # Errors
    /// As [`enable`](Self::enable).
    pub async fn disable(&self) -> Result<Receipt, Error> {
        self.target.write(WriteOp::Disable).await
    }
}
