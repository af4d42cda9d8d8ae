//! Streams of what is too much for one answer: elements, fields, keys.
//!
//! A task of its own fetches the next page while the caller is still at the one before; dropping the
//! stream ends it. Nothing is fetched before the first `next`. Each page is a read of its own: what is
//! written meanwhile may or may not be seen, but what was there all the time is.

use std::future::Future;
use std::vec;

use bytes::Bytes;
use dunlin_protocol::request::Page;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::error::Error;

mod elements;
mod fields;
mod keys;

pub use elements::Elements;
pub use fields::Fields;
pub use keys::Keys;

/// Items asked for at a time: enough to make the round trip small beside the work.
const PAGE_ITEMS: u32 = 1_000;

/// Pages fetched before they are asked for.
const PAGES_AHEAD: usize = 2;

type PageResult<T> = Result<Vec<T>, Error>;

/// Items of pages that a task fetches.
pub(crate) struct Pages<T> {
    pages: mpsc::Receiver<PageResult<T>>,
    current: vec::IntoIter<T>,
    task: AbortHandle,
}

impl<T: Send + 'static> Pages<T> {
    /// Starts the task that `fetch` is.
    pub(crate) fn start<F>(fetch: impl FnOnce(mpsc::Sender<PageResult<T>>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        Self {
            pages,
            current: Vec::new().into_iter(),
            task: tokio::spawn(fetch(sender)).abort_handle(),
        }
    }

    /// The next item; nothing at the end. After an error comes the end.
    pub(crate) async fn next(&mut self) -> Option<Result<T, Error>> {
        loop {
            if let Some(item) = self.current.next() {
                return Some(Ok(item));
            }
            match self.pages.recv().await? {
                Ok(page) => self.current = page.into_iter(),
                Err(error) => {
                    self.pages.close();
                    self.task.abort();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<T> Drop for Pages<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Fetches page after page until the last one, an error, or nobody listens.
pub(crate) async fn walk<T, F>(into: &mpsc::Sender<PageResult<T>>, mut fetch: impl FnMut(Page) -> F)
where
    F: Future<Output = Result<(Vec<T>, Option<Bytes>), Error>>,
{
    let mut after = None;
    loop {
        let page = Page {
            after,
            limit: PAGE_ITEMS,
        };
        let (page, next) = match fetch(page).await {
            Ok((items, next)) => (Ok(items), next),
            Err(error) => (Err(error), None),
        };
        if into.send(page).await.is_err() || next.is_none() {
            return;
        }
        after = next;
    }
}
