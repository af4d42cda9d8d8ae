//! The sessions of clients: for some of their requests, at the least demands as often as not.
//!
//! A session goes on until its client is told too often that what it has seen is not found: where disks were
//! lost it never will be. Then the client begins another one, whose number is the next.

use dunlin_decide::seen::Seen;
use dunlin_protocol::Context;
use dunlin_protocol::request::Request;
use dunlin_ring::{PartitionCount, Quorum};

use crate::check::Checker;
use crate::history::{Action, Op, Outcome};
use crate::mutant::Mutant;
use crate::options::{chance, stream};
use crate::world::World;

/// So many failures in a row end a session.
const PATIENCE: u32 = 8;

/// What a client has of its session.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    rng: fastrand::Rng,
    /// How many of a thousand requests belong to it.
    permille: u64,
    number: u32,
    seen: Seen,
    failures: u32,
}

/// The session that a request belongs to, and what was said of it.
#[derive(Clone, Debug)]
pub(crate) struct InSession {
    pub(crate) number: u32,
    said: Option<Context>,
}

impl Sessions {
    pub(crate) fn new(seed: u64, client: usize, partitions: PartitionCount) -> Self {
        let mut rng = stream(seed, "session", client as u64);
        let permille = if rng.bool() { 700 } else { 0 };
        Self {
            rng,
            permille,
            number: 0,
            seen: Seen::new(partitions),
            failures: 0,
        }
    }

    fn begin_anew(&mut self) {
        self.number += 1;
        self.failures = 0;
        self.seen = Seen::new(self.seen.partitions());
    }
}

impl World {
    /// Whether a client's next request belongs to its session; if so it may ask for less than it would.
    pub(crate) fn draw_session(&mut self, client: usize, action: &mut Action) -> Option<InSession> {
        let all = self.options.mutant == Some(Mutant::SessionIgnored);
        let sessions = &mut self.clients.get_mut(client)?.sessions;
        if !chance(&mut sessions.rng, sessions.permille) && !all {
            return None;
        }
        match action {
            Action::Read { options, .. } if chance(&mut sessions.rng, 600) => {
                (options.r, options.pr) = (Some(Quorum::One), None);
            }
            Action::Write { options, .. } if chance(&mut sessions.rng, 300) => {
                (options.w, options.pw, options.dw) = (Some(Quorum::One), None, None);
            }
            Action::Read { .. } | Action::Write { .. } | Action::Keys { .. } => {}
            Action::Create(_) | Action::Drop(_) | Action::Reshape(_) => return None,
        }
        let (number, said) = (sessions.number, None);
        Some(InSession { number, said })
    }

    /// Says in a read what its session has seen.
    pub(crate) fn say_seen(
        &mut self,
        client: usize,
        session: &mut InSession,
        request: &mut Request,
    ) {
        let partitions = self.layout.partitions();
        let (place, seen) = match request {
            Request::Read(read) => (
                partitions.partition_of(read.bucket, &read.key),
                &mut read.seen,
            ),
            Request::Keys(keys) => (keys.partition, &mut keys.seen),
            _ => return,
        };
        let said = self.clients[client].sessions.seen.of(place);
        session.said = Some(said.clone());
        *seen = Some(match self.options.mutant {
            Some(Mutant::SessionIgnored) => Context::default(),
            _ => said,
        });
    }

    /// What a client's session learns of an answer.
    pub(crate) fn learn_seen(&mut self, op: &Op) {
        let Some(session) = &op.session else { return };
        let partitions = self.layout.partitions();
        let sessions = &mut self.clients[op.client].sessions;
        if session.number != sessions.number {
            return;
        }
        let place = match &op.action {
            Action::Write { bucket, key, .. } | Action::Read { bucket, key, .. } => {
                partitions.partition_of(*bucket, key)
            }
            Action::Keys { partition, .. } => *partition,
            Action::Create(_) | Action::Drop(_) | Action::Reshape(_) => return,
        };
        let learnt = match (&op.outcome, &session.said) {
            (Outcome::Written(receipt), _) => sessions
                .seen
                .wrote(place, &receipt.context)
                .map_err(|e| e.to_string()),
            (Outcome::Read(answer), Some(said)) => match &answer.seen {
                Some(now) => sessions
                    .seen
                    .read(place, said, now)
                    .map_err(|e| e.to_string()),
                None => Err("an answer in a session does not say what is seen".to_owned()),
            },
            (Outcome::Failed(_), Some(_)) => {
                sessions.failures += 1;
                if sessions.failures >= PATIENCE {
                    sessions.begin_anew();
                    self.count("sessions given up");
                }
                return;
            }
            _ => return,
        };
        sessions.failures = 0;
        // As another process would go on with it.
        if chance(&mut sessions.rng, 50)
            && let Ok(same) = Seen::decode(&sessions.seen.encode())
        {
            sessions.seen = same;
        }
        self.count("answers in sessions");
        if let Err(why) = learnt {
            self.complain(Checker::Sessions, format!("{:?}: {why}", op.action));
        }
    }
}
