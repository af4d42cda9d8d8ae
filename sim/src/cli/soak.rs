//! A night's run: seed after seed, whatever becomes of them, and a summary in the morning.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use dunlin_sim::{Checker, print_line, run};

use super::{Arguments, tell};

/// What came of all runs.
#[derive(Debug, Default)]
struct Summary {
    runs: u64,
    virtual_us: u64,
    counts: BTreeMap<&'static str, u64>,
    failed: BTreeMap<Checker, Vec<u64>>,
}

/// Runs seeds from this one on, for so many minutes.
#[expect(
    clippy::disallowed_methods,
    reason = "how long it goes on is not simulated"
)]
pub(crate) fn soak(first: u64, minutes: u64, arguments: &Arguments) -> ExitCode {
    let started = std::time::Instant::now();
    let lasts = Duration::from_secs(minutes.saturating_mul(60));
    let mut summary = Summary::default();
    for seed in first.. {
        if started.elapsed() >= lasts {
            break;
        }
        let verdict = match run(seed, &arguments.overrides, false) {
            Ok(verdict) => verdict,
            Err(error) => {
                eprintln!("seed {seed}: {error}");
                return ExitCode::from(2);
            }
        };
        summary.runs += 1;
        summary.virtual_us += verdict.virtual_us;
        for (what, count) in &verdict.counts {
            *summary.counts.entry(what).or_default() += count;
        }
        for violation in &verdict.violations {
            let seeds = summary.failed.entry(violation.checker).or_default();
            if seeds.last() != Some(&seed) {
                seeds.push(seed);
            }
        }
        if !verdict.violations.is_empty() {
            tell(&verdict, &arguments.case(seed));
        }
    }
    summary.tell(first, started.elapsed(), arguments);
    match summary.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

impl Summary {
    fn tell(&self, first: u64, real: Duration, arguments: &Arguments) {
        let simulated = self.virtual_us / 1_000_000;
        print_line!(
            "{} seeds from {first} on: {simulated} simulated seconds in {} s",
            self.runs,
            real.as_secs()
        );
        for (what, count) in &self.counts {
            print_line!("  {count:>12} {what}");
        }
        if self.failed.is_empty() {
            print_line!("all held");
        }
        for (checker, seeds) in &self.failed {
            print_line!("{checker}: {} seeds failed", seeds.len());
            for seed in seeds {
                print_line!("  {}", arguments.case(*seed).command());
            }
        }
    }
}
