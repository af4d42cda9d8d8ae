//! Requests of clients, and what they are answered.

use dunlin_crdt::{ActorId, Hlc, Kind, OpId};
use dunlin_protocol::explain::{CellReport, KeptHints, KeyReport, RowReport};
use dunlin_protocol::request::{
    Explain, FieldChange, Keys, Page, Query, Read, ReadOptions, Replace, Request, Write, WriteOp,
    WriteOptions,
};
use dunlin_protocol::response::{Answer, FieldItem, Found, HeldBy, ReadAnswer, Receipt, Rest};
use dunlin_protocol::status::{NodeStatus, PartitionDigest, PeerStatus, StartReport, StorageState};
use dunlin_protocol::{Bucket, BucketDefaults, Context, Durability, Failure, Part};
use dunlin_ring::{
    Fallbacks, Layout, Member, MemberState, NodeId, PartitionCount, PartitionId, Quorum,
};

use super::pieces::{ADA, BEA, BUCKET, bucket, bytes, clock, context, name, page, path};
use super::variants::failure_name;

pub(crate) fn write(op: WriteOp) -> Request {
    Request::Write(Write {
        bucket: BUCKET,
        key: bytes("k"),
        op,
        id: OpId(1, 2),
        options: WriteOptions::default(),
    })
}

pub(crate) fn read(query: Query) -> Request {
    Request::Read(Read {
        bucket: BUCKET,
        key: bytes("k"),
        query,
        options: ReadOptions::default(),
        seen: None,
    })
}

pub(crate) fn put(replaces: Replace) -> WriteOp {
    WriteOp::Put {
        value: bytes("v"),
        replaces,
    }
}

pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let strict_write = Request::Write(Write {
        bucket: BUCKET,
        key: bytes("k"),
        op: WriteOp::Enable,
        id: OpId(u64::MAX, 0),
        options: WriteOptions {
            w: Some(Quorum::All),
            pw: Some(Quorum::Majority),
            dw: Some(Quorum::Exactly(1)),
            fallbacks: Fallbacks::Forbidden,
        },
    });
    let strict_read = Request::Read(Read {
        bucket: BUCKET,
        key: bytes("k"),
        query: Query::Value,
        options: ReadOptions {
            r: Some(Quorum::One),
            pr: Some(Quorum::Exactly(2)),
            fallbacks: Fallbacks::Forbidden,
        },
        seen: None,
    });
    let change = |op| FieldChange { path: path(), op };
    vec![
        ("Write.Put.Seen", write(put(Replace::Seen))),
        ("Write.Put.Context", write(put(Replace::Context(context())))),
        (
            "Write.Put.NoContext",
            write(put(Replace::Context(Context::default()))),
        ),
        ("Write.Increment", write(WriteOp::Increment(-300))),
        ("Write.Enable", write(WriteOp::Enable)),
        ("Write.Enable.Strict", strict_write),
        ("Write.Disable", write(WriteOp::Disable)),
        ("Write.Observe", write(WriteOp::Observe(i64::MIN))),
        (
            "Write.Add",
            write(WriteOp::Add(vec![bytes("e"), bytes("")])),
        ),
        ("Write.Remove", write(WriteOp::Remove(vec![bytes("e")]))),
        (
            "Write.Fields",
            write(WriteOp::Fields(vec![change(WriteOp::Increment(1))])),
        ),
        ("Write.Delete.Seen", write(WriteOp::Delete(Replace::Seen))),
        (
            "Write.Delete.Context",
            write(WriteOp::Delete(Replace::Context(context()))),
        ),
        ("Read.Value", read(Query::Value)),
        ("Read.Value.Strict", strict_read),
        ("Read.Has", read(Query::Has(bytes("e")))),
        ("Read.Elements", read(Query::Elements(page()))),
        ("Read.Field", read(Query::Field(path()))),
        (
            "Read.Fields",
            read(Query::Fields {
                prefix: path(),
                page: page(),
            }),
        ),
        (
            "Read.Count",
            read(Query::Count(Page {
                after: None,
                limit: 1,
            })),
        ),
        (
            "Keys",
            Request::Keys(Keys {
                bucket: BUCKET,
                partition: PartitionId(255),
                prefix: bytes("p"),
                page: page(),
                options: ReadOptions::default(),
                seen: None,
            }),
        ),
        (
            "Read.Session",
            Request::Read(Read {
                bucket: BUCKET,
                key: bytes("k"),
                query: Query::Value,
                options: ReadOptions::default(),
                seen: Some(context()),
            }),
        ),
        (
            "Keys.Session",
            Request::Keys(Keys {
                bucket: BUCKET,
                partition: PartitionId(255),
                prefix: bytes("p"),
                page: page(),
                options: ReadOptions::default(),
                seen: Some(Context::default()),
            }),
        ),
        ("Layout", Request::Layout),
        ("OpenBucket", Request::OpenBucket(name())),
        (
            "CreateBucket",
            Request::CreateBucket {
                name: name(),
                kind: Kind::Map,
                defaults: BucketDefaults {
                    dw: Some(Quorum::One),
                    durability: Durability::Periodic,
                    ..BucketDefaults::default()
                },
            },
        ),
        ("DropBucket", Request::DropBucket(name())),
        ("ListBuckets", Request::ListBuckets),
        ("Status", Request::Status),
        ("Digest", Request::Digest(PartitionId(7))),
        (
            "Explain",
            Request::Explain(Explain {
                bucket: BUCKET,
                key: bytes("k"),
            }),
        ),
        ("Compact", Request::Compact),
        (
            "Cluster",
            Request::Cluster(dunlin_protocol::cluster::ClusterRequest::Describe),
        ),
    ]
}

pub(crate) fn held_by() -> Vec<HeldBy> {
    vec![
        HeldBy {
            node: ADA,
            hint_for: None,
            synced: true,
        },
        HeldBy {
            node: BEA,
            hint_for: Some(NodeId(0xca)),
            synced: false,
        },
    ]
}

pub(crate) fn answers() -> Vec<(&'static str, Answer)> {
    let receipt = |rest| {
        Answer::Written(Receipt {
            copies: held_by(),
            context: context(),
            rest,
        })
    };
    let found = |found| {
        Answer::Read(ReadAnswer {
            found,
            owners: vec![ADA],
            fallbacks: Vec::new(),
            seen: None,
        })
    };
    let items = || vec![bytes("a"), bytes("b")];
    let field = FieldItem {
        path: path(),
        value: Found::Sum(7),
    };
    vec![
        ("Written.Done", receipt(Rest::Done)),
        ("Written.More", receipt(Rest::More)),
        ("Read.Nothing", found(Found::Nothing)),
        (
            "Read.Nothing.Fallbacks",
            Answer::Read(ReadAnswer {
                found: Found::Nothing,
                owners: vec![ADA],
                fallbacks: vec![BEA],
                seen: None,
            }),
        ),
        (
            "Read.Session",
            Answer::Read(ReadAnswer {
                found: Found::Sum(7),
                owners: vec![ADA],
                fallbacks: Vec::new(),
                seen: Some(context()),
            }),
        ),
        (
            "Read.Siblings",
            found(Found::Siblings {
                values: items(),
                context: context(),
            }),
        ),
        (
            "Read.Latest",
            found(Found::Latest {
                value: bytes("v"),
                stamp: Hlc(0x10000),
            }),
        ),
        ("Read.Sum", found(Found::Sum(-1))),
        ("Read.On", found(Found::On)),
        ("Read.Extreme", found(Found::Extreme(i64::MAX))),
        ("Read.Present", found(Found::Present)),
        (
            "Read.Elements",
            found(Found::Elements {
                items: items(),
                next: Some(bytes("b")),
            }),
        ),
        (
            "Read.Fields",
            found(Found::Fields {
                items: vec![field],
                next: None,
            }),
        ),
        (
            "Read.Count",
            found(Found::Count {
                count: 2,
                next: None,
            }),
        ),
        (
            "Read.Keys",
            found(Found::Keys {
                items: items(),
                next: Some(bytes("b")),
            }),
        ),
        ("Layout", Answer::Layout(Box::new(layout()))),
        ("Bucket", Answer::Bucket(bucket())),
        (
            "Created",
            Answer::Created {
                bucket: bucket(),
                known_by: vec![ADA, BEA],
            },
        ),
        (
            "Buckets",
            Answer::Buckets(vec![
                bucket(),
                Bucket {
                    dropped: true,
                    ..bucket()
                },
            ]),
        ),
        (
            "Status.Blank",
            status(StartReport::Blank, StorageState::Ready),
        ),
        (
            "Status.Clean",
            status(StartReport::Clean, StorageState::Full),
        ),
        (
            "Status.Unclean",
            status(StartReport::Unclean, StorageState::Failed),
        ),
        (
            "Status.Amnesia",
            status(
                StartReport::Amnesia(vec!["why".to_owned()]),
                StorageState::Ready,
            ),
        ),
        (
            "Digest",
            Answer::Digest(PartitionDigest {
                partition: PartitionId(7),
                whole: true,
                rows: 1,
                clock: 2,
                content: 3,
            }),
        ),
        ("Explained", Answer::Explained(Box::new(key_report()))),
        (
            "Compacted",
            Answer::Compacted {
                before: 2,
                after: 1,
            },
        ),
        (
            "Cluster",
            Answer::Cluster(Box::new(super::cluster::state())),
        ),
    ]
}

fn key_report() -> KeyReport {
    KeyReport {
        partition: PartitionId(7),
        owner: true,
        holds: true,
        whole: false,
        clock: 2,
        seen: clock(),
        rows: vec![RowReport {
            subkey: bytes("s"),
            cells: vec![CellReport {
                actor: ActorId(0x0a),
                counter: 3,
                stamp: Hlc(0x10000),
                expired: false,
            }],
            cells_more: 1,
            past: clock(),
            shows: Some(Found::Sum(7)),
        }],
        more: true,
        hints: vec![KeptHints {
            owner: BEA,
            events: 1,
        }],
    }
}

pub(crate) fn layout() -> Layout {
    let members = [("ada", MemberState::Active), ("bea", MemberState::Leaving)];
    let member = |(name, state): (&str, MemberState)| Member {
        id: NodeId::from_name(name),
        name: name.to_owned(),
        address: format!("{name}:7400"),
        zone: "z".to_owned(),
        capacity: 1,
        state,
    };
    let partitions = PartitionCount::new(2).unwrap();
    Layout::first(members.map(member).to_vec(), 3, partitions).unwrap()
}

pub(crate) fn status(start: StartReport, storage: StorageState) -> Answer {
    Answer::Status(Box::new(NodeStatus {
        node: ADA,
        name: "ada".to_owned(),
        version: "0.1.0".to_owned(),
        start,
        storage,
        peers: vec![PeerStatus {
            node: BEA,
            name: "bea".to_owned(),
            reachable: true,
            silent_ms: 1,
            rtt_us: 2,
            ..PeerStatus::default()
        }],
        counters: vec![("writes".to_owned(), 3)],
        ..NodeStatus::default()
    }))
}

/// One failure of every variant.
pub(crate) fn failures() -> Vec<(&'static str, Failure)> {
    let failures = vec![
        Failure::NoSuchBucket,
        Failure::BucketExists {
            name: name(),
            kind: Kind::Set,
        },
        Failure::WrongKind { kind: Kind::Lww },
        Failure::TooLarge {
            what: Part::Value,
            is: 2 << 20,
            max: 1 << 20,
        },
        Failure::Invalid {
            what: Part::Context,
        },
        Failure::QuorumTooLarge {
            asked: Quorum::Exactly(4),
            owners: 3,
        },
        Failure::Unavailable {
            needed: 2,
            reachable: vec![ADA],
        },
        Failure::Overloaded,
        Failure::StorageFull,
        Failure::StorageFailed,
        Failure::CounterOverflow,
        Failure::TooManySiblings { bytes: 9 << 20 },
        Failure::Expired,
        Failure::NotOwner,
        Failure::NotUnderstood,
        Failure::ChangeRefused {
            why: "nothing is staged".to_owned(),
        },
        Failure::WriteTimeout {
            needed: 2,
            copies: held_by(),
        },
        Failure::ReadTimeout {
            needed: 2,
            answered: vec![ADA],
        },
        Failure::BehindSession {
            missing: 3,
            answered: vec![ADA],
        },
        Failure::Lost { to: BEA },
        Failure::Partial {
            needed: 3,
            copies: held_by(),
        },
    ];
    let named = |failure: Failure| (failure_name(&failure), failure);
    failures.into_iter().map(named).collect()
}
