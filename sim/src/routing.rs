//! Clients that go by the rules of the client library, in about half of the seeds: which node is asked, what is
//! sent again, and when another node is asked as well. The rules are the library's own (`dunlin-decide`).
//!
//! The layout is the one that the cluster was born with: while layouts change, such a client has not heard of it
//! yet, and asks nodes that pass its requests on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dunlin_decide::health::Health;
use dunlin_decide::hedge::Hedging;
use dunlin_decide::retry::{Ended, Next, Repeat, next};
use dunlin_decide::route::{Candidate, Choice, Patience, Standing, choose};

use crate::history::{Action, Op, Outcome};
use crate::mutant::Mutant;
use crate::options::{chance, stream};
use crate::queue::Event;
use crate::world::World;

/// Attempts of one request.
const ATTEMPTS_MAX: usize = 5;

/// What such a client remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routing {
    health: BTreeMap<usize, Health>,
    hedging: Hedging,
    turn: u64,
    /// The nodes that its request was sent to in this round, and how often it was sent.
    tried: Vec<usize>,
    attempts: usize,
    /// Requests on their way, by their place in the history: whom they went to, and when.
    asked: BTreeMap<usize, (usize, u64)>,
    /// Those of them that are second attempts of reads, beside the first.
    hedges: BTreeSet<usize>,
}

/// What comes after a request.
pub(crate) enum After {
    /// The client does something else.
    Something,
    /// It sends this again.
    Again(Action),
    /// Nothing: it was a second attempt.
    Nothing,
}

/// Whether clients go by the library's rules. Drawn apart from the other options: so that seeds are what they
/// were without.
pub(crate) fn draw(seed: u64) -> bool {
    chance(&mut stream(seed, "routing", 0), 500)
}

impl World {
    /// The node that a client asks next.
    pub(crate) fn route(&mut self, client: usize, action: &Action) -> usize {
        let nodes = self.asked_nodes();
        let partitions = self.layout.partitions();
        let partition = match action {
            Action::Write { bucket, key, .. } | Action::Read { bucket, key, .. } => {
                Some(partitions.partition_of(*bucket, key))
            }
            Action::Keys { partition, .. } => Some(*partition),
            Action::Create(_) | Action::Drop(_) | Action::Reshape(_) => None,
        };
        let now = Duration::from_micros(self.now);
        let routing = &mut self.clients[client].routing;
        routing.turn += 1;
        loop {
            let candidate = |node: &usize| {
                let health = routing.health.get(node).copied().unwrap_or_default();
                let score = health.score(now);
                let id = self.nodes[*node].id;
                Candidate {
                    owner: partition.is_none_or(|p| self.layout.is_owner(id, p)),
                    tried: routing.tried.contains(node),
                    standing: match health.is_suspect() {
                        true => Standing::Suspect { score },
                        false => Standing::Ready { score },
                    },
                }
            };
            let candidates: Vec<Candidate> = nodes.iter().map(candidate).collect();
            match choose(&candidates, Patience::Spent, routing.turn) {
                Choice::Ask(at) => return nodes[at],
                Choice::Wait | Choice::Exhausted => routing.tried.clear(),
            }
        }
    }

    /// A request has left. A read may be hedged.
    pub(crate) fn routed(&mut self, client: usize, node: usize, number: usize) {
        let routing = &mut self.clients[client].routing;
        routing.health.entry(node).or_default().began();
        routing.asked.insert(number, (node, self.now));
        let action = &self.history.ops[number].action;
        if matches!(action, Action::Read { .. } | Action::Keys { .. }) {
            let delay = routing.hedging.begin().as_micros() as u64;
            self.after(delay.max(1), Event::Hedge { number });
        }
    }

    /// A read takes long: another node is asked as well.
    pub(crate) fn hedge(&mut self, number: usize) {
        let (client, action) = match &self.history.ops[number] {
            op if matches!(op.outcome, Outcome::Pending) => (op.client, op.action.clone()),
            _ => return,
        };
        let routing = &mut self.clients[client].routing;
        let Some((first, _)) = routing.asked.get(&number).copied() else {
            return;
        };
        if !routing.hedging.spend() {
            return;
        }
        let tried = std::mem::replace(&mut routing.tried, vec![first]);
        let node = self.route(client, &action);
        self.clients[client].routing.tried = tried;
        if node == first {
            return;
        }
        self.count("hedged reads");
        let timeout_ms = self.options.client_timeout_ms;
        let second = self.ask(client, node, action, timeout_ms);
        let routing = &mut self.clients[client].routing;
        routing.health.entry(node).or_default().began();
        routing.asked.insert(second, (node, self.now));
        routing.hedges.insert(second);
    }

    /// A client has heard of a request, or waits no longer.
    pub(crate) fn after_request(&mut self, client: usize, number: usize, op: &Op) -> After {
        let request = self.request_of(&op.action);
        let now = Duration::from_micros(self.now);
        let repeats_all = self.options.mutant == Some(Mutant::RepeatsAll);
        let routing = &mut self.clients[client].routing;
        let Some((node, at)) = routing.asked.remove(&number) else {
            return After::Something;
        };
        let took = now.saturating_sub(Duration::from_micros(at));
        let health = routing.health.entry(node).or_default();
        let ended = match &op.outcome {
            Outcome::NoAnswer => {
                health.silent(now);
                Some(Ended::Unanswered)
            }
            Outcome::NotSent => {
                health.failed(now);
                Some(Ended::NotSent)
            }
            Outcome::Failed(failure) => {
                health.failed(now);
                Some(Ended::of(failure))
            }
            Outcome::Pending
            | Outcome::Written(_)
            | Outcome::Read(_)
            | Outcome::Bucket(_)
            | Outcome::Shape(_) => {
                health.answered(took, now);
                None
            }
        };
        if matches!(op.action, Action::Read { .. } | Action::Keys { .. }) {
            routing.hedging.sample(took);
        }
        if routing.hedges.remove(&number) {
            return After::Nothing;
        }
        routing.tried.push(node);
        routing.attempts += 1;
        let repeat = match repeats_all {
            true => Repeat::Harmless,
            false => Repeat::of(&request),
        };
        let goes_on = ended.map(|ended| next(ended, repeat));
        match goes_on {
            Some(Next::Again | Next::Elsewhere) if routing.attempts < ATTEMPTS_MAX => {
                After::Again(op.action.clone())
            }
            Some(_) | None => {
                routing.tried.clear();
                routing.attempts = 0;
                After::Something
            }
        }
    }
}
