//! Whether a request that failed is sent again.
//!
//! Nothing was done: yes, whatever it is. The outcome is unknown: only if a second effect does no
//! harm. Every attempt carries the request's one `OpId`, and a row shows two cells of one `OpId` as one
//! write. That makes a repeat harmless while the first attempt's cell is still there; what it can do
//! after others have replaced that cell decides the table:
//!
//! | request | repeated | because, done twice, it |
//! |---|---|---|
//! | any read | yes | has no effect |
//! | `observe` | yes | has the effect of once |
//! | `put` with a context, `delete` with one | yes | replaces the same writes; at worst the value comes back as one more sibling |
//! | `put` in an lww, `overwrite` in a register | yes | asks to win over what is there, at any moment until it returns |
//! | `add`, `enable` | yes | is there again if somebody removed it meanwhile: add wins |
//! | `remove`, `disable`, `delete` of what is seen | no | removes what others added since, who were told that it is kept |
//! | `increment`, and map changes with one | no | counts twice |
//! | map changes | if each of them is | |
//! | creating and dropping a bucket | no | creates, or drops, another bucket of that name |
//!
//! An attempt that was given up may still begin later, at a node that stood still before it read the
//! request: its deadline counts from the reading. A write that was repeated may then be done once more
//! after the request has returned, with the effects of the table.
//!
//! A request that is not repeated ends as `Unknown`, and its caller, who knows what it means,
//! decides.

use dunlin_protocol::cluster::ClusterRequest;
use dunlin_protocol::request::{Replace, Request, WriteOp};
use dunlin_protocol::{Failure, Retry};

/// Whether a request whose outcome is unknown may be sent again under its `OpId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It has no effect at all: it may even be asked of two nodes at once.
    Read,
    /// It does no harm a second time.
    Harmless,
    /// Never.
    Never,
}

impl Repeat {
    /// Of a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Read(_)
            | Request::Keys(_)
            | Request::Layout
            | Request::OpenBucket(_)
            | Request::ListBuckets
            | Request::Status
            | Request::Digest(_)
            | Request::Explain(_) => Self::Read,
            Request::Compact => Self::Harmless,
            Request::Cluster(ClusterRequest::Describe) => Self::Read,
            Request::CreateBucket { .. } | Request::DropBucket(_) | Request::Cluster(_) => {
                Self::Never
            }
            Request::Write(write) => Self::of_write(&write.op),
        }
    }

    fn of_write(op: &WriteOp) -> Self {
        match op {
            WriteOp::Put { .. }
            | WriteOp::Enable
            | WriteOp::Observe(_)
            | WriteOp::Add(_)
            | WriteOp::Delete(Replace::Context(_)) => Self::Harmless,
            WriteOp::Increment(_)
            | WriteOp::Disable
            | WriteOp::Remove(_)
            | WriteOp::Delete(Replace::Seen) => Self::Never,
            WriteOp::Fields(changes) => {
                let harmless = changes
                    .iter()
                    .all(|change| Self::of_write(&change.op) == Self::Harmless);
                if harmless {
                    Self::Harmless
                } else {
                    Self::Never
                }
            }
        }
    }
}

/// How one attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It never left.
    NotSent,
    /// No answer, or none that can be understood: it may have been applied.
    Unanswered,
    /// The node refused; trying again would fail in the same way everywhere.
    Refused,
    /// The node could not, and did nothing; another may, at once.
    NotHere,
    /// The node could not, and did nothing; the cause passes, so it is worth waiting for.
    NotNow,
    /// The node says that it may be applied.
    Doubtful,
}

impl Ended {
    /// From what a node said.
    #[must_use]
    pub fn of(failure: &Failure) -> Self {
        let passing = matches!(
            failure,
            Failure::Overloaded
                | Failure::Expired
                | Failure::NotOwner
                | Failure::BehindSession { .. }
        );
        Self::said(failure.retry(), passing)
    }

    /// From what the failure says of itself, and whether its cause passes by itself within moments.
    #[must_use]
    pub fn said(retry: Retry, passing: bool) -> Self {
        match retry {
            Retry::Useless => Self::Refused,
            Retry::Safe if passing => Self::NotNow,
            Retry::Safe => Self::NotHere,
            Retry::IfIdempotent => Self::Doubtful,
        }
    }
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask another node. When every node was asked, wait and begin again.
    Again,
    /// Ask another node, but each only once.
    Elsewhere,
    /// No more attempts.
    GiveUp,
}

/// Decides about the next attempt.
#[must_use]
pub fn next(ended: Ended, repeat: Repeat) -> Next {
    match (ended, repeat) {
        (Ended::Refused, _) => Next::GiveUp,
        (Ended::NotSent | Ended::NotNow, _) => Next::Again,
        (Ended::NotHere, _) => Next::Elsewhere,
        (Ended::Unanswered | Ended::Doubtful, Repeat::Never) => Next::GiveUp,
        (Ended::Unanswered, Repeat::Read | Repeat::Harmless) => Next::Again,
        // The node had the whole of the attempt's time to gather copies, in vain.
        (Ended::Doubtful, Repeat::Read | Repeat::Harmless) => Next::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dunlin_protocol::Context;
    use dunlin_protocol::request::FieldChange;

    use super::*;

    fn put(replaces: Replace) -> WriteOp {
        WriteOp::Put {
            value: Bytes::new(),
            replaces,
        }
    }

    fn fields(ops: Vec<WriteOp>) -> WriteOp {
        let change = |op| FieldChange {
            path: Bytes::new(),
            op,
        };
        WriteOp::Fields(ops.into_iter().map(change).collect())
    }

    #[test]
    fn what_counts_or_removes_is_never_repeated_on_an_unknown_outcome() {
        for op in [
            WriteOp::Increment(1),
            WriteOp::Disable,
            WriteOp::Remove(vec![]),
            WriteOp::Delete(Replace::Seen),
            fields(vec![WriteOp::Enable, WriteOp::Increment(1)]),
        ] {
            let repeat = Repeat::of_write(&op);
            assert_eq!(next(Ended::Unanswered, repeat), Next::GiveUp, "{op:?}");
            assert_eq!(next(Ended::Doubtful, repeat), Next::GiveUp, "{op:?}");
        }
    }

    #[test]
    fn what_does_no_harm_twice_is_repeated_on_an_unknown_outcome() {
        for op in [
            put(Replace::Seen),
            put(Replace::Context(Context::default())),
            WriteOp::Enable,
            WriteOp::Observe(1),
            WriteOp::Add(vec![]),
            WriteOp::Delete(Replace::Context(Context::default())),
            fields(vec![WriteOp::Enable, put(Replace::Seen)]),
        ] {
            let repeat = Repeat::of_write(&op);
            assert_ne!(next(Ended::Unanswered, repeat), Next::GiveUp, "{op:?}");
        }
    }

    #[test]
    fn what_was_not_applied_is_tried_again_whatever_it_is() {
        for ended in [Ended::NotSent, Ended::NotNow, Ended::NotHere] {
            for repeat in [Repeat::Read, Repeat::Harmless, Repeat::Never] {
                assert_ne!(next(ended, repeat), Next::GiveUp);
            }
        }
    }

    #[test]
    fn a_refusal_is_final() {
        assert_eq!(next(Ended::Refused, Repeat::Read), Next::GiveUp);
    }

    #[test]
    fn buckets_are_not_created_or_dropped_twice() {
        let name = "carts".parse().unwrap();
        assert_eq!(Repeat::of(&Request::DropBucket(name)), Repeat::Never);
    }
}
