//! A session: its reads show what it has written and read before, whatever node answers.
//!
//! ```text
//! session.bucket("carts") ─> handles as ever ─> Bucket::ask ─┬─ says what was seen of the partition
//!                                                            └─ learns what is seen now
//! ```
//!
//! What is kept, and for how long, is in [`decide::seen`](crate::decide::seen).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dunlin_decide::seen::{Seen, TokenError};

use crate::bucket::Bucket;
use crate::client::Client;
use crate::error::Error;
use crate::options::Options;

/// A session. Its clones are one session, also when tasks share them.
///
/// Within it, every read of a key
///
/// - reflects every write that was acknowledged to the session before (read your writes);
/// - reflects all that earlier reads of the session showed of it, removals too (monotonic reads);
/// - or fails, with [`Failure::BehindSession`](crate::Failure::BehindSession) in
///   [`Error::Refused`]: what the session has seen could not be found at the nodes that were reached.
///   Nothing older is shown, and it is safe to try again. If no owner of the key can be asked, it fails with
///   [`Failure::Unavailable`](crate::Failure::Unavailable), whatever hints there are.
///
/// That holds for `r = 1` as well, after a node is lost, while layouts change, and when a write is held only by
/// fallbacks. A listing of a bucket's [`keys`](Bucket::keys) reflects the same; but what a listing shows is not
/// remembered. What writes do depends on their contexts, as ever.
///
/// Requests that are under way at the same time do not know of each other: *before* means answered before
/// the other one began.
///
/// ```no_run
/// # async fn example(client: dunlin_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use dunlin_client::Session;
///
/// let session = client.session();
/// let carts = session.bucket("carts").await?;
/// carts.set("ana")?.add(["apples"]).await?;
/// assert!(carts.set("ana")?.has("apples").await?);
///
/// // Elsewhere, with another client:
/// let token = session.token();
/// let same = Session::from_token(&client, &token)?;
/// # let _ = same;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session {
    client: Client,
    seen: SharedSeen,
}

/// What all handles of a session share. Guards it; held for one look or change.
pub(crate) type SharedSeen = Arc<Mutex<Seen>>;

impl Session {
    pub(crate) fn new(client: Client, seen: Seen) -> Self {
        Self {
            client,
            seen: Arc::new(Mutex::new(seen)),
        }
    }

    /// Goes on with a session from the token of it, in this process or another.
    ///
    /// # Errors
    /// [`TokenError`] if it is no token, or of another cluster.
    pub fn from_token(client: &Client, token: &[u8]) -> Result<Self, TokenError> {
        let seen = Seen::decode(&Bytes::copy_from_slice(token))?;
        seen.check_cluster(client.partitions())?;
        Ok(Self::new(client.clone(), seen))
    }

    /// What the session has seen, as opaque bytes: usually a few hundred, and never more than
    /// [`TOKEN_BYTES_MAX`](crate::decide::seen::TOKEN_BYTES_MAX).
    pub fn token(&self) -> Bytes {
        lock(&self.seen).encode()
    }

    /// From now on this session has also seen what another had, at the time of its token.
    ///
    /// # Errors
    /// As [`from_token`](Self::from_token).
    pub fn join(&self, token: &[u8]) -> Result<(), TokenError> {
        let other = Seen::decode(&Bytes::copy_from_slice(token))?;
        lock(&self.seen).join(&other)
    }

    /// Opens a bucket, in this session.
    ///
    /// # Errors
    /// As [`Client::bucket`].
    pub async fn bucket(&self, name: &str) -> Result<Bucket, Error> {
        let bucket = self.client.bucket(name).await?;
        Ok(bucket.in_session(self.seen.clone()))
    }

    /// The same session, asking for this unless a handle says otherwise.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Self {
        Self {
            client: self.client.with_options(options),
            seen: self.seen.clone(),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// Every change is one call, so whatever a panic elsewhere left behind is whole.
pub(crate) fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
