//! What each failure says about the data, and whether to try again.

use dunlin_protocol::codec::encode;
use dunlin_protocol::response::{Answer, HeldBy};
use dunlin_protocol::{DataEffect, Failure, Retry};
use dunlin_ring::NodeId;

use super::samples::failures;

/// What clients rely on. A new failure fails the test until a line is added: decide, don't guess.
const DECIDED: [(&str, DataEffect, Retry); 21] = {
    use DataEffect::{NotApplied, Unknown};
    use Retry::{IfIdempotent, Safe, Useless};
    [
        ("NoSuchBucket", NotApplied, Useless),
        ("BucketExists", NotApplied, Useless),
        ("WrongKind", NotApplied, Useless),
        ("TooLarge", NotApplied, Useless),
        ("Invalid", NotApplied, Useless),
        ("QuorumTooLarge", NotApplied, Useless),
        ("Unavailable", NotApplied, Safe),
        ("Overloaded", NotApplied, Safe),
        ("StorageFull", NotApplied, Safe),
        ("StorageFailed", NotApplied, Safe),
        ("CounterOverflow", NotApplied, Useless),
        ("TooManySiblings", NotApplied, Useless),
        ("Expired", NotApplied, Safe),
        ("NotOwner", NotApplied, Safe),
        ("NotUnderstood", NotApplied, Useless),
        ("ChangeRefused", NotApplied, Useless),
        ("WriteTimeout", Unknown, IfIdempotent),
        ("ReadTimeout", NotApplied, Safe),
        ("BehindSession", NotApplied, Safe),
        ("Lost", Unknown, IfIdempotent),
        ("Partial", Unknown, IfIdempotent),
    ]
};

#[test]
fn effect_and_retry_are_decided_for_every_failure() {
    let found: Vec<_> = failures()
        .iter()
        .map(|(name, failure)| (*name, failure.effect(), failure.retry()))
        .collect();
    assert_eq!(found, DECIDED);
}

#[test]
fn what_may_be_applied_is_never_retried_blindly() {
    for (name, failure) in failures() {
        let unknown = failure.effect() == DataEffect::Unknown;
        let if_idempotent = failure.retry() == Retry::IfIdempotent;
        assert_eq!(unknown, if_idempotent, "{name}");
    }
}

#[test]
fn every_failure_says_what_happened_to_the_data() {
    for (name, failure) in failures() {
        let text = failure.to_string();
        let says = match failure.effect() {
            DataEffect::NotApplied => {
                text.contains("nothing was written") || text.contains("nothing was changed")
            }
            DataEffect::Unknown => text.contains("may be applied"),
        };
        assert!(says, "{name}: {text}");
    }
}

#[test]
fn a_failure_with_as_many_nodes_as_there_can_be_is_still_a_small_message() {
    let node = NodeId(u64::MAX);
    let copy = HeldBy {
        node,
        hint_for: Some(node),
        synced: false,
    };
    let copies = vec![copy; usize::from(dunlin_ring::REPLICAS_MAX)];
    let reachable = vec![node; dunlin_ring::MEMBERS_MAX];
    for (failure, bytes_max) in [
        (Failure::WriteTimeout { needed: 16, copies }, 512),
        (
            Failure::Unavailable {
                needed: 16,
                reachable,
            },
            10 << 10,
        ),
    ] {
        let bytes = encode(&Answer::Failed(failure)).unwrap().len();
        assert!(bytes <= bytes_max, "{bytes}");
    }
}

#[test]
fn a_result_with_a_failure_is_cheap_to_hand_on() {
    assert!(size_of::<Failure>() <= 48, "{}", size_of::<Failure>());
}
