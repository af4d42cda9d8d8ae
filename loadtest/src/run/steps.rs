//! Rates one after the other, and the last that the cluster keeps up with: the knee.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

/// Rates that one run may have.
const STEPS_MAX: usize = 1_000;
/// What a rate must be answered of for it to count as kept up with.
pub(crate) const KEPT_UP: f64 = 0.97;
/// After so many rates in a row that were not kept up with, higher ones are left out.
pub(crate) const MISSES_MAX: usize = 2;

/// Requests a second, rising.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Steps(pub(crate) Vec<f64>);

impl FromStr for Steps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let how = "write the first rate, the last and the step, such as 1000..20000:1000";
        let (range, step) = text.split_once(':').ok_or(how)?;
        let (first, last) = range.split_once("..").ok_or(how)?;
        let number = |text: &str| text.parse::<f64>().ok().filter(|rate| rate.is_finite());
        match (number(first), number(last), number(step)) {
            (Some(first), Some(last), Some(step)) => {
                if first < 1.0 || step < 1.0 {
                    return Err("rate and step are 1 a second at least".to_owned());
                }
                if last < first {
                    return Err(format!("{last} is below {first}: rates must rise"));
                }
                let count = ((last - first) / step) as usize + 1;
                if count > STEPS_MAX {
                    return Err(format!("that is {count} steps; {STEPS_MAX} may be made"));
                }
                Ok(Self(
                    (0..count).map(|at| first + at as f64 * step).collect(),
                ))
            }
            _ => Err(how.to_owned()),
        }
    }
}

/// How a rate went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Went {
    pub(crate) due_per_second: f64,
    /// What was due in fact: of arrivals that are drawn, somewhat more or less.
    pub(crate) came_per_second: f64,
    pub(crate) done_per_second: f64,
    pub(crate) p99: Duration,
}

/// The most that was kept up with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Knee {
    /// Which step, from 0.
    pub(crate) step: usize,
    pub(crate) due_per_second: f64,
    pub(crate) done_per_second: f64,
    pub(crate) p99_us: u64,
    /// No higher rate was tried: the knee may lie above.
    pub(crate) is_last: bool,
}

impl Went {
    /// Whether nearly all that was due was answered in time.
    pub(crate) fn kept_up(&self, p99_max: Duration) -> bool {
        self.done_per_second >= KEPT_UP * self.came_per_second && self.p99 <= p99_max
    }
}

/// The last rate that was kept up with, if one was.
pub(crate) fn knee(went: &[Went], p99_max: Duration) -> Option<Knee> {
    let step = went.iter().rposition(|went| went.kept_up(p99_max))?;
    let at = went.get(step)?;
    Some(Knee {
        step,
        due_per_second: at.due_per_second,
        done_per_second: at.done_per_second,
        p99_us: u64::try_from(at.p99.as_micros()).unwrap_or(u64::MAX),
        is_last: step + 1 == went.len(),
    })
}

/// Whether higher rates are not worth trying.
pub(crate) fn is_beyond(went: &[Went], p99_max: Duration) -> bool {
    let last = went.iter().rev().take(MISSES_MAX);
    went.len() >= MISSES_MAX && last.into_iter().all(|went| !went.kept_up(p99_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    const P99_MAX: Duration = Duration::from_millis(100);

    fn went(figures: &[(f64, f64, u64)]) -> Vec<Went> {
        let one = |(due, done, p99_ms): &(f64, f64, u64)| Went {
            due_per_second: *due,
            came_per_second: *due,
            done_per_second: *done,
            p99: Duration::from_millis(*p99_ms),
        };
        figures.iter().map(one).collect()
    }

    #[test]
    fn steps_are_read_and_end_at_the_last() {
        let steps: Steps = "1000..2600:500".parse().unwrap();
        assert_eq!(steps.0, [1000.0, 1500.0, 2000.0, 2500.0]);
        assert_eq!("7..7:1".parse::<Steps>().unwrap().0, [7.0]);
        for text in [
            "2000..1000:10",
            "0..5:1",
            "1..5:0",
            "1..5",
            "5",
            "1..100000:1",
            "a..b:c",
        ] {
            assert!(text.parse::<Steps>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_knee_is_the_last_rate_that_is_answered_in_time() {
        let rising = went(&[
            (1000.0, 1001.0, 5),
            (2000.0, 1990.0, 12),
            (3000.0, 2920.0, 60),
            (4000.0, 3700.0, 900),
            (5000.0, 3600.0, 4000),
        ]);
        let found = knee(&rising, P99_MAX).unwrap();
        assert_eq!(
            (found.step, found.p99_us, found.is_last),
            (2, 60_000, false)
        );
        assert!(is_beyond(&rising, P99_MAX));
        let stricter = knee(&rising, Duration::from_millis(20)).unwrap();
        assert_eq!(stricter.step, 1);
    }

    #[test]
    fn one_disturbed_step_does_not_end_the_search() {
        let disturbed = went(&[(1000.0, 900.0, 5), (2000.0, 1990.0, 12)]);
        assert!(!is_beyond(&disturbed, P99_MAX));
        assert!(!is_beyond(&disturbed[..1], P99_MAX));
        let found = knee(&disturbed, P99_MAX).unwrap();
        assert_eq!((found.step, found.is_last), (1, true));
    }

    #[test]
    fn a_draw_of_few_arrivals_is_no_failure_to_keep_up() {
        let drawn = Went {
            due_per_second: 100.0,
            came_per_second: 88.0,
            done_per_second: 87.0,
            p99: Duration::from_millis(3),
        };
        assert!(drawn.kept_up(P99_MAX));
    }

    #[test]
    fn there_may_be_no_knee() {
        assert_eq!(knee(&went(&[(1000.0, 300.0, 5)]), P99_MAX), None);
        assert_eq!(knee(&[], P99_MAX), None);
    }
}
