//! `dunlin-sim`: runs seeds, and says how to replay those that fail.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use dunlin_sim::run;

use crate::cli::{
    Arguments, report_absence, report_size, report_speed, shrink_case, soak, tell, twice,
};

/// Q of a cluster that is measured, where nothing else is asked for.
const SIZE_PARTITIONS: u16 = 256;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let partitions = arguments.overrides.partitions.unwrap_or(SIZE_PARTITIONS);
    if let Some(nodes) = arguments.size {
        report_size(nodes, partitions)
    } else if let Some(seconds) = arguments.absence {
        report_absence(seconds)
    } else if let Some(seconds) = arguments.speed {
        report_speed(seconds)
    } else if let Some(seeds) = &arguments.twice {
        twice(seeds.clone(), &arguments.overrides)
    } else if let (Some(first), Some(minutes)) = (arguments.soak, arguments.minutes) {
        soak(first, minutes, &arguments)
    } else if arguments.shrink {
        shrink_case(&arguments.case(arguments.seeds().start), arguments.runs_max)
    } else {
        run_seeds(&arguments)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how fast it is, is not simulated"
)]
fn run_seeds(arguments: &Arguments) -> ExitCode {
    let started = std::time::Instant::now();
    let (mut runs, mut failed, mut virtual_us) = (0u64, Vec::new(), 0u64);
    for seed in arguments.seeds() {
        let verdict = match run(seed, &arguments.overrides, arguments.trace) {
            Ok(verdict) => verdict,
            Err(error) => {
                eprintln!("seed {seed}: {error}");
                return ExitCode::from(2);
            }
        };
        if arguments.hash {
            println!(
                "{seed} {:016x} {} {}",
                verdict.hash, verdict.events, verdict.virtual_us
            );
            continue;
        }
        runs += 1;
        virtual_us += verdict.virtual_us;
        if !verdict.violations.is_empty() {
            failed.push(seed);
        }
        if !arguments.quiet || !verdict.violations.is_empty() {
            tell(&verdict, &arguments.case(seed));
        }
    }
    if arguments.hash {
        return ExitCode::SUCCESS;
    }
    let real = started.elapsed().as_secs_f64();
    let simulated = virtual_us as f64 / 1e6;
    println!(
        "{runs} runs, {} failed {failed:?}; {simulated:.0} simulated seconds in {real:.1} s, {:.0} in each",
        failed.len(),
        simulated / real.max(1e-9)
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
