//! The keys of a bucket, from all partitions.

use bytes::Bytes;
use dunlin_protocol::request::{Keys as KeysRequest, Page, Request};
use dunlin_protocol::response::Found;
use dunlin_ring::PartitionId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{PageResult, Pages, walk};
use crate::bucket::{Bucket, read_answer};
use crate::error::Error;

/// Partitions asked at a time: the round trips overlap, and no node is asked by one listing for more
/// than a few pages at once.
const PARTITIONS_AT_ONCE: usize = 8;

/// The keys of a bucket: in order within a partition, and partitions as they come. See
/// [`Bucket::keys`].
pub struct Keys {
    bucket: Bucket,
    prefix: Bytes,
    pages: Option<Pages<Bytes>>,
}

impl Keys {
    pub(crate) fn of(bucket: Bucket, prefix: Bytes) -> Self {
        Self {
            bucket,
            prefix,
            pages: None,
        }
    }

    /// The next key; nothing at the end. After an error comes the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let (bucket, prefix) = (&self.bucket, &self.prefix);
        let pages = self.pages.get_or_insert_with(|| {
            let (bucket, prefix) = (bucket.clone(), prefix.clone());
            Pages::start(|into| walk_partitions(bucket, prefix, into))
        });
        pages.next().await
    }

    /// All that are left.
    ///
    /// # Errors
    /// The first [`Error`] of a page.
    pub async fn collect(mut self) -> Result<Vec<Bytes>, Error> {
        let mut keys = Vec::new();
        while let Some(key) = self.next().await {
            keys.push(key?);
        }
        Ok(keys)
    }
}

/// Dropping the future ends the walks under way.
async fn walk_partitions(bucket: Bucket, prefix: Bytes, into: mpsc::Sender<PageResult<Bytes>>) {
    let partitions = bucket.cluster().view().layout.partitions();
    let mut rest = partitions.iter();
    let mut walks = JoinSet::new();
    loop {
        while walks.len() < PARTITIONS_AT_ONCE
            && let Some(partition) = rest.next()
        {
            let (bucket, prefix, into) = (bucket.clone(), prefix.clone(), into.clone());
            walks.spawn(async move {
                walk(&into, |page| page_of(&bucket, partition, &prefix, page)).await;
            });
        }
        if walks.join_next().await.is_none() {
            return;
        }
    }
}

async fn page_of(
    bucket: &Bucket,
    partition: PartitionId,
    prefix: &Bytes,
    page: Page,
) -> Result<(Vec<Bytes>, Option<Bytes>), Error> {
    let request = Request::Keys(KeysRequest {
        bucket: bucket.info().id,
        partition,
        prefix: prefix.clone(),
        page,
        options: bucket.options().read,
        seen: None,
    });
    let read = read_answer(bucket.ask(request).await?)?;
    read.fold("question for keys", |found| match found {
        Found::Nothing => Some((Vec::new(), None)),
        Found::Keys { items, next } => Some((items, next)),
        _ => None,
    })
    .map(|read| read.value)
}
