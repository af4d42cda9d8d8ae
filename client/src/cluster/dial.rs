//! Making connections: an address, looked up, dialed, and the node behind it identified.
//!
//! A socket is bound per address family and path, when it is first needed: a host without IPv6 can
//! still use IPv4, and nodes on this machine get the larger datagrams of the loopback.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{ClientConfig, Endpoint};
use thiserror::Error;

use crate::tls::{ClusterName, Identity, Role, TlsError, WireProtocol, peer_role};
use crate::transport::{CloseCode, LinkOptions, PathMtu, Requester, TransportSettings};

/// A handshake takes two round trips; one that takes longer than this is lost.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Requests without an answer on one connection, above which it takes no more.
const OPEN_MAX: usize = 65_536;

/// Why there is no connection. Nothing was sent.
#[derive(Debug, Error)]
pub(crate) enum DialError {
    #[error("its address cannot be looked up: {0}")]
    Lookup(io::Error),
    #[error("its address stands for nothing")]
    NoAddress,
    #[error("no socket can be opened: {0}")]
    Socket(io::Error),
    #[error("it cannot be dialed: {0}")]
    Dial(#[from] quinn::ConnectError),
    #[error("no connection: {0}")]
    Handshake(#[from] quinn::ConnectionError),
    #[error("{0}")]
    Identity(#[from] TlsError),
    #[error("{0} answers there, which is no node")]
    NotANode(Role),
    #[error("no connection within {} ms", DIAL_TIMEOUT.as_millis())]
    TimedOut,
}

/// Whom to expect at an address.
#[derive(Clone, Copy)]
pub(crate) enum Expected<'a> {
    /// Any node of the cluster.
    AnyNode,
    /// The node of this name.
    Node(&'a str),
}

/// A connection, and the name of the node at its other end.
pub(crate) struct Dialed {
    pub(crate) requester: Requester,
    pub(crate) node: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Path {
    Loopback,
    Network,
}

pub(crate) struct Dialer {
    cluster: ClusterName,
    loopback: (TransportSettings, ClientConfig),
    network: (TransportSettings, ClientConfig),
    /// Guards the sockets in use; held to look one up or to bind it.
    endpoints: Mutex<BTreeMap<(Family, Path), Endpoint>>,
}

impl Dialer {
    pub(crate) fn new(identity: &Identity) -> Result<Self, TlsError> {
        let settings = |path_mtu| {
            let settings = TransportSettings {
                path_mtu,
                ..TransportSettings::default()
            };
            let config = settings.client_config(identity, WireProtocol::Client)?;
            Ok::<_, TlsError>((settings, config))
        };
        Ok(Self {
            cluster: identity.cluster().clone(),
            loopback: settings(PathMtu::Loopback)?,
            network: settings(PathMtu::Ethernet)?,
            endpoints: Mutex::default(),
        })
    }

    /// Connects to the first of the address's hosts that answers.
    pub(crate) async fn dial(
        &self,
        address: &str,
        expected: Expected<'_>,
    ) -> Result<Dialed, DialError> {
        tokio::time::timeout(DIAL_TIMEOUT, self.dial_any(address, expected))
            .await
            .map_err(|_| DialError::TimedOut)?
    }

    /// Completes when every connection that has been closed is gone, and its other end told.
    pub(crate) async fn wait_idle(&self) {
        let endpoints: Vec<Endpoint> = self.endpoints().values().cloned().collect();
        for endpoint in endpoints {
            endpoint.close((CloseCode::Done as u32).into(), b"");
            endpoint.wait_idle().await;
        }
    }

    async fn dial_any(&self, address: &str, expected: Expected<'_>) -> Result<Dialed, DialError> {
        let hosts = tokio::net::lookup_host(address)
            .await
            .map_err(DialError::Lookup)?;
        let mut last = DialError::NoAddress;
        for host in hosts {
            match self.dial_host(host, expected).await {
                Ok(dialed) => return Ok(dialed),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn dial_host(
        &self,
        host: SocketAddr,
        expected: Expected<'_>,
    ) -> Result<Dialed, DialError> {
        let server_name = match expected {
            Expected::AnyNode => self.cluster.any_node(),
            Expected::Node(name) => Role::node(name)?.dns_name(&self.cluster),
        };
        let (endpoint, config) = self.endpoint(host).map_err(DialError::Socket)?;
        let connection = endpoint.connect_with(config, host, &server_name)?.await?;
        match peer_role(&connection)?.role {
            Role::Node(node) => Ok(Dialed {
                requester: Requester::open(connection, LinkOptions::CLIENT, OPEN_MAX),
                node,
            }),
            role @ Role::User(_) => Err(DialError::NotANode(role)),
        }
    }

    fn endpoint(&self, host: SocketAddr) -> io::Result<(Endpoint, ClientConfig)> {
        let (family, any): (_, IpAddr) = match host {
            SocketAddr::V4(_) => (Family::V4, Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (Family::V6, Ipv6Addr::UNSPECIFIED.into()),
        };
        let (path, (settings, config)) = match host.ip().is_loopback() {
            true => (Path::Loopback, &self.loopback),
            false => (Path::Network, &self.network),
        };
        let mut endpoints = self.endpoints();
        let endpoint = match endpoints.get(&(family, path)) {
            Some(endpoint) => endpoint.clone(),
            None => {
                let endpoint = settings.bind(SocketAddr::new(any, 0), None)?;
                endpoints.insert((family, path), endpoint.clone());
                endpoint
            }
        };
        Ok((endpoint, config.clone()))
    }

    fn endpoints(&self) -> MutexGuard<'_, BTreeMap<(Family, Path), Endpoint>> {
        // Inserted whole or not at all.
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
