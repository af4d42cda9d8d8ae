//! The elements of a set.

use bytes::Bytes;
use dunlin_crdt::FieldPath;
use dunlin_protocol::request::{Page, Query};
use dunlin_protocol::response::Found;

use super::{Pages, walk};
use crate::error::Error;
use crate::handles::Target;

/// The elements of a set, in order. See [`Set::elements`](crate::Set::elements).
pub struct Elements {
    target: Target,
    pages: Option<Pages<Bytes>>,
}

impl Elements {
    pub(crate) fn of(target: Target) -> Self {
        Self {
            target,
            pages: None,
        }
    }

    /// The next element; nothing at the end. After an error comes the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let target = &self.target;
        let pages = self.pages.get_or_insert_with(|| {
            let target = target.clone();
            Pages::start(|into| async move {
                walk(&into, |page| page_of(&target, page)).await;
            })
        });
        pages.next().await
    }

    /// All that are left.
    ///
    /// # Errors
    /// The first [`Error`] of a page.
    pub async fn collect(mut self) -> Result<Vec<Bytes>, Error> {
        let mut elements = Vec::new();
        while let Some(element) = self.next().await {
            elements.push(element?);
        }
        Ok(elements)
    }
}

async fn page_of(target: &Target, page: Page) -> Result<(Vec<Bytes>, Option<Bytes>), Error> {
    const QUESTION: &str = "question for elements";
    let Some(path) = &target.path else {
        let read = target.read(Query::Elements(page)).await?;
        return read
            .fold(QUESTION, |found| match found {
                Found::Nothing => Some((Vec::new(), None)),
                Found::Elements { items, next } => Some((items, next)),
                _ => None,
            })
            .map(|read| read.value);
    };
    let prefix = path.subkey();
    let read = target.read(Query::Fields { prefix, page }).await?;
    read.fold(QUESTION, |found| match found {
        Found::Nothing => Some((Vec::new(), None)),
        Found::Fields { items, next } => {
            let element = |path| FieldPath::parse(&path).ok().and_then(|parsed| parsed.1);
            let elements: Option<Vec<_>> =
                items.into_iter().map(|item| element(item.path)).collect();
            Some((elements?, next))
        }
        _ => None,
    })
    .map(|read| read.value)
}
