//! The socket's thread: one QUIC endpoint that serves clients, accepts peers and dials them.
//!
//! Measured: the endpoint and its connections on one current-thread runtime cost the least CPU.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use dunlin_client::tls::WireProtocol;
use dunlin_client::transport::{CloseCode, PathMtu, TransportSettings};
use quinn::{Endpoint, VarInt};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::open::Core;
use super::{ServerError, spawn, system};
use crate::config::ServerConfig;
use crate::links::Call;
use crate::links::dial::{Dialing, answer_calls, keep_all_linked};
use crate::links::handler::PeerRouter;
use crate::listener::clients::ClientHandler;
use crate::listener::pulse::Pulse;
use crate::listener::{ConnectionBounds, Listener, ListenerParts};

/// What may be on its way from a client on one stream: enough for a value of 256 KiB in one round
/// trip, little enough for thousands of clients.
const CLIENT_STREAM_WINDOW_BYTES: u32 = 512 << 10;
/// What may be on its way from a client on all its streams. Links of peers get more.
const CLIENT_WINDOW_BYTES: u32 = 1 << 20;
/// A peer that is silent for this long has lost the link: it is dialed anew.
const PEER_IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a silent link between nodes proves that it is alive.
const PEER_KEEP_ALIVE: Duration = Duration::from_millis(500);
/// How long the other sides may take to hear that the node stops.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// The socket and its thread.
pub(super) struct Net {
    address: SocketAddr,
    thread: JoinHandle<()>,
    /// Lets it serve; dropped without a word, it ends.
    serve: Option<oneshot::Sender<()>>,
    /// Lets it end.
    stop: oneshot::Sender<()>,
}

impl Net {
    /// Opens the socket. Nobody is answered yet.
    pub(super) fn bind(
        config: &ServerConfig,
        core: &Core,
        calls: tokio::sync::mpsc::Receiver<Call>,
        failed: &UnboundedSender<ServerError>,
    ) -> Result<Self, ServerError> {
        let links = Arc::clone(&core.links);
        let router = Arc::new(PeerRouter::new(
            Arc::clone(&core.parts),
            core.clock,
            Arc::clone(&core.counters),
        ));
        let pulse = Arc::new(Pulse::default());
        let clients = ClientHandler {
            parts: Arc::clone(&core.parts),
            desk: Arc::clone(&core.desk),
            gate: Arc::clone(&core.gate),
            clock: core.clock,
            pulse: Arc::clone(&pulse),
            view: core.views.view(),
            views: Arc::clone(&core.views),
            request_timeout_ms: config.engine.request_timeout_ms,
            counters: Arc::clone(&core.counters),
        };
        let listener = Arc::new(Listener::new(ListenerParts {
            bounds: ConnectionBounds {
                total_max: config.connections_max,
                per_place_max: config.connections_per_address_max,
            },
            clients: Arc::new(clients),
            me: core.me,
            birth: core.birth,
            links: Arc::clone(&links),
            router: Arc::clone(&router),
            counters: Arc::clone(&core.counters),
        }));
        let accepting = settings(config.listen, config.client_idle_timeout, None);
        let server_config = accepting.server_config(&core.identity)?;
        let dialing = settings(config.listen, PEER_IDLE_TIMEOUT, Some(PEER_KEEP_ALIVE));
        let client_config = dialing.client_config(&core.identity, WireProtocol::Peer)?;

        let desk = Arc::clone(&core.desk);
        let own_address = config.address.clone();
        let (address, cluster) = (config.listen, config.cluster.cluster.clone());
        let (me, birth, counters) = (core.me, core.birth, Arc::clone(&core.counters));
        let listed = config.cluster.listed();
        let listed = listed.map(|node| (node.name.clone(), node.address.clone()));
        let listed = listed.collect();
        let views = Arc::clone(&core.views);
        let (bound, is_bound) = mpsc::channel();
        let (serve, may_serve) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread_links = Arc::clone(&links);
        let clock = core.clock;
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(source) => return drop(bound.send(Err(source))),
            };
            runtime.block_on(async move {
                let endpoint = match accepting.bind(address, Some(server_config)) {
                    Ok(endpoint) => endpoint,
                    Err(source) => return drop(bound.send(Err(source))),
                };
                // Whoever started this waits for it.
                let _ = bound.send(endpoint.local_addr());
                if may_serve.await.is_err() {
                    return;
                }
                // Both are set once, here.
                let _ = desk.runtime.set(tokio::runtime::Handle::current());
                let census = Arc::clone(&listener);
                let _ = desk.clients.set(Box::new(move || census.clients()));
                let dialing = Arc::new(Dialing {
                    endpoint: endpoint.clone(),
                    config: client_config,
                    cluster,
                    me,
                    address: own_address,
                    birth,
                    listed,
                    links: Arc::clone(&thread_links),
                    router,
                    counters,
                });
                let mut dialers = JoinSet::new();
                dialers.spawn(keep_all_linked(Arc::clone(&dialing), views));
                dialers.spawn(answer_calls(dialing, calls));
                tokio::spawn(async move { pulse.beat(clock).await });
                tokio::spawn(listener.accept_all(endpoint.clone()));
                // An error means that whoever would say so is gone.
                let _ = stopped.await;
                dialers.abort_all();
                thread_links.close_all();
                say_goodbye(&endpoint).await;
            });
            // Lookups of names may still be going on; nobody waits for them.
            runtime.shutdown_background();
        };
        let thread = spawn("net", failed, work)?;
        let listen_error = |source| ServerError::Listen { address, source };
        let address = is_bound
            .recv()
            .map_err(|_| system("start the socket's thread", &"it ended"))?
            .map_err(listen_error)?;
        Ok(Self {
            address,
            thread,
            serve: Some(serve),
            stop,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts and dials from now on.
    pub(super) fn serve(&mut self) {
        if let Some(serve) = self.serve.take() {
            // Its thread waits for it, or has broken down and said so.
            let _ = serve.send(());
        }
    }

    /// Closes every connection and ends the thread.
    pub(super) fn stop(self) {
        // As above; a thread that broke down has said so.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

async fn say_goodbye(endpoint: &Endpoint) {
    endpoint.close(
        VarInt::from_u32(CloseCode::ShuttingDown as u32),
        b"the node stops",
    );
    // Those who did not hear of it find out.
    let _ = tokio::time::timeout(GOODBYE_MAX, endpoint.wait_idle()).await;
}

/// The transport of this node, dialing or accepting.
pub(crate) fn settings(
    listen: SocketAddr,
    idle_timeout: Duration,
    keep_alive: Option<Duration>,
) -> TransportSettings {
    TransportSettings {
        idle_timeout,
        keep_alive,
        stream_window_bytes: CLIENT_STREAM_WINDOW_BYTES,
        connection_window_bytes: CLIENT_WINDOW_BYTES,
        path_mtu: match listen.ip().is_loopback() {
            true => PathMtu::Loopback,
            false => PathMtu::Ethernet,
        },
        ..TransportSettings::default()
    }
}
