//! What has become of a request so far, and the error that it ends with.

use std::time::Duration;

use dunlin_protocol::{DataEffect, Failure};
use dunlin_ring::NodeId;
use tokio::time::Instant;

use super::call::Call;
use crate::error::{Asked, AttemptEnd, Error};
use dunlin_decide::backoff::Backoff;
use dunlin_decide::retry::{Ended, Repeat};

/// Pauses between rounds in which every node within reach was asked.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What has become of a request so far.
pub(super) struct Progress {
    pub(super) began: Instant,
    pub(super) asked: Asked,
    /// Nodes asked in this round.
    pub(super) tried: Vec<NodeId>,
    pub(super) pauses: Backoff,
    /// Whether the last failure can be avoided by another node only, not by waiting.
    pub(super) elsewhere_only: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            asked: Asked::default(),
            tried: Vec::new(),
            pauses: Backoff::new(PAUSE_FIRST, PAUSE_MAX),
            elsewhere_only: false,
        }
    }

    /// There is no use in trying on.
    pub(super) fn given_up(&mut self, call: &Call) -> Error {
        let asked = std::mem::take(&mut self.asked);
        if call.repeat != Repeat::Read && asked.effect() == DataEffect::Unknown {
            return Error::Unknown { asked };
        }
        match asked.0.last().map(|last| &last.end) {
            Some(AttemptEnd::Failed(failure)) => Error::Refused {
                failure: failure.clone(),
                asked,
            },
            Some(AttemptEnd::Unanswered(error)) if last_is_too_long(&asked) => Error::Encoding {
                reason: error.to_string(),
            },
            Some(AttemptEnd::Unanswered(_) | AttemptEnd::Garbled(_)) | None => Error::Timeout {
                after: call.timeout,
                effect: DataEffect::NotApplied,
                asked,
            },
        }
    }

    /// The time is up.
    pub(super) fn timed_out(&mut self, call: &Call) -> Error {
        let asked = std::mem::take(&mut self.asked);
        let effect = match call.repeat {
            Repeat::Read => DataEffect::NotApplied,
            Repeat::Harmless | Repeat::Never => asked.effect(),
        };
        match asked.0.last().map(|last| &last.end) {
            // Nothing was done, and the last node said why.
            Some(AttemptEnd::Failed(failure)) if effect == DataEffect::NotApplied => {
                Error::Refused {
                    failure: failure.clone(),
                    asked,
                }
            }
            Some(_) | None => Error::Timeout {
                after: call.timeout,
                effect,
                asked,
            },
        }
    }
}

fn last_is_too_long(asked: &Asked) -> bool {
    asked.0.last().is_some_and(|last| last.end.is_too_long())
}

/// How an attempt ended, as far as the next one depends on it.
pub(super) fn ended(end: &AttemptEnd, call: &Call) -> Ended {
    match end {
        AttemptEnd::Unanswered(_) if end.is_too_long() => Ended::Refused,
        AttemptEnd::Unanswered(error) if error.outcome_unknown() => Ended::Unanswered,
        AttemptEnd::Unanswered(_) => Ended::NotSent,
        AttemptEnd::Garbled(_) => Ended::Unanswered,
        AttemptEnd::Failed(Failure::NoSuchBucket) => call.no_such_bucket,
        AttemptEnd::Failed(failure) => Ended::of(failure),
    }
}
