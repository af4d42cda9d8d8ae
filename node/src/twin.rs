//! Looking for another process of this node before it says a word to anybody.
//!
//! ```text
//!   where the layouts, the cluster file and the configuration say that this node is
//!     ─> nobody has the address here on this machine: free
//!     ─> dial it: whoever answers there with this node's certificate is a twin, and this process ends
//! ```
//!
//! A disk that was cloned, or a configuration that was copied, must not take the place of a node that
//! lives. A twin that cannot be reached from here is not found: then the later of the two processes stands
//! as soon as they hear of each other, and the other one ends.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use dunlin_client::tls::{Identity, Role, WireProtocol, peer_role};
use dunlin_client::transport::CloseCode;
use dunlin_engine::Knowledge;
use dunlin_ring::NodeId;
use quinn::{ClientConfig, Endpoint, VarInt};
use tokio::task::JoinSet;

use crate::config::ServerConfig;
use crate::links::dial::resolve;
use crate::server::{ServerError, net_settings};

/// How long a twin may take to answer: two round trips, and more than it takes around the world. A node
/// whose address is not one of its own machine starts later by it.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// A connection on which nothing is heard for this long is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Fails if another process of this node answers where it may be.
///
/// # Errors
/// [`ServerError::Twin`] if so, others if there is no socket to ask from.
pub(crate) async fn look(
    config: &ServerConfig,
    identity: &Identity,
    knowledge: &Knowledge,
) -> Result<(), ServerError> {
    let me = NodeId::from_name(&config.name);
    let layouts = knowledge.layouts().all();
    let in_layouts = layouts.filter_map(|applied| applied.layout.member(me));
    let listed = config.cluster.listed().filter(|n| n.name == config.name);
    let addresses: BTreeSet<&str> = in_layouts
        .map(|member| &*member.address)
        .chain(listed.map(|node| &*node.address))
        .chain([&*config.address])
        .collect();
    let settings = net_settings(config.listen, IDLE_TIMEOUT, None);
    let client = settings.client_config(identity, WireProtocol::Peer)?;
    let from = SocketAddr::new(config.listen.ip(), 0);
    let listen = |source| ServerError::Listen {
        address: from,
        source,
    };
    let endpoint = settings.bind(from, None).map_err(listen)?;
    let role = Role::Node(config.name.clone());
    let server_name = role.dns_name(&config.cluster.cluster);
    let mut asking = JoinSet::new();
    for address in addresses {
        let (endpoint, client, role) = (endpoint.clone(), client.clone(), role.clone());
        let (address, server_name) = (address.to_owned(), server_name.clone());
        asking.spawn(async move {
            let answers = answers(&endpoint, client, &address, &server_name, &role);
            let answered = tokio::time::timeout(ANSWER_MAX, answers).await;
            (address, answered.unwrap_or(false))
        });
    }
    let found = asking.join_all().await.into_iter();
    let mut found = found.filter(|(_, answered)| *answered);
    match found.next() {
        None => Ok(()),
        Some((address, _)) => Err(ServerError::Twin {
            name: config.name.clone(),
            address,
        }),
    }
}

/// Whether somebody in this role answers at an address.
async fn answers(
    endpoint: &Endpoint,
    client: ClientConfig,
    address: &str,
    server_name: &str,
    role: &Role,
) -> bool {
    let Ok(at) = resolve(endpoint, address).await else {
        return false;
    };
    if is_free_here(at) {
        return false;
    }
    let Ok(connecting) = endpoint.connect_with(client, at, server_name) else {
        return false;
    };
    let Ok(connection) = connecting.await else {
        return false;
    };
    let is_twin = peer_role(&connection).is_ok_and(|identity| identity.role == *role);
    let done = VarInt::from_u32(CloseCode::Done as u32);
    connection.close(done, b"looking for a twin");
    is_twin
}

/// Whether the address is one of this machine, and nobody has it.
fn is_free_here(address: SocketAddr) -> bool {
    // It can't be had if somebody has it, and if it is elsewhere.
    UdpSocket::bind(address).is_ok()
}
