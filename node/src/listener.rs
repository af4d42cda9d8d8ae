//! Accepting connections: how many, from whom, and what for.
//!
//! ```text
//!   datagram ─> too many handshakes? refuse ─> handshake, bounded in time ─> role and protocol
//!      client: too many? close ─> Link, listener/clients.rs      node: links/handler.rs
//! ```
//!
//! The socket's thread does all of this. Nodes are not counted among the clients: a flood of clients
//! must not split the cluster. Handshakes are bounded for both, since before one nobody knows who it
//! is; while many are going on, an address first has to prove that it can receive.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dunlin_client::tls::{PeerIdentity, Role, WireProtocol, peer_role};
use dunlin_client::transport::{CloseCode, Link, LinkOptions};
use dunlin_ring::NodeId;
use quinn::{Connection, Endpoint, Incoming, VarInt};
use tokio::sync::{Notify, Semaphore};

use crate::birth::BirthId;
use crate::counters::NodeCounters;
use crate::links::PeerLinks;
use crate::links::dial::PEER_WINDOW_BYTES;
use crate::links::handler::{PeerHandler, PeerRouter, Side, SignOfLife};
use crate::listener::census::Census;
use crate::listener::clients::ClientHandler;

mod census;
pub(crate) mod clients;
pub(crate) mod pulse;

pub(crate) use census::ConnectionBounds;

/// A handshake takes two round trips and some tenths of a millisecond of work; in a flood of them, which
/// loses packets, it takes longer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at one time, a tenth of a second's worth of work; more are refused, and tried again by
/// the other side.
const HANDSHAKES_MAX: usize = 512;
/// With so many going on, addresses have to be proved.
const HANDSHAKES_UNPROVED_MAX: usize = HANDSHAKES_MAX / 4;

/// Connections of each other node at one time: two are in use, and their forerunners may not have timed
/// out yet.
const PEER_CONNECTIONS_MAX: usize = 16;
/// Connections of nodes in all: as many nodes as a cluster may have, with two each and some in flux.
const PEERS_CONNECTIONS_MAX: usize = 16_384;

/// What accepted connections are given to.
pub(crate) struct Listener {
    census: Arc<Census<IpAddr>>,
    peer_census: Arc<Census<NodeId>>,
    handshakes: Arc<Semaphore>,
    clients: Arc<ClientHandler>,
    me: NodeId,
    birth: BirthId,
    links: Arc<PeerLinks>,
    router: Arc<PeerRouter>,
    counters: Arc<NodeCounters>,
}

/// What a listener is made of.
pub(crate) struct ListenerParts {
    pub(crate) bounds: ConnectionBounds,
    pub(crate) clients: Arc<ClientHandler>,
    pub(crate) me: NodeId,
    pub(crate) birth: BirthId,
    pub(crate) links: Arc<PeerLinks>,
    pub(crate) router: Arc<PeerRouter>,
    pub(crate) counters: Arc<NodeCounters>,
}

impl Listener {
    pub(crate) fn new(parts: ListenerParts) -> Self {
        let peer_bounds = ConnectionBounds {
            total_max: PEERS_CONNECTIONS_MAX,
            per_place_max: PEER_CONNECTIONS_MAX,
        };
        Self {
            census: Arc::new(Census::new(parts.bounds)),
            peer_census: Arc::new(Census::new(peer_bounds)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            clients: parts.clients,
            me: parts.me,
            birth: parts.birth,
            links: parts.links,
            router: parts.router,
            counters: parts.counters,
        }
    }

    /// How many clients are connected.
    pub(crate) fn clients(&self) -> usize {
        self.census.connections()
    }

    /// Accepts until the endpoint is closed.
    pub(crate) async fn accept_all(self: Arc<Self>, endpoint: Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() else {
                self.counters.handshakes_refused.add();
                incoming.refuse();
                continue;
            };
            let going_on = HANDSHAKES_MAX - self.handshakes.available_permits();
            if going_on > HANDSHAKES_UNPROVED_MAX && !incoming.remote_address_validated() {
                // Refused only for what has been proved, which was just ruled out.
                let _ = incoming.retry();
                continue;
            }
            let listener = Arc::clone(&self);
            tokio::spawn(async move {
                let connected = listener.shake_hands(incoming).await;
                drop(permit);
                if let Some((connection, identity)) = connected {
                    listener.serve(connection, identity).await;
                }
            });
        }
    }

    async fn shake_hands(&self, incoming: Incoming) -> Option<(Connection, PeerIdentity)> {
        let remote = incoming.remote_address();
        let failed = |reason: String| {
            self.counters.handshakes_failed.add();
            tracing::debug!(%remote, reason, "handshake failed");
        };
        let connecting = match incoming.accept() {
            Ok(connecting) => connecting,
            Err(error) => {
                failed(error.to_string());
                return None;
            }
        };
        let connection = match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                failed(error.to_string());
                return None;
            }
            Err(_) => {
                failed("timed out".to_owned());
                return None;
            }
        };
        match peer_role(&connection) {
            Ok(identity) => Some((connection, identity)),
            Err(error) => {
                self.refuse(&connection, &error.to_string());
                None
            }
        }
    }

    async fn serve(&self, connection: Connection, identity: PeerIdentity) {
        match (identity.protocol, identity.role) {
            (WireProtocol::Client, role) => self.serve_client(connection, &role).await,
            (WireProtocol::Peer, Role::Node(name)) => match NodeId::from_name(&name) {
                me if me == self.me => {
                    self.refuse(&connection, &format!("node {name} is this node itself"));
                }
                node => self.serve_peer(connection, node, name).await,
            },
            // Ruled out when the role was read.
            (WireProtocol::Peer, Role::User(user)) => {
                self.refuse(&connection, &format!("user {user} is not a node"));
            }
        }
    }

    async fn serve_client(&self, connection: Connection, role: &Role) {
        let remote = connection.remote_address();
        let Some(seat) = Census::enter(&self.census, remote.ip()) else {
            self.counters.clients_refused.add();
            tracing::debug!(%remote, "too many connections");
            return too_many(&connection);
        };
        self.counters.clients_accepted.add();
        tracing::debug!(%remote, %role, "client connected");
        let link = Link::accept(connection, LinkOptions::SERVER, self.clients.clone());
        link.closed().await;
        drop(seat);
    }

    async fn serve_peer(&self, connection: Connection, node: NodeId, name: String) {
        let remote = connection.remote_address();
        let Some(seat) = Census::enter(&self.peer_census, node) else {
            self.counters.handshakes_refused.add();
            tracing::warn!(%remote, peer = name, "too many connections of peers");
            return too_many(&connection);
        };
        connection.set_receive_window(VarInt::from_u32(PEER_WINDOW_BYTES));
        let handler = PeerHandler {
            node,
            name,
            side: Side::Accepted,
            birth: self.birth,
            links: Arc::clone(&self.links),
            router: Arc::clone(&self.router),
            counters: Arc::clone(&self.counters),
            agreed: OnceLock::new(),
            sign_of_life: SignOfLife::default(),
            ready: Notify::new(),
            ended: AtomicBool::new(false),
        };
        let link = Link::accept(connection, LinkOptions::PEER, Arc::new(handler));
        link.closed().await;
        drop(seat);
    }

    fn refuse(&self, connection: &Connection, reason: &str) {
        self.counters.not_allowed.add();
        let remote = connection.remote_address();
        tracing::warn!(%remote, reason, "a connection is not allowed");
        connection.close(
            VarInt::from_u32(CloseCode::NotAllowed as u32),
            reason.as_bytes(),
        );
    }
}

fn too_many(connection: &Connection) {
    connection.close(
        VarInt::from_u32(CloseCode::Overloaded as u32),
        b"too many connections",
    );
}
