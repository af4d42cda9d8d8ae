//! What a node is told by its configuration file.
//!
//! ```toml
//! name = "n1"
//! cluster_file = "cluster.toml"     # paths are relative to this file
//! data_dir = "data"
//!
//! [tls]
//! certificate = "node-n1.pem"
//! key = "node-n1-key.pem"
//! ```
//!
//! Everything else has a default. `docs/configuration.md` lists all of it; what is unknown is refused,
//! with the line it stands on. Nothing here touches the network or the data.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_client::cluster_file::{ClusterFile, ClusterFileError, is_host_and_port};
use dunlin_client::tls::IdentityFiles;
use dunlin_engine::EngineOptions;
use dunlin_ring::{Layout, Member, MemberState, NodeId, PartitionCount, RingError};
use dunlin_storage::FjallOptions;
use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use self::engine::EngineSection;
use self::log::LogSection;
pub use self::log::{LogFormat, LogLevel};
use self::storage::StorageSection;

mod engine;
mod log;
mod storage;
#[cfg(test)]
mod tests;

/// Owners of a key, unless the cluster file says otherwise.
const REPLICAS: u8 = 3;
/// The zone of a node that names none.
const ZONE: &str = "default";
/// The most shards that make sense: a thread each.
const SHARDS_MAX: usize = 256;

/// Why a configuration is not usable. Nothing was touched.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no TOML, or something in it is missing, unknown or not what it must be.
    #[error("{}:{line}: {reason}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        line: usize,
        /// What is wrong, and what to write instead.
        reason: String,
    },
    /// The cluster file is not usable.
    #[error(transparent)]
    ClusterFile(#[from] ClusterFileError),
    /// Neither file says where the other nodes reach this one.
    #[error(
        "{} does not list node {name} (it lists {listed}), and the configuration gives no address; if the \
         node shall join that cluster, give `address` in [node]",
        path.display()
    )]
    NoAddress {
        /// The cluster file.
        path: PathBuf,
        /// The node's name.
        name: String,
        /// The names that it lists.
        listed: String,
    },
    /// The cluster file's nodes, N and Q make no layout.
    #[error("{}: {reason}", path.display())]
    Layout {
        /// The cluster file.
        path: PathBuf,
        /// What does not fit.
        reason: RingError,
    },
    /// The address to listen on cannot be looked up.
    #[error("cannot look up {address}, which to listen on: {reason}; give `listen`")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        reason: String,
    },
}

/// Everything that a node is told.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The node's name in the cluster file and in its certificate.
    pub name: String,
    /// The cluster's nodes, N and Q.
    pub cluster: ClusterFile,
    /// Where the store is.
    pub data_dir: PathBuf,
    /// Where the other nodes reach this one, as `host:port`.
    pub address: String,
    /// What it may fail together with.
    pub zone: String,
    /// Its weight beside the others.
    pub capacity: u32,
    /// The UDP address to listen on and to dial from.
    pub listen: SocketAddr,
    /// Certificate, key and authority.
    pub identity: IdentityFiles,
    /// Threads that serve partitions.
    pub shards: usize,
    /// How long a write that asked for no sync waits for one, at most.
    pub sync_interval: Duration,
    /// Messages that wait for one shard, above which requests get `Overloaded` and messages of peers
    /// are dropped.
    pub inbox_max: usize,
    /// Bytes of messages that wait for one shard, likewise.
    pub inbox_bytes_max: usize,
    /// Connections of clients.
    pub connections_max: usize,
    /// Connections of clients from one address.
    pub connections_per_address_max: usize,
    /// A client that is silent for this long is gone.
    pub client_idle_timeout: Duration,
    /// Bytes of hints that this node keeps for others.
    pub hints_bytes_max: u64,
    /// Bounds and delays of what the node decides.
    pub engine: EngineOptions,
    /// Memory and disk.
    pub storage: FjallOptions,
    /// What is logged.
    pub log_level: LogLevel,
    /// How.
    pub log_format: LogFormat,
}

impl ServerConfig {
    /// Reads and checks a configuration and the cluster file that it names.
    ///
    /// # Errors
    /// [`ConfigError`] says which file and line, and what to do.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// As [`load`](Self::load), of text at hand; `path` names it, and is what paths are relative to.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file = FileText::parse(text, path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let cluster_path = folder.join(&file.cluster_file);
        let cluster = ClusterFile::load(&cluster_path)?;
        let own = cluster.listed().find(|node| node.name == file.name);
        let given = file.node.address.map(Spanned::into_inner);
        let given = given.or(own.map(|own| own.address.clone()));
        let address = given.ok_or_else(|| {
            let names: Vec<&str> = cluster.listed().map(|node| &*node.name).collect();
            ConfigError::NoAddress {
                path: cluster_path.clone(),
                name: file.name.clone(),
                listed: names.join(", "),
            }
        })?;
        let listen = file.listen.unwrap_or_else(|| address.clone());
        let zone = file.node.zone.or(own.and_then(|own| own.zone.clone()));
        let capacity = file.node.capacity.map(Spanned::into_inner);
        let config = Self {
            address,
            zone: zone.unwrap_or_else(|| ZONE.to_owned()),
            capacity: capacity.or(own.and_then(|own| own.capacity)).unwrap_or(1),
            listen: look_up(&listen)?,
            data_dir: folder.join(&file.data_dir),
            identity: IdentityFiles {
                certificate: folder.join(&file.tls.certificate),
                key: folder.join(&file.tls.key),
                authority: match &file.tls.authority {
                    Some(authority) => folder.join(authority),
                    None => cluster.ca.clone(),
                },
            },
            name: file.name,
            shards: file.shards.map_or_else(default_shards, Spanned::into_inner),
            sync_interval: Duration::from_millis(file.sync_interval_ms.into_inner()),
            inbox_max: file.inbox_max.into_inner(),
            inbox_bytes_max: file.inbox_bytes_max.into_inner(),
            connections_max: file.connections_max,
            connections_per_address_max: file.connections_per_address_max,
            client_idle_timeout: Duration::from_millis(file.client_idle_timeout_ms.into_inner()),
            hints_bytes_max: file.hints_bytes_max,
            engine: file.engine.into(),
            storage: file.storage.into(),
            log_level: file.log.level,
            log_format: file.log.format,
            cluster,
        };
        // Whether there is a layout shows now, not when the store is open.
        config
            .founding_layout()
            .map_err(|reason| ConfigError::Layout {
                path: cluster_path,
                reason,
            })?;
        Ok(config)
    }

    /// The layout that the cluster is born with, if this node is one of those that found it.
    ///
    /// # Errors
    /// [`RingError`] says which node or number is impossible.
    pub fn founding_layout(&self) -> Result<Option<Layout>, RingError> {
        if self.cluster.nodes.iter().all(|node| node.name != self.name) {
            return Ok(None);
        }
        let members = self.cluster.nodes.iter().map(|node| Member {
            id: NodeId::from_name(&node.name),
            name: node.name.clone(),
            address: node.address.clone(),
            zone: node.zone.clone().unwrap_or_else(|| ZONE.to_owned()),
            capacity: node.capacity.unwrap_or(1),
            state: MemberState::Active,
        });
        let partitions = match self.cluster.partitions {
            Some(count) => PartitionCount::new(count)?,
            None => PartitionCount::DEFAULT,
        };
        let replicas = self.cluster.replicas.unwrap_or(REPLICAS);
        Layout::first(members.collect(), replicas, partitions).map(Some)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    name: String,
    cluster_file: PathBuf,
    data_dir: PathBuf,
    listen: Option<String>,
    tls: TlsSection,
    #[serde(default)]
    node: NodeSection,
    shards: Option<Spanned<usize>>,
    #[serde(default = "sync_interval_ms")]
    sync_interval_ms: Spanned<u64>,
    #[serde(default = "inbox_max")]
    inbox_max: Spanned<usize>,
    #[serde(default = "inbox_bytes_max")]
    inbox_bytes_max: Spanned<usize>,
    #[serde(default = "connections_max")]
    connections_max: usize,
    #[serde(default = "connections_max")]
    connections_per_address_max: usize,
    #[serde(default = "client_idle_timeout_ms")]
    client_idle_timeout_ms: Spanned<u64>,
    #[serde(default = "hints_bytes_max")]
    hints_bytes_max: u64,
    #[serde(default)]
    engine: EngineSection,
    #[serde(default)]
    storage: StorageSection,
    #[serde(default)]
    log: LogSection,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSection {
    certificate: PathBuf,
    key: PathBuf,
    authority: Option<PathBuf>,
}

/// What this node shall be in a cluster that does not list it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeSection {
    address: Option<Spanned<String>>,
    zone: Option<String>,
    capacity: Option<Spanned<u32>>,
}

impl FileText {
    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let invalid = |offset: usize, reason: String| ConfigError::Invalid {
            path: path.to_owned(),
            line: line_of(text, offset),
            reason,
        };
        let file: Self = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            invalid(offset, error.message().to_owned())
        })?;
        if let Some(shards) = &file.shards
            && !(1..=SHARDS_MAX).contains(shards.get_ref())
        {
            let reason = format!("shards must be 1 to {SHARDS_MAX}");
            return Err(invalid(shards.span().start, reason));
        }
        if let Some(address) = &file.node.address
            && !is_host_and_port(address.get_ref())
        {
            let reason = "address must be host:port, such as \"10.0.0.4:7101\"".to_owned();
            return Err(invalid(address.span().start, reason));
        }
        if let Some(capacity) = &file.node.capacity
            && *capacity.get_ref() == 0
        {
            let reason = "capacity must not be 0".to_owned();
            return Err(invalid(capacity.span().start, reason));
        }
        let not_zero = [
            ("sync_interval_ms", &file.sync_interval_ms),
            ("client_idle_timeout_ms", &file.client_idle_timeout_ms),
        ];
        for (option, value) in not_zero {
            if *value.get_ref() == 0 {
                return Err(invalid(
                    value.span().start,
                    format!("{option} must not be 0"),
                ));
            }
        }
        let not_zero = [
            ("inbox_max", &file.inbox_max),
            ("inbox_bytes_max", &file.inbox_bytes_max),
        ];
        for (option, value) in not_zero {
            if *value.get_ref() == 0 {
                return Err(invalid(
                    value.span().start,
                    format!("{option} must not be 0"),
                ));
            }
        }
        if let Some((option, reason)) = file.engine.mistake() {
            let offset = text.find(option).unwrap_or(0);
            return Err(invalid(offset, format!("{option} {reason}")));
        }
        Ok(file)
    }
}

fn look_up(address: &str) -> Result<SocketAddr, ConfigError> {
    let failed = |reason: String| ConfigError::Listen {
        address: address.to_owned(),
        reason,
    };
    address
        .to_socket_addrs()
        .map_err(|error| failed(error.to_string()))?
        .next()
        .ok_or_else(|| failed("it stands for nothing".to_owned()))
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    1 + before.bytes().filter(|byte| *byte == b'\n').count()
}

/// Half of the cores: the other half is for the socket, the disk and the kernel.
fn default_shards() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, SHARDS_MAX))
}

fn sync_interval_ms() -> Spanned<u64> {
    Spanned::new(0..0, 200)
}

fn inbox_max() -> Spanned<usize> {
    Spanned::new(0..0, 16_384)
}

fn inbox_bytes_max() -> Spanned<usize> {
    Spanned::new(0..0, 128 << 20)
}

fn connections_max() -> usize {
    20_000
}

fn client_idle_timeout_ms() -> Spanned<u64> {
    Spanned::new(0..0, 30_000)
}

fn hints_bytes_max() -> u64 {
    1 << 30
}
