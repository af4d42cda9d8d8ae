//! A run in a few lines.

use std::fmt::Write as _;
use std::path::Path;

use super::result::RunResult;

/// What a run showed, the verdict first.
pub(crate) fn summary(result: &RunResult, out: &Path) -> String {
    let mut text = String::new();
    let verdict = &result.verdict;
    // Writing to a string does not fail.
    let _ = write_all(&mut text, result, out);
    if !verdict.holds {
        text.push_str("\nThe history is kept: history.ndjson has every operation.\n");
    }
    text
}

fn write_all(text: &mut String, result: &RunResult, out: &Path) -> std::fmt::Result {
    let verdict = &result.verdict;
    match verdict.holds {
        true => writeln!(
            text,
            "{}: everything that was promised holds\n",
            result.plan.name
        )?,
        false => writeln!(text, "{}: SOMETHING IS WRONG\n", result.plan.name)?,
    }
    for violation in verdict.history.violations() {
        writeln!(text, "  {violation}")?;
    }
    if verdict.partitions_differ > 0 {
        let differ = verdict.partitions_differ;
        writeln!(
            text,
            "  the owners of {differ} partitions do not hold the same"
        )?;
    }
    if verdict.unreadable > 0 {
        writeln!(
            text,
            "  {} keys could not be read in the end",
            verdict.unreadable
        )?;
    }
    writeln!(text, "{}", verdict.history)?;
    writeln!(
        text,
        "{:<28} {:>8} {:>8} {:>8} {:>10} {:>10} {:>10}",
        "phase", "done", "refused", "unknown", "p50", "p99", "max"
    )?;
    for phase in &result.phases {
        let total = &phase.all;
        writeln!(
            text,
            "{:<28} {:>8} {:>8} {:>8} {:>10} {:>10} {:>10}",
            phase.name,
            total.done,
            total.refused,
            total.unknown,
            ms(total.p50),
            ms(total.p99),
            ms(total.max)
        )?;
    }
    writeln!(
        text,
        "\nconverged {:.1} s after everything healed: {} hints and {} bytes of repair",
        result.convergence.took_ms as f64 / 1000.0,
        result.convergence.hints,
        result.convergence.repaired_bytes
    )?;
    writeln!(
        text,
        "in {}: report.html, result.json, history.ndjson",
        out.display()
    )
}

fn ms(micros: u64) -> String {
    format!("{:.2} ms", micros as f64 / 1000.0)
}
