//! A cluster in a temporary folder, and requests sent to one certain node of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_client::tls::{Identity, IdentityFiles, WireProtocol};
use dunlin_client::transport::{LinkOptions, PathMtu, Requester, TransportSettings};
use dunlin_crdt::{Kind, OpId};
use dunlin_node::dev::{DevCluster, DevOptions, DevWatch, NodeState};
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::request::{
    Query, Read, ReadOptions, Replace, Request, Write, WriteOp, WriteOptions,
};
use dunlin_protocol::response::{Answer, Found, Response};
use dunlin_protocol::status::{NodeStatus, PartitionDigest};
use dunlin_protocol::{BucketDefaults, BucketName, Failure};
use dunlin_ring::{BucketId, PartitionId};
use rustls::pki_types::UnixTime;

/// How long anything may take on a busy machine before the test says what is missing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Few, so that digests of all are compared quickly.
pub(crate) const PARTITIONS: u16 = 8;

/// A cluster that ends with the test.
pub(crate) struct TestCluster {
    pub(crate) dev: DevCluster,
    pub(crate) watch: Option<DevWatch>,
    /// Holds the files.
    _dir: tempfile::TempDir,
}

impl TestCluster {
    /// The files of so many nodes, none of them running.
    pub(crate) fn create(nodes: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = DevOptions {
            nodes,
            partitions: PARTITIONS,
            ..DevOptions::new(dir.path().join("dev"))
        };
        let dev = DevCluster::create(&options)
            .unwrap()
            .with_program(env!("CARGO_BIN_EXE_dunlin"));
        Self {
            dev,
            watch: None,
            _dir: dir,
        }
    }

    /// All nodes running and ready.
    pub(crate) async fn start(nodes: u16) -> Self {
        let mut cluster = Self::create(nodes);
        cluster.dev.start().unwrap();
        cluster.ready().await;
        cluster
    }

    /// Waits until all nodes run and are ready.
    pub(crate) async fn ready(&mut self) {
        if self.watch.is_none() {
            let watch = DevWatch::connect(&self.dev, PATIENCE).await;
            self.watch = Some(watch.unwrap_or_else(|error| panic!("{error}\n{}", self.logs())));
        }
        let watch = self.watch.as_mut().unwrap();
        if let Err(error) = watch.ready(&self.dev, PATIENCE).await {
            panic!("{error}\n{}", self.logs());
        }
    }

    /// Waits until what a node says of itself is as it should be.
    pub(crate) async fn until(
        &mut self,
        number: u16,
        what: &str,
        is_so: impl Fn(&NodeStatus) -> bool,
    ) -> NodeStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let looks = self.watch.as_mut().unwrap().look(&self.dev).await;
            let look = looks.into_iter().nth(usize::from(number) - 1).unwrap();
            match look.state {
                NodeState::Up(status) if is_so(&status) => return *status,
                state if Instant::now() >= deadline => {
                    panic!(
                        "node {number}: not so in time: {what}; {state:?}\n{}",
                        self.logs()
                    );
                }
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A connection to one node, as the admin.
    pub(crate) async fn connect(&self, number: u16) -> Asking {
        let identity = self.dev.dir().join("user-admin");
        self.connect_as(number, &identity.to_string_lossy(), WireProtocol::Client)
            .await
            .unwrap()
    }

    /// A connection to one node with a certificate and a protocol.
    pub(crate) async fn connect_as(
        &self,
        number: u16,
        identity: &str,
        protocol: WireProtocol,
    ) -> Result<Asking, String> {
        let files = IdentityFiles {
            certificate: format!("{identity}.pem").into(),
            key: format!("{identity}-key.pem").into(),
            authority: self.dev.dir().join("ca.pem"),
        };
        let identity = Identity::load(&files, UnixTime::now()).unwrap();
        let node = self.dev.node(number).unwrap();
        let settings = TransportSettings {
            path_mtu: PathMtu::Loopback,
            ..TransportSettings::default()
        };
        let endpoint = settings.bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let connection = endpoint
            .connect_with(
                settings.client_config(&identity, protocol).unwrap(),
                node.address.parse().unwrap(),
                &format!("{}.node.dev.dunlin", node.name),
            )
            .unwrap()
            .await
            .map_err(|error| error.to_string())?;
        Ok(Asking {
            requester: Requester::open(connection, LinkOptions::CLIENT, 1024),
            _endpoint: endpoint,
        })
    }

    /// What a node says it holds of every partition.
    pub(crate) async fn digests(&self, number: u16) -> Vec<PartitionDigest> {
        let asking = self.connect(number).await;
        let mut digests = Vec::new();
        for partition in (0..PARTITIONS).map(PartitionId) {
            match asking.ask(&Request::Digest(partition)).await {
                Answer::Digest(digest) => digests.push(digest),
                other => panic!("a digest was asked for: {other:?}"),
            }
        }
        digests
    }

    /// Waits until all nodes hold the same bytes under the same clocks.
    pub(crate) async fn converged(&self) -> Vec<PartitionDigest> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let first = self.digests(1).await;
            let mut equal = first.iter().all(|digest| digest.whole);
            for number in self.dev.nodes().iter().map(|node| node.number).skip(1) {
                equal &= self.digests(number).await == first;
            }
            if equal {
                return first;
            }
            assert!(
                Instant::now() < deadline,
                "not equal in time\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn logs(&self) -> String {
        let log = |node: &dunlin_node::dev::DevNode| {
            let text = std::fs::read_to_string(node.log()).unwrap_or_default();
            format!("--- {} ---\n{text}\n", node.name)
        };
        self.dev.nodes().iter().map(log).collect()
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        for node in self.dev.nodes().to_vec() {
            // The test has said what it had to say.
            let _ = self.dev.kill(node.number);
        }
    }
}

/// Asks one node.
pub(crate) struct Asking {
    pub(crate) requester: Requester,
    _endpoint: quinn::Endpoint,
}

impl Asking {
    /// The answer to a request.
    pub(crate) async fn ask(&self, request: &Request) -> Answer {
        self.ask_bytes(codec::encode(request).unwrap().into()).await
    }

    /// The answer to whatever these bytes are.
    pub(crate) async fn ask_bytes(&self, body: Bytes) -> Answer {
        let frame = self.requester.request(body, REQUEST_TIMEOUT).await.unwrap();
        let response: Response = codec::decode(&frame.body, CodecLimits::default()).unwrap();
        response.answer
    }

    /// Creates a bucket of registers.
    pub(crate) async fn create_registers(&self, name: &str) -> BucketId {
        let request = Request::CreateBucket {
            name: BucketName::try_from(name.to_owned()).unwrap(),
            kind: Kind::Register,
            defaults: BucketDefaults::default(),
        };
        match self.ask(&request).await {
            Answer::Created { bucket, .. } => bucket.id,
            other => panic!("a bucket was to be created: {other:?}"),
        }
    }

    /// Puts a value; says who holds it.
    pub(crate) async fn put(
        &self,
        bucket: BucketId,
        key: &str,
        value: &str,
    ) -> Result<usize, Failure> {
        let request = Request::Write(Write {
            bucket,
            key: Bytes::copy_from_slice(key.as_bytes()),
            op: WriteOp::Put {
                value: Bytes::copy_from_slice(value.as_bytes()),
                replaces: Replace::Seen,
            },
            id: OpId(fastrand::u64(..), fastrand::u64(..)),
            options: WriteOptions::default(),
        });
        match self.ask(&request).await {
            Answer::Written(receipt) => Ok(receipt.copies.len()),
            Answer::Failed(failure) => Err(failure),
            other => panic!("a value was put: {other:?}"),
        }
    }

    /// The values under a key.
    pub(crate) async fn get(&self, bucket: BucketId, key: &str) -> Vec<Bytes> {
        let request = Request::Read(Read {
            bucket,
            key: Bytes::copy_from_slice(key.as_bytes()),
            query: Query::Value,
            options: ReadOptions::default(),
            seen: None,
        });
        match self.ask(&request).await {
            Answer::Read(read) => match read.found {
                Found::Siblings { values, .. } => values,
                Found::Nothing => Vec::new(),
                other => panic!("a register was read: {other:?}"),
            },
            other => panic!("a register was read: {other:?}"),
        }
    }

    /// How the node is.
    pub(crate) async fn status(&self) -> NodeStatus {
        match self.ask(&Request::Status).await {
            Answer::Status(status) => *status,
            other => panic!("the status was asked for: {other:?}"),
        }
    }
}

/// A counter of a status.
pub(crate) fn counter(status: &NodeStatus, name: &str) -> u64 {
    let found = status.counters.iter().find(|(known, _)| known == name);
    found.map_or(0, |(_, count)| *count)
}
