//! From what an application knows of a cluster to a [`Client`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::{Answer, Response};
use dunlin_ring::Layout;
use fastrand::Rng;
use rustls::pki_types::UnixTime;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::Client;
use crate::cluster::dial::{Dialer, Expected};
use crate::cluster::{Cluster, Entropy};
use crate::cluster_file::{ClusterFile, ClusterFileError, is_host_and_port};
use crate::options::Options;
use crate::tls::{ClusterName, Identity, IdentityFiles, TlsError};
use crate::transport::Requester;
use dunlin_decide::backoff::Backoff;

/// How long to look for a node, unless told otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses tried at a time.
const DIALS_MAX: usize = 4;

/// Between rounds over all addresses, since a cluster may be starting.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How long a node may take to say what the layout is.
const LAYOUT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no client. Nothing was sent but handshakes.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The cluster file is not usable.
    #[error(transparent)]
    ClusterFile(#[from] ClusterFileError),
    /// Neither a cluster file nor an address was given.
    #[error("no node to connect to: give a cluster file or addresses")]
    NoNodes,
    /// An address is not of the form `host:port`.
    #[error("{0:?} is no address; write host:port, such as 127.0.0.1:7101")]
    BadAddress(String),
    /// There is no certificate to show.
    #[error("no identity: name certificate and key in the cluster file, or give them")]
    NoIdentity,
    /// The certificate, its key or the authority's certificate is not usable.
    #[error(transparent)]
    Identity(#[from] TlsError),
    /// The certificate is for another cluster than the file says.
    #[error("the certificate is for cluster {certificate}, the cluster file for {file}")]
    OtherCluster {
        /// What the certificate says.
        certificate: ClusterName,
        /// What the file says.
        file: ClusterName,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// No node answered in time.
    #[error("no node answered within {} ms: {}", after.as_millis(), Reasons(reasons))]
    NoneReachable {
        /// How long was tried.
        after: Duration,
        /// Each address, with why not.
        reasons: Vec<(String, String)>,
    },
}

struct Reasons<'a>(&'a [(String, String)]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (address, reason)) in self.0.iter().enumerate() {
            let semicolon = if at == 0 { "" } else { "; " };
            write!(f, "{semicolon}{address}: {reason}")?;
        }
        Ok(())
    }
}

/// What is needed to connect. See [`Client::builder`].
#[derive(Debug)]
pub struct ClientBuilder {
    cluster_file: Option<PathBuf>,
    seeds: Vec<String>,
    addresses: BTreeMap<String, String>,
    identity: Option<IdentitySource>,
    options: Options,
    connect_timeout: Duration,
}

#[derive(Debug)]
enum IdentitySource {
    Files(IdentityFiles),
    Loaded(Box<Identity>),
}

impl ClientBuilder {
    pub(crate) fn new() -> Self {
        Self {
            cluster_file: None,
            seeds: Vec::new(),
            addresses: BTreeMap::new(),
            identity: None,
            options: Options::new(),
            connect_timeout: CONNECT_TIMEOUT,
        }
    }

    /// Takes nodes and identity from a [cluster file](crate::cluster_file). What is given here as well
    /// goes before it.
    #[must_use]
    pub fn cluster_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.cluster_file = Some(path.into());
        self
    }

    /// Addresses, `host:port`, of some nodes. One that answers is enough; the layout has the others.
    #[must_use]
    pub fn nodes(mut self, addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.seeds.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Reaches the node of this name at this address, whatever the layout says: for networks in which
    /// a node has one address for its peers and another for us.
    #[must_use]
    pub fn address(mut self, node: impl Into<String>, address: impl Into<String>) -> Self {
        self.addresses.insert(node.into(), address.into());
        self
    }

    /// Shows this certificate.
    #[must_use]
    pub fn identity_files(mut self, files: IdentityFiles) -> Self {
        self.identity = Some(IdentitySource::Files(files));
        self
    }

    /// Shows this certificate, loaded already.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(IdentitySource::Loaded(Box::new(identity)));
        self
    }

    /// What requests ask for unless they say otherwise themselves.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// How long [`connect`](Self::connect) may look for a node. Five seconds unless told otherwise.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connects to the first node that answers, and learns the layout from it. Nodes that do not
    /// answer yet are tried again until the time is up.
    ///
    /// # Errors
    /// [`ConnectError`] says which file, address or certificate is at fault.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let file = self.cluster_file.map(ClusterFile::load).transpose()?;
        let mut seeds = self.seeds;
        seeds.extend(file.iter().flat_map(|file| {
            file.listed().map(|node| {
                self.addresses
                    .get(&node.name)
                    .unwrap_or(&node.address)
                    .clone()
            })
        }));
        if let Some(bad) = seeds
            .iter()
            .chain(self.addresses.values())
            .find(|address| !is_host_and_port(address))
        {
            return Err(ConnectError::BadAddress(bad.clone()));
        }
        if seeds.is_empty() {
            return Err(ConnectError::NoNodes);
        }
        let load = |files: &IdentityFiles| Identity::load(files, UnixTime::now());
        let identity = match (self.identity, file.as_ref().and_then(ClusterFile::identity)) {
            (Some(IdentitySource::Loaded(identity)), _) => *identity,
            (Some(IdentitySource::Files(files)), _) => load(&files)?,
            (None, Some(files)) => load(&files)?,
            (None, None) => return Err(ConnectError::NoIdentity),
        };
        if let Some(file) = file.filter(|file| file.cluster != *identity.cluster()) {
            return Err(ConnectError::OtherCluster {
                certificate: identity.cluster().clone(),
                file: file.cluster,
            });
        }
        let mut random = [0; 32];
        rustls::crypto::ring::default_provider()
            .secure_random
            .fill(&mut random)
            .map_err(|_| ConnectError::NoRandomness)?;
        let (seed, ids) = random.split_at(8);
        let mut rng = Rng::with_seed(seed.iter().fold(0, |seed, b| seed << 8 | u64::from(*b)));
        rng.shuffle(&mut seeds);
        let dialer = Arc::new(Dialer::new(&identity)?);
        let found = find_node(dialer.clone(), &seeds, self.connect_timeout, &mut rng).await?;
        let entropy = Entropy::new(ids.first_chunk().copied().unwrap_or_default());
        let cluster = Cluster::start(dialer, self.addresses, entropy, found);
        Ok(Client::new(cluster, self.options))
    }
}

/// The first node that answered, and what it said.
pub(crate) struct Found {
    pub(crate) requester: Requester,
    pub(crate) name: String,
    pub(crate) layout: Layout,
}

/// Asks everyone for the layout, a few at a time and again and again, until somebody answers.
async fn find_node(
    dialer: Arc<Dialer>,
    seeds: &[String],
    after: Duration,
    rng: &mut Rng,
) -> Result<Found, ConnectError> {
    let deadline = Instant::now() + after;
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
    let mut reasons = BTreeMap::new();
    loop {
        let round = ask_all(&dialer, seeds, &mut reasons);
        if let Ok(Some(found)) = tokio::time::timeout_at(deadline, round).await {
            return Ok(found);
        }
        let next = Instant::now() + backoff.pause(rng);
        if next >= deadline {
            let reason = |address: &String| match reasons.get(address) {
                Some(reason) => String::clone(reason),
                None => "no answer".to_owned(),
            };
            return Err(ConnectError::NoneReachable {
                after,
                reasons: seeds
                    .iter()
                    .map(|seed| (seed.clone(), reason(seed)))
                    .collect(),
            });
        }
        tokio::time::sleep_until(next).await;
    }
}

async fn ask_all(
    dialer: &Arc<Dialer>,
    seeds: &[String],
    reasons: &mut BTreeMap<String, String>,
) -> Option<Found> {
    let mut asked = JoinSet::new();
    let mut rest = seeds.iter();
    loop {
        while asked.len() < DIALS_MAX
            && let Some(address) = rest.next()
        {
            let (dialer, address) = (dialer.clone(), address.clone());
            asked.spawn(async move {
                let answer = ask_layout(&dialer, &address).await;
                (address, answer)
            });
        }
        // A task that panicked is one address that did not answer.
        match asked.join_next().await? {
            Ok((_, Ok(found))) => return Some(found),
            Ok((address, Err(reason))) => {
                reasons.insert(address, reason);
            }
            Err(error) => tracing::error!(%error, "a connection attempt broke down"),
        }
    }
}

async fn ask_layout(dialer: &Dialer, address: &str) -> Result<Found, String> {
    let dialed = dialer
        .dial(address, Expected::AnyNode)
        .await
        .map_err(|error| error.to_string())?;
    let body = layout_request().map_err(|error| error.to_string())?;
    let frame = dialed
        .requester
        .request(body, LAYOUT_TIMEOUT)
        .await
        .map_err(|error| error.to_string())?;
    let response: Response = codec::decode(&frame.body, CodecLimits::default())
        .map_err(|error| format!("its answer is not valid: {error}"))?;
    match response.answer {
        Answer::Layout(layout) => Ok(Found {
            requester: dialed.requester,
            name: dialed.node,
            layout: *layout,
        }),
        Answer::Failed(failure) => Err(failure.to_string()),
        _ => Err("asked for the layout, it answered otherwise".to_owned()),
    }
}

/// The encoded question for the layout.
pub(crate) fn layout_request() -> Result<Bytes, codec::CodecError> {
    codec::encode(&Request::Layout).map(Bytes::from)
}
