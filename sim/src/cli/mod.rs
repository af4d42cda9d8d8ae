//! The command line: what is asked for, and a file for each thing that takes more than a run.

mod reports;
mod shrink;
mod soak;
mod twice;

use std::ops::Range;

use clap::Parser;
use dunlin_sim::{Case, Overrides, Verdict, print_line};

pub(crate) use reports::{report_absence, report_size, report_speed};
pub(crate) use shrink::shrink_case;
pub(crate) use soak::soak;
pub(crate) use twice::twice;

/// Runs whole clusters under seeds and checks what becomes of them.
#[derive(Debug, Parser)]
#[command(name = "dunlin-sim")]
pub(crate) struct Arguments {
    /// Run this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Run these seeds, as FIRST..LAST (the last one is not run).
    #[arg(long, value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Run so many fresh seeds.
    #[arg(long)]
    fresh: Option<u64>,
    /// Run seed after seed from this one on, also when some fail, for so long as --minutes says.
    #[arg(long, value_name = "FIRST", requires = "minutes")]
    pub(crate) soak: Option<u64>,
    /// How long to go on.
    #[arg(long, requires = "soak")]
    pub(crate) minutes: Option<u64>,
    /// Run each of these seeds in two processes, and compare what happened.
    #[arg(long, value_parser = range, value_name = "FIRST..LAST")]
    pub(crate) twice: Option<Range<u64>>,
    /// Make the run of --seed as small as it gets while it fails by the same checker.
    #[arg(long, requires = "seed")]
    pub(crate) shrink: bool,
    /// The most runs that shrinking may take.
    #[arg(long, default_value_t = 200)]
    pub(crate) runs_max: u64,
    /// Print every event.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Print nothing but the hash over all that happened.
    #[arg(long)]
    pub(crate) hash: bool,
    /// Say nothing of seeds that hold.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// What is insisted on, whatever the seed says.
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// Measure a calm cluster of so many nodes, and run no seed.
    #[arg(long, value_name = "NODES")]
    pub(crate) size: Option<usize>,
    /// Measure what a node costs that was away for so many seconds, and run no seed.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) absence: Option<u64>,
    /// Measure how fast the simulator is, for so many simulated seconds, and run no seed.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) speed: Option<u64>,
}

impl Arguments {
    pub(crate) fn seeds(&self) -> Range<u64> {
        match (self.seed, &self.seeds, self.fresh) {
            (Some(seed), _, _) => seed..seed.saturating_add(1),
            (None, Some(seeds), _) => seeds.clone(),
            (None, None, fresh) => {
                let first = fresh_seed();
                first..first + fresh.unwrap_or(1)
            }
        }
    }

    /// What repeats the run of a seed.
    pub(crate) fn case(&self, seed: u64) -> Case {
        Case {
            seed,
            overrides: self.overrides.clone(),
        }
    }
}

/// Says what became of a run.
pub(crate) fn tell(verdict: &Verdict, case: &Case) {
    let counts: Vec<String> = verdict
        .counts
        .iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    print_line!(
        "seed {}: hash {:016x}, {:.1} s, {} events; {}",
        verdict.options.seed,
        verdict.hash,
        verdict.virtual_us as f64 / 1e6,
        verdict.events,
        counts.join(", ")
    );
    if !verdict.violations.is_empty() {
        print_line!("  drawn options: {:?}", verdict.options);
        for sentence in &verdict.options.left_out {
            print_line!("  left out: {sentence}");
        }
        for violation in &verdict.violations {
            print_line!("  {violation}");
        }
        print_line!("  replay: {}", case.command());
        print_line!("  and with --shrink for a smaller case, with --trace for every event");
    }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parsed = text
        .split_once("..")
        .and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    parsed.ok_or_else(|| format!("{text:?} is no range such as 0..100"))
}

/// A seed that nobody has chosen.
#[expect(
    clippy::disallowed_methods,
    reason = "only the choice of a seed is not simulated"
)]
fn fresh_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64) >> 8
}
