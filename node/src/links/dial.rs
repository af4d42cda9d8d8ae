//! Dialing the peers, again and again, for as long as the node runs.
//!
//! ```text
//!   view published ─> whom to dial now (`targets`) ─> a task for each link, started and ended to match
//!   datagram for an address ─> a link to whoever answers there, made once
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dunlin_client::tls::{ClusterName, Role, TlsError, WireProtocol, peer_role};
use dunlin_client::transport::{CloseCode, Link, LinkOptions};
use dunlin_engine::View;
use dunlin_ring::NodeId;
use quinn::{ClientConfig, Connection, Endpoint, VarInt};
use thiserror::Error;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::handler::{PeerHandler, PeerRouter, Side, SignOfLife};
use super::{Call, Hello, PeerLinks, Purpose};
use crate::birth::BirthId;
use crate::board::ViewBoard;
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
    pub(crate) me: NodeId,
    /// Where this node is, as it says.
    pub(crate) address: String,
    pub(crate) birth: BirthId,
    /// Where nodes are by the cluster file, by name: the layout may be older than a node's last move.
    pub(crate) listed: BTreeMap<String, String>,
    pub(crate) links: Arc<PeerLinks>,
    pub(crate) router: Arc<PeerRouter>,
    pub(crate) counters: Arc<NodeCounters>,
}

/// Why there is no link. Nothing was sent.
#[derive(Debug, Error)]
pub(crate) enum DialError {
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
    #[error("this node itself answers there")]
    Myself,
    #[error("it does not agree to talk")]
    NotAgreed,
    #[error("no answer within {} ms", DIAL_TIMEOUT.as_millis())]
    TimedOut,
}

/// A node to be linked, and where it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    name: String,
    /// At least one; tried in turn.
    addresses: Vec<String>,
}

/// Whom this node dials: of two members the one with the smaller id dials, so that there is one link and
/// not two; and who is no member, or not where the layout says, dials all that are: they can't find it.
fn targets(view: &View, dialing: &Dialing) -> BTreeMap<NodeId, Target> {
    let members = view.layouts.members();
    let (me, listed) = (dialing.me, &dialing.listed);
    let is_found = members
        .iter()
        .any(|member| member.id == me && member.address == dialing.address);
    let others = members
        .iter()
        .filter(|member| member.id != me && (!is_found || me < member.id));
    let target = |member: &dunlin_ring::Member| {
        let moved = listed.get(&member.name);
        let moved = moved.filter(|address| **address != member.address);
        let addresses = std::iter::once(member.address.clone()).chain(moved.cloned());
        let target = Target {
            name: member.name.clone(),
            addresses: addresses.collect(),
        };
        (member.id, target)
    };
    others.map(|member| target(member)).collect()
}

/// The tasks that keep the links to one node.
struct Dialed {
    target: Target,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Dialed {
    fn drop(&mut self) {
        // Links that are there stay.
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Keeps links to all that are to be dialed, as the view says from time to time. Ends with the task.
pub(crate) async fn keep_all_linked(dialing: Arc<Dialing>, views: Arc<ViewBoard>) {
    let mut views = views.subscribe();
    let mut dialed: BTreeMap<NodeId, Dialed> = BTreeMap::new();
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        let mut wanted = targets(&view, &dialing);
        dialed.retain(|node, dialed| wanted.get(node) == Some(&dialed.target));
        wanted.retain(|node, _| !dialed.contains_key(node));
        for (node, target) in wanted {
            let keep = |purpose| {
                let (dialing, target) = (Arc::clone(&dialing), target.clone());
                tokio::spawn(keep_linked(dialing, node, target, purpose))
            };
            let tasks = Purpose::ALL.map(keep);
            dialed.insert(node, Dialed { target, tasks });
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps a link to a node for `purpose`, whoever made it. Ends with the task.
async fn keep_linked(dialing: Arc<Dialing>, node: NodeId, target: Target, purpose: Purpose) {
    let mut rng = fastrand::Rng::new();
    let mut pause = PAUSE_FIRST;
    let mut failures = 0_u64;
    for address in target.addresses.iter().cycle() {
        if let Some(link) = dialing.links.live(node, purpose) {
            link.closed().await;
            // Whoever serves it may not have taken note yet, and it must not be found again.
            dialing.links.forget(node, purpose, &link);
            pause = PAUSE_FIRST;
        }
        let dialed = dial_node(&dialing, &target.name, address, purpose);
        let dialed = tokio::select! {
            biased;
            dialed = tokio::time::timeout(DIAL_TIMEOUT, dialed) => dialed,
            // The node has dialed this one meanwhile.
            _ = dialing.links.linked(node, purpose) => continue,
        };
        match dialed {
            Ok(Ok(link)) => {
                failures = 0;
                pause = PAUSE_FIRST;
                link.closed().await;
            }
            Ok(Err(error)) => failed(&mut failures, &target, address, purpose, &error),
            Err(_) => failed(
                &mut failures,
                &target,
                address,
                purpose,
                &DialError::TimedOut,
            ),
        }
        let jittered = pause.mul_f64(0.5 + rng.f64() / 2.0);
        tokio::time::sleep(jittered).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One line when it starts, and one in a while: the peer may be away for long.
fn failed(failures: &mut u64, peer: &Target, address: &str, purpose: Purpose, error: &DialError) {
    *failures += 1;
    if failures.is_power_of_two() {
        let (peer, failures) = (&peer.name, *failures);
        tracing::info!(peer, address, %purpose, failures, %error, "cannot link to the peer");
    }
}

/// Takes datagrams to whoever is at an address. One for an address that is being dialed is lost.
pub(crate) async fn answer_calls(dialing: Arc<Dialing>, mut calls: mpsc::Receiver<Call>) {
    let mut met: BTreeMap<String, NodeId> = BTreeMap::new();
    let mut going_on: JoinSet<(String, Option<NodeId>)> = JoinSet::new();
    let mut dialed: BTreeSet<String> = BTreeSet::new();
    loop {
        let call = tokio::select! {
            biased;
            Some(ended) = going_on.join_next() => {
                if let Ok((address, node)) = ended {
                    dialed.remove(&address);
                    met.extend(node.map(|node| (address, node)));
                }
                continue;
            }
            call = calls.recv() => match call {
                Some(call) => call,
                None => return,
            },
        };
        let link = met
            .get(&call.address)
            .and_then(|node| dialing.links.live(*node, Purpose::Requests));
        if let Some(link) = link {
            // Lost, as any datagram may be.
            let _ = link.connection().send_datagram(call.bytes);
        } else if dialed.insert(call.address.clone()) {
            let dialing = Arc::clone(&dialing);
            going_on.spawn(async move {
                let Call { address, bytes } = call;
                let dialed = dial_anybody(&dialing, &address, bytes);
                let node = match tokio::time::timeout(DIAL_TIMEOUT, dialed).await {
                    Ok(Ok(node)) => Some(node),
                    Ok(Err(error)) => {
                        tracing::debug!(address, %error, "nobody can be linked there");
                        None
                    }
                    Err(_) => None,
                };
                (address, node)
            });
        }
    }
}

/// Sends a datagram to whoever answers at an address, by the link that is there or by a new one.
async fn dial_anybody(
    dialing: &Arc<Dialing>,
    address: &str,
    bytes: bytes::Bytes,
) -> Result<NodeId, DialError> {
    let connection = connect(dialing, address, &dialing.cluster.any_node()).await?;
    let name = match peer_role(&connection)?.role {
        Role::Node(name) => name,
        role @ Role::User(_) => return Err(DialError::NotThisNode(role)),
    };
    let node = NodeId::from_name(&name);
    let done = VarInt::from_u32(CloseCode::Done as u32);
    if node == dialing.me {
        connection.close(done, b"it is me");
        return Err(DialError::Myself);
    }
    let link = match dialing.links.live(node, Purpose::Requests) {
        Some(link) => {
            connection.close(done, b"linked already");
            link
        }
        None => agree(dialing, connection, &name, Purpose::Requests).await?,
    };
    // Lost, as any datagram may be.
    let _ = link.connection().send_datagram(bytes);
    Ok(node)
}

async fn dial_node(
    dialing: &Dialing,
    name: &str,
    address: &str,
    purpose: Purpose,
) -> Result<Link, DialError> {
    let expected = Role::node(name)?;
    let server_name = expected.dns_name(&dialing.cluster);
    let connection = connect(dialing, address, &server_name).await?;
    let role = peer_role(&connection)?.role;
    if role != expected {
        return Err(DialError::NotThisNode(role));
    }
    agree(dialing, connection, name, purpose).await
}

async fn connect(
    dialing: &Dialing,
    address: &str,
    server_name: &str,
) -> Result<Connection, DialError> {
    let address = resolve(&dialing.endpoint, address).await?;
    let config = dialing.config.clone();
    let connecting = dialing
        .endpoint
        .connect_with(config, address, server_name)?;
    Ok(connecting.await?)
}

/// Makes a link of a connection, and says hello.
async fn agree(
    dialing: &Dialing,
    connection: Connection,
    name: &str,
    purpose: Purpose,
) -> Result<Link, DialError> {
    debug_assert_eq!(WireProtocol::Peer, peer_role(&connection)?.protocol);
    connection.set_receive_window(VarInt::from_u32(PEER_WINDOW_BYTES));
    let handler = Arc::new(PeerHandler {
        node: NodeId::from_name(name),
        name: name.to_owned(),
        side: Side::Dialed(purpose),
        birth: dialing.birth,
        links: Arc::clone(&dialing.links),
        router: Arc::clone(&dialing.router),
        counters: Arc::clone(&dialing.counters),
        agreed: OnceLock::new(),
        sign_of_life: SignOfLife::default(),
        ready: Notify::new(),
        ended: false.into(),
    });
    let link = Link::open(connection, LinkOptions::PEER, handler.clone());
    let open = CloseUnlessKept(Some(link.clone()));
    let hello = Hello::new(purpose, Some(dialing.birth));
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
pub(crate) async fn resolve(endpoint: &Endpoint, address: &str) -> Result<SocketAddr, DialError> {
    let local = endpoint.local_addr().map_err(DialError::Lookup)?;
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
