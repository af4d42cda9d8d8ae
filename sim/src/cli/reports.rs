//! What is measured, in words.

use std::process::ExitCode;

use dunlin_sim::{Rate, absence, print_line, size, speed};

pub(crate) fn report_size(nodes: usize, partitions: u16) -> ExitCode {
    let report = match size(nodes, partitions) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("{nodes} nodes: {error}");
            return ExitCode::from(2);
        }
    };
    let time = |ms: Option<u64>| ms.map_or("never".to_owned(), |ms| format!("{ms} ms"));
    let rate = |rate: Rate| format!("{:.1} of {:.0} bytes", rate.messages, rate.bytes);
    print_line!("{nodes} nodes, {partitions} partitions, 3 owners each, no data");
    print_line!(
        "each sees all others after       {}",
        time(report.all_known_ms)
    );
    print_line!(
        "a new layout is known to all in  {}",
        time(report.layout_known_ms)
    );
    print_line!(
        "and complete after               {}",
        time(report.layout_complete_ms)
    );
    print_line!(
        "a death is known to all in       {}",
        time(report.death_known_ms)
    );
    print_line!("living nodes taken for dead      {}", report.false_deaths);
    print_line!("for each node and second, at rest:");
    print_line!(
        "  datagrams of membership        {}",
        rate(report.membership)
    );
    print_line!("  messages of the control part   {}", rate(report.control));
    print_line!("  messages of the shards         {}", rate(report.shards));
    print_line!("  while the layout changed, all  {}", rate(report.changing));
    if let Some(bytes) = resident_bytes() {
        print_line!(
            "memory of the simulator          {} KiB a node",
            bytes / 1024 / nodes.max(1) as u64
        );
    }
    ExitCode::SUCCESS
}

pub(crate) fn report_absence(seconds: u64) -> ExitCode {
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
    print_line!("a node of 4 was away for {} s", report.away_s);
    print_line!("acknowledged meanwhile           {}", report.acknowledged);
    print_line!(
        "it missed                        {} bytes in {} rows",
        report.missed_bytes,
        report.missed_rows
    );
    print_line!(
        "repair and hints sent it         {} and {} bytes, {ratio:.2} times that",
        report.repair_bytes,
        report.hint_bytes
    );
    print_line!(
        "it had caught up after           {}",
        caught_up.map_or("never".to_owned(), |ms| format!("{ms} ms"))
    );
    print_line!(
        "p99 of clients, before and while {} us, {} us",
        report.p99_before_us,
        report.p99_after_us
    );
    for violation in &report.violations {
        print_line!("  {violation}");
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

/// Real seconds are those of one core, where the system says how long the process had one: what else the
/// machine does counts little then.
#[expect(
    clippy::disallowed_methods,
    reason = "how fast it is, is not simulated"
)]
pub(crate) fn report_speed(seconds: u64) -> ExitCode {
    let started = std::time::Instant::now();
    let taken_s = || on_a_core_s().unwrap_or_else(|| started.elapsed().as_secs_f64());
    let mut from = taken_s();
    let report = match speed(seconds, || from = taken_s()) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("no cluster: {error}");
            return ExitCode::from(2);
        }
    };
    let real = (taken_s() - from).max(1e-9);
    let simulated = report.virtual_us as f64 / 1e6;
    print_line!(
        "5 nodes, {} operations in {simulated:.0} s",
        report.operations
    );
    print_line!("simulated seconds in a real one  {:.1}", simulated / real);
    print_line!(
        "events in a real second          {:.0}",
        report.events as f64 / real
    );
    ExitCode::SUCCESS
}

/// For how long this thread had a core so far, where the system says so.
fn on_a_core_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    let nanoseconds: f64 = stat.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
