//! Asking one node how it is, at its address. The client asks members of the layout only, and a node that
//! has just been added is none.

use std::time::Duration;

use dunlin_client::cluster_file::ClusterFile;
use dunlin_client::tls::{ClusterName, Identity, Role, WireProtocol};
use dunlin_client::transport::{CloseCode, LinkOptions, PathMtu, Requester, TransportSettings};
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::{Answer, Response};
use dunlin_protocol::status::NodeStatus;
use quinn::{ClientConfig, Endpoint};
use rustls::pki_types::UnixTime;

use super::DevNode;

/// A socket to ask from.
#[derive(Debug)]
pub(super) struct Asking {
    cluster: ClusterName,
    endpoint: Endpoint,
    config: ClientConfig,
}

impl Asking {
    /// With the identity that the cluster file names; `None` if it can't be had.
    pub(super) fn new(file: &ClusterFile) -> Option<Self> {
        let identity = Identity::load(&file.identity()?, UnixTime::now()).ok()?;
        let settings = TransportSettings {
            path_mtu: PathMtu::Loopback,
            ..TransportSettings::default()
        };
        let config = settings
            .client_config(&identity, WireProtocol::Client)
            .ok()?;
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        Some(Self {
            cluster: file.cluster.clone(),
            endpoint: settings.bind(any, None).ok()?,
            config,
        })
    }

    /// What the node says of itself, if it says so in time.
    pub(super) async fn status(&self, node: &DevNode, timeout: Duration) -> Option<NodeStatus> {
        tokio::time::timeout(timeout, self.ask(node, timeout))
            .await
            .ok()?
    }

    async fn ask(&self, node: &DevNode, timeout: Duration) -> Option<NodeStatus> {
        let name = Role::node(node.name.as_str()).ok()?.dns_name(&self.cluster);
        let connecting =
            self.endpoint
                .connect_with(self.config.clone(), node.address.parse().ok()?, &name);
        let connection = connecting.ok()?.await.ok()?;
        let requester = Requester::open(connection, LinkOptions::CLIENT, 1);
        let question = codec::encode(&Request::Status).ok()?;
        let frame = requester.request(question.into(), timeout).await.ok()?;
        requester.link().close(CloseCode::Done, "");
        match codec::decode(&frame.body, CodecLimits::default()).ok()? {
            Response {
                answer: Answer::Status(status),
                ..
            } => Some(*status),
            _ => None,
        }
    }
}
