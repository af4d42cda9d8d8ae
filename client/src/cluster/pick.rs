//! The node that a request goes to next, and waiting for there to be one.

use std::sync::Arc;
use std::time::Duration;

use dunlin_ring::{NodeId, REPLICAS_MAX};
use tokio::time::{Instant, timeout_at};

use super::Cluster;
use super::call::{Call, Place};
use super::node::{Dial, Node};
use super::progress::Progress;
use super::view::View;
use crate::error::Error;
use dunlin_decide::route::{Candidate, Choice, Patience, Standing, choose};

/// How long a request waits for an owner that is being dialed for the first time, before it goes to
/// a node that would have to pass it on.
const FRESH_OWNER_WAIT: Duration = Duration::from_millis(250);

/// [`Choice`], of nodes.
pub(super) enum Chosen {
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

impl Cluster {
    /// The node to ask next, as soon as there is one.
    pub(super) async fn next_node(
        &self,
        call: &Call,
        progress: &mut Progress,
    ) -> Result<Arc<Node>, Error> {
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
    pub(super) fn choose(
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
