//! The engine's notes, as lines of the log.

use std::sync::Arc;

use dunlin_engine::Note;
use dunlin_ring::NodeId;

use super::part::PartId;
use crate::links::PeerLinks;

/// Writes notes of one part.
pub(super) struct NoteLog {
    part: PartId,
    links: Arc<PeerLinks>,
}

impl NoteLog {
    pub(super) fn new(part: PartId, links: Arc<PeerLinks>) -> Self {
        Self { part, links }
    }

    pub(super) fn write(&self, note: Note) {
        let part = self.part;
        match note {
            Note::PeerReachable {
                node,
                reachable: true,
            } => tracing::info!(peer = self.name(node), "peer is reachable"),
            Note::PeerReachable {
                node,
                reachable: false,
            } => tracing::warn!(
                peer = self.name(node),
                "peer is unreachable; writes for it are kept as hints"
            ),
            Note::ClockSkew { node, ahead_ms } => tracing::warn!(
                peer = self.name(node),
                ahead_ms,
                "a stamp of the peer was refused: its clock or ours is wrong"
            ),
            Note::Refilled { partition } => {
                tracing::debug!(partition = partition.0, "partition counts for reads");
            }
            Note::AllRefilled => tracing::info!(%part, "every partition counts for reads"),
            Note::StoreFailed { reason } => {
                tracing::error!(%part, reason, "the store failed; the operation was refused");
            }
            Note::RolledBack => {
                tracing::warn!(%part, "the disk refused a batch; what it held is forgotten here");
            }
            Note::NotRolledBack { reason } => tracing::error!(
                %part,
                reason,
                "the disk refused a batch, and what it holds can't be read again"
            ),
            Note::RowDamaged { partition, key } => tracing::error!(
                partition = partition.0,
                ?key,
                "a stored row is damaged; it is fetched from another owner"
            ),
            // What is found is told where it is looked for.
            Note::Unreadable => {}
            Note::ContentsDiffer { partition } => tracing::error!(
                partition = partition.0,
                "owners with equal clocks hold different rows: a disk has lost or changed some"
            ),
            Note::Twin { address } => tracing::error!(
                address,
                "TWIN: another process of this node was there; it was told to end"
            ),
            Note::Replaced { address } => tracing::error!(
                address,
                "TWIN: a later process of this node is there and takes its place"
            ),
            Note::Forgot {
                by,
                remembers,
                holds,
            } => tracing::error!(
                peer = self.name(by),
                remembers,
                holds,
                "AMNESIA: the peer remembers more of this store than it held at its start"
            ),
            Note::LayoutApplied { layout } => {
                tracing::info!(%layout, "a layout was applied; its owners are filled from now on");
            }
            Note::LayoutComplete { layout } => {
                tracing::info!(%layout, "the layout is complete; reads go by it from now on");
            }
            Note::LayoutLost { layout } => tracing::warn!(
                %layout,
                "the layout was applied at the same time as another, which stands; its changes are \
                 staged again"
            ),
            Note::HandedOver { partition } => {
                tracing::debug!(
                    partition = partition.0,
                    "partition handed over and given up"
                );
            }
            Note::BucketLost { name } => tracing::warn!(
                bucket = name,
                "the bucket was created twice under one name; one of the two does not stand"
            ),
            // Counted by the engine; a line for each could fill the disk.
            Note::LwwConcurrent { key } => {
                tracing::info!(?key, "concurrent lww writes met: one stays")
            }
            // For the simulator, which alone asks for it.
            Note::Minted { .. } => {}
        }
    }

    fn name(&self, node: NodeId) -> String {
        self.links.name(node).unwrap_or_else(|| node.to_string())
    }
}
