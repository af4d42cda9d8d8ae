//! Requests of clients: understood, taken to the part that answers, answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use dunlin_client::transport::{CloseCode, FrameHandler, Link, Refusal, SendError};
use dunlin_engine::{Time, View, partition_of};
use dunlin_protocol::codec::{self, CodecLimits};
use dunlin_protocol::error::{Failure, Part};
use dunlin_protocol::frame::{Frame, FrameKind, RequestId};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::{Answer, Response};
use dunlin_ring::LayoutNumber;
use quinn::ConnectionError;

use crate::board::ViewBoard;
use crate::clock::Clock;
use crate::counters::NodeCounters;
use crate::driver::Parts;
use crate::driver::inbox::Origin;
use crate::driver::part::PartMessage;
use crate::listener::pulse::Pulse;
use crate::status::Desk;

/// The most that is kept of a deadline for the way back: an answer that says how far a write came must
/// not arrive just after its client gave up.
const ANSWER_MARGIN_MS_MAX: u64 = 200;
/// The longest deadline that is believed: operations are kept for as long.
const DEADLINE_MS_MAX: u32 = 10 * 60 * 1000;

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    link: Link,
    id: RequestId,
}

impl Asker {
    /// Sends the answer, if the link is still there.
    pub(crate) fn answer(&self, layout: LayoutNumber, answer: Answer, counters: &NodeCounters) {
        match self.send(layout, answer) {
            Ok(()) => {}
            Err(SendError::Closed) => counters.answers_lost.add(),
            Err(SendError::QueueFull) => {
                // A client that asks and does not read would hold memory for ever.
                counters.answers_lost.add();
                self.link
                    .close(CloseCode::Overloaded, "answers are not read");
            }
            Err(SendError::TooLong { bytes, bytes_max }) => {
                counters.answers_lost.add();
                let failure = Failure::TooLarge {
                    what: Part::Value,
                    is: bytes as u64,
                    max: bytes_max as u64,
                };
                // A second failure is one of the two above, and the link's end.
                let _ = self.send(layout, Answer::Failed(failure));
            }
        }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.link.is_closed()
    }

    fn send(&self, layout: LayoutNumber, answer: Answer) -> Result<(), SendError> {
        let body = codec::encode(&Response { layout, answer }).map_err(|error| {
            tracing::error!(%error, "an answer has no encoding");
            SendError::Closed
        })?;
        let frame = Frame {
            kind: FrameKind::Response,
            id: self.id,
            deadline_ms: 0,
            body: Bytes::from(body),
        };
        self.link.send(frame, self.id.0 as usize)
    }
}

/// Whether requests are taken.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicBool);

impl Gate {
    /// Takes no more requests from now on.
    pub(crate) fn close(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_closed(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Serves the links of all clients.
pub(crate) struct ClientHandler {
    pub(crate) parts: Arc<Parts>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Clock,
    pub(crate) pulse: Arc<Pulse>,
    /// Says how keys map to partitions, which never changes.
    pub(crate) view: Arc<View>,
    pub(crate) views: Arc<ViewBoard>,
    pub(crate) request_timeout_ms: u64,
    pub(crate) counters: Arc<NodeCounters>,
}

impl ClientHandler {
    fn request(&self, link: &Link, frame: &Frame) {
        let asker = Asker {
            link: link.clone(),
            id: frame.id,
        };
        let request = match codec::decode::<Request>(&frame.body, CodecLimits::default()) {
            Ok(request) => request,
            Err(error) => {
                self.counters.not_understood.add();
                tracing::debug!(remote = %link.remote(), %error, "request not understood");
                return self.fail(&asker, Failure::NotUnderstood);
            }
        };
        if self.gate.is_closed() {
            return self.fail(&asker, Failure::Overloaded);
        }
        if matches!(request, Request::Status | Request::Compact) {
            return self.desk.ask(asker, &request);
        }
        let inbox = match partition_of(&request, &self.view) {
            Some(partition) => self.parts.shard_of(partition),
            None => self.parts.control(),
        };
        let deadline = self.deadline(frame.deadline_ms);
        let message = PartMessage::Asked {
            asker,
            request,
            deadline,
        };
        let offered = inbox.offer(Origin::Client, message, frame.body.len());
        if let Err(PartMessage::Asked { asker, .. }) = offered {
            self.counters.requests_shed.add();
            self.fail(&asker, Failure::Overloaded);
        }
    }

    /// When the client no longer waits, less what the request has waited already and what the answer
    /// takes to get there.
    fn deadline(&self, deadline_ms: u32) -> Time {
        let ms = match deadline_ms {
            0 => self.request_timeout_ms,
            ms => u64::from(ms.min(DEADLINE_MS_MAX)),
        };
        let now = self.clock.time();
        let margin = (ms / 10).min(ANSWER_MARGIN_MS_MAX);
        now.plus_ms(ms.saturating_sub(margin + self.pulse.stood_still_ms(now)))
    }

    fn fail(&self, asker: &Asker, failure: Failure) {
        asker.answer(self.views.newest(), Answer::Failed(failure), &self.counters);
    }
}

impl FrameHandler for ClientHandler {
    fn frame(&self, link: &Link, frame: Frame) {
        match frame.kind {
            FrameKind::Request => self.request(link, &frame),
            // Says nothing that this version would need to know.
            FrameKind::Hello => {}
            // The link's limits let in no other.
            FrameKind::Lane | FrameKind::Response | FrameKind::Peer => {
                self.counters.not_understood.add();
            }
        }
    }

    fn refused(&self, link: &Link, refusal: &Refusal) {
        self.counters.links_broken.add();
        tracing::warn!(remote = %link.remote(), %refusal, "a client broke the protocol");
    }

    fn closed(&self, link: &Link, reason: &ConnectionError) {
        tracing::debug!(remote = %link.remote(), %reason, "client gone");
    }
}
