//! Whether a seed is one run: each is run by two processes, that share nothing but their command line.

use std::ops::Range;
use std::process::{Command, ExitCode};

use dunlin_sim::{Overrides, print_line};

/// Runs each seed in two processes and compares the hashes over all that happened.
pub(crate) fn twice(seeds: Range<u64>, overrides: &Overrides) -> ExitCode {
    let mut differ = Vec::new();
    for seed in seeds.clone() {
        match (hash(seed, overrides), hash(seed, overrides)) {
            (Ok(one), Ok(other)) if one == other => {}
            (Ok(one), Ok(other)) => {
                print_line!(
                    "seed {seed} has two traces: {} and {}",
                    one.trim(),
                    other.trim()
                );
                differ.push(seed);
            }
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("seed {seed}: {error}");
                return ExitCode::from(2);
            }
        }
    }
    let count = seeds.end.saturating_sub(seeds.start);
    print_line!(
        "{count} seeds run twice, {} with two traces {differ:?}",
        differ.len()
    );
    match differ.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// What a process of its own says of a seed.
fn hash(seed: u64, overrides: &Overrides) -> Result<String, std::io::Error> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--seed", &seed.to_string(), "--hash"])
        .args(overrides.words())
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(std::io::Error::other(format!(
            "it ended with {}",
            output.status
        ))),
    }
}
