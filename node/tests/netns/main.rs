//! Real processes in network namespaces: faults that no single machine's loopback has, and a verdict on what
//! clients saw ([`dunlin_history`]).
//!
//! ```text
//!   scenario ── Stage: Net + Cluster + Loads ──> a fault, while clients go on ──> healed
//!            ── every write is safe ──> every key is read through every node ──> verdict
//! ```
//!
//! They need root, `ip`, `nsenter` and a kernel with namespaces, veth and bridges. Where that is missing the
//! whole run is skipped, and says why; so is a scenario that needs more than this machine has. A harness of
//! its own, since libtest hides what a passing test prints, and runs tests side by side.
//!
//! The same binary is run again inside a namespace as the clients (`worker`), and to ask in the end (`judge`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail"
)]

mod certificates;
mod cluster;
mod disks;
mod judge;
mod load;
mod net;
mod processes;
mod splits;
mod stage;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use dunlin_history::Report;

/// How a scenario ended, if it did not panic.
pub(crate) enum Ended {
    /// All that was claimed holds.
    Held(Report),
    /// This machine lacks something.
    Skipped(String),
}

type Scenario = fn() -> Ended;

macro_rules! scenarios {
    ($($module:ident::$name:ident,)*) => {
        [$((stringify!($name), $module::$name as Scenario),)*]
    };
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((word, rest)) if word == "worker" => worker::run(rest),
        Some((word, rest)) if word == "judge" => judge::ask(rest),
        _ => return all(&arguments),
    }
    ExitCode::SUCCESS
}

/// Runs the scenarios whose names contain one of the words given, or all.
fn all(arguments: &[String]) -> ExitCode {
    let scenarios = scenarios![
        splits::both_sides_of_a_split_take_writes_and_meet_again_without_losing_one,
        splits::a_node_that_is_heard_by_one_peer_only_costs_no_write,
        splits::two_nodes_that_meet_only_over_a_third_agree_in_the_end,
        processes::killing_one_node_after_the_other_loses_nothing,
        processes::a_node_that_stood_still_longer_than_every_timeout_takes_nothing_back,
        processes::a_clock_that_is_off_by_ten_minutes_loses_no_write,
        disks::a_full_disk_loses_nothing_and_is_used_again_once_there_is_room,
        disks::a_node_that_lost_its_power_has_all_that_it_said_is_synced,
        certificates::certificates_are_replaced_node_by_node_without_a_failed_write,
        certificates::an_authority_is_replaced_in_three_rounds_without_a_failed_write,
    ];
    if arguments.iter().any(|word| word == "--list") {
        scenarios
            .iter()
            .for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if let Err(reason) = net::Net::new(&["a".into(), "b".into()]) {
        println!("network namespaces: all scenarios skipped: {reason}");
        return ExitCode::SUCCESS;
    }
    // Options are for libtest, which this is not.
    let words: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let (mut held, mut skipped, mut failed) = (0, 0, Vec::new());
    for (name, scenario) in scenarios {
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        println!("{name} …");
        let began = Instant::now();
        match catch_unwind(AssertUnwindSafe(scenario)) {
            Ok(Ended::Held(report)) => {
                held += 1;
                let seconds = began.elapsed().as_secs();
                println!("{name}: ok, {} writes in {seconds} s", report.acknowledged);
            }
            Ok(Ended::Skipped(reason)) => {
                skipped += 1;
                println!("{name}: skipped: {reason}");
            }
            Err(_) => failed.push(name),
        }
    }
    println!(
        "{held} held, {skipped} skipped, {} failed: {failed:?}",
        failed.len()
    );
    match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
