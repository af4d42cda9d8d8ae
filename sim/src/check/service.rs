//! While nothing fails, nothing is refused halfway: whoever changes the layout does so unnoticed by
//! those who write and read.
//!
//! Only runs without faults are looked at. What was not applied a client asks for again, somewhere else.

use dunlin_protocol::Failure;

use super::evidence::Evidence;
use crate::history::Outcome;

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    for op in &evidence.history.ops {
        if let Outcome::Failed(failure @ Failure::Partial { .. }) = &op.outcome {
            sentences.push(format!(
                "{:?} failed though nothing else did: {failure:?}",
                op.action
            ));
        }
    }
}
