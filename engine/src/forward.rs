//! Passing a request on, from a node that owns no copy to one that does.

use std::collections::VecDeque;

use dunlin_protocol::Failure;
use dunlin_protocol::peer::{OperationMessage, PeerOp};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Answer;
use dunlin_ring::{NodeId, PartitionId};

use crate::io::{Effect, Now, Time, TimerId};
use crate::shard::{Operation, Origin, Shard, send_operation};

/// A request that another node works on. Reads go on to the next owner when one is silent; a write
/// that is not answered may have been applied, so it is the client's to repeat.
#[derive(Debug)]
pub(crate) struct ForwardOp {
    origin: Origin,
    partition: PartitionId,
    request: Request,
    asked: Vec<NodeId>,
    left: VecDeque<NodeId>,
    deadline: Time,
}

impl Shard {
    /// Passes a request on to the nearest of these owners.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(crate) fn start_forward(
        &mut self,
        origin: Origin,
        partition: PartitionId,
        request: Request,
        owners: Vec<NodeId>,
        deadline: Time,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.counters.add("forwarded");
        let op = self.new_op();
        let asked = Vec::new();
        let forward = ForwardOp {
            origin,
            partition,
            request,
            asked,
            left: owners.into(),
            deadline,
        };
        self.forward_next(op, Box::new(forward), now, effects);
    }

    fn forward_next(
        &mut self,
        op: PeerOp,
        mut forward: Box<ForwardOp>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let at = match forward.left.pop_front() {
            Some(to) => {
                forward.asked.push(to);
                let left_ms = forward.deadline.ms_since(now.time);
                let message = OperationMessage::Forward {
                    request: Box::new(forward.request.clone()),
                    deadline_ms: u32::try_from(left_ms).unwrap_or(u32::MAX),
                };
                effects.push(send_operation(to, forward.partition, op, message));
                let silent_ms = match forward.request {
                    Request::Write(_) => self.options.request_timeout_ms,
                    _ => self.options.hedge_after_max_ms * 4,
                };
                now.time.plus_ms(silent_ms).min(forward.deadline)
            }
            None => forward.deadline,
        };
        effects.push(Effect::SetTimer {
            id: TimerId::Operation(op.0),
            at,
        });
        self.operations.insert(op, Operation::Forward(forward));
    }

    pub(crate) fn forward_answered(
        &mut self,
        op: PeerOp,
        forward: Box<ForwardOp>,
        from: NodeId,
        message: OperationMessage,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        // It did nothing: it refuses, or owns no longer or not yet.
        let says_no = match &message {
            OperationMessage::Refused(_) => true,
            OperationMessage::Forwarded { answer } => **answer == Answer::Failed(Failure::NotOwner),
            _ => false,
        };
        let is_last = forward.asked.last() == Some(&from);
        match message {
            _ if says_no && is_last && forward.left.is_empty() => {
                self.fail(forward.origin, Failure::NotOwner, effects);
            }
            _ if says_no && is_last => self.forward_next(op, forward, now, effects),
            OperationMessage::Forwarded { answer } if !says_no && forward.asked.contains(&from) => {
                effects.push(Self::answer(forward.origin, *answer));
            }
            _ => {
                self.operations.insert(op, Operation::Forward(forward));
            }
        }
    }

    pub(crate) fn forward_silent(
        &mut self,
        op: PeerOp,
        forward: Box<ForwardOp>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let is_write = matches!(forward.request, Request::Write(_));
        if !is_write && now.time < forward.deadline {
            return self.forward_next(op, forward, now, effects);
        }
        let to = forward.asked.last().copied().unwrap_or(self.view.me);
        let failure = if is_write {
            Failure::Lost { to }
        } else {
            Failure::ReadTimeout {
                needed: 1,
                answered: Vec::new(),
            }
        };
        self.fail(forward.origin, failure, effects);
    }
}
