//! A set of byte strings, of any size: to add to a million costs what it costs to add to ten.

use bytes::Bytes;
use dunlin_protocol::limits::PAGE_MAX;
use dunlin_protocol::request::{Page, Query, WriteOp};
use dunlin_protocol::response::Found;

use super::Target;
use crate::error::Error;
use crate::pages::Elements;
use crate::receipt::{Read, Receipt};

/// A set. An add wins over a concurrent removal.
///
/// ```no_run
/// # async fn example(bucket: dunlin_client::Bucket) -> Result<(), dunlin_client::Error> {
/// let cart = bucket.set("ana")?;
/// cart.add(["apples", "pears"]).await?;
/// let mut elements = cart.elements();
/// while let Some(element) = elements.next().await {
///     println!("{}", element?.escape_ascii());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Set {
    target: Target,
}

common!(Set);

impl Set {
    /// Adds elements, all or none at each owner.
    ///
    /// # Errors
    /// [`Error`], whose [`effect`](Error::effect) says what it means for the data.
    pub async fn add(
        &self,
        elements: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Receipt, Error> {
        self.target.write(WriteOp::Add(owned(elements))).await
    }

    /// Removes elements, as far as a quorum shows them. Not repeated if its outcome is unknown.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn remove(
        &self,
        elements: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Receipt, Error> {
        self.target.write(WriteOp::Remove(owned(elements))).await
    }

    /// Whether it has an element.
    ///
    /// # Errors
    /// [`Error`] if no quorum answers.
    pub async fn has(&self, element: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(self.read_has(element).await?.value)
    }

    /// As [`has`](Self::has), and who said so.
    ///
    /// # Errors
    /// As [`has`](Self::has).
    pub async fn read_has(&self, element: impl AsRef<[u8]>) -> Result<Read<bool>, Error> {
        let query = match &self.target.path {
            None => Query::Has(Bytes::copy_from_slice(element.as_ref())),
            Some(path) => Query::Field(path.element(element.as_ref())),
        };
        self.target
            .read(query)
            .await?
            .fold("question for an element", |found| match found {
                Found::Nothing => Some(false),
                Found::Present => Some(true),
                _ => None,
            })
    }

    /// The elements, in order.
    pub fn elements(&self) -> Elements {
        Elements::of(self.target.clone())
    }

    /// How many elements there are: counted at the nodes, a page at a time.
    ///
    /// # Errors
    /// [`Error`] if no quorum answers.
    pub async fn count(&self) -> Result<u64, Error> {
        if self.target.path.is_some() {
            // Nodes count whole keys only.
            let (mut count, mut elements) = (0, self.elements());
            while let Some(element) = elements.next().await {
                element?;
                count += 1;
            }
            return Ok(count);
        }
        count_rows(&self.target).await
    }

    /// Removes all elements, as far as a quorum shows them, in as many requests as it takes.
    ///
    /// # Errors
    /// As [`add`](Self::add); [`Error::Incomplete`] if it failed after some were removed.
    pub async fn delete(&self) -> Result<Receipt, Error> {
        self.target.delete_rows().await
    }
}

/// How many rows a key has.
pub(super) async fn count_rows(target: &Target) -> Result<u64, Error> {
    let (mut total, mut after) = (0, None);
    loop {
        let page = Page {
            after,
            limit: PAGE_MAX,
        };
        let read = target.read(Query::Count(page)).await?;
        let (count, next) = read
            .fold("question for a count", |found| match found {
                Found::Nothing => Some((0, None)),
                Found::Count { count, next } => Some((count, next)),
                _ => None,
            })?
            .value;
        total += count;
        match next {
            None => return Ok(total),
            next => after = next,
        }
    }
}

pub(super) fn owned(elements: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Bytes> {
    elements
        .into_iter()
        .map(|element| Bytes::copy_from_slice(element.as_ref()))
        .collect()
}
