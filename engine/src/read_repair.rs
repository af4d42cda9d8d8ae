//! Rows of a quorum, joined; and whoever was behind on them, repaired off the client's path.

use dunlin_crdt::{Row, RowKind};
use dunlin_protocol::RowKey;
use dunlin_protocol::peer::{OperationMessage, PeerOp};
use dunlin_ring::PartitionId;
use dunlin_storage::StoreError;

use crate::gather::{GatherOp, OwnerSays};
use crate::io::Effect;
use crate::shard::{Shard, send_operation};

/// Dots that are looked up in the log for a read repair; what differs by more is left to the next round
/// of repair by clocks.
const REPAIR_DOTS_MAX: usize = 1024;

impl Shard {
    /// Joins each row with what the others hold of it, and repairs whoever was behind, this node too.
    pub(crate) fn join_rows(
        &mut self,
        gather: &GatherOp,
        rows: &[(RowKey, RowKind)],
        effects: &mut Vec<Effect>,
    ) -> Result<Vec<(RowKey, RowKind, Row)>, StoreError> {
        let partition = gather.partition();
        let mut joined = Vec::with_capacity(rows.len());
        for (key, kind) in rows {
            let mine = self.replica.row(key)?;
            let clock = self.replica.clock(partition);
            let row = gather.join(key, mine, clock);
            joined.push((key.clone(), *kind, row));
        }
        for says in gather.says.iter().filter(|says| !says.rows.is_empty()) {
            self.repair_after_read(partition, says, &joined, effects)?;
        }
        Ok(joined)
    }

    /// Read repair: an owner that was behind is sent the rows; this node pulls what it lacks itself,
    /// so that every event it takes is named.
    fn repair_after_read(
        &mut self,
        partition: PartitionId,
        says: &OwnerSays,
        joined: &[(RowKey, RowKind, Row)],
        effects: &mut Vec<Effect>,
    ) -> Result<(), StoreError> {
        if !self.replica.owns(partition) {
            return Ok(());
        }
        let mut behind = Vec::new();
        for (key, _, row) in joined {
            let Some(theirs) = says.rows.get(key) else {
                continue;
            };
            if theirs.cells() != row.cells() {
                behind.push(key.clone());
            }
            if self.replica.row(key)?.cells() != row.cells() {
                self.repair.want(partition, says.node);
            }
        }
        if behind.is_empty() {
            return Ok(());
        }
        let rows = self
            .replica
            .rows_behind(partition, &says.clock, &behind, REPAIR_DOTS_MAX)?;
        if let Some(rows) = rows {
            self.counters.add("read_repairs");
            let context = self.replica.clock(partition).clone();
            let message = OperationMessage::ReadRepair { rows, context };
            effects.push(send_operation(says.node, partition, PeerOp(0), message));
        }
        Ok(())
    }
}
