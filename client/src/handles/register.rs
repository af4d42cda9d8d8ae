//! A value whose concurrent writes are all kept, as siblings, until somebody settles them.

use bytes::Bytes;
use dunlin_protocol::Context;
use dunlin_protocol::request::{Replace, WriteOp};
use dunlin_protocol::response::Found;

use super::Target;
use crate::error::Error;
use crate::receipt::{Read, Receipt, Siblings};

/// A register: read it, decide, and write with the context of the read.
///
/// ```no_run
/// # async fn example(bucket: dunlin_client::Bucket) -> Result<(), dunlin_client::Error> {
/// let profile = bucket.register("ana")?;
/// match profile.get().await? {
///     None => profile.put_new("first").await?,
///     Some(siblings) => {
///         let longest = siblings.values.iter().max_by_key(|value| value.len());
///         let settled = longest.cloned().unwrap_or_default();
///         profile.put(settled, &siblings.context).await?
///     }
/// };
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Register {
    target: Target,
}

common!(Register);
single_row!(Register);

impl Register {
    /// The concurrent values, or nothing.
    ///
    /// # Errors
    /// [`Error`] if no quorum answers.
    pub async fn get(&self) -> Result<Option<Siblings>, Error> {
        Ok(self.read().await?.value)
    }

    /// As [`get`](Self::get), and who said so.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn read(&self) -> Result<Read<Option<Siblings>>, Error> {
        self.target
            .read_value()
            .await?
            .fold("read of a register", |found| match found {
                Found::Nothing => Some(None),
                Found::Siblings { values, context } => Some(Some(Siblings { values, context })),
                _ => None,
            })
    }

    /// Replaces the values that a read with this context has shown, and no others.
    ///
    /// # Errors
    /// [`Error`], whose [`effect`](Error::effect) says what it means for the data.
    pub async fn put(&self, value: impl Into<Bytes>, context: &Context) -> Result<Receipt, Error> {
        let replaces = Replace::Context(context.clone());
        self.write(value.into(), replaces).await
    }

    /// Writes without having read: replaces nothing. If there is a value already, this one becomes its
    /// sibling.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_new(&self, value: impl Into<Bytes>) -> Result<Receipt, Error> {
        self.put(value, &Context::default()).await
    }

    /// Replaces whatever a quorum shows at the moment, read by the application or not.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn overwrite(&self, value: impl Into<Bytes>) -> Result<Receipt, Error> {
        self.write(value.into(), Replace::Seen).await
    }

    /// Removes the values that a read with this context has shown, and no others.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete_read(&self, context: &Context) -> Result<Receipt, Error> {
        let replaces = Replace::Context(context.clone());
        self.target.write(WriteOp::Delete(replaces)).await
    }

    async fn write(&self, value: Bytes, replaces: Replace) -> Result<Receipt, Error> {
        self.target.write(WriteOp::Put { value, replaces }).await
    }
}
