//! What is promised of a cluster of some size. Larger ones are measured by `dunlin-sim --size`, and
//! membership alone, up to a hundred nodes, is tested with the engine.

use std::error::Error;

use dunlin_sim::size;

/// How long a death may go unnoticed.
const DEATH_MS_MAX: u64 = 5_000;

fn check(nodes: usize, partitions: u16) -> Result<(), Box<dyn Error>> {
    let report = size(nodes, partitions)?;
    assert_eq!(report.false_deaths, 0, "{report:?}");
    assert!(report.all_known_ms.is_some(), "{report:?}");
    assert!(report.layout_complete_ms.is_some(), "{report:?}");
    assert!(
        report.death_known_ms.is_some_and(|ms| ms <= DEATH_MS_MAX),
        "{report:?}"
    );
    Ok(())
}

#[test]
fn small_cluster_knows_of_a_death_in_five_seconds_and_of_no_other() -> Result<(), Box<dyn Error>> {
    check(5, 32)
}

#[test]
fn cluster_whose_nodes_do_not_all_share_partitions_does_so_too() -> Result<(), Box<dyn Error>> {
    check(24, 32)
}
