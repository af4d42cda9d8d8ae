//! The numbers of a connection, and the socket under it.
//!
//! Windows and stream counts are spelled out because they are what an unfriendly peer can make us
//! hold in memory, and because quinn allocates for the allowed number of streams up front.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TransportConfig, VarInt,
};

use crate::tls::{Identity, TlsError, WireProtocol};

/// Every datacentre is nearer than this; the protocol's own guess of 333 ms would make the first
/// lost packet of a connection cost a third of a second.
const INITIAL_RTT: Duration = Duration::from_millis(2);

/// The most that leaves in one datagram over loopback. With segmentation offload ten segments
/// travel in one send, and above 6.5 kB ten of them no longer fit a UDP datagram: the send fails,
/// silently.
const LOOPBACK_MTU: u16 = 6_400;

/// Handshakes waiting for us, and what each may have sent meanwhile: no early data is accepted, so
/// a handshake is a few kilobytes.
const INCOMING_MAX: usize = 1_024;
const INCOMING_BYTES_MAX: u64 = 64 * 1024;
const INCOMING_BYTES_TOTAL_MAX: u64 = 8 * 1024 * 1024;

/// QUIC datagrams that nobody has read yet, and those that wait to leave, in bytes; older ones are
/// dropped. Nodes tell each other with them who is there, a few small ones at a time.
const DATAGRAMS_BYTES_MAX: usize = 64 * 1024;

/// How large datagrams may grow. They start at 1,200 bytes in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathMtu {
    /// Up to what an Ethernet frame carries, as far as the path proves to.
    Ethernet,
    /// Up to 6,400 bytes, for processes on one machine: saves about a third of the CPU there.
    Loopback,
}

/// Transport settings; both ends may differ, the tighter one rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransportSettings {
    /// A connection on which nothing was heard for this long is lost.
    pub idle_timeout: Duration,
    /// How often a silent connection proves that it is alive; none lets it time out.
    pub keep_alive: Option<Duration>,
    /// Bidirectional streams that the other side may have open: its lanes, and large frames.
    pub streams_max: u32,
    /// What may be on its way to us on one stream, in bytes.
    pub stream_window_bytes: u32,
    /// What may be on its way to us on one connection, in bytes.
    pub connection_window_bytes: u32,
    /// What may be on its way from us on one connection, in bytes.
    pub send_window_bytes: u32,
    /// The size asked for the socket's buffers; the system may grant less.
    pub socket_buffer_bytes: usize,
    /// How large datagrams may grow.
    pub path_mtu: PathMtu,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(10),
            keep_alive: Some(Duration::from_secs(3)),
            streams_max: 16,
            stream_window_bytes: 2 * 1024 * 1024,
            connection_window_bytes: 16 * 1024 * 1024,
            send_window_bytes: 16 * 1024 * 1024,
            socket_buffer_bytes: 4 * 1024 * 1024,
            path_mtu: PathMtu::Ethernet,
        }
    }
}

impl TransportSettings {
    /// What to dial with.
    pub fn client_config(
        &self,
        identity: &Identity,
        protocol: WireProtocol,
    ) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::new(Arc::new(identity.quic_client(protocol)?));
        config.transport_config(Arc::new(self.transport_config()));
        Ok(config)
    }

    /// What to accept with; serves both protocols.
    pub fn server_config(&self, identity: &Identity) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::with_crypto(Arc::new(identity.quic_server()?));
        config
            .transport_config(Arc::new(self.transport_config()))
            // An address that changes under a connection is a rerouted or a stolen one; whoever
            // really moved connects again.
            .migration(false)
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES_MAX)
            .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
        Ok(config)
    }

    /// Binds a UDP socket and puts an endpoint on it; without a server configuration it only
    /// dials. To be called on the runtime that shall drive it: measured, a current-thread runtime
    /// of its own costs the least CPU.
    pub fn bind(&self, address: SocketAddr, server: Option<ServerConfig>) -> io::Result<Endpoint> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::DGRAM,
            Some(socket2::Protocol::UDP),
        )?;
        socket.set_recv_buffer_size(self.socket_buffer_bytes)?;
        socket.set_send_buffer_size(self.socket_buffer_bytes)?;
        socket.bind(&address.into())?;
        let granted = socket.recv_buffer_size()?.min(socket.send_buffer_size()?);
        if granted < self.socket_buffer_bytes {
            tracing::info!(
                asked = self.socket_buffer_bytes,
                granted,
                "small socket buffers"
            );
        }
        let mut config = EndpointConfig::default();
        if self.path_mtu == PathMtu::Loopback {
            config
                .max_udp_payload_size(LOOPBACK_MTU)
                .map_err(io::Error::other)?;
        }
        Endpoint::new(config, server, socket.into(), Arc::new(quinn::TokioRuntime))
    }

    fn transport_config(&self) -> TransportConfig {
        let mut discovery = MtuDiscoveryConfig::default();
        if self.path_mtu == PathMtu::Loopback {
            discovery.upper_bound(LOOPBACK_MTU);
        }
        let mut config = TransportConfig::default();
        config
            .max_concurrent_bidi_streams(VarInt::from_u32(self.streams_max))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            // The field holds millions of years; what is longer still becomes seven weeks.
            .max_idle_timeout(Some(
                IdleTimeout::try_from(self.idle_timeout)
                    .unwrap_or_else(|_| IdleTimeout::from(VarInt::from_u32(u32::MAX))),
            ))
            .keep_alive_interval(self.keep_alive)
            .stream_receive_window(VarInt::from_u32(self.stream_window_bytes))
            .receive_window(VarInt::from_u32(self.connection_window_bytes))
            .send_window(u64::from(self.send_window_bytes))
            .datagram_receive_buffer_size(Some(DATAGRAMS_BYTES_MAX))
            .datagram_send_buffer_size(DATAGRAMS_BYTES_MAX)
            .initial_rtt(INITIAL_RTT)
            .mtu_discovery_config(Some(discovery));
        config
    }
}
