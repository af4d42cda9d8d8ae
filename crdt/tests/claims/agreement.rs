//! Clocks and rows show exactly what the full history of events shows.

use crate::schedule::{Rule, Schedule};

#[test]
fn random_schedules_agree_with_the_full_history() {
    for seed in 0..150 {
        let outcome = Schedule::new(seed, Rule::Sound).run(150);
        assert_eq!(outcome, Ok(()), "seed {seed}");
    }
}
