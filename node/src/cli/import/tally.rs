//! What became of the lines.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::apply::Problem;
use crate::cli::ended::Ended;
use crate::cli::output::Output;
use crate::cli::progress::count;

/// Failed lines of which the reason is shown. More of them seldom say more.
const REASONS_MAX: usize = 10;
/// Lines of unknown outcome that are listed. The rest is counted.
const LISTED_MAX: usize = 100_000;

/// What became of the lines so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    written: u64,
    failed: u64,
    unknown: u64,
    /// Lines that failed, with the reason.
    reasons: Vec<(u64, String)>,
    /// Lines of unknown outcome.
    listed: Vec<u64>,
    /// Why the first of them is unknown.
    unknown_because: Option<String>,
    /// Why it came to an end before the file did.
    stopped: Option<String>,
}

impl Tally {
    /// Notes what became of a line.
    pub(crate) fn note(&mut self, line: u64, result: Result<(), Problem>) {
        match result {
            Ok(()) => self.written += 1,
            Err(Problem::Failed(reason)) => {
                self.failed += 1;
                if self.reasons.len() < REASONS_MAX {
                    self.reasons.push((line, reason));
                }
            }
            Err(Problem::Unknown(reason)) => {
                self.unknown += 1;
                if self.listed.len() < LISTED_MAX {
                    self.listed.push(line);
                }
                self.unknown_because.get_or_insert(reason);
            }
        }
    }

    /// Notes that the file was not read to its end.
    pub(crate) fn stop(&mut self, why: String) {
        self.stopped.get_or_insert(why);
    }

    /// Lines of which it is known what became.
    pub(crate) fn lines(&self) -> u64 {
        self.written + self.failed + self.unknown
    }

    /// Whether a line was not written.
    pub(crate) fn has_problems(&self) -> bool {
        self.failed + self.unknown > 0
    }

    /// How the import ended.
    pub(crate) fn ended(&self) -> Ended {
        match (self.unknown, self.failed, &self.stopped) {
            (0, 0, None) => Ended::Done,
            (0, _, _) => Ended::Failed,
            _ => Ended::Unknown,
        }
    }

    /// How far it is, for people who wait.
    pub(crate) fn progress(&self, elapsed: Duration) -> String {
        format!(
            "{} lines, {}/s, {} failed, {} unknown",
            count(self.lines()),
            count(self.per_second(elapsed)),
            count(self.failed),
            count(self.unknown)
        )
    }

    fn per_second(&self, elapsed: Duration) -> u64 {
        let ms = u64::try_from(elapsed.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        self.lines().saturating_mul(1000) / ms
    }

    /// Shows the summary.
    pub(crate) fn show(mut self, out: &mut Output, elapsed: Duration) -> io::Result<()> {
        // Lines are done out of order.
        self.reasons.sort();
        self.listed.sort_unstable();
        if out.is_json() {
            return out.json_line(&self.json(elapsed));
        }
        self.text(elapsed)
            .iter()
            .try_for_each(|line| out.line(line))
    }

    fn text(&self, elapsed: Duration) -> Vec<String> {
        let ms = elapsed.as_millis();
        let mut text = vec![format!(
            "{} lines in {}.{} s ({} a second): {} written, {} failed, {} unknown",
            count(self.lines()),
            ms / 1000,
            ms % 1000 / 100,
            count(self.per_second(elapsed)),
            count(self.written),
            count(self.failed),
            count(self.unknown)
        )];
        if let Some(why) = &self.stopped {
            text.push(format!("stopped before the end: {why}"));
        }
        if self.failed > 0 {
            text.push("failed, and not written:".to_owned());
            let reasons = self.reasons.iter();
            text.extend(reasons.map(|(line, reason)| format!("  line {line}: {reason}")));
            let more = self.failed.saturating_sub(self.reasons.len() as u64);
            if more > 0 {
                text.push(format!("  and {} more", count(more)));
            }
        }
        if self.unknown > 0 {
            text.push("unknown: may be written, now or later; not tried again:".to_owned());
            text.push(format!("  lines {}", ranges(&self.listed)));
            let more = self.unknown.saturating_sub(self.listed.len() as u64);
            if more > 0 {
                text.push(format!("  and {} more", count(more)));
            }
            text.extend(
                self.unknown_because
                    .iter()
                    .map(|why| format!("  because {why}")),
            );
        }
        text
    }

    fn json(&self, elapsed: Duration) -> Value {
        let reasons: Value = self
            .reasons
            .iter()
            .map(|(line, reason)| json!({ "line": line, "reason": reason }))
            .collect();
        json!({
            "lines": self.lines(),
            "written": self.written,
            "failed": self.failed,
            "unknown": self.unknown,
            "failed_lines": reasons,
            "unknown_lines": self.listed,
            "unknown_because": self.unknown_because,
            "stopped": self.stopped,
            "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "lines_per_second": self.per_second(elapsed),
        })
    }
}

/// Numbers in order, with runs put together: `2, 5-7`.
fn ranges(sorted: &[u64]) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in sorted {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let runs: Vec<String> = runs
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    runs.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(reason: &str) -> Result<(), Problem> {
        Err(Problem::Failed(reason.to_owned()))
    }

    fn unknown() -> Result<(), Problem> {
        Err(Problem::Unknown("timed out".to_owned()))
    }

    fn tally(results: impl IntoIterator<Item = (u64, Result<(), Problem>)>) -> Tally {
        let mut tally = Tally::default();
        results
            .into_iter()
            .for_each(|(line, result)| tally.note(line, result));
        tally
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_line() {
        assert_eq!(tally([(1, Ok(()))]).ended(), Ended::Done);
        assert_eq!(
            tally([(1, Ok(())), (2, failed("x"))]).ended(),
            Ended::Failed
        );
        assert_eq!(
            tally([(1, unknown()), (2, failed("x"))]).ended(),
            Ended::Unknown
        );
        let mut stopped = tally([(1, Ok(()))]);
        stopped.stop("interrupted".to_owned());
        assert_eq!(stopped.ended(), Ended::Failed);
    }

    #[test]
    fn failed_lines_are_named_with_the_reason_and_the_rest_counted() {
        let results = (1..=12).rev().map(|line| (line, failed("too large")));
        let mut tally = tally(results);
        tally.reasons.sort();
        let text = tally.text(Duration::from_secs(2)).join("\n");
        assert!(
            text.starts_with("12 lines in 2.0 s (6 a second): 0 written, 12 failed"),
            "{text}"
        );
        assert!(text.contains("  line 3: too large\n"), "{text}");
        assert!(text.contains("  and 2 more"), "{text}");
    }

    #[test]
    fn every_line_of_unknown_outcome_is_named() {
        let tally = tally([2, 5, 6, 7, 9].map(|line| (line, unknown())));
        let text = tally.text(Duration::ZERO).join("\n");
        assert!(text.contains("lines 2, 5-7, 9\n"), "{text}");
        assert!(text.contains("because timed out"), "{text}");
        assert_eq!(
            tally.json(Duration::ZERO)["unknown_lines"],
            json!([2, 5, 6, 7, 9])
        );
    }
}
