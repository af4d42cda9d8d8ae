//! Questions and their answers over a link.
//!
//! [`Pending`] is the table of questions that are open on one link: it draws request ids and hands
//! each answer to whoever waits for it. It is a part of its own because a node uses it inside its
//! own handler, where answers and peer messages share a link. [`Requester`] is a link with such a
//! table and nothing else, which is what an application needs.
//!
//! A question ends exactly once: answered, timed out, dropped by its asker, or lost with the link.
//! Whichever comes first takes the entry out; an answer that comes later is counted and dropped.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use dunlin_protocol::frame::{Frame, FrameKind, RequestId};
use quinn::{Connection, ConnectionError};
use tokio::sync::oneshot;

use super::{CloseCode, FrameHandler, Link, LinkOptions, Refusal, SendError};

/// Why a question has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// It was not sent: nothing was applied, and to try again, elsewhere at best, is safe.
    #[error("not sent: {0}")]
    NotSent(#[from] SendError),
    /// So many questions are open on this link that it was not sent: nothing was applied.
    #[error("not sent: {open} requests are open")]
    TooManyOpen {
        /// How many, which is the limit.
        open: usize,
    },
    /// No answer came in time. Unknown: it may have been applied, or still be.
    #[error("no answer within {} ms; the outcome is unknown", .0.as_millis())]
    TimedOut(Duration),
    /// The link ended before an answer came. Unknown: it may have been applied, or still be.
    #[error("the connection was lost; the outcome is unknown")]
    ConnectionLost,
}

impl RequestError {
    /// Whether the request may have had an effect: then it is repeated only where that is safe.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::TooManyOpen { .. } => false,
            Self::TimedOut(_) | Self::ConnectionLost => true,
        }
    }
}

/// The questions that are open on one link.
pub struct Pending {
    open_max: usize,
    /// Guards the open questions; held for one look-up. None once the link has ended.
    open: Mutex<Option<HashMap<RequestId, oneshot::Sender<Frame>>>>,
    next_id: AtomicU64,
    unmatched: AtomicU64,
}

impl Pending {
    /// A table for at most `open_max` open questions.
    pub fn new(open_max: usize) -> Self {
        Self {
            open_max,
            open: Mutex::new(Some(HashMap::new())),
            next_id: AtomicU64::new(1),
            unmatched: AtomicU64::new(0),
        }
    }

    /// Sends `body` as a request on `link` and waits for its response, at most for `timeout`.
    /// Dropping the future gives the question up; its outcome is then unknown.
    pub async fn request(
        &self,
        link: &Link,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Frame, RequestError> {
        let (mut question, answer) = self.enter()?;
        let frame = Frame {
            kind: FrameKind::Request,
            id: question.id,
            deadline_ms: deadline_ms(timeout),
            body,
        };
        link.send(frame, question.id.0 as usize)?;
        let answered = tokio::time::timeout(timeout, answer).await;
        match answered {
            Ok(Ok(frame)) => {
                question.open = false;
                Ok(frame)
            }
            Ok(Err(_)) => Err(RequestError::ConnectionLost),
            Err(_) => Err(RequestError::TimedOut(timeout)),
        }
    }

    /// Hands a response to its asker. One that nobody waits for any more is counted and dropped.
    pub fn answered(&self, frame: Frame) {
        let asker = self.open().as_mut().and_then(|open| open.remove(&frame.id));
        if asker.is_none_or(|asker| asker.send(frame).is_err()) {
            self.unmatched.fetch_add(1, Relaxed);
        }
    }

    /// The link has ended: every open question fails as lost, and no new one is taken.
    pub fn fail_all(&self) {
        let lost = self.open().take();
        // Wakes the askers, outside the lock.
        drop(lost);
    }

    /// Responses that nobody waited for.
    pub fn unmatched(&self) -> u64 {
        self.unmatched.load(Relaxed)
    }

    /// Questions without an answer so far.
    pub fn open_count(&self) -> usize {
        self.open().as_ref().map_or(0, HashMap::len)
    }

    fn enter(&self) -> Result<(Question<'_>, oneshot::Receiver<Frame>), RequestError> {
        let id = RequestId(self.next_id.fetch_add(1, Relaxed));
        let (asker, answer) = oneshot::channel();
        let mut table = self.open();
        let open = table.as_mut().ok_or(SendError::Closed)?;
        if open.len() >= self.open_max {
            return Err(RequestError::TooManyOpen { open: open.len() });
        }
        open.insert(id, asker);
        drop(table);
        Ok((
            Question {
                pending: self,
                id,
                open: true,
            },
            answer,
        ))
    }

    fn open(&self) -> MutexGuard<'_, Option<HashMap<RequestId, oneshot::Sender<Frame>>>> {
        // Map operations either happened or did not; a panic elsewhere leaves the table sound.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry in the table, taken out however the asker leaves.
struct Question<'a> {
    pending: &'a Pending,
    id: RequestId,
    /// False once the answer has taken the entry out.
    open: bool,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if self.open
            && let Some(open) = self.pending.open().as_mut()
        {
            open.remove(&self.id);
        }
    }
}

/// A link on which this side asks and the other answers. Closes the link when it is dropped.
pub struct Requester {
    link: Link,
    pending: Arc<Pending>,
}

impl Requester {
    /// Takes over a connection that this side dialed; at most `open_max` requests are open at once.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(connection: Connection, options: LinkOptions, open_max: usize) -> Self {
        let pending = Arc::new(Pending::new(open_max));
        let answers = Arc::new(Answers {
            pending: pending.clone(),
        });
        Self {
            link: Link::open(connection, options, answers),
            pending,
        }
    }

    /// Sends a request and waits for its response; see [`Pending::request`].
    pub async fn request(&self, body: Bytes, timeout: Duration) -> Result<Frame, RequestError> {
        self.pending.request(&self.link, body, timeout).await
    }

    /// The link underneath.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Requests without an answer so far.
    pub fn open_count(&self) -> usize {
        self.pending.open_count()
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.link.close(CloseCode::Done, "");
    }
}

struct Answers {
    pending: Arc<Pending>,
}

impl FrameHandler for Answers {
    fn frame(&self, link: &Link, frame: Frame) {
        match frame.kind {
            FrameKind::Response => self.pending.answered(frame),
            FrameKind::Lane | FrameKind::Hello | FrameKind::Request | FrameKind::Peer => {
                tracing::debug!(remote = %link.remote(), kind = ?frame.kind, "frame not asked for");
            }
        }
    }

    fn refused(&self, link: &Link, refusal: &Refusal) {
        tracing::warn!(remote = %link.remote(), %refusal, "peer broke the protocol");
    }

    fn closed(&self, link: &Link, reason: &ConnectionError) {
        tracing::debug!(remote = %link.remote(), %reason, "link ended");
        self.pending.fail_all();
    }
}

/// What the frame's header says of a timeout: no less than a millisecond, as zero means none.
fn deadline_ms(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis())
        .unwrap_or(u32::MAX)
        .max(1)
}
