//! Every seed, and every seed cut short and changed a little, keeps its target's claim.
//!
//! This is not the search for what breaks a claim, that is `.ci/fuzz`; it keeps the targets and their
//! seeds alive, and what was found and fixed from coming back.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use dunlin_hostile::{Claim, TARGETS};

/// Changed copies of each seed.
const CHANGED: usize = 8;

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    seeds
}

fn check(claim: Claim, data: &[u8], what: &str) {
    if catch_unwind(|| claim(data)).is_err() {
        panic!("{what} breaks the claim; its bytes are {}", hex(data));
    }
}

fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_target_has_seeds_that_keep_its_claim() {
    for (target, claim) in TARGETS {
        let seeds = seeds(target);
        assert!(seeds.len() >= 5, "{target} has {} seeds", seeds.len());
        for (path, data) in seeds {
            check(claim, &data, &path.display().to_string());
        }
    }
}

#[test]
fn seeds_that_are_harmed_keep_the_claim_too() {
    for (target, claim) in TARGETS {
        for (number, (path, data)) in seeds(target).into_iter().enumerate() {
            let mut rng = fastrand::Rng::with_seed(number as u64);
            for _ in 0..CHANGED {
                let mut changed = data.clone();
                for _ in 0..rng.usize(1..4) {
                    match changed.len() {
                        0 => changed.push(rng.u8(..)),
                        len if rng.u8(0..4) == 0 => changed.truncate(rng.usize(0..len)),
                        len => changed[rng.usize(0..len)] ^= 1 << rng.u8(0..8),
                    }
                }
                check(claim, &changed, &format!("{} changed", path.display()));
            }
        }
    }
}

/// A seed that is refused at once leads a fuzzer nowhere.
#[test]
fn seeds_are_what_their_target_reads() {
    for (path, data) in seeds("certificates") {
        let role = dunlin_client::tls::role_of(&data.clone().into());
        let of_an_authority = path.display().to_string().ends_with("authority");
        assert_eq!(
            role.is_err(),
            of_an_authority,
            "{}: {role:?}",
            path.display()
        );
    }
    for (_, data) in seeds("messages") {
        dunlin_protocol::codec::scan(&data, Default::default()).unwrap();
    }
}
