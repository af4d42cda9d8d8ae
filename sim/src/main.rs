//! `dunlin-sim`: runs seeds, and says how to replay those that fail.

use std::process::ExitCode;

use clap::Parser;
use dunlin_sim::{Case, Overrides, Rate, Verdict, absence, run, size};

/// Q of a cluster that is measured, where nothing else is asked for.
const SIZE_PARTITIONS: u16 = 256;

/// Runs whole clusters under seeds and checks what becomes of them.
#[derive(Debug, Parser)]
#[command(name = "dunlin-sim")]
struct Arguments {
    /// Run this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Run these seeds, as FIRST..LAST (the last one is not run).
    #[arg(long, value_parser = range)]
    seeds: Option<std::ops::Range<u64>>,
    /// Run so many fresh seeds.
    #[arg(long)]
    fresh: Option<u64>,
    /// Print every event.
    #[arg(long)]
    trace: bool,
    /// Say nothing of seeds that hold.
    #[arg(long)]
    quiet: bool,
    /// What is insisted on, whatever the seed says.
    #[command(flatten)]
    overrides: Overrides,
    /// Measure a calm cluster of so many nodes, and run no seed.
    #[arg(long, value_name = "NODES")]
    size: Option<usize>,
    /// Measure what a node costs that was away for so many seconds, and run no seed.
    #[arg(long, value_name = "SECONDS")]
    absence: Option<u64>,
}

impl Arguments {
    fn seeds(&self) -> std::ops::Range<u64> {
        match (self.seed, &self.seeds, self.fresh) {
            (Some(seed), _, _) => seed..seed.saturating_add(1),
            (None, Some(seeds), _) => seeds.clone(),
            (None, None, fresh) => {
                let first = fresh_seed();
                first..first + fresh.unwrap_or(1)
            }
        }
    }

    fn case(&self, seed: u64) -> Case {
        Case {
            seed,
            overrides: self.overrides.clone(),
        }
    }
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
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

#[expect(
    clippy::disallowed_methods,
    reason = "how fast it is, is not simulated"
)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(nodes) = arguments.size {
        return report_size(nodes, arguments.overrides.partitions.unwrap_or(SIZE_PARTITIONS));
    }
    if let Some(seconds) = arguments.absence {
        return report_absence(seconds);
    }
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
        runs += 1;
        virtual_us += verdict.virtual_us;
        if !verdict.violations.is_empty() {
            failed.push(seed);
        }
        if !arguments.quiet || !verdict.violations.is_empty() {
            tell(&verdict, &arguments.case(seed).command());
        }
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

fn report_size(nodes: usize, partitions: u16) -> ExitCode {
    let report = match size(nodes, partitions) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("{nodes} nodes: {error}");
            return ExitCode::from(2);
        }
    };
    let time = |ms: Option<u64>| ms.map_or("never".to_owned(), |ms| format!("{ms} ms"));
    let rate = |rate: Rate| format!("{:.1} of {:.0} bytes", rate.messages, rate.bytes);
    println!("{nodes} nodes, {partitions} partitions, 3 owners each, no data");
    println!(
        "each sees all others after       {}",
        time(report.all_known_ms)
    );
    println!(
        "a new layout is known to all in  {}",
        time(report.layout_known_ms)
    );
    println!(
        "and complete after               {}",
        time(report.layout_complete_ms)
    );
    println!(
        "a death is known to all in       {}",
        time(report.death_known_ms)
    );
    println!("living nodes taken for dead      {}", report.false_deaths);
    println!("for each node and second, at rest:");
    println!(
        "  datagrams of membership        {}",
        rate(report.membership)
    );
    println!("  messages of the control part   {}", rate(report.control));
    println!("  messages of the shards         {}", rate(report.shards));
    println!("  while the layout changed, all  {}", rate(report.changing));
    if let Some(bytes) = resident_bytes() {
        println!(
            "memory of the simulator          {} KiB a node",
            bytes / 1024 / nodes.max(1) as u64
        );
    }
    ExitCode::SUCCESS
}

fn report_absence(seconds: u64) -> ExitCode {
    let report = match absence(seconds) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("no cluster: {error}");
            return ExitCode::from(2);
        }
    };
    let sent = report.repair_bytes + report.hint_bytes;
    let ratio = sent as f64 / report.missed_bytes.max(1) as f64;
    let caught_up = report.caught_up_ms;
    println!("a node of 4 was away for {} s", report.away_s);
    println!("acknowledged meanwhile           {}", report.acknowledged);
    println!(
        "it missed                        {} bytes in {} rows",
        report.missed_bytes, report.missed_rows
    );
    println!(
        "repair and hints sent it         {} and {} bytes, {ratio:.2} times that",
        report.repair_bytes, report.hint_bytes
    );
    println!(
        "it had caught up after           {}",
        caught_up.map_or("never".to_owned(), |ms| format!("{ms} ms"))
    );
    println!(
        "p99 of clients, before and while {} us, {} us",
        report.p99_before_us, report.p99_after_us
    );
    for violation in &report.violations {
        println!("  {violation}");
    }
    match report.violations.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The most memory that this process ever had, where the system says so.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

fn tell(verdict: &Verdict, replay: &str) {
    let counts: Vec<String> = verdict
        .counts
        .iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    println!(
        "seed {}: hash {:016x}, {:.1} s, {} events; {}",
        verdict.options.seed,
        verdict.hash,
        verdict.virtual_us as f64 / 1e6,
        verdict.events,
        counts.join(", ")
    );
    if !verdict.violations.is_empty() {
        println!("  drawn options: {:?}", verdict.options);
        for violation in &verdict.violations {
            println!("  {violation}");
        }
        println!("  replay: {replay}");
    }
}
