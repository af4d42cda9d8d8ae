//! What a node notes: what becomes of it in the world, and what must never be noted.

use std::sync::Arc;

use dunlin_engine::Note;

use crate::check::Checker;
use crate::faults::FaultEnd;
use crate::mutant::Mutant;
use crate::operator::Standing;
use crate::queue::Event;
use crate::world::World;
use crate::writer::Part;

impl World {
    pub(crate) fn note(&mut self, node: usize, part: Part, note: Note) {
        if self.trace.is_printed() && !matches!(note, Note::Minted { .. }) {
            self.trace
                .say(self.now, format_args!("n{node} notes {note:?}"));
        }
        match note {
            Note::Minted { op, events } => {
                if self.trace.is_printed() {
                    for event in &events {
                        let (dot, replaces) = (&event.event.dot, &event.event.replaces);
                        self.trace.say(
                            self.now,
                            format_args!(
                                "n{node} mints {dot:?} on {:?} replacing {replaces:?} for {op}",
                                event.key
                            ),
                        );
                    }
                }
                let layouts = match part {
                    Part::Shard(at) => self.nodes[node].views.get(at),
                    Part::Control => None,
                };
                if let Some(view) = layouts {
                    let layouts = Arc::clone(&view.layouts);
                    let by = (self.nodes[node].id, node);
                    self.ledger.mint(self.now, by, op, &events, &layouts);
                }
            }
            // It was healed as it was read, perhaps.
            Note::StoreFailed { .. } if self.rot.has_struck(node) => {}
            Note::StoreFailed { .. } if self.nodes[node].was_unreadable => {}
            Note::StoreFailed { reason } => {
                self.complain(
                    Checker::Invariants,
                    format!("node {node}: the store failed: {reason}"),
                );
            }
            Note::Replaced { .. } if self.nodes[node].standing == Standing::Ghost => {
                self.let_ghost_go(node);
            }
            Note::Replaced { .. } if self.haunted() == Some(node) => self.let_copy_go(node),
            Note::Replaced { address } => {
                let sentence = format!("node {node} was replaced by a process at {address}");
                self.complain(Checker::Invariants, sentence);
            }
            Note::Forgot { .. } => {
                let life = self.nodes[node].life;
                self.after(1, Event::FaultEnds(FaultEnd::StartAnew { node, life }));
            }
            Note::Unreadable => self.look_at_files(node),
            Note::NotRolledBack { .. } if self.nodes[node].was_unreadable => {
                self.count("processes that could not roll back");
                let (life, kept) = (self.nodes[node].life, usize::MAX);
                self.after(1, Event::FaultEnds(FaultEnd::Die { node, life, kept }));
            }
            Note::NotRolledBack { reason } => {
                let sentence = format!("node {node} could not roll back: {reason}");
                self.complain(Checker::Invariants, sentence);
            }
            // A row that was healed may be ahead of the clock that it is under, until repair has brought
            // what the copy knew.
            Note::ContentsDiffer { partition } if self.rot.has_struck_in(partition) => {}
            // What a damaged store alone knew came back without what it had replaced, until all owners have met.
            Note::ContentsDiffer { .. } if self.has_salvaged => {}
            Note::ContentsDiffer { partition } => {
                let sentence = format!("node {node}: contents differ in {partition:?}");
                self.complain(Checker::Invariants, sentence);
            }
            Note::RowDamaged { .. }
            | Note::Twin { .. }
            | Note::PeerReachable { .. }
            | Note::ClockSkew { .. }
            | Note::Refilled { .. }
            | Note::AllRefilled
            | Note::RolledBack
            | Note::BucketLost { .. }
            | Note::LayoutApplied { .. }
            | Note::LayoutComplete { .. }
            | Note::LayoutLost { .. }
            | Note::HandedOver { .. } => {}
            Note::LwwConcurrent { .. } if self.options.mutant == Some(Mutant::LosersSilent) => {}
            Note::LwwConcurrent { key } => {
                self.lww_noted.insert(key);
            }
        }
    }
}
