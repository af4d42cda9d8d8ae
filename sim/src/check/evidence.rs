//! All that the checkers look at.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_crdt::{Clock, Dot, FieldPath, Row, RowKind};
use dunlin_protocol::cluster::{ChangeId, LayoutId};
use dunlin_protocol::response::Receipt;
use dunlin_protocol::{Bucket, RowKey};
use dunlin_ring::{BucketId, Layout, NodeId, PartitionId};

use crate::history::{History, Op};
use crate::ledger::{Held, Ledger, Minted, Name};
use crate::operator::Remembered;

/// What a node holds at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeEnd {
    pub(crate) id: NodeId,
    pub(crate) partitions: BTreeMap<PartitionId, PartitionEnd>,
    pub(crate) buckets: BTreeMap<BucketId, Bucket>,
    pub(crate) hints: u64,
    pub(crate) log_entries: u64,
    pub(crate) unsynced: bool,
    pub(crate) idle: bool,
    /// Whether it runs.
    pub(crate) up: bool,
    pub(crate) complete: Option<LayoutId>,
    pub(crate) newest: Option<LayoutId>,
    /// The digest of all that it knows of the cluster.
    pub(crate) knowledge: u64,
    /// Partitions that it says it has to fill or to hand over.
    pub(crate) to_follow: u32,
    /// Every staged change, and whether it was taken back.
    pub(crate) changes: BTreeMap<ChangeId, bool>,
    /// The changes that its newest layout has carried out.
    pub(crate) settles: Vec<ChangeId>,
    /// When its disk lost what was synced.
    pub(crate) losses: Vec<u64>,
    /// When its process ended.
    pub(crate) crashes: Vec<u64>,
}

/// What a node holds of a partition that it owns.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionEnd {
    pub(crate) clock: Clock,
    pub(crate) whole: bool,
    pub(crate) rows: BTreeMap<RowKey, Row>,
}

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack<'a> {
    pub(crate) op: &'a Op,
    pub(crate) receipt: &'a Receipt,
}

/// All that the checkers look at.
pub(crate) struct Evidence<'a> {
    pub(crate) history: &'a History,
    pub(crate) ledger: &'a Ledger,
    pub(crate) layout: &'a Layout,
    pub(crate) nodes: &'a [NodeEnd],
    pub(crate) remembered: &'a Remembered,
    /// The rows of which some node said that concurrent writes met.
    pub(crate) lww_noted: &'a BTreeSet<RowKey>,
    /// Whether nothing was made to fail.
    pub(crate) calm: bool,
    acks: BTreeMap<Name, Vec<Ack<'a>>>,
}

impl<'a> Evidence<'a> {
    pub(crate) fn new(
        history: &'a History,
        ledger: &'a Ledger,
        layout: &'a Layout,
        nodes: &'a [NodeEnd],
        remembered: &'a Remembered,
        lww_noted: &'a BTreeSet<RowKey>,
        calm: bool,
    ) -> Self {
        let mut acks: BTreeMap<Name, Vec<Ack<'a>>> = BTreeMap::new();
        for (op, receipt, dots) in history.receipts() {
            for dot in dots {
                acks.entry(Name::of(&dot))
                    .or_default()
                    .push(Ack { op, receipt });
            }
        }
        Self {
            history,
            ledger,
            layout,
            nodes,
            remembered,
            lww_noted,
            calm,
            acks,
        }
    }

    /// The acknowledgements of an event.
    pub(crate) fn acks(&self, name: Name) -> &[Ack<'a>] {
        self.acks.get(&name).map_or(&[], |acks| &acks[..])
    }

    /// Every acknowledged event.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = (Name, &[Ack<'a>])> {
        self.acks.iter().map(|(name, acks)| (*name, &acks[..]))
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&NodeEnd> {
        self.nodes.iter().find(|node| node.id == id)
    }

    pub(crate) fn partition_of(&self, row: &RowKey) -> PartitionId {
        row.partition(self.layout.partitions())
    }

    /// What the first owner holds of a partition in the end; the others are compared with it.
    pub(crate) fn end(&self, partition: PartitionId) -> Option<&PartitionEnd> {
        let first = self.layout.owners(partition).first()?;
        self.node(*first)?.partitions.get(&partition)
    }

    /// A row in the end, and the clock that it is under.
    pub(crate) fn end_row(&self, row: &RowKey) -> (Option<&Row>, Clock) {
        match self.end(self.partition_of(row)) {
            Some(end) => (end.rows.get(row), end.clock.clone()),
            None => (None, Clock::new()),
        }
    }

    /// Whether the final clock of the row's partition has a dot.
    pub(crate) fn is_in_end(&self, row: &RowKey, dot: &Dot) -> bool {
        self.end(self.partition_of(row))
            .is_some_and(|end| end.clock.contains(dot))
    }

    /// The dots of the cells of a row in the end.
    pub(crate) fn end_dots(&self, row: &RowKey) -> BTreeSet<Name> {
        let (row, _) = self.end_row(row);
        row.into_iter()
            .flat_map(Row::cells)
            .map(|(dot, _)| Name::of(dot))
            .collect()
    }

    /// What a row is.
    pub(crate) fn kind(&self, row: &RowKey) -> Option<RowKind> {
        let kind = self.history.kind(row.bucket)?;
        match (kind.single_row(), kind) {
            (Some(kind), _) => Some(kind),
            (None, dunlin_crdt::Kind::Set) => Some(RowKind::Element),
            (None, _) => FieldPath::parse(&row.subkey).ok().map(|(_, _, kind)| kind),
        }
    }
}

impl Minted {
    /// Whether some disk ever had it.
    pub(crate) fn was_synced(&self) -> bool {
        self.copies.values().any(|held| *held == Held::Synced)
    }

    /// Whether it must still be there, once acknowledged: some disk had it, and one has had it since.
    pub(crate) fn is_kept(&self) -> bool {
        self.was_synced() && !self.lost
    }
}
