//! How busy the machine is, whoever makes it so.
//!
//! Figures of a machine that does other things at the same time are worth less, so reports say how
//! much of that there was.

use std::fs;
use std::time::Duration;

use super::process::TICKS_PER_SECOND;

/// CPU time that all processors together have spent since the machine started, with what the machine
/// under a virtual one kept for itself.
pub(crate) fn busy() -> Option<Duration> {
    busy_in(&fs::read_to_string("/proc/stat").ok()?)
}

fn busy_in(stat: &str) -> Option<Duration> {
    // user nice system idle iowait irq softirq steal …
    let counts = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let counts: Option<Vec<u64>> = counts
        .split_ascii_whitespace()
        .take(8)
        .map(|count| count.parse().ok())
        .collect();
    match *counts?.as_slice() {
        [user, nice, system, _, _, irq, softirq, steal] => {
            let ticks = user + nice + system + irq + softirq + steal;
            Some(Duration::from_millis(
                ticks.checked_mul(1000 / TICKS_PER_SECOND)?,
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_being_busy() {
        let stat = "cpu  100 20 30 9999 8888 1 2 47 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_in(stat), Some(Duration::from_secs(2)));
        assert_eq!(busy_in("cpu  1 2 3\n"), None);
    }
}
