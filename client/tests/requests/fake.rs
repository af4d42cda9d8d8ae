//! Nodes that answer by a script.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dunlin_client::tls::{ClusterName, Identity, Role};
use dunlin_client::transport::{
    CloseCode, FrameHandler, Link, LinkOptions, PathMtu, Refusal, TransportSettings,
};
use dunlin_client::{
    Bucket, BucketDefaults, BucketId, BucketInfo, Client, Failure, Hlc, Kind, Layout, LayoutNumber,
    NodeId, Options, PartitionId, status::NodeStatus,
};
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::frame::{Frame, FrameKind};
use dunlin_protocol::request::{Request, Write, WriteOp};
use dunlin_protocol::response::{Answer, Found, HeldBy, ReadAnswer, Receipt, Response, Rest};
use dunlin_ring::{Member, MemberState, PartitionCount};
use quinn::{ConnectionError, Endpoint};
use rustls::pki_types::UnixTime;
use tokio::sync::mpsc;

use crate::test_authority::TestAuthority;

pub(crate) const CLUSTER: &str = "test";

/// What a node does with a request.
pub(crate) enum Say {
    Answer(Answer),
    /// The node hangs.
    Nothing,
    /// The connection is lost.
    Hangup,
}

/// A request that arrived.
#[derive(Debug)]
pub(crate) struct Seen {
    pub node: NodeId,
    pub request: Request,
}

impl Seen {
    pub(crate) fn write(self) -> Write {
        match self.request {
            Request::Write(write) => write,
            other => panic!("a write was expected, not {other:?}"),
        }
    }
}

/// Says what a node does with a request; `None` leaves it to the defaults: the layout, a status, and
/// the bucket if there is one.
pub(crate) type Script = Arc<dyn Fn(NodeId, &Request) -> Option<Say> + Send + Sync>;

/// What all fake nodes of one cluster go by.
struct Stage {
    script: Mutex<Script>,
    layout: Mutex<Layout>,
    bucket: Mutex<Option<BucketInfo>>,
    seen: mpsc::UnboundedSender<Seen>,
}

pub(crate) struct FakeCluster {
    authority: TestAuthority,
    stage: Arc<Stage>,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    nodes: Vec<(NodeId, String, SocketAddr, Option<Endpoint>)>,
}

impl FakeCluster {
    /// Nodes `n1`, `n2`, ... with N copies and 16 partitions.
    pub(crate) fn start(nodes: usize, replicas: u8) -> Self {
        let authority = TestAuthority::new().unwrap();
        let (sender, seen) = mpsc::unbounded_channel();
        let endpoints: Vec<_> = (1..=nodes)
            .map(|n| {
                let name = format!("n{n}");
                let endpoint = bind(&authority, &name, ([127, 0, 0, 1], 0).into());
                (name, endpoint)
            })
            .collect();
        let members = endpoints
            .iter()
            .map(|(name, endpoint)| member(name, endpoint.local_addr().unwrap()))
            .collect();
        let layout = Layout::first(members, replicas, PartitionCount::new(16).unwrap()).unwrap();
        let stage = Arc::new(Stage {
            script: Mutex::new(Arc::new(|_, _| None)),
            layout: Mutex::new(layout),
            bucket: Mutex::new(None),
            seen: sender,
        });
        let nodes = endpoints
            .into_iter()
            .map(|(name, endpoint)| {
                let id = NodeId::from_name(&name);
                serve(id, endpoint.clone(), stage.clone());
                (id, name, endpoint.local_addr().unwrap(), Some(endpoint))
            })
            .collect();
        Self {
            authority,
            stage,
            seen,
            nodes,
        }
    }

    /// From now on nodes do what this says.
    pub(crate) fn script(
        &self,
        script: impl Fn(NodeId, &Request) -> Option<Say> + Send + Sync + 'static,
    ) {
        *self.stage.script.lock().unwrap() = Arc::new(script);
    }

    /// From now on there is a bucket of this kind and id.
    pub(crate) fn set_bucket(&self, kind: Kind, id: u64) {
        *self.stage.bucket.lock().unwrap() = Some(bucket_info(kind, id));
    }

    pub(crate) fn layout(&self) -> Layout {
        self.stage.layout.lock().unwrap().clone()
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.2.to_string()).collect()
    }

    /// Certificate, key and authority as PEM, of any role.
    pub(crate) fn issue(&self, role: &Role) -> (String, String, String) {
        issue(&self.authority, role, &ClusterName::new(CLUSTER).unwrap())
    }

    pub(crate) fn user(&self) -> Identity {
        let (certificate, key, authority) = self.issue(&Role::user("ana").unwrap());
        Identity::from_pem(&certificate, &key, &authority, UnixTime::now()).unwrap()
    }

    /// A client that is connected to every node.
    pub(crate) async fn client(&mut self, options: Options) -> Client {
        let client = Client::builder()
            .nodes(self.addresses())
            .identity(self.user())
            .connect()
            .await
            .unwrap();
        for node in client.nodes() {
            client.status(node.node.id).await.unwrap();
        }
        self.forget_seen();
        client.with_options(options)
    }

    /// A client, and the bucket of this kind.
    pub(crate) async fn bucket(&mut self, kind: Kind, options: Options) -> Bucket {
        self.set_bucket(kind, 1);
        let bucket = self.client(options).await.bucket("things").await.unwrap();
        self.forget_seen();
        bucket
    }

    /// Ends a node: its connections are closed, and the other ends have been told.
    pub(crate) async fn stop(&mut self, id: NodeId) {
        let node = self.nodes.iter_mut().find(|node| node.0 == id).unwrap();
        let endpoint = node.3.take().unwrap();
        endpoint.close((CloseCode::ShuttingDown as u32).into(), b"");
        within(endpoint.wait_idle()).await;
    }

    /// Starts a node again where it was.
    pub(crate) async fn restart(&mut self, id: NodeId) {
        let node = self.nodes.iter_mut().find(|node| node.0 == id).unwrap();
        // The old socket is closed by its task, when that is next run.
        let endpoint = within(async {
            loop {
                match try_bind(&self.authority, &node.1, node.2) {
                    Ok(endpoint) => return endpoint,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        serve(id, endpoint.clone(), self.stage.clone());
        node.3 = Some(endpoint);
    }

    /// Adds a node, in a layout of its own that nodes answer with from now on.
    pub(crate) fn grow(&mut self, name: &str) -> NodeId {
        let endpoint = bind(&self.authority, name, ([127, 0, 0, 1], 0).into());
        let address = endpoint.local_addr().unwrap();
        let id = NodeId::from_name(name);
        let layout = self.layout();
        let mut members = layout.members().to_vec();
        members.push(member(name, address));
        *self.stage.layout.lock().unwrap() = layout.next(members, layout.replicas()).unwrap();
        serve(id, endpoint.clone(), self.stage.clone());
        self.nodes
            .push((id, name.to_owned(), address, Some(endpoint)));
        id
    }

    /// The next write, read, or question for keys that arrived.
    pub(crate) async fn next_seen(&mut self) -> Seen {
        let next = async {
            loop {
                let seen = self.seen.recv().await.unwrap();
                if is_about_keys(&seen.request) {
                    return seen;
                }
            }
        };
        within(next).await
    }

    /// Writes, reads and questions for keys that arrived and were not looked at.
    pub(crate) fn rest_seen(&mut self) -> Vec<Seen> {
        let mut rest = Vec::new();
        while let Ok(seen) = self.seen.try_recv() {
            if is_about_keys(&seen.request) {
                rest.push(seen);
            }
        }
        rest
    }

    pub(crate) fn forget_seen(&mut self) {
        while self.seen.try_recv().is_ok() {}
    }

    /// The owners of a key of bucket 1.
    pub(crate) fn owners(&self, key: &str) -> Vec<NodeId> {
        let layout = self.layout();
        layout.owners(partition_of(&layout, key)).to_vec()
    }
}

/// The partition of a key of bucket 1.
pub(crate) fn partition_of(layout: &Layout, key: &str) -> PartitionId {
    layout
        .partitions()
        .partition_of(BucketId(1), key.as_bytes())
}

/// Fails a test that would hang.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("to end in time")
}

/// A write that one owner holds.
pub(crate) fn written(node: NodeId) -> Say {
    written_with(node, Rest::Done)
}

pub(crate) fn written_with(node: NodeId, rest: Rest) -> Say {
    Say::Answer(Answer::Written(Receipt {
        copies: vec![HeldBy {
            node,
            hint_for: None,
            synced: true,
        }],
        rest,
        ..Receipt::default()
    }))
}

pub(crate) fn found(node: NodeId, found: Found) -> Say {
    Say::Answer(Answer::Read(ReadAnswer {
        seen: None,
        found,
        owners: vec![node],
        fallbacks: vec![],
    }))
}

pub(crate) fn failed(failure: Failure) -> Say {
    Say::Answer(Answer::Failed(failure))
}

pub(crate) fn op_of(request: &Request) -> Option<&WriteOp> {
    match request {
        Request::Write(write) => Some(&write.op),
        _ => None,
    }
}

pub(crate) fn bucket_info(kind: Kind, id: u64) -> BucketInfo {
    BucketInfo {
        id: BucketId(id),
        name: "things".parse().unwrap(),
        kind,
        defaults: BucketDefaults::default(),
        created: Hlc::default(),
        dropped: false,
    }
}

pub(crate) fn issue(
    authority: &TestAuthority,
    role: &Role,
    cluster: &ClusterName,
) -> (String, String, String) {
    let own = role.dns_name(cluster);
    let (certificate, key) = authority.issue(&[&own]).unwrap();
    (certificate, key, authority.certificate_pem().to_owned())
}

fn is_about_keys(request: &Request) -> bool {
    matches!(
        request,
        Request::Write(_) | Request::Read(_) | Request::Keys(_)
    )
}

fn member(name: &str, address: SocketAddr) -> Member {
    Member {
        id: NodeId::from_name(name),
        name: name.to_owned(),
        address: address.to_string(),
        zone: name.to_owned(),
        capacity: 1,
        state: MemberState::Active,
    }
}

fn bind(authority: &TestAuthority, name: &str, address: SocketAddr) -> Endpoint {
    try_bind(authority, name, address).unwrap()
}

fn try_bind(authority: &TestAuthority, name: &str, address: SocketAddr) -> io::Result<Endpoint> {
    let cluster = ClusterName::new(CLUSTER).unwrap();
    let (certificate, key, authority) = issue(authority, &Role::node(name).unwrap(), &cluster);
    let identity = Identity::from_pem(&certificate, &key, &authority, UnixTime::now()).unwrap();
    let settings = TransportSettings {
        path_mtu: PathMtu::Loopback,
        ..TransportSettings::default()
    };
    let config = settings.server_config(&identity).unwrap();
    settings.bind(address, Some(config))
}

fn serve(id: NodeId, endpoint: Endpoint, stage: Arc<Stage>) {
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            if let Ok(connection) = incoming.await {
                let answerer = Arc::new(Answerer {
                    id,
                    stage: stage.clone(),
                });
                Link::accept(connection, LinkOptions::SERVER, answerer);
            }
        }
    });
}

struct Answerer {
    id: NodeId,
    stage: Arc<Stage>,
}

impl Answerer {
    fn default_answer(&self, request: &Request) -> Answer {
        match request {
            Request::Layout => Answer::Layout(Box::new(self.stage.layout.lock().unwrap().clone())),
            Request::Status => Answer::Status(Box::new(NodeStatus {
                node: self.id,
                ..NodeStatus::default()
            })),
            Request::OpenBucket(_) => match self.stage.bucket.lock().unwrap().clone() {
                Some(bucket) => Answer::Bucket(bucket),
                None => Answer::Failed(Failure::NoSuchBucket),
            },
            _ => Answer::Failed(Failure::NotUnderstood),
        }
    }
}

impl FrameHandler for Answerer {
    fn frame(&self, link: &Link, frame: Frame) {
        let request: Request = codec::decode(&frame.body, CodecLimits::default()).unwrap();
        let script = self.stage.script.lock().unwrap().clone();
        let say =
            script(self.id, &request).unwrap_or_else(|| Say::Answer(self.default_answer(&request)));
        // The test may be over.
        let _ = self.stage.seen.send(Seen {
            node: self.id,
            request,
        });
        let answer = match say {
            Say::Answer(answer) => answer,
            Say::Nothing => return,
            Say::Hangup => return link.close(CloseCode::ShuttingDown, "by the script"),
        };
        let layout: LayoutNumber = self.stage.layout.lock().unwrap().number();
        let body = codec::encode(&Response { layout, answer }).unwrap();
        let response = Frame {
            kind: FrameKind::Response,
            id: frame.id,
            deadline_ms: 0,
            body: Bytes::from(body),
        };
        // As with a real node, the asker may be gone.
        let _ = link.send(response, frame.id.0 as usize);
    }

    fn refused(&self, _: &Link, refusal: &Refusal) {
        panic!("the client broke the protocol: {refusal}");
    }

    fn closed(&self, _: &Link, _: &ConnectionError) {}
}
