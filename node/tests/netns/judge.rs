//! The end of a scenario: every key is read through every node, and the histories are judged.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use dunlin_client::cluster_file::ClusterFile;
use dunlin_client::tls::{Identity, IdentityFiles, WireProtocol};
use dunlin_client::transport::{LinkOptions, PathMtu, Requester, TransportSettings};
use dunlin_history::{Action, Found, History, Kind, Op, Outcome, Reader, Report, Writer, verdict};
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::request::{Page, Query, Read, ReadOptions, Request};
use dunlin_protocol::response::{Answer, Found as Answered, Response};
use dunlin_protocol::{BucketName, limits};
use rustls::pki_types::UnixTime;

use crate::worker::{BUCKETS, KEYS, header, now_us, texts};

const TIMEOUT: Duration = Duration::from_secs(10);

/// `judge CLUSTER-FILE HISTORY`: reads every key through every node, in a namespace.
pub(crate) fn ask(arguments: &[String]) {
    let [cluster, history] = arguments else {
        panic!("judge CLUSTER-FILE HISTORY");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let out = File::create(history).unwrap();
        let mut writer = Writer::new(out, &header()).unwrap();
        let cluster = ClusterFile::load(cluster).unwrap();
        let nodes: Vec<_> = cluster.listed().cloned().collect();
        for node in nodes {
            let asking = Asking::connect(&cluster, &node.name, &node.address).await;
            for (bucket, kind) in BUCKETS {
                for key in 0..KEYS {
                    let op = asking.read(bucket, kind, format!("k{key}")).await;
                    writer.write(&op).unwrap();
                }
            }
        }
        writer.flush().unwrap();
    });
}

/// One history of what several processes wrote down, in the order in which operations ended.
pub(crate) fn judge(files: &[impl AsRef<Path>]) -> (History, Report) {
    let mut history = History {
        header: header(),
        ops: Vec::new(),
    };
    for file in files {
        let reader = Reader::new(BufReader::new(File::open(file).unwrap())).unwrap();
        history.ops.extend(reader.history().unwrap().ops);
    }
    history.ops.sort_by_key(|op| op.end_us);
    let report = verdict(&history);
    (history, report)
}

/// A connection to one node, which is asked itself.
struct Asking {
    node: String,
    requester: Requester,
    _endpoint: quinn::Endpoint,
}

impl Asking {
    async fn connect(cluster: &ClusterFile, node: &str, address: &str) -> Self {
        let files = IdentityFiles {
            certificate: cluster.certificate.clone().unwrap(),
            key: cluster.key.clone().unwrap(),
            authority: cluster.ca.clone(),
        };
        let identity = Identity::load(&files, UnixTime::now()).unwrap();
        let settings = TransportSettings {
            path_mtu: PathMtu::Ethernet,
            ..TransportSettings::default()
        };
        let endpoint = settings.bind("0.0.0.0:0".parse().unwrap(), None).unwrap();
        let config = settings
            .client_config(&identity, WireProtocol::Client)
            .unwrap();
        let name = format!("{node}.node.{}.dunlin", cluster.cluster);
        let connecting = endpoint.connect_with(config, address.parse().unwrap(), &name);
        let connection = connecting.unwrap().await.unwrap();
        Self {
            node: node.to_owned(),
            requester: Requester::open(connection, LinkOptions::CLIENT, 64),
            _endpoint: endpoint,
        }
    }

    async fn ask(&self, request: &Request) -> Answer {
        let body: Bytes = codec::encode(request).unwrap().into();
        let frame = self.requester.request(body, TIMEOUT).await.unwrap();
        let response: Response = codec::decode(&frame.body, CodecLimits::default()).unwrap();
        response.answer
    }

    async fn read(&self, bucket: &str, kind: Kind, key: String) -> Op {
        let name = BucketName::try_from(bucket.to_owned()).unwrap();
        let id = match self.ask(&Request::OpenBucket(name)).await {
            Answer::Bucket(bucket) => bucket.id,
            other => panic!("{}: bucket {bucket}: {other:?}", self.node),
        };
        let page = Page {
            after: None,
            limit: limits::PAGE_MAX,
        };
        let request = Request::Read(Read {
            bucket: id,
            key: Bytes::copy_from_slice(key.as_bytes()),
            query: match kind {
                Kind::Set => Query::Elements(page),
                _ => Query::Value,
            },
            options: ReadOptions::default(),
            seen: None,
        });
        let start_us = now_us();
        let found = match self.ask(&request).await {
            Answer::Read(read) => found(kind, read.found),
            other => panic!("{}: {bucket}/{key}: {other:?}", self.node),
        };
        Op {
            client: 0,
            session: None,
            bucket: bucket.to_owned(),
            key,
            action: Action::Read,
            start_us,
            end_us: now_us(),
            outcome: Outcome::Read(found),
            sent: 1,
            node: Some(self.node.clone()),
            w: None,
            r: Some(2),
            strict: false,
            settled: true,
            phase: None,
        }
    }
}

fn found(kind: Kind, answered: Answered) -> Found {
    match (kind, answered) {
        (Kind::Register, Answered::Siblings { values, .. }) => Found::Values(texts(&values)),
        (Kind::Lww, Answered::Latest { value, .. }) => Found::Values(texts(&[value])),
        (Kind::Register | Kind::Lww, Answered::Nothing) => Found::Values(Vec::new()),
        (Kind::Counter, Answered::Sum(sum)) => Found::Sum(sum),
        (Kind::Counter, Answered::Nothing) => Found::Sum(0),
        (Kind::Flag, Answered::On) => Found::Flag(true),
        (Kind::Flag, Answered::Nothing) => Found::Flag(false),
        (Kind::Max | Kind::Min, Answered::Extreme(number)) => Found::Number(Some(number)),
        (Kind::Max | Kind::Min, Answered::Nothing) => Found::Number(None),
        (Kind::Set, Answered::Elements { items, next: None }) => Found::Elements(texts(&items)),
        (Kind::Set, Answered::Nothing) => Found::Elements(Vec::new()),
        (kind, other) => panic!("a {kind:?} was read: {other:?}"),
    }
}
