//! A change of what the cluster knows that was asked of this node: kept here, then told to every peer that
//! can be reached; answered when they have kept it, or after a while.

use std::collections::BTreeSet;

use dunlin_protocol::cluster::ClusterEntry;
use dunlin_protocol::peer::{AckWhen, ControlMessage, PeerBody};
use dunlin_protocol::response::Answer;
use dunlin_ring::NodeId;

use super::{Control, Kept};
use crate::cluster::buckets_of;
use crate::io::{Effect, Now, ReplyTo, Time};

/// How long a change waits for peers that do not answer.
const TELL_MS: u64 = 1_000;

/// A change that peers are being told of.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) reply_to: ReplyTo,
    entries: Vec<ClusterEntry>,
    answer: Tell,
    /// Who has not said yet that it keeps the change; `None` while this node does not keep it itself.
    waiting: Option<BTreeSet<NodeId>>,
    known_by: Vec<NodeId>,
    until: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    Created,
    Dropped,
    Cluster,
}

impl Control {
    pub(crate) fn change(
        &mut self,
        reply_to: ReplyTo,
        entries: Vec<ClusterEntry>,
        answer: Tell,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.merge(&entries, now, effects);
        self.next_telling += 1;
        let number = self.next_telling;
        let telling = Telling {
            reply_to,
            entries,
            answer,
            waiting: None,
            known_by: vec![self.me],
            until: now.time.plus_ms(TELL_MS),
        };
        self.telling.insert(number, telling);
        self.commits.wait(AckWhen::Synced, Kept::Own(number));
    }

    /// A change of this node's own is kept here: every peer that can be reached is told of it.
    pub(super) fn tell(&mut self, number: u64, now: Now, effects: &mut Vec<Effect>) {
        let reachable: BTreeSet<NodeId> = self
            .peers
            .nodes()
            .into_iter()
            .filter(|n| self.is_reachable(*n))
            .collect();
        if let Some(telling) = self.telling.get_mut(&number) {
            for to in &reachable {
                let message = ControlMessage::Know {
                    entries: telling.entries.clone(),
                    confirm: Some(number),
                };
                effects.push(Effect::Send {
                    to: *to,
                    body: PeerBody::Control(message),
                });
            }
            telling.waiting = Some(reachable);
            telling.until = now.time.plus_ms(TELL_MS);
        }
        self.settle_telling(number, now, effects);
    }

    /// A peer has kept a change that it was told of.
    pub(super) fn kept_by(
        &mut self,
        from: NodeId,
        confirm: u64,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(telling) = self.telling.get_mut(&confirm)
            && telling
                .waiting
                .as_mut()
                .is_some_and(|waiting| waiting.remove(&from))
        {
            telling.known_by.push(from);
        }
        self.settle_telling(confirm, now, effects);
    }

    /// Answers once every peer that could be reached has kept the change, or has had its time.
    pub(super) fn settle_telling(&mut self, number: u64, now: Now, effects: &mut Vec<Effect>) {
        let over = |telling: &Telling| {
            let waiting = telling.waiting.as_ref();
            waiting.is_some_and(|waiting| waiting.is_empty() || now.time >= telling.until)
        };
        if !self.telling.get(&number).is_some_and(over) {
            return;
        }
        if let Some(telling) = self.telling.remove(&number) {
            let bucket = buckets_of(&telling.entries).next().cloned();
            let answer = match (telling.answer, bucket) {
                (Tell::Created, Some(bucket)) => Answer::Created {
                    bucket,
                    known_by: telling.known_by,
                },
                (Tell::Dropped, Some(bucket)) => Answer::Bucket(bucket),
                (Tell::Created | Tell::Dropped | Tell::Cluster, _) => self.describe(),
            };
            effects.push(Effect::Reply {
                to: telling.reply_to,
                answer,
            });
        }
    }
}
