//! What leaves a node, to nodes and clients: looked at, tampered with by mutants, and given to the network.

use std::sync::Arc;

use dunlin_engine::membership::To;
use dunlin_engine::{Input, ReplyTo};
use dunlin_protocol::codec;
use dunlin_protocol::peer::{HandoffMessage, OperationMessage, PeerBody, PeerMessage};
use dunlin_protocol::response::Answer;
use dunlin_ring::NodeId;

use crate::check::{Checker, check_answer, check_read, check_receipt};
use crate::queue::Event;
use crate::tamper;
use crate::traffic::What;
use crate::world::World;
use crate::writer::Part;

impl World {
    /// Datagrams go the way of all messages: late, twice, or not at all.
    pub(crate) fn send_datagram(&mut self, from: usize, to: To, bytes: bytes::Bytes) {
        let place = match to {
            To::Node { id, .. } => self.nodes.iter().position(|node| node.id == id),
            To::Address(address) => {
                let at = |node: usize| format!("n{node}:7400") == address;
                (0..self.nodes.len()).find(|node| at(*node))
            }
        };
        let Some(node) = place.map(|place| self.reached(from, place)) else {
            return;
        };
        self.is_heard(from, node);
        self.trace.add(self.now, from, "datagram", &bytes);
        self.count("datagrams");
        self.traffic.note(What::Membership, node, bytes.len());
        let sender = self.nodes[from].id;
        for delay in self.network.send(self.now, from, node, true) {
            let (life, part) = (self.nodes[node].life, Part::Control);
            let input = Box::new(Input::Datagram {
                from: sender,
                bytes: bytes.clone(),
            });
            self.after(
                delay,
                Event::Input {
                    node,
                    life,
                    part,
                    input,
                },
            );
        }
    }

    pub(crate) fn send(&mut self, from: usize, to: NodeId, body: PeerBody) {
        let Some(place) = self.nodes.iter().position(|node| node.id == to) else {
            return;
        };
        let place = self.reached(from, place);
        self.is_heard(from, place);
        self.watch(&body);
        let Some(body) = tamper::message(self, from, place, body) else {
            return;
        };
        check_answer(self, from, &body);
        // A transport delivers a stream once or not at all. Everything but a request that is passed on
        // survives being repeated all the same.
        let forwards =
            |message: &OperationMessage| matches!(message, OperationMessage::Forward { .. });
        let repeatable = !matches!(&body, PeerBody::Operation { message, .. } if forwards(message));
        let is_missed = self.network.misses(&body);
        let copies = tamper::copies(self.options.mutant, &body);
        let what = What::of(&body);
        let message = PeerMessage {
            layout: self.layout.number(),
            body,
        };
        let bytes: Arc<[u8]> = match codec::encode(&message) {
            Ok(bytes) => bytes.into(),
            Err(error) => {
                return self.complain(Checker::Invariants, format!("no encoding: {error}"));
            }
        };
        self.trace.add(self.now, from, "send", &bytes);
        self.count("messages");
        self.traffic.note(what, place, bytes.len());
        if is_missed {
            return;
        }
        for _ in 0..copies {
            for delay in self.network.send(self.now, from, place, repeatable) {
                let (life, bytes) = (self.nodes[place].life, Arc::clone(&bytes));
                self.after(
                    delay,
                    Event::Deliver {
                        to: place,
                        life,
                        from,
                        bytes,
                    },
                );
            }
        }
    }

    pub(crate) fn reply(&mut self, node: usize, to: ReplyTo, answer: Answer) {
        let bytes = codec::encode(&answer).unwrap_or_default();
        self.trace.add(self.now, node, "reply", &bytes);
        if let Answer::Written(receipt) = &answer {
            check_receipt(self, to.0 as usize, receipt);
        }
        if let Answer::Read(read) = &answer {
            check_read(self, node, to.0 as usize, read);
        }
        let client = self.client_place(to);
        self.is_heard(node, client);
        for delay in self.network.send(self.now, node, client, false) {
            self.after(
                delay,
                Event::Answered {
                    reply_to: to,
                    answer: Box::new(answer.clone()),
                },
            );
        }
    }

    /// Every event on the wire must be the one that was minted.
    fn watch(&mut self, body: &PeerBody) {
        let events = match body {
            PeerBody::Operation {
                message: OperationMessage::Replicate { events, .. },
                ..
            }
            | PeerBody::Operation {
                message: OperationMessage::HintsRead { events, .. },
                ..
            }
            | PeerBody::Handoff {
                message: HandoffMessage::Deliver { events, .. },
                ..
            } => events,
            _ => return,
        };
        for event in events {
            self.ledger.see(event);
        }
    }
}
