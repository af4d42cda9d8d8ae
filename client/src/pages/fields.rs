//! The fields of a map.

use bytes::Bytes;
use dunlin_protocol::request::{Page, Query};
use dunlin_protocol::response::Found;

use super::{Pages, walk};
use crate::error::Error;
use crate::handles::{FieldEntry, Target};

/// The rows of a map, in the order of their paths. See [`Map::fields`](crate::Map::fields).
pub struct Fields {
    target: Target,
    pages: Option<Pages<FieldEntry>>,
}

impl Fields {
    pub(crate) fn of(target: Target) -> Self {
        Self {
            target,
            pages: None,
        }
    }

    /// The next row; nothing at the end. After an error comes the end.
    pub async fn next(&mut self) -> Option<Result<FieldEntry, Error>> {
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
    pub async fn collect(mut self) -> Result<Vec<FieldEntry>, Error> {
        let mut entries = Vec::new();
        while let Some(entry) = self.next().await {
            entries.push(entry?);
        }
        Ok(entries)
    }
}

async fn page_of(target: &Target, page: Page) -> Result<(Vec<FieldEntry>, Option<Bytes>), Error> {
    let prefix = target
        .path
        .as_ref()
        .map_or_else(Bytes::new, |path| path.subkey());
    let read = target.read(Query::Fields { prefix, page }).await?;
    read.fold("question for fields", |found| match found {
        Found::Nothing => Some((Vec::new(), None)),
        Found::Fields { items, next } => {
            let entries: Option<Vec<_>> = items.into_iter().map(FieldEntry::of).collect();
            Some((entries?, next))
        }
        _ => None,
    })
    .map(|read| read.value)
}
