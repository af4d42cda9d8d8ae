//! One node: opened, run, stopped.
//!
//! ```text
//!   start   configuration, identity, data directory, store, parts   (server/open.rs)
//!           writer, watchdog, a thread a part, then the socket      here; from then on it serves
//!   stop    no more requests ─> what is in progress ends, 2 s at most ─> parts hand over and end
//!           ─> writer commits, syncs, ends ─> the store is closed in order
//! ```
//!
//! A kill at any moment is as good as a stop, only the next start has more to read. When the store
//! fails or a thread breaks down, the process ends at once: what it would still say might be wrong.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dunlin_storage::{FjallKv, KvError};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::config::{ConfigError, ServerConfig};
use crate::data_dir::DataDirError;
use crate::driver::part::{PartId, PartMessage, PartReport};
use crate::driver::{self, Parts};
use crate::inspector::{self, Inspector};
use crate::listener::clients::Gate;
use crate::logging;
use crate::server::net::Net;
use crate::server::open::Opening;
use crate::writer::{Writer, WriterHandle, watchdog};

mod net;
mod open;

pub(crate) use self::net::settings as net_settings;

/// How long requests in progress may take to end when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether they have.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why a node did not start, or stopped by itself.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The configuration is not usable. Nothing was touched.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node's certificate, key or authority is not usable. Nothing was touched.
    #[error(transparent)]
    Identity(#[from] dunlin_client::tls::TlsError),
    /// The certificate is somebody else's. Nothing was touched.
    #[error(
        "the certificate is for {found}, the configuration for node {name} of cluster {cluster}"
    )]
    OtherIdentity {
        /// Who the certificate is for.
        found: String,
        /// Who the configuration is for.
        name: String,
        /// Of which cluster.
        cluster: String,
    },
    /// What the cluster file would found is not what the nodes that it lists are. Nothing was changed.
    #[error(
        "the nodes listed in the cluster file belong to a cluster that was born otherwise (birth {found}, \
         and the file says {expected}): restore the nodes, addresses, zones, capacities, N and Q with which \
         it was founded; if this node shall join it, list this node under [[seed]]"
    )]
    OtherBirth {
        /// What they say.
        found: String,
        /// What the cluster file or the data directory says.
        expected: String,
    },
    /// The directory holds a store of some cluster and no word of whose it is. Nothing was changed.
    #[error("{} holds a store, and not the file that says whose it is; restore node.toml", dir.display())]
    Unclaimed {
        /// The directory.
        dir: std::path::PathBuf,
    },
    /// The data directory is not this node's to use. Nothing was changed.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store cannot be opened or closed, or failed while the node ran: then nothing is certain
    /// but what was acknowledged as synced, and the next start finds out.
    #[error("the store: {0}")]
    Store(#[from] KvError),
    /// What the store holds cannot be read. Nothing was changed.
    #[error("the store: {0}")]
    Replica(#[from] dunlin_storage::StoreError),
    /// Its name and address can't be told to other nodes. The store was opened and not closed in order.
    #[error("this node can't be told to others: {0}")]
    Member(#[from] dunlin_engine::membership::IdentityError),
    /// The socket cannot be opened. The store was opened and closed again.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process of this node lives. This one has talked to nobody and taken no write.
    #[error(
        "node {name} lives already, at {address}: this second process of it ends, which has told nobody \
         anything and taken no write. Start a node once; a copy of its machine, disk or configuration needs \
         a name, a certificate and an empty data directory of its own"
    )]
    Twin {
        /// Which node.
        name: String,
        /// Where it lives.
        address: String,
    },
    /// A later process of this node has been started elsewhere and takes its place. What this one
    /// acknowledged is on its disk and at the other owners.
    #[error(
        "a later process of this node is at {address} and takes its place: this one ends; see that only one \
         of the two is started"
    )]
    Replaced {
        /// Where the other one is.
        address: String,
    },
    /// The store came back from an older state, a backup or a clone of its disk. That is noted: the next
    /// start refills it from the other nodes.
    #[error(
        "the store came back from an older state, as another node remembers: this process ends, and the next \
         one refills it from the others"
    )]
    Forgot,
    /// Files of the store are damaged. That is noted: the next start keeps what can be read, and is refilled
    /// with the rest.
    #[error(
        "files of the store are damaged: this process ends, and the next one keeps what can be read and is \
         refilled from the other nodes"
    )]
    Damaged,
    /// The disk refused a batch, and what the store holds could not be read after that. What was acknowledged
    /// is on the disk: the next start reads it.
    #[error(
        "the disk refused a batch, and what the store holds could not be read after that: this process ends, and \
         the next one reads it"
    )]
    NotRolledBack,
    /// The system refuses a thread, a runtime, a signal or random numbers.
    #[error("cannot {action}: {reason}")]
    System {
        /// What was wanted, as a verb.
        action: &'static str,
        /// What the system says.
        reason: String,
    },
    /// A thread of the node broke down: a defect. What was acknowledged is kept.
    #[error("thread {thread} broke down")]
    Broken {
        /// Which.
        thread: String,
    },
}

/// Runs a node until the process is told to stop by `SIGTERM` or `SIGINT`.
///
/// # Errors
/// [`ServerError`] says why it did not start, or stopped by itself. The caller ends the process: after
/// some of them threads are left that cannot be ended otherwise.
pub fn run(config: &Path) -> Result<(), ServerError> {
    let config = ServerConfig::load(config)?;
    logging::start(config.log_level, config.log_format);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| system("start a runtime", &error))?;
    runtime.block_on(async {
        // Before the node starts, so that an early signal is not lost.
        let mut terminate =
            signal(SignalKind::terminate()).map_err(|e| system("take signals", &e))?;
        let mut interrupt =
            signal(SignalKind::interrupt()).map_err(|e| system("take signals", &e))?;
        let started = tokio::select! {
            biased;
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            started = Server::start(config) => Some(started),
        };
        let mut server = match started {
            Some(started) => started?,
            None => {
                tracing::info!("stopped before it was told of a cluster");
                return Ok(());
            }
        };
        let failed = tokio::select! {
            biased;
            failure = server.failed() => Some(failure),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
        };
        match failed {
            Some(ServerError::Forgot | ServerError::Damaged) => {
                tracing::error!("the node starts anew, to be refilled");
                Err(start_anew())
            }
            Some(failure) => {
                tracing::error!(error = %failure, "the node ends");
                // A merge that met a damaged table is such a failure, or a read.
                let is_damaged =
                    matches!(failure, ServerError::Store(_) | ServerError::NotRolledBack)
                        && inspector::look_at(&server.kv);
                match is_damaged || matches!(failure, ServerError::NotRolledBack) {
                    true => Err(start_anew()),
                    false => Err(failure),
                }
            }
            None => server.stop(),
        }
    })
}

/// Puts a new process of the same program in place of this one. Comes back only if that fails.
fn start_anew() -> ServerError {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_else(|_| program.into());
    // What this process has open it opened for itself alone: it is closed by the system.
    let error = std::process::Command::new(program).args(arguments).exec();
    system("start anew", &error)
}

/// A node that runs.
pub struct Server {
    name: String,
    address: SocketAddr,
    kv: Arc<FjallKv>,
    parts: Arc<Parts>,
    part_threads: Vec<JoinHandle<()>>,
    writer: WriterHandle,
    writer_thread: JoinHandle<()>,
    /// Ends the watchdog when it is dropped.
    watchdog: mpsc::Sender<()>,
    net: Net,
    gate: Arc<Gate>,
    failures: UnboundedReceiver<ServerError>,
}

impl Server {
    /// Starts a node. When this returns it serves, though it may not have met its peers yet.
    ///
    /// A node that is not among the founders and has no data waits here until a node of its cluster file
    /// tells what the cluster knows; dropped meanwhile, it has changed nothing.
    ///
    /// # Errors
    /// [`ServerError`]; no thread is left behind but those of a store that failed.
    pub async fn start(config: ServerConfig) -> Result<Self, ServerError> {
        let Opening {
            kv,
            control,
            shards,
            core,
            calls,
        } = open::open(&config).await?;
        let (failed, failures) = unbounded_channel();
        let writer = WriterHandle::new();
        let mut net = Net::bind(&config, &core, calls, &failed)?;
        let writer_thread = spawn_writer(&core, writer.clone(), &failed)?;
        let (watchdog, stop) = mpsc::channel();
        let (stopwatch, board) = (Arc::clone(&core.stopwatch), Arc::clone(&core.board));
        spawn("watchdog", &failed, move || {
            watchdog::watch(&stopwatch, &board, &stop);
        })?;
        let inspector = Arc::new(Inspector::default());
        let spawn_part = |id: PartId, part: PartKind| {
            let wiring = driver::Wiring {
                part: id,
                parts: Arc::clone(&core.parts),
                writer: writer.clone(),
                peers: Arc::clone(&core.links),
                clock: core.clock,
                views: Arc::clone(&core.views),
                counters: Arc::clone(&core.counters),
                kv: Arc::clone(&core.kv),
                inspector: Arc::clone(&inspector),
                failed: failed.clone(),
            };
            let inbox = core.parts.of(id).map(Arc::clone);
            spawn(&id.to_string(), &failed, move || {
                if let Some(inbox) = inbox {
                    match part {
                        PartKind::Control(control) => driver::run(*control, &inbox, wiring),
                        PartKind::Shard(shard) => driver::run(*shard, &inbox, wiring),
                    }
                }
            })
        };
        let mut part_threads = vec![spawn_part(PartId::CONTROL, PartKind::Control(control))?];
        for (index, shard) in shards.into_iter().enumerate() {
            part_threads.push(spawn_part(
                PartId::shard(index),
                PartKind::Shard(Box::new(shard)),
            )?);
        }
        // Only now, with everybody there to answer.
        net.serve();
        tracing::info!(
            node = config.name,
            cluster = %config.cluster.cluster,
            address = %net.address(),
            shards = config.shards,
            version = env!("CARGO_PKG_VERSION"),
            "the node serves"
        );
        Ok(Self {
            name: config.name,
            address: net.address(),
            kv,
            parts: Arc::clone(&core.parts),
            part_threads,
            writer,
            writer_thread,
            watchdog,
            net,
            gate: Arc::clone(&core.gate),
            failures,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Completes when the node cannot go on, and says why. End the process then.
    pub async fn failed(&mut self) -> ServerError {
        match self.failures.recv().await {
            Some(failure) => failure,
            // Threads of the node hold the other end for as long as it runs.
            None => ServerError::Broken {
                thread: "all".to_owned(),
            },
        }
    }

    /// Stops in order. The next start finds the store closed cleanly.
    ///
    /// # Errors
    /// [`ServerError::Store`] if what was written last could not be synced, or a thread broke down on
    /// the way; the next start is not a clean one then.
    pub fn stop(self) -> Result<(), ServerError> {
        tracing::info!(node = self.name, "the node stops");
        self.gate.close();
        self.drain();
        for part in self.parts.all() {
            part.push(PartMessage::Stop);
        }
        for thread in self.part_threads {
            join(thread)?;
        }
        self.writer.stop();
        join(self.writer_thread)?;
        drop(self.watchdog);
        self.net.stop();
        let mut failures = self.failures;
        if let Ok(failure) = failures.try_recv() {
            return Err(failure);
        }
        self.kv.close_clean()?;
        tracing::info!(node = self.name, "the node has stopped");
        Ok(())
    }

    /// Waits until nothing is in progress, or it has taken too long.
    fn drain(&self) {
        let until = Instant::now() + DRAIN_MAX;
        loop {
            let mut answers = Vec::new();
            for part in self.parts.shards() {
                let (asker, answer) = tokio::sync::oneshot::channel();
                part.push(PartMessage::Inspect(asker));
                answers.push(answer);
            }
            std::thread::sleep(DRAIN_LOOK_EVERY);
            let in_flight: u64 = answers
                .into_iter()
                .map(|mut answer| match answer.try_recv() {
                    Ok(PartReport::Shard(report)) => report.in_flight,
                    Ok(PartReport::Control { .. }) => 0,
                    // Too busy to say so.
                    Err(_) => 1,
                })
                .sum();
            if in_flight == 0 {
                return;
            }
            if Instant::now() >= until {
                tracing::warn!(in_flight, "requests in progress are given up");
                return;
            }
        }
    }
}

/// A part on its way to its thread.
enum PartKind {
    Control(Box<dunlin_engine::Control>),
    Shard(Box<dunlin_engine::Shard>),
}

fn spawn_writer(
    core: &open::Core,
    handle: WriterHandle,
    failed: &UnboundedSender<ServerError>,
) -> Result<JoinHandle<()>, ServerError> {
    let mut writer = Writer::new(core.writer_parts());
    let report = failed.clone();
    spawn("writer", failed, move || {
        if let Err(error) = writer.run(&handle) {
            tracing::error!(%error, "the store failed");
            // Nobody is left to tell if the node is gone already.
            let _ = report.send(ServerError::Store(error));
        }
    })
}

/// A thread whose breakdown is the node's.
fn spawn(
    name: &str,
    failed: &UnboundedSender<ServerError>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, ServerError> {
    let guard = Breakdown {
        thread: name.to_owned(),
        failed: failed.clone(),
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _guard = guard;
            work();
        })
        .map_err(|error| system("start a thread", &error))
}

struct Breakdown {
    thread: String,
    failed: UnboundedSender<ServerError>,
}

impl Drop for Breakdown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let thread = std::mem::take(&mut self.thread);
            // Nobody is left to tell if the node is gone already.
            let _ = self.failed.send(ServerError::Broken { thread });
        }
    }
}

fn join(thread: JoinHandle<()>) -> Result<(), ServerError> {
    let name = thread.thread().name().unwrap_or("unnamed").to_owned();
    thread
        .join()
        .map_err(|_| ServerError::Broken { thread: name })
}

pub(crate) fn system(action: &'static str, error: &dyn std::fmt::Display) -> ServerError {
    ServerError::System {
        action,
        reason: error.to_string(),
    }
}
