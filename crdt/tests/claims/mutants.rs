//! The agreement test has teeth: each rule of the design, broken on purpose, is caught.

use crate::schedule::{Rule, Schedule};

/// Each is caught within a few dozen; the same seeds pass in `agreement` under the sound rules.
const SEEDS: u64 = 200;

fn check(broken: Rule) {
    let caught = (0..SEEDS).find(|seed| Schedule::new(*seed, broken).run(150).is_err());
    assert!(
        caught.is_some(),
        "{broken:?} went unnoticed for {SEEDS} seeds"
    );
}

#[test]
fn rows_that_forget_their_past_are_caught() {
    check(Rule::DropPast);
}

#[test]
fn clocks_that_claim_dots_without_their_rows_are_caught() {
    check(Rule::ClaimWithoutRow);
}

#[test]
fn an_actor_used_again_after_a_rollback_is_caught() {
    check(Rule::ReuseActor);
}

#[test]
fn dots_guessed_from_a_context_are_caught() {
    check(Rule::GuessDots);
}

#[test]
fn rows_sent_without_their_clock_are_caught() {
    check(Rule::RowWithoutClock);
}

#[test]
fn a_fallback_that_counts_on_after_giving_its_cells_away_is_caught() {
    check(Rule::FallbackKeepsActor);
}
