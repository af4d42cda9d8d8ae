//! A page from the middle of a set.
//!
//! The library streams a set from its beginning. What is measured here is one page somewhere inside,
//! so it is asked for as the protocol has it, from the owner that coordinates.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use dunlin_client::cluster_file::ClusterFile;
use dunlin_client::tls::{Identity, WireProtocol};
use dunlin_client::transport::{LinkOptions, PathMtu, Requester, TransportSettings};
use dunlin_client::{BucketId, Bytes};
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::request::{Page, Query, Read, ReadOptions, Request};
use dunlin_protocol::response::{Answer, Found, Response};
use rustls::pki_types::UnixTime;

use crate::error::LoadError;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to one node, to ask for pages.
pub(crate) struct PageReader {
    requester: Requester,
}

impl PageReader {
    /// Connects to the node at `address`, `IP:port` on this machine.
    pub(crate) async fn connect(cluster_file: &Path, address: &str) -> Result<Self, LoadError> {
        let broken = |error: &dyn std::fmt::Display| LoadError::Page(error.to_string());
        let file = ClusterFile::load(cluster_file).map_err(|error| broken(&error))?;
        let files = file
            .identity()
            .ok_or_else(|| LoadError::Page("the cluster file names no certificate".to_owned()))?;
        let identity = Identity::load(&files, UnixTime::now()).map_err(|error| broken(&error))?;
        let settings = TransportSettings {
            path_mtu: PathMtu::Loopback,
            ..TransportSettings::default()
        };
        let config = settings
            .client_config(&identity, WireProtocol::Client)
            .map_err(|error| broken(&error))?;
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let endpoint = settings.bind(any, None).map_err(|error| broken(&error))?;
        let address: SocketAddr = address
            .parse()
            .map_err(|_| LoadError::Page(format!("{address} is not an IP address with a port")))?;
        let connection = endpoint
            .connect_with(config, address, &identity.cluster().any_node())
            .map_err(|error| broken(&error))?
            .await
            .map_err(|error| broken(&error))?;
        Ok(Self {
            requester: Requester::open(connection, LinkOptions::CLIENT, 1),
        })
    }

    /// The `limit` elements after `after`, agreed on by a majority of the owners.
    pub(crate) async fn elements(
        &self,
        bucket: BucketId,
        key: &Bytes,
        after: Bytes,
        limit: u32,
    ) -> Result<Vec<Bytes>, LoadError> {
        let request = Request::Read(Read {
            bucket,
            key: key.clone(),
            query: Query::Elements(Page {
                after: Some(after),
                limit,
            }),
            options: ReadOptions::default(),
            seen: None,
        });
        let body = codec::encode(&request).map_err(|error| LoadError::Page(error.to_string()))?;
        let frame = self
            .requester
            .request(Bytes::from(body), TIMEOUT)
            .await
            .map_err(|error| LoadError::Page(error.to_string()))?;
        let response: Response = codec::decode(&frame.body, CodecLimits::default())
            .map_err(|error| LoadError::Page(error.to_string()))?;
        match response.answer {
            Answer::Read(answer) => match answer.found {
                Found::Elements { items, .. } => Ok(items),
                Found::Nothing => Ok(Vec::new()),
                _ => Err(LoadError::Page("the answer is no page".to_owned())),
            },
            Answer::Failed(failure) => Err(LoadError::Page(failure.to_string())),
            _ => Err(LoadError::Page(
                "the answer is to another question".to_owned(),
            )),
        }
    }
}
