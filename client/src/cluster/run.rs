//! A request from its first attempt to its end.
//!
//! ```text
//! run ─> next_node ──────> attempt, or for reads: hedged = attempt + a second one ──> answer
//!  ^        │ waits for a connection                         │
//!  └────────┴── decide::retry: another node, a pause, or the end ── failed
//! ```

use std::pin::pin;
use std::sync::Arc;

use dunlin_protocol::Failure;
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::response::{Answer, ReadAnswer, Response};
use tokio::time::timeout;

use super::Cluster;
use super::call::Call;
use super::node::Node;
use super::pick::Chosen;
use super::progress::{Progress, ended};
use super::view::View;
use crate::error::{Attempt, AttemptEnd, Error};
use crate::node_ref::NodeRef;
use crate::transport::{RequestError, SendError};
use dunlin_decide::retry::{Next, next};
use dunlin_decide::route::Patience;

/// Attempts after which a failure that only another node could avoid is believed.
const ELSEWHERE_MAX: usize = 3;

/// An answer, and who gave it.
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    pub(crate) coordinator: NodeRef,
    pub(crate) view: Arc<View>,
    /// Attempts that may have been applied, this one among them.
    pub(crate) attempts: u32,
}

impl Cluster {
    /// Sends a request until it is answered or there is no use in trying.
    pub(crate) async fn run(self: &Arc<Self>, call: &Call) -> Result<Reply, Error> {
        let mut progress = Progress::new();
        loop {
            let node = self.next_node(call, &mut progress).await?;
            if call.left().is_zero() {
                // Better not sent than sent too late to hear of it.
                return Err(progress.timed_out(call));
            }
            let failed = if call.may_hedge() {
                self.hedged(call, &node, &mut progress).await
            } else {
                self.attempt(call, &node).await
            };
            let attempt = match failed {
                Ok(mut reply) => {
                    reply.attempts = reply.attempts.saturating_add(progress.asked.unknown());
                    return Ok(reply);
                }
                Err(attempt) => attempt,
            };
            let ended = ended(&attempt.end, call);
            progress.tried.push(attempt.node.id);
            progress.asked.0.push(attempt);
            if call.left().is_zero() {
                return Err(progress.timed_out(call));
            }
            match next(ended, call.repeat) {
                Next::GiveUp => return Err(progress.given_up(call)),
                Next::Again => progress.elsewhere_only = false,
                Next::Elsewhere if progress.asked.0.len() >= ELSEWHERE_MAX => {
                    return Err(progress.given_up(call));
                }
                Next::Elsewhere => progress.elsewhere_only = true,
            }
        }
    }

    /// Asks a node, and another one as well if it takes long.
    async fn hedged(
        self: &Arc<Self>,
        call: &Call,
        node: &Arc<Node>,
        progress: &mut Progress,
    ) -> Result<Reply, Attempt> {
        let delay = self.hedging(call.class).begin();
        let mut first = pin!(self.attempt(call, node));
        if let Ok(ended) = timeout(delay, &mut first).await {
            return ended;
        }
        progress.tried.push(node.id());
        let view = self.view();
        let other = match self.choose(call, &view, &progress.tried, Patience::Spent) {
            Ok(Chosen::Node(other)) if other.is_ready() && self.hedging(call.class).spend() => {
                other
            }
            Ok(Chosen::Node(_) | Chosen::Wait | Chosen::Exhausted) | Err(_) => return first.await,
        };
        let mut second = pin!(self.attempt(call, &other));
        // Biased to the first: if both have answered, the hedge was one too many.
        let (attempt, rest) = tokio::select! {
            biased;
            ended = &mut first => match ended {
                Ok(reply) => return Ok(reply),
                Err(attempt) => (attempt, second.await),
            },
            ended = &mut second => match ended {
                Ok(reply) => return Ok(reply),
                Err(attempt) => (attempt, first.await),
            },
        };
        if rest.is_err() {
            progress.tried.push(attempt.node.id);
            progress.asked.0.push(attempt);
        }
        rest
    }

    /// Asks one node once.
    async fn attempt(self: &Arc<Self>, call: &Call, node: &Node) -> Result<Reply, Attempt> {
        let failed = |end, named| Attempt {
            node: node.name().clone(),
            end,
            named,
        };
        let Some((requester, asking)) = node.begin() else {
            let end = AttemptEnd::Unanswered(RequestError::NotSent(SendError::Closed));
            return Err(failed(end, Vec::new()));
        };
        let (left, suspect_after) = (call.left(), call.suspect_after());
        let whole = match call.has_alternative() {
            true => left.min(suspect_after),
            false => left,
        };
        let mut answer = pin!(requester.request(call.body.clone(), whole));
        let answered = if suspect_after < whole {
            match timeout(suspect_after, &mut answer).await {
                Ok(answered) => answered,
                Err(_) => {
                    node.suspect();
                    answer.await
                }
            }
        } else {
            answer.await
        };
        if call.may_hedge() {
            self.hedging(call.class).sample(asking.elapsed());
        }
        let frame = match answered {
            Ok(frame) => frame,
            Err(error) => {
                match &error {
                    RequestError::TimedOut(_) => asking.silent(),
                    RequestError::ConnectionLost
                    | RequestError::NotSent(_)
                    | RequestError::TooManyOpen { .. } => asking.failed(),
                }
                return Err(failed(AttemptEnd::Unanswered(error), Vec::new()));
            }
        };
        let response: Response = match codec::decode(&frame.body, CodecLimits::default()) {
            Ok(response) => response,
            Err(error) => {
                asking.failed();
                return Err(failed(AttemptEnd::Garbled(error.to_string()), Vec::new()));
            }
        };
        let view = self.view();
        if response.layout > view.layout.number() {
            self.refresh_layout(node.id());
        }
        match response.answer {
            Answer::Failed(failure) => {
                match is_trouble(&failure) {
                    true => asking.failed(),
                    false => asking.answered(),
                }
                let named = view.named_in(&failure);
                Err(failed(AttemptEnd::Failed(failure), named))
            }
            // It may be older than what the session has seen, and nobody would know.
            Answer::Read(ReadAnswer { seen: None, .. }) if call.in_session => {
                asking.answered();
                let garbled = "it knows nothing of sessions, being of an older version".to_owned();
                Err(failed(AttemptEnd::Garbled(garbled), Vec::new()))
            }
            answer => {
                asking.answered();
                Ok(Reply {
                    answer,
                    coordinator: node.name().clone(),
                    view,
                    attempts: 1,
                })
            }
        }
    }
}

/// Whether a failure speaks against the node that answers it, so that others are asked first.
fn is_trouble(failure: &Failure) -> bool {
    match failure {
        Failure::Unavailable { .. }
        | Failure::Overloaded
        | Failure::StorageFull
        | Failure::StorageFailed
        | Failure::Expired
        | Failure::NotOwner
        | Failure::WriteTimeout { .. }
        | Failure::ReadTimeout { .. }
        | Failure::Lost { .. } => true,
        Failure::NoSuchBucket
        | Failure::BucketExists { .. }
        | Failure::WrongKind { .. }
        | Failure::TooLarge { .. }
        | Failure::Invalid { .. }
        | Failure::QuorumTooLarge { .. }
        | Failure::CounterOverflow
        | Failure::TooManySiblings { .. }
        | Failure::ChangeRefused { .. }
        | Failure::BehindSession { .. }
        | Failure::NotUnderstood
        | Failure::Partial { .. } => false,
    }
}
