//! What is promised of a node that comes back; `dunlin-sim --absence` measures longer absences.

use std::error::Error;

use dunlin_sim::absence;

/// Seconds that it is away.
const AWAY_S: u64 = 20;

#[test]
fn node_that_comes_back_catches_up_and_clients_feel_nothing_of_it() -> Result<(), Box<dyn Error>> {
    let report = absence(AWAY_S)?;
    assert!(report.violations.is_empty(), "{report:?}");
    assert!(
        report.acknowledged > 0 && report.missed_rows > 0,
        "{report:?}"
    );
    assert!(
        report.caught_up_ms.is_some_and(|ms| ms < 10_000),
        "{report:?}"
    );
    assert!(report.p99_after_us < 2 * report.p99_before_us, "{report:?}");
    Ok(())
}
