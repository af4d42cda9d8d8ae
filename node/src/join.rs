//! Asking the nodes of the cluster file what the cluster knows of itself, before there is a store to
//! serve from.
//!
//! ```text
//!   newcomer                 dials every node listed, again and again, until one tells
//!   founder, blank disk      the same for a moment; others as blank as itself say so, and the cluster is
//!                            born. If it was born long ago, this disk was wiped: they remember the node.
//! ```
//!
//! It is a link as any other, whose [`Hello`] names no birth: the other side answers a ping, which says
//! that nothing is known here, with all it knows. Nothing is written here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_client::cluster_file::ClusterFileNode;
use dunlin_client::tls::{ClusterName, Identity, Role, TlsError, WireProtocol, peer_role};
use dunlin_client::transport::{CloseCode, FrameHandler, Link, LinkOptions, Refusal, SendError};
use dunlin_engine::Knowledge;
use dunlin_protocol::cluster::ClusterEntry;
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::frame::{Frame, FrameKind, RequestId};
use dunlin_protocol::peer::{ControlMessage, PeerBody, PeerMessage};
use dunlin_ring::{LayoutNumber, NodeId};
use quinn::{ClientConfig, ConnectionError, Endpoint, VarInt};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::birth::BirthId;
use crate::config::ServerConfig;
use crate::links::dial::{DialError, resolve};
use crate::links::{Hello, Purpose};
use crate::server::{ServerError, net_settings, system};

/// How long one node may take to tell.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);
/// Between attempts, before jitter.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a founder waits for nodes that do not answer. A cluster whose other nodes start at the same
/// time does not wait for it, as they say that they know nothing.
const FOUNDER_WAITS: Duration = Duration::from_secs(3);
/// How often one node is asked on a link, for all of its answer.
const ASKED_MAX: u32 = 6;
/// The pause in between.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// A link on which nothing is heard for this long is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a node was told of its cluster.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) birth: BirthId,
    pub(crate) knowledge: Knowledge,
    /// Whether the cluster remembers this node: then it was here before, whatever its disk says.
    pub(crate) remembers_me: bool,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A node that can't do without an answer.
    Newcomer,
    /// A node that founds the cluster if nobody knows of one.
    Founder,
}

/// Asks until somebody tells; `None` if this node is to found the cluster. Dropped, it stops asking.
///
/// # Errors
/// [`ServerError`] if it can't ask.
pub(crate) async fn ask(
    config: &ServerConfig,
    identity: &Identity,
    asker: Asker,
) -> Result<Option<Told>, ServerError> {
    let settings = net_settings(config.listen, IDLE_TIMEOUT, None);
    let client = settings.client_config(identity, WireProtocol::Peer)?;
    let server = match asker {
        Asker::Founder => Some(settings.server_config(identity)?),
        Asker::Newcomer => None,
    };
    let mut address = config.listen;
    if asker == Asker::Newcomer {
        address.set_port(0);
    }
    let me = NodeId::from_name(&config.name);
    let others = config.cluster.listed().filter(|n| n.name != config.name);
    let others: Vec<ClusterFileNode> = others.cloned().collect();
    let cluster = config.cluster.cluster.clone();
    let (mut answer, answered) = oneshot::channel();
    // A runtime of its own: when it has ended, so has its socket, and the address is free again.
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(answer.send(Err(system("start a runtime", &error)))),
        };
        let told = runtime.block_on(async {
            let endpoint = settings
                .bind(address, server)
                .map_err(|source| ServerError::Listen { address, source })?;
            let asking = Asking {
                me,
                endpoint: endpoint.clone(),
                config: client,
                cluster,
            };
            let told = tokio::select! {
                biased;
                () = answer.closed() => None,
                told = asking.all(others, asker) => told,
            };
            endpoint.close(VarInt::from_u32(CloseCode::Done as u32), b"");
            // Who did not hear of it finds out.
            let _ = tokio::time::timeout(IDLE_TIMEOUT, endpoint.wait_idle()).await;
            Ok(told)
        });
        runtime.shutdown_background();
        // Whoever asked may have gone.
        let _ = answer.send(told);
    };
    std::thread::Builder::new()
        .name("join".to_owned())
        .spawn(work)
        .map_err(|error| system("start a thread", &error))?;
    match answered.await {
        Ok(told) => told,
        Err(_) => Err(ServerError::Broken {
            thread: "join".to_owned(),
        }),
    }
}

#[derive(Debug, Error)]
enum AskError {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("no answer: {0}")]
    Lost(ConnectionError),
    #[error("its answer makes no sense")]
    NotUnderstood,
    #[error("it takes no question: {0}")]
    Send(#[from] SendError),
    #[error("no answer within {} ms", ATTEMPT_MAX.as_millis())]
    TimedOut,
    #[error("it has just started and knows nothing either")]
    KnowsNothing,
}

impl From<TlsError> for AskError {
    fn from(error: TlsError) -> Self {
        Self::Dial(error.into())
    }
}

#[derive(Clone)]
struct Asking {
    me: NodeId,
    endpoint: Endpoint,
    config: ClientConfig,
    cluster: ClusterName,
}

impl Asking {
    async fn all(&self, others: Vec<ClusterFileNode>, asker: Asker) -> Option<Told> {
        let names: Vec<&str> = others.iter().map(|node| &*node.name).collect();
        match asker {
            Asker::Founder if others.is_empty() => return None,
            Asker::Founder => {
                tokio::spawn(know_nothing(self.endpoint.clone()));
                let at_most_ms = FOUNDER_WAITS.as_millis() as u64;
                tracing::info!(
                    nodes = names.join(", "),
                    at_most_ms,
                    "asking the others whether the cluster was born already"
                );
            }
            Asker::Newcomer => tracing::info!(
                nodes = names.join(", "),
                "this node knows no cluster yet; asking those listed, until one of them tells"
            ),
        }
        let mut asked = JoinSet::new();
        for node in others {
            let asking = self.clone();
            asked.spawn(async move { asking.until_told(&node, asker).await });
        }
        let mut told: Option<Told> = None;
        let collect = async {
            while let Some(heard) = asked.join_next().await {
                // A task that broke down is a node that did not answer.
                let Some(heard) = heard.ok().flatten() else {
                    continue;
                };
                told = Some(match told.take() {
                    None => heard,
                    Some(told) => told.and(heard),
                });
                if asker == Asker::Newcomer {
                    return;
                }
            }
        };
        match asker {
            Asker::Newcomer => collect.await,
            // Not in time: what was told so far has to do.
            Asker::Founder => drop(tokio::time::timeout(FOUNDER_WAITS, collect).await),
        }
        told
    }

    /// Asks one node until it tells; `None` if it says that it has nothing to tell a founder.
    async fn until_told(&self, node: &ClusterFileNode, asker: Asker) -> Option<Told> {
        let mut rng = fastrand::Rng::new();
        let mut pause = PAUSE_FIRST;
        let mut failures = 0_u64;
        loop {
            let attempt = tokio::time::timeout(ATTEMPT_MAX, self.once(node)).await;
            let error = match attempt.unwrap_or(Err(AskError::TimedOut)) {
                Ok(told) => {
                    tracing::info!(
                        node = node.name,
                        layout = %told.knowledge.layouts().target().id,
                        "told what the cluster knows of itself"
                    );
                    return Some(told);
                }
                Err(AskError::KnowsNothing) if asker == Asker::Founder => return None,
                Err(error) => error,
            };
            failures += 1;
            // One line when it starts, and one in a while: the node may be away for long.
            if failures.is_power_of_two() {
                let (node, address) = (&node.name, &node.address);
                tracing::info!(node, address, failures, %error, "the node does not tell yet");
            }
            tokio::time::sleep(pause.mul_f64(0.5 + rng.f64() / 2.0)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn once(&self, node: &ClusterFileNode) -> Result<Told, AskError> {
        let expected = Role::node(node.name.as_str())?;
        let address = resolve(&self.endpoint, &node.address).await?;
        let name = expected.dns_name(&self.cluster);
        let connecting = self
            .endpoint
            .connect_with(self.config.clone(), address, &name)
            .map_err(DialError::from)?;
        let connection = connecting.await.map_err(lost)?;
        let role = peer_role(&connection)?.role;
        if role != expected {
            return Err(DialError::NotThisNode(role).into());
        }
        let (ear, mut heard) = mpsc::unbounded_channel();
        let link = Link::open(connection, LinkOptions::PEER, Arc::new(Ear(ear)));
        let told = self.converse(&link, &mut heard).await;
        link.close(CloseCode::Done, "told");
        told
    }

    async fn converse(
        &self,
        link: &Link,
        heard: &mut mpsc::UnboundedReceiver<Heard>,
    ) -> Result<Told, AskError> {
        let hello = Hello::new(Purpose::Requests, None);
        link.send(hello.frame().ok_or(AskError::NotUnderstood)?, 0)?;
        let (mut birth, mut known, mut asked) = (None, Vec::new(), 0);
        loop {
            match heard.recv().await.ok_or(AskError::NotUnderstood)? {
                Heard::Hello(hello) => {
                    birth = hello.birth;
                    asked += 1;
                    link.send(question().ok_or(AskError::NotUnderstood)?, 0)?;
                }
                Heard::Know(entries) => {
                    known.extend(entries);
                    let mut nodes = known.iter().filter_map(|entry| match entry {
                        ClusterEntry::Progress(progress) => Some(progress.node),
                        _ => None,
                    });
                    // How far nodes are is told less often, and whom the cluster remembers shows in it.
                    if nodes.clone().next().is_none() && asked < ASKED_MAX {
                        tokio::time::sleep(ASK_AGAIN_AFTER).await;
                        asked += 1;
                        link.send(question().ok_or(AskError::NotUnderstood)?, 0)?;
                        continue;
                    }
                    let remembers_me = nodes.any(|node| node == self.me);
                    let knowledge = Knowledge::from_entries(known);
                    return match (birth, knowledge) {
                        (Some(birth), Some(knowledge)) => Ok(Told {
                            birth,
                            knowledge,
                            remembers_me,
                        }),
                        (None, _) | (_, None) => Err(AskError::NotUnderstood),
                    };
                }
                Heard::NotUnderstood => return Err(AskError::NotUnderstood),
                Heard::Closed(reason) => return Err(lost(reason)),
            }
        }
    }
}

impl Told {
    /// What two nodes told, together. Of two clusters the one told of first counts; what does not fit is
    /// refused when the links are made.
    fn and(mut self, other: Self) -> Self {
        if other.birth == self.birth {
            for entry in other.knowledge.entries() {
                self.knowledge.merge(entry);
            }
            self.remembers_me |= other.remembers_me;
        }
        self
    }
}

/// The question: a ping of a node that knows nothing.
fn question() -> Option<Frame> {
    let ping = ControlMessage::Ping {
        nonce: 0,
        knows: 0,
        progress: 0,
        store: None,
    };
    let message = PeerMessage {
        layout: LayoutNumber(0),
        body: PeerBody::Control(ping),
    };
    Some(Frame {
        kind: FrameKind::Peer,
        id: RequestId(0),
        deadline_ms: 0,
        // A closed record of numbers always has an encoding.
        body: Bytes::from(codec::encode(&message).ok()?),
    })
}

fn lost(reason: ConnectionError) -> AskError {
    match &reason {
        ConnectionError::ApplicationClosed(closed)
            if closed.error_code == VarInt::from_u32(CloseCode::NotReady as u32) =>
        {
            AskError::KnowsNothing
        }
        _ => AskError::Lost(reason),
    }
}

/// Says to all who come that this node knows nothing: of the founders nobody waits for another.
async fn know_nothing(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connecting) = incoming.accept() else {
            continue;
        };
        tokio::spawn(async move {
            if let Ok(connection) = connecting.await {
                let code = VarInt::from_u32(CloseCode::NotReady as u32);
                connection.close(code, b"just started");
            }
        });
    }
}

#[derive(Debug)]
enum Heard {
    Hello(Hello),
    Know(Vec<ClusterEntry>),
    NotUnderstood,
    Closed(ConnectionError),
}

/// Passes on what is said on the link. Nobody may listen any more.
struct Ear(mpsc::UnboundedSender<Heard>);

impl FrameHandler for Ear {
    fn frame(&self, _: &Link, frame: Frame) {
        let heard = match frame.kind {
            FrameKind::Hello => codec::decode(&frame.body, CodecLimits::default())
                .map_or(Heard::NotUnderstood, Heard::Hello),
            FrameKind::Peer => match codec::decode(&frame.body, CodecLimits::default()) {
                Ok(PeerMessage {
                    body: PeerBody::Control(ControlMessage::Know { entries, .. }),
                    ..
                }) => Heard::Know(entries),
                // For the node that this will be.
                Ok(_) => return,
                Err(_) => Heard::NotUnderstood,
            },
            FrameKind::Lane | FrameKind::Request | FrameKind::Response => Heard::NotUnderstood,
        };
        let _ = self.0.send(heard);
    }

    fn refused(&self, _: &Link, _: &Refusal) {
        let _ = self.0.send(Heard::NotUnderstood);
    }

    fn closed(&self, _: &Link, reason: &ConnectionError) {
        let _ = self.0.send(Heard::Closed(reason.clone()));
    }
}
