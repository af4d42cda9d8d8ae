//! What nodes say to each other.

use dunlin_crdt::Clock;
use dunlin_protocol::Failure;
use dunlin_protocol::peer::{
    AckWhen, ClockDigest, ControlMessage, Coverage, HandoffMessage, HintScope, OperationMessage,
    PeerBody, PeerOp, RangeScope, Refusal, RepairMessage, RowDots, RowRange, StoreMark, StoreWord,
    Want,
};
use dunlin_protocol::request::Replace;
use dunlin_protocol::response::Answer;
use dunlin_ring::PartitionId;

use super::client::{put, write};
use super::pieces::{BEA, BUCKET, bytes, clock, key, keyed_row, repair_row, row_event};
use super::variants::{
    body_name, control_name, handoff_name, operation_name, repair_name, want_name,
};

pub(crate) fn operations() -> Vec<OperationMessage> {
    let range = RowRange {
        bucket: BUCKET,
        scope: RangeScope::Key {
            key: bytes("k"),
            prefix: bytes("p"),
            after: None,
        },
    };
    let keys = RowRange {
        bucket: BUCKET,
        scope: RangeScope::Keys {
            prefix: bytes("p"),
            after: Some(bytes("a")),
        },
    };
    let replicate = |ack, hint_for| OperationMessage::Replicate {
        events: vec![row_event()],
        ack,
        hint_for,
    };
    let compared = |coverage, complete_to| OperationMessage::RangeCompared {
        coverage,
        rows: vec![keyed_row()],
        clock: clock(),
        complete_to,
    };
    let compare_range = |range| OperationMessage::CompareRange {
        range,
        clock: clock(),
        rows_max: 101,
    };
    let hints = |scope| OperationMessage::ReadHints {
        key: key(),
        scope,
        seen: Clock::new(),
    };
    vec![
        replicate(AckWhen::Synced, None),
        replicate(AckWhen::Written, Some(BEA)),
        OperationMessage::Replicated {
            synced: true,
            hint_for: None,
        },
        OperationMessage::Refused(Refusal::Skew),
        OperationMessage::Compare {
            rows: vec![RowDots {
                key: key(),
                dots: clock(),
            }],
            seen: Clock::new(),
        },
        OperationMessage::Compared {
            rows: Vec::new(),
            clock: Clock::new(),
            holds: Clock::new(),
        },
        OperationMessage::Compared {
            rows: vec![keyed_row()],
            clock: clock(),
            holds: Clock::new(),
        },
        OperationMessage::Compare {
            rows: Vec::new(),
            seen: clock(),
        },
        OperationMessage::Compared {
            rows: Vec::new(),
            clock: Clock::new(),
            holds: clock(),
        },
        OperationMessage::ReadHints {
            key: key(),
            scope: HintScope::Row,
            seen: clock(),
        },
        OperationMessage::HintsRead {
            events: Vec::new(),
            holds: clock(),
        },
        compare_range(range),
        compare_range(keys),
        compared(Coverage::Differences, None),
        compared(Coverage::All, Some(key())),
        hints(HintScope::Row),
        hints(HintScope::Prefix),
        OperationMessage::HintsRead {
            events: vec![row_event()],
            holds: Clock::new(),
        },
        OperationMessage::Forward {
            request: Box::new(write(put(Replace::Seen))),
            deadline_ms: 250,
        },
        OperationMessage::Forwarded {
            answer: Box::new(Answer::Failed(Failure::Overloaded)),
        },
        OperationMessage::ReadRepair {
            rows: vec![repair_row()],
            context: clock(),
        },
    ]
}

pub(crate) fn repairs() -> Vec<RepairMessage> {
    let pull = |want| RepairMessage::Pull {
        clock: clock(),
        want,
    };
    vec![
        pull(Want::Settled),
        pull(Want::Everything),
        pull(Want::WholeAfter(key())),
        RepairMessage::Rows {
            rows: vec![repair_row()],
            clock: clock(),
            more: true,
        },
        RepairMessage::Whole {
            after: None,
            rows: vec![keyed_row()],
            clock: clock(),
            next: Some(key()),
        },
        RepairMessage::Offer { clock: clock() },
        RepairMessage::Scrubbed {
            clock: u64::MAX,
            content: 1,
        },
        RepairMessage::Fetch { keys: vec![key()] },
        RepairMessage::Fetched {
            rows: vec![keyed_row()],
            clock: clock(),
        },
        RepairMessage::Held { clock: clock() },
    ]
}

pub(crate) fn controls() -> Vec<ControlMessage> {
    vec![
        ControlMessage::Ping {
            nonce: 1,
            knows: u64::MAX,
            progress: 1,
            store: Some(StoreMark {
                store: u64::MAX,
                life: 1,
                opened: 1,
                synced: 2,
            }),
        },
        ControlMessage::Ping {
            nonce: 1,
            knows: u64::MAX,
            progress: 1,
            store: None,
        },
        ControlMessage::Pong {
            nonce: 1,
            store: None,
        },
        ControlMessage::Pong {
            nonce: 1,
            store: Some(StoreWord {
                life: 1,
                remembers: Some(2),
            }),
        },
        ControlMessage::Know {
            entries: super::cluster::entries(),
            confirm: Some(1),
        },
        ControlMessage::Know {
            entries: super::cluster::retirement(),
            confirm: None,
        },
        ControlMessage::Kept { confirm: 1 },
    ]
}

/// Every message between nodes, with its name.
pub(crate) fn peer_bodies() -> Vec<(String, PeerBody)> {
    let partition = PartitionId(255);
    let operation = |message: OperationMessage| PeerBody::Operation {
        partition,
        op: PeerOp(9),
        message,
    };
    let handoffs = [
        HandoffMessage::Deliver {
            batch: 5,
            events: vec![row_event()],
        },
        HandoffMessage::Taken { batch: 5 },
    ];
    let digests = PeerBody::Digests(vec![ClockDigest { partition, hash: 6 }]);
    let mut bodies: Vec<PeerBody> = operations().into_iter().map(operation).collect();
    bodies.extend(
        repairs()
            .into_iter()
            .map(|message| PeerBody::Repair { partition, message }),
    );
    bodies.push(digests);
    bodies.extend(handoffs.map(|message| PeerBody::Handoff { partition, message }));
    bodies.extend(controls().into_iter().map(PeerBody::Control));
    bodies
        .into_iter()
        .map(|body| (full_name(&body), body))
        .collect()
}

/// The name of a peer message in the file of golden bytes.
pub(crate) fn full_name(body: &PeerBody) -> String {
    let message = match body {
        PeerBody::Operation { message, .. } => {
            let form = match message {
                OperationMessage::Replicate {
                    hint_for: Some(_), ..
                } => ".Hint",
                OperationMessage::Compare { seen, .. }
                | OperationMessage::ReadHints { seen, .. }
                | OperationMessage::Compared { holds: seen, .. }
                | OperationMessage::HintsRead { holds: seen, .. }
                    if !seen.is_empty() =>
                {
                    ".Session"
                }
                OperationMessage::Compared { rows, .. } if rows.is_empty() => ".Same",
                OperationMessage::CompareRange { range, .. } => match range.scope {
                    RangeScope::Key { .. } => ".Key",
                    RangeScope::Keys { .. } => ".Keys",
                },
                OperationMessage::RangeCompared { coverage, .. } => match coverage {
                    Coverage::Differences => ".Differences",
                    Coverage::All => ".All",
                },
                OperationMessage::ReadHints { scope, .. } => match scope {
                    HintScope::Row => ".Row",
                    HintScope::Prefix => ".Prefix",
                },
                _ => "",
            };
            format!(".{}{form}", operation_name(message))
        }
        PeerBody::Repair { message, .. } => match message {
            RepairMessage::Pull { want, .. } => format!(".Pull.{}", want_name(want)),
            other => format!(".{}", repair_name(other)),
        },
        PeerBody::Handoff { message, .. } => format!(".{}", handoff_name(message)),
        PeerBody::Control(message) => format!(".{}", control_name(message)),
        PeerBody::Digests(_) => String::new(),
    };
    format!("{}{message}", body_name(body))
}
