//! A request from its first attempt to its end.
//!
//! ```text
//! run ─> next_node ──────> attempt, or for reads: hedged = attempt + a second one ──> answer
//!  ^        │ waits for a connection                         │
//!  └────────┴── decide::retry: another node, a pause, or the end ── failed
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::response::{Answer, Response};
use dunlin_protocol::{DataEffect, Failure};
use dunlin_ring::{NodeId, REPLICAS_MAX};
use tokio::time::{Instant, timeout, timeout_at};

use super::Cluster;
use super::call::{Call, Place};
use super::node::{Dial, Node};
use super::view::View;
use crate::decide::backoff::Backoff;
use crate::decide::retry::{Ended, Next, Repeat, next};
use crate::decide::route::{Candidate, Choice, Patience, Standing, choose};
use crate::error::{Asked, Attempt, AttemptEnd, Error};
use crate::node_ref::NodeRef;
use crate::transport::{RequestError, SendError};

/// How long a request waits for an owner that is being dialed for the first time, before it goes to
/// a node that would have to pass it on.
const FRESH_OWNER_WAIT: Duration = Duration::from_millis(250);

/// Pauses between rounds in which every node within reach was asked.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Attempts after which a failure that only another node could avoid is believed.
const ELSEWHERE_MAX: usize = 3;

/// An answer, and who gave it.
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    pub(crate) coordinator: NodeRef,
    pub(crate) view: Arc<View>,
}

/// What has become of a request so far.
struct Progress {
    began: Instant,
    asked: Asked,
    /// Nodes asked in this round.
    tried: Vec<NodeId>,
    pauses: Backoff,
    /// Whether the last failure can be avoided by another node only, not by waiting.
    elsewhere_only: bool,
}

impl Cluster {
    /// Sends a request until it is answered or there is no use in trying.
    pub(crate) async fn run(self: &Arc<Self>, call: &Call) -> Result<Reply, Error> {
        let mut progress = Progress {
            began: Instant::now(),
            asked: Asked::default(),
            tried: Vec::new(),
            pauses: Backoff::new(PAUSE_FIRST, PAUSE_MAX),
            elsewhere_only: false,
        };
        loop {
            let node = self.next_node(call, &mut progress).await?;
            let failed = if call.may_hedge() {
                self.hedged(call, &node, &mut progress).await
            } else {
                self.attempt(call, &node).await
            };
            let attempt = match failed {
                Ok(reply) => return Ok(reply),
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

    /// The node to ask next, as soon as there is one.
    async fn next_node(&self, call: &Call, progress: &mut Progress) -> Result<Arc<Node>, Error> {
        // Before the first look, so that no change after it is missed; but most requests need none.
        let mut changes = None;
        loop {
            let view = self.view();
            let patient_until = progress.began + FRESH_OWNER_WAIT;
            let patience = match Instant::now() < patient_until {
                true => Patience::Left,
                false => Patience::Spent,
            };
            let choice = self.choose(call, &view, &progress.tried, patience)?;
            match (choice, &mut changes) {
                (Chosen::Node(node), _) => return Ok(node),
                (Chosen::Exhausted, _) => {
                    if progress.elsewhere_only {
                        return Err(progress.given_up(call));
                    }
                    let pause = progress.pauses.pause(&mut self.rng());
                    if pause >= call.left() {
                        return Err(progress.timed_out(call));
                    }
                    tokio::time::sleep(pause).await;
                    progress.tried.clear();
                }
                (Chosen::Wait, changes @ None) => {
                    *changes = Some(self.surroundings.changes.subscribe());
                }
                (Chosen::Wait, Some(changes)) => {
                    let until = match patience {
                        Patience::Left => patient_until.min(call.deadline),
                        Patience::Spent => call.deadline,
                    };
                    // Changed, or the time is up: look again in either case. The sender lives as
                    // long as this cluster.
                    let _ = timeout_at(until, changes.changed()).await;
                    if call.left().is_zero() {
                        return Err(match progress.asked.0.is_empty() {
                            true => unreachable(call, &view),
                            false => progress.timed_out(call),
                        });
                    }
                }
            }
        }
    }

    /// The node to ask now.
    fn choose(
        &self,
        call: &Call,
        view: &View,
        tried: &[NodeId],
        patience: Patience,
    ) -> Result<Chosen, Error> {
        let candidate = |node: &Node, owner, dial| Candidate {
            owner,
            tried: tried.contains(&node.id()),
            standing: node.standing(dial),
        };
        let turn = self.turn();
        let partition = match call.place {
            Place::Partition(partition) => partition,
            Place::Node(id) => {
                let Some(node) = view.node(id) else {
                    let node = view.name(id);
                    return Err(Error::NoSuchNode { node });
                };
                let candidates = [candidate(node, true, Dial::IfIdle)];
                let choice = choose(&candidates, patience, turn);
                return Ok(Chosen::of(choice, |_| Some(node)));
            }
            Place::Anywhere => {
                let look = |dial| -> Vec<_> {
                    let nodes = view.nodes.iter();
                    nodes.map(|node| candidate(node, true, dial)).collect()
                };
                let choice = match choose(&look(Dial::No), patience, turn) {
                    choice @ Choice::Ask(_) => choice,
                    // Only now are there more connections to be made.
                    Choice::Wait | Choice::Exhausted => choose(&look(Dial::IfIdle), patience, turn),
                };
                return Ok(Chosen::of(choice, |position| view.nodes.get(position)));
            }
        };
        // Nearly always an owner is ready; then nothing is allocated and nobody else looked at.
        let mut owners = [Candidate {
            owner: true,
            tried: true,
            standing: Standing::Away,
        }; REPLICAS_MAX as usize];
        let ids = view.layout.owners(partition);
        for (slot, id) in owners.iter_mut().zip(ids) {
            if let Some(node) = view.node(*id) {
                *slot = candidate(node, true, Dial::IfIdle);
            }
        }
        if let Choice::Ask(position) = choose(&owners, patience, turn)
            && let Some(Candidate {
                standing: Standing::Ready { .. },
                ..
            }) = owners.get(position)
            && let Some(node) = ids.get(position).and_then(|id| view.node(*id))
        {
            return Ok(Chosen::Node(node.clone()));
        }
        // Others are dialed only when the owners have had their time.
        let dial_others = match patience {
            Patience::Left => Dial::No,
            Patience::Spent => Dial::IfIdle,
        };
        let nodes: Vec<&Arc<Node>> = view
            .layout
            .preference(partition)
            .iter()
            .filter_map(|id| view.node(*id))
            .collect();
        let candidates: Vec<_> = nodes
            .iter()
            .map(|node| match ids.contains(&node.id()) {
                true => candidate(node, true, Dial::IfIdle),
                false => candidate(node, false, dial_others),
            })
            .collect();
        let choice = choose(&candidates, patience, turn);
        Ok(Chosen::of(choice, |position| nodes.get(position).copied()))
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
            answer => {
                asking.answered();
                Ok(Reply {
                    answer,
                    coordinator: node.name().clone(),
                    view,
                })
            }
        }
    }
}

enum Chosen {
    Node(Arc<Node>),
    Wait,
    Exhausted,
}

impl Chosen {
    fn of<'a>(choice: Choice, node: impl Fn(usize) -> Option<&'a Arc<Node>>) -> Self {
        match choice {
            Choice::Ask(position) => match node(position) {
                Some(node) => Self::Node(node.clone()),
                None => Self::Exhausted,
            },
            Choice::Wait => Self::Wait,
            Choice::Exhausted => Self::Exhausted,
        }
    }
}

impl Progress {
    /// There is no use in trying on.
    fn given_up(&mut self, call: &Call) -> Error {
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
    fn timed_out(&mut self, call: &Call) -> Error {
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

fn unreachable(call: &Call, view: &View) -> Error {
    let needed: Vec<&Arc<Node>> = match call.place {
        Place::Node(id) => view.node(id).into_iter().collect(),
        Place::Partition(_) | Place::Anywhere => view.nodes.iter().collect(),
    };
    Error::Unreachable {
        after: call.timeout,
        away: needed
            .into_iter()
            .map(|node| (node.name().clone(), node.away_because()))
            .collect(),
    }
}

/// How an attempt ended, as far as the next one depends on it.
fn ended(end: &AttemptEnd, call: &Call) -> Ended {
    match end {
        AttemptEnd::Unanswered(_) if end.is_too_long() => Ended::Refused,
        AttemptEnd::Unanswered(error) if error.outcome_unknown() => Ended::Unanswered,
        AttemptEnd::Unanswered(_) => Ended::NotSent,
        AttemptEnd::Garbled(_) => Ended::Unanswered,
        AttemptEnd::Failed(Failure::NoSuchBucket) => call.no_such_bucket,
        AttemptEnd::Failed(failure) => Ended::said(failure.retry(), passes(failure)),
    }
}

/// Whether the cause of a failure goes away by itself within moments.
fn passes(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Overloaded | Failure::Expired | Failure::NotOwner
    )
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
        | Failure::NotUnderstood
        | Failure::Partial { .. } => false,
    }
}
