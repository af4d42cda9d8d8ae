//! One node as this client sees it: its connection, its health, and the task that keeps both.
//!
//! ```text
//! Idle ──first request──> Fresh ──connected──> Ready ──lost──> Away ──connected──> Ready ...
//!                           └─────not connected──────────────>  └─ dialed again, with pauses
//! ```
//!
//! Requests only look: they never wait for a dial, nor hold a lock while they wait for anything. A
//! node that left a request unanswered is *suspect*; its task probes it until it answers, and dials
//! it anew meanwhile, since a process that was replaced never answers on the old connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_ring::NodeId;
use fastrand::Rng;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::dial::{Dialer, Expected};
use crate::builder::layout_request;
use crate::node_ref::NodeRef;
use crate::transport::{RequestError, Requester};
use dunlin_decide::backoff::Backoff;
use dunlin_decide::health::Health;
use dunlin_decide::route::Standing;

/// Between attempts to connect, and between probes.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A connection that lasted this long was a sound one: the pauses begin anew.
const SOUND_AFTER: Duration = Duration::from_secs(5);

/// How long a probe waits for its answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// What all nodes of a client share.
pub(crate) struct Surroundings {
    pub(crate) dialer: Arc<Dialer>,
    /// Told of every connection made, lost or given up.
    pub(crate) changes: watch::Sender<()>,
    /// What times are counted from.
    pub(crate) origin: Instant,
}

/// A handle on a node; its task ends with it.
pub(crate) struct Node {
    state: Arc<State>,
    task: AbortHandle,
}

struct State {
    name: NodeRef,
    address: String,
    surroundings: Arc<Surroundings>,
    /// Guards connection and health; held for a look or a count.
    inner: Mutex<Inner>,
    /// Somebody would like to be connected.
    wanted: Notify,
    /// The node has become suspect.
    suspected: Notify,
}

struct Inner {
    connection: Connection,
    health: Health,
}

/// Whether to look at a node that was never dialed makes it be dialed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dial {
    No,
    IfIdle,
}

enum Connection {
    Idle,
    Fresh,
    Ready(Arc<Requester>),
    Away { reason: String },
}

impl Node {
    /// Begins to look after a node, with a connection to it if there is one.
    pub(crate) fn start(
        name: NodeRef,
        address: String,
        connected: Option<Requester>,
        surroundings: Arc<Surroundings>,
        seed: u64,
    ) -> Self {
        let connected = connected.map(Arc::new);
        let connection = match &connected {
            Some(requester) => Connection::Ready(requester.clone()),
            None => Connection::Idle,
        };
        let state = Arc::new(State {
            name,
            address,
            surroundings,
            inner: Mutex::new(Inner {
                connection,
                health: Health::default(),
            }),
            wanted: Notify::new(),
            suspected: Notify::new(),
        });
        let task =
            tokio::spawn(keep(state.clone(), connected, Rng::with_seed(seed))).abort_handle();
        Self { state, task }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.state.name.id
    }

    pub(crate) fn name(&self) -> &NodeRef {
        &self.state.name
    }

    pub(crate) fn address(&self) -> &str {
        &self.state.address
    }

    /// How it stands.
    pub(crate) fn standing(&self, dial: Dial) -> Standing {
        let now = self.state.now();
        let inner = self.state.inner();
        match &inner.connection {
            Connection::Ready(_) => {
                let score = inner.health.score(now);
                match inner.health.is_suspect() {
                    true => Standing::Suspect { score },
                    false => Standing::Ready { score },
                }
            }
            Connection::Idle => {
                if dial == Dial::IfIdle {
                    self.state.wanted.notify_one();
                }
                Standing::Fresh
            }
            Connection::Fresh => Standing::Fresh,
            Connection::Away { .. } => Standing::Away,
        }
    }

    /// Why it cannot be asked.
    pub(crate) fn away_because(&self) -> String {
        match &self.state.inner().connection {
            Connection::Idle | Connection::Fresh => "not connected yet".to_owned(),
            Connection::Ready(_) => "connected".to_owned(),
            Connection::Away { reason } => reason.clone(),
        }
    }

    /// Whether there is a connection, and the node answers on it.
    pub(crate) fn is_ready(&self) -> bool {
        let inner = self.state.inner();
        matches!(inner.connection, Connection::Ready(_)) && !inner.health.is_suspect()
    }

    /// A request is about to be sent: the connection to send it on, and the account to settle when
    /// it ends. None if the connection was lost meanwhile.
    pub(crate) fn begin(&self) -> Option<(Arc<Requester>, Asking<'_>)> {
        let mut inner = self.state.inner();
        let Connection::Ready(requester) = &inner.connection else {
            return None;
        };
        let requester = requester.clone();
        inner.health.began();
        let asking = Asking {
            state: &self.state,
            began: self.state.now(),
            open: true,
        };
        Some((requester, asking))
    }

    /// A request that is still open has waited too long.
    pub(crate) fn suspect(&self) {
        self.state.inner().health.suspect();
        self.state.suspected.notify_one();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request under way; ends as answered, failed, silent, or, when dropped, overtaken.
pub(crate) struct Asking<'a> {
    state: &'a State,
    began: Duration,
    open: bool,
}

impl Asking<'_> {
    /// How long it has been.
    pub(crate) fn elapsed(&self) -> Duration {
        self.state.now().saturating_sub(self.began)
    }

    pub(crate) fn answered(self) {
        let took = self.elapsed();
        self.end(|health, now| health.answered(took, now));
    }

    pub(crate) fn failed(self) {
        self.end(Health::failed);
    }

    pub(crate) fn silent(self) {
        let state = self.state;
        self.end(Health::silent);
        state.suspected.notify_one();
    }

    fn end(mut self, count: impl FnOnce(&mut Health, Duration)) {
        self.open = false;
        let now = self.state.now();
        count(&mut self.state.inner().health, now);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.open {
            let (after, now) = (self.elapsed(), self.state.now());
            let mut inner = self.state.inner();
            inner.health.overtaken(after, now);
            if inner.health.is_suspect() {
                self.state.suspected.notify_one();
            }
        }
    }
}

impl State {
    fn now(&self) -> Duration {
        self.surroundings.origin.elapsed()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Counters and one enum, each written in one step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect_as(&self, connection: Connection) {
        let previous = {
            let mut inner = self.inner();
            if matches!(connection, Connection::Ready(_)) {
                inner.health.cleared();
            }
            std::mem::replace(&mut inner.connection, connection)
        };
        // To drop a connection closes it, which is not for under the lock.
        drop(previous);
        self.surroundings.changes.send_replace(());
    }

    async fn dial(&self) -> Result<Requester, String> {
        let expected = match &self.name.name {
            Some(name) => Expected::Node(name),
            None => Expected::AnyNode,
        };
        match self.surroundings.dialer.dial(&self.address, expected).await {
            Ok(dialed) => Ok(dialed.requester),
            Err(error) => Err(format!("{}: {error}", self.address)),
        }
    }

    /// Looks after a connection until it is lost, or another one takes its place.
    async fn attend(&self, requester: &Requester, rng: &mut Rng) -> Option<Requester> {
        loop {
            tokio::select! {
                biased;
                reason = requester.link().closed() => {
                    let reason = format!("{}: connection lost: {reason}", self.address);
                    self.connect_as(Connection::Away { reason });
                    return None;
                }
                () = self.suspected.notified() => {
                    if let Some(replacement) = self.probe(requester, rng).await {
                        return Some(replacement);
                    }
                }
            }
        }
    }

    /// Asks a suspect until it answers or the connection is lost; on a new connection if it does
    /// not answer on this one.
    async fn probe(&self, requester: &Requester, rng: &mut Rng) -> Option<Requester> {
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
        while self.inner().health.is_suspect() && !requester.link().is_closed() {
            tracing::debug!(node = %self.name, "probing a node that does not answer");
            if self.answers(requester).await {
                self.inner().health.cleared();
                self.surroundings.changes.send_replace(());
                return None;
            }
            if let Ok(replacement) = self.dial().await
                && self.answers(&replacement).await
            {
                return Some(replacement);
            }
            tokio::time::sleep(backoff.pause(rng)).await;
        }
        None
    }

    async fn answers(&self, requester: &Requester) -> bool {
        // Any node answers this one at once, from memory.
        let Ok(probe) = layout_request() else {
            return false;
        };
        match requester.request(probe, PROBE_TIMEOUT).await {
            Ok(_) => true,
            // Too busy to be asked more, but not silent.
            Err(RequestError::TooManyOpen { .. }) => true,
            Err(
                RequestError::NotSent(_) | RequestError::TimedOut(_) | RequestError::ConnectionLost,
            ) => false,
        }
    }
}

/// Keeps a node connected from the first time that somebody wants it.
async fn keep(state: Arc<State>, connected: Option<Arc<Requester>>, mut rng: Rng) {
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
    let mut current = connected;
    if current.is_none() {
        state.wanted.notified().await;
        state.connect_as(Connection::Fresh);
    }
    loop {
        let requester = match current.take() {
            Some(requester) => requester,
            None => match state.dial().await {
                Ok(requester) => Arc::new(requester),
                Err(reason) => {
                    tracing::debug!(node = %state.name, %reason, "not connected");
                    state.connect_as(Connection::Away { reason });
                    tokio::time::sleep(backoff.pause(&mut rng)).await;
                    continue;
                }
            },
        };
        state.connect_as(Connection::Ready(requester.clone()));
        let since = Instant::now();
        current = state.attend(&requester, &mut rng).await.map(Arc::new);
        if since.elapsed() >= SOUND_AFTER {
            backoff.reset();
        }
        if current.is_none() {
            tokio::time::sleep(backoff.pause(&mut rng)).await;
        }
    }
}
