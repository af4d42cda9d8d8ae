//! Dialing a peer, again and again, for as long as the node runs.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dunlin_client::tls::{ClusterName, Role, TlsError, WireProtocol, peer_role};
use dunlin_client::transport::{CloseCode, Link, LinkOptions};
use dunlin_ring::Member;
use quinn::{ClientConfig, Endpoint, VarInt};
use thiserror::Error;
use tokio::sync::Notify;

use super::handler::{PeerHandler, PeerRouter, Side};
use super::{Hello, PeerLinks, Purpose};
use crate::counters::NodeCounters;

/// A handshake, and the hello after it, take three round trips.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Between attempts, before jitter.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause: a node that comes back is found within a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// What may be on its way from a peer on one connection, in bytes: repair fills a fast network with it.
pub(crate) const PEER_WINDOW_BYTES: u32 = 16 << 20;

/// What all links that this node dials have in common.
pub(crate) struct Dialing {
    pub(crate) endpoint: Endpoint,
    pub(crate) config: ClientConfig,
    pub(crate) cluster: ClusterName,
    pub(crate) placement: u64,
    pub(crate) links: Arc<PeerLinks>,
    pub(crate) router: Arc<PeerRouter>,
    pub(crate) counters: Arc<NodeCounters>,
}

#[derive(Debug, Error)]
enum DialError {
    #[error("its address cannot be looked up: {0}")]
    Lookup(std::io::Error),
    #[error("its address has no host that this node's socket could reach")]
    NoAddress,
    #[error("it cannot be dialed: {0}")]
    Dial(#[from] quinn::ConnectError),
    #[error("no connection: {0}")]
    Handshake(#[from] quinn::ConnectionError),
    #[error("{0}")]
    Identity(#[from] TlsError),
    #[error("{0} answers there")]
    NotThisNode(Role),
    #[error("it does not agree to talk")]
    NotAgreed,
    #[error("no answer within {} ms", DIAL_TIMEOUT.as_millis())]
    TimedOut,
}

/// Keeps a link to `member` for `purpose`. Ends with the task.
pub(crate) async fn keep_linked(dialing: Arc<Dialing>, member: Member, purpose: Purpose) {
    let mut rng = fastrand::Rng::new();
    let mut pause = PAUSE_FIRST;
    let mut failures = 0_u64;
    loop {
        let dialed = tokio::time::timeout(DIAL_TIMEOUT, dial(&dialing, &member, purpose)).await;
        match dialed.unwrap_or(Err(DialError::TimedOut)) {
            Ok(link) => {
                failures = 0;
                pause = PAUSE_FIRST;
                link.closed().await;
            }
            Err(error) => {
                failures += 1;
                // One line when it starts, and one in a while: the peer may be away for long.
                if failures.is_power_of_two() {
                    tracing::info!(
                        peer = member.name, address = member.address, %purpose, failures, %error,
                        "cannot link to the peer"
                    );
                }
            }
        }
        let jittered = pause.mul_f64(0.5 + rng.f64() / 2.0);
        tokio::time::sleep(jittered).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn dial(dialing: &Dialing, member: &Member, purpose: Purpose) -> Result<Link, DialError> {
    let expected = Role::node(member.name.as_str())?;
    let address = resolve(dialing, &member.address).await?;
    let server_name = expected.dns_name(&dialing.cluster);
    let connection = dialing
        .endpoint
        .connect_with(dialing.config.clone(), address, &server_name)?
        .await?;
    let role = peer_role(&connection)?.role;
    if role != expected {
        return Err(DialError::NotThisNode(role));
    }
    debug_assert_eq!(WireProtocol::Peer, peer_role(&connection)?.protocol);
    connection.set_receive_window(VarInt::from_u32(PEER_WINDOW_BYTES));
    let handler = Arc::new(PeerHandler {
        node: member.id,
        name: member.name.clone(),
        side: Side::Dialed(purpose),
        placement: dialing.placement,
        links: Arc::clone(&dialing.links),
        router: Arc::clone(&dialing.router),
        counters: Arc::clone(&dialing.counters),
        agreed: OnceLock::new(),
        ready: Notify::new(),
        ended: false.into(),
    });
    let link = Link::open(connection, LinkOptions::PEER, handler.clone());
    let open = CloseUnlessKept(Some(link.clone()));
    let hello = Hello {
        purpose,
        placement: dialing.placement,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let frame = hello.frame().ok_or(DialError::NotAgreed)?;
    link.send(frame, 0).map_err(|_| DialError::NotAgreed)?;
    handler.ready.notified().await;
    if handler.agreed.get().is_none() {
        return Err(DialError::NotAgreed);
    }
    open.keep();
    Ok(link)
}

/// The first host of the address that is of the socket's family.
async fn resolve(dialing: &Dialing, address: &str) -> Result<SocketAddr, DialError> {
    let local = dialing.endpoint.local_addr().map_err(DialError::Lookup)?;
    let mut hosts = tokio::net::lookup_host(address)
        .await
        .map_err(DialError::Lookup)?;
    hosts
        .find(|host| host.is_ipv4() == local.is_ipv4())
        .ok_or(DialError::NoAddress)
}

/// A link outlives its handles; one that nobody wants has to be closed.
struct CloseUnlessKept(Option<Link>);

impl CloseUnlessKept {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseUnlessKept {
    fn drop(&mut self) {
        if let Some(link) = self.0.take() {
            link.close(CloseCode::Done, "not agreed in time");
        }
    }
}
