//! In the end all owners of a partition have equal clocks and equal rows, and count for reads.
//!
//! Excepted: rows with an event that no owner's disk knew at some moment, because disks were wiped or
//! forgot. A cell that was found alone counts as its event, and what that replaced is not asked for
//! again; so owners may differ there though their clocks are equal, until the row is written.

use super::evidence::{Evidence, PartitionEnd};

pub(super) fn check(evidence: &Evidence<'_>, sentences: &mut Vec<String>) {
    for partition in evidence.layout.partitions().iter() {
        let owners = evidence.layout.owners(partition);
        let ends: Vec<(usize, &PartitionEnd)> = evidence
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| owners.contains(&node.id))
            .filter_map(|(at, node)| Some((at, node.partitions.get(&partition)?)))
            .collect();
        let Some((first, expected)) = ends.first() else {
            continue;
        };
        for (node, end) in &ends {
            if !end.whole {
                sentences.push(format!(
                    "partition {partition} of node {node} does not count for reads"
                ));
            }
            if end.clock != expected.clock {
                sentences.push(format!(
                    "partition {partition}: node {node} lacks {:?} and node {first} lacks {:?}",
                    expected.clock.minus(&end.clock),
                    end.clock.minus(&expected.clock)
                ));
            }
            let keys = end.rows.keys().chain(expected.rows.keys());
            for key in keys {
                let cells = |of: &PartitionEnd| {
                    of.rows
                        .get(key)
                        .map(|row| row.cells().to_vec())
                        .unwrap_or_default()
                };
                let (here, there) = (cells(end), cells(expected));
                let forgotten = || evidence.ledger.on_row(key).any(|(_, m)| m.forgotten);
                if here != there && !forgotten() {
                    let dots = |cells: &[(dunlin_crdt::Dot, _)]| {
                        cells
                            .iter()
                            .map(|(dot, _)| format!("{dot:?}"))
                            .collect::<Vec<_>>()
                            .join(" ")
                    };
                    sentences.push(format!(
                        "partition {partition}: {key:?} is [{}] on node {node} and [{}] on node {first}",
                        dots(&here),
                        dots(&there)
                    ));
                }
            }
        }
    }
}
