//! The names of all variants of all enums that travel.
//!
//! Each match has no wildcard, so a new variant does not compile until it has a name here; and then
//! `every_variant_has_a_sample` fails until it has a sample.

use dunlin_protocol::peer::{
    ControlMessage, HandoffMessage, OperationMessage, PeerBody, Refusal, RepairMessage, Want,
};
use dunlin_protocol::request::{Query, Request, WriteOp};
use dunlin_protocol::response::{Answer, Found};
use dunlin_protocol::status::{StartReport, StorageState};
use dunlin_protocol::{Failure, Part};
use dunlin_ring::Quorum;

/// Makes a function that names the variant of a value, by a match without a wildcard, and the list of
/// all the names.
macro_rules! variants {
    ($name:ident, $all:ident, $type:ty: $($pattern:pat => $variant:literal),+ $(,)?) => {
        pub(crate) fn $name(value: &$type) -> &'static str {
            match value {
                $($pattern => $variant,)+
            }
        }
        pub(crate) const $all: &[&str] = &[$($variant),+];
    };
}

variants! { request_name, ALL_REQUESTS, Request:
    Request::Write(_) => "Write", Request::Read(_) => "Read", Request::Keys(_) => "Keys",
    Request::Layout => "Layout", Request::OpenBucket(_) => "OpenBucket",
    Request::CreateBucket { .. } => "CreateBucket", Request::DropBucket(_) => "DropBucket",
    Request::ListBuckets => "ListBuckets", Request::Status => "Status",
    Request::Digest(_) => "Digest", Request::Explain(_) => "Explain", Request::Compact => "Compact",
    Request::Cluster(_) => "Cluster",
}
variants! { write_name, ALL_WRITES, WriteOp:
    WriteOp::Put { .. } => "Put", WriteOp::Increment(_) => "Increment", WriteOp::Enable => "Enable",
    WriteOp::Disable => "Disable", WriteOp::Observe(_) => "Observe", WriteOp::Add(_) => "Add",
    WriteOp::Remove(_) => "Remove", WriteOp::Fields(_) => "Fields", WriteOp::Delete(_) => "Delete",
}
variants! { query_name, ALL_QUERIES, Query:
    Query::Value => "Value", Query::Has(_) => "Has", Query::Elements(_) => "Elements",
    Query::Field(_) => "Field", Query::Fields { .. } => "Fields", Query::Count(_) => "Count",
}
variants! { answer_name, ALL_ANSWERS, Answer:
    Answer::Written(_) => "Written", Answer::Read(_) => "Read", Answer::Layout(_) => "Layout",
    Answer::Bucket(_) => "Bucket", Answer::Created { .. } => "Created",
    Answer::Buckets(_) => "Buckets", Answer::Status(_) => "Status", Answer::Digest(_) => "Digest",
    Answer::Explained(_) => "Explained",
    Answer::Compacted { .. } => "Compacted", Answer::Cluster(_) => "Cluster", Answer::Failed(_) => "Failed",
}
variants! { found_name, ALL_FOUND, Found:
    Found::Nothing => "Nothing", Found::Siblings { .. } => "Siblings",
    Found::Latest { .. } => "Latest", Found::Sum(_) => "Sum", Found::On => "On",
    Found::Extreme(_) => "Extreme", Found::Present => "Present",
    Found::Elements { .. } => "Elements", Found::Fields { .. } => "Fields",
    Found::Count { .. } => "Count", Found::Keys { .. } => "Keys",
}
variants! { failure_name, ALL_FAILURES, Failure:
    Failure::NoSuchBucket => "NoSuchBucket", Failure::BucketExists { .. } => "BucketExists",
    Failure::WrongKind { .. } => "WrongKind", Failure::TooLarge { .. } => "TooLarge",
    Failure::Invalid { .. } => "Invalid", Failure::QuorumTooLarge { .. } => "QuorumTooLarge",
    Failure::Unavailable { .. } => "Unavailable", Failure::Overloaded => "Overloaded",
    Failure::StorageFull => "StorageFull", Failure::StorageFailed => "StorageFailed",
    Failure::CounterOverflow => "CounterOverflow",
    Failure::TooManySiblings { .. } => "TooManySiblings", Failure::Expired => "Expired",
    Failure::NotOwner => "NotOwner", Failure::NotUnderstood => "NotUnderstood",
    Failure::ChangeRefused { .. } => "ChangeRefused",
    Failure::WriteTimeout { .. } => "WriteTimeout", Failure::ReadTimeout { .. } => "ReadTimeout",
    Failure::BehindSession { .. } => "BehindSession",
    Failure::Lost { .. } => "Lost", Failure::Partial { .. } => "Partial",
}
variants! { body_name, ALL_BODIES, PeerBody:
    PeerBody::Operation { .. } => "Operation", PeerBody::Repair { .. } => "Repair",
    PeerBody::Digests(_) => "Digests", PeerBody::Handoff { .. } => "Handoff",
    PeerBody::Control(_) => "Control",
}
variants! { operation_name, ALL_OPERATIONS, OperationMessage:
    OperationMessage::Replicate { .. } => "Replicate",
    OperationMessage::Replicated { .. } => "Replicated",
    OperationMessage::Refused(_) => "Refused", OperationMessage::Compare { .. } => "Compare",
    OperationMessage::Compared { .. } => "Compared",
    OperationMessage::CompareRange { .. } => "CompareRange",
    OperationMessage::RangeCompared { .. } => "RangeCompared",
    OperationMessage::ReadHints { .. } => "ReadHints",
    OperationMessage::HintsRead { .. } => "HintsRead", OperationMessage::Forward { .. } => "Forward",
    OperationMessage::Forwarded { .. } => "Forwarded",
    OperationMessage::ReadRepair { .. } => "ReadRepair",
}
variants! { repair_name, ALL_REPAIRS, RepairMessage:
    RepairMessage::Pull { .. } => "Pull", RepairMessage::Rows { .. } => "Rows",
    RepairMessage::Whole { .. } => "Whole", RepairMessage::Offer { .. } => "Offer",
    RepairMessage::Held { .. } => "Held", RepairMessage::Scrubbed { .. } => "Scrubbed",
    RepairMessage::Fetch { .. } => "Fetch", RepairMessage::Fetched { .. } => "Fetched",
}
variants! { want_name, ALL_WANTS, Want:
    Want::Settled => "Settled", Want::Everything => "Everything",
    Want::WholeAfter(_) => "WholeAfter",
}
variants! { handoff_name, ALL_HANDOFFS, HandoffMessage:
    HandoffMessage::Deliver { .. } => "Deliver", HandoffMessage::Taken { .. } => "Taken",
}
variants! { control_name, ALL_CONTROLS, ControlMessage:
    ControlMessage::Ping { store: None, .. } => "Ping", ControlMessage::Ping { store: Some(_), .. } => "Ping.Store",
    ControlMessage::Pong { store: None, .. } => "Pong", ControlMessage::Pong { store: Some(_), .. } => "Pong.Store",
    ControlMessage::Know { confirm: None, .. } => "Know.Retirement",
    ControlMessage::Know { confirm: Some(_), .. } => "Know", ControlMessage::Kept { .. } => "Kept",
}
variants! { part_name, ALL_PARTS, Part:
    Part::Key => "Key", Part::Value => "Value", Part::Element => "Element", Part::Field => "Field",
    Part::Changes => "Changes", Part::Context => "Context", Part::Partition => "Partition",
    Part::Page => "Page",
}
variants! { refusal_name, ALL_REFUSALS, Refusal:
    Refusal::NotOwner => "NotOwner", Refusal::Filling => "Filling", Refusal::Skew => "Skew",
    Refusal::Full => "Full", Refusal::Failed => "Failed", Refusal::Overloaded => "Overloaded",
}
variants! { quorum_name, ALL_QUORUMS, Quorum:
    Quorum::One => "One", Quorum::Majority => "Majority", Quorum::All => "All",
    Quorum::Exactly(_) => "Exactly",
}
variants! { start_name, ALL_STARTS, StartReport:
    StartReport::Blank => "Blank", StartReport::Clean => "Clean",
    StartReport::Unclean => "Unclean", StartReport::Amnesia(_) => "Amnesia",
}
variants! { state_name, ALL_STATES, StorageState:
    StorageState::Ready => "Ready", StorageState::Full => "Full", StorageState::Failed => "Failed",
}
