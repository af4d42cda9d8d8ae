//! What messages are made of: a bucket, a clock, an event, a row, and their small enums.

use bytes::Bytes;
use dunlin_crdt::{
    ActorId, Body, Cell, Clock, Dot, Event, FieldKind, FieldPath, Hlc, Kind, OpId, Row,
};
use dunlin_protocol::peer::{KeyedRow, Refusal, RepairRow, RowEvent};
use dunlin_protocol::request::Page;
use dunlin_protocol::{Bucket, BucketDefaults, BucketName, Context, Part, RowKey};
use dunlin_ring::{BucketId, NodeId, Quorum};

pub(crate) const PARTS: [Part; 8] = [
    Part::Key,
    Part::Value,
    Part::Element,
    Part::Field,
    Part::Changes,
    Part::Context,
    Part::Partition,
    Part::Page,
];
pub(crate) const REFUSALS: [Refusal; 6] = [
    Refusal::NotOwner,
    Refusal::Filling,
    Refusal::Skew,
    Refusal::Full,
    Refusal::Failed,
    Refusal::Overloaded,
];
pub(crate) const QUORUMS: [Quorum; 4] = [
    Quorum::One,
    Quorum::Majority,
    Quorum::All,
    Quorum::Exactly(2),
];
pub(crate) const BUCKET: BucketId = BucketId(0xb0);
pub(crate) const ADA: NodeId = NodeId(0xad);
pub(crate) const BEA: NodeId = NodeId(0xbe);

pub(crate) fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub(crate) fn name() -> BucketName {
    "carts".parse().unwrap()
}

pub(crate) fn bucket() -> Bucket {
    Bucket {
        id: BUCKET,
        name: name(),
        kind: Kind::Register,
        defaults: BucketDefaults::default(),
        created: Hlc(0x10000),
        dropped: false,
    }
}

pub(crate) fn clock() -> Clock {
    let mut clock = Clock::new();
    clock.add_range(ActorId(0x0a), 1, 3);
    clock.add(Dot::new(ActorId(0x0b), 2));
    clock
}

pub(crate) fn context() -> Context {
    Context::of(&clock())
}

pub(crate) fn event() -> Event {
    Event {
        dot: Dot::new(ActorId(0x0a), 4),
        cell: Some(Cell {
            stamp: Hlc(0x10000),
            op: OpId(1, 2),
            expires_at: None,
            body: Body::Value(bytes("v")),
        }),
        replaces: Clock::from_iter([Dot::new(ActorId(0x0a), 3)]),
    }
}

pub(crate) fn row() -> Row {
    let mut row = Row::new();
    row.take(&Clock::new(), &event());
    row
}

pub(crate) fn key() -> RowKey {
    RowKey {
        bucket: BUCKET,
        key: bytes("k"),
        subkey: bytes("s"),
    }
}

pub(crate) fn row_event() -> RowEvent {
    RowEvent {
        key: key(),
        event: event(),
    }
}

pub(crate) fn keyed_row() -> KeyedRow {
    KeyedRow {
        key: key(),
        row: row(),
    }
}

pub(crate) fn repair_row() -> RepairRow {
    RepairRow {
        key: key(),
        row: row(),
        dots: Clock::from_iter([Dot::new(ActorId(0x0a), 4)]),
    }
}

pub(crate) fn page() -> Page {
    Page {
        after: Some(bytes("a")),
        limit: 100,
    }
}

pub(crate) fn path() -> Bytes {
    FieldPath::field("visits", FieldKind::Counter).subkey()
}
