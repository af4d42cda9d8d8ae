//! Stamps only go forward, and a clock that runs ahead is refused rather than followed.

use dunlin_crdt::{Hlc, HlcClock, Millis, SkewError};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

proptest! {
    #[test]
    fn every_stamp_is_later_than_all_given_and_seen(
        // Wall time that jumps back and forth, and stamps from elsewhere around it.
        steps in vec((0u64..2_000, 0u64..4_000, any::<u16>(), any::<bool>()), 1..60)
    ) {
        let (mut clock, mut latest) = (HlcClock::default(), Hlc::default());
        for (now, elsewhere, count, listen) in steps {
            let now = Millis(now);
            if listen {
                let stamp = Hlc(Hlc::at(Millis(elsewhere)).0 + u64::from(count));
                let accepted = clock.observe(stamp, now, 500);
                prop_assert_eq!(accepted.is_ok(), elsewhere <= now.0 + 500);
                if accepted.is_ok() {
                    latest = latest.max(stamp);
                }
            }
            let stamp = clock.tick(now);
            prop_assert!(stamp > latest);
            prop_assert!(stamp.millis() >= now);
            latest = stamp;
        }
    }
}

#[test]
fn a_stamp_from_too_far_ahead_leaves_no_trace() {
    let mut clock = HlcClock::default();
    let refused = clock.observe(Hlc::at(Millis(1_501)), Millis(1_000), 500);
    let expected = SkewError {
        ahead_ms: 501,
        allowed_ms: 500,
    };
    assert_eq!(refused, Err(expected));
    assert_eq!(clock.tick(Millis(1_000)), Hlc::at(Millis(1_000)));
    assert_eq!(
        clock.observe(Hlc::at(Millis(1_500)), Millis(1_000), 500),
        Ok(())
    );
    assert_eq!(clock.tick(Millis(1_000)), Hlc(Hlc::at(Millis(1_500)).0 + 1));
}

#[test]
fn a_clock_that_was_put_right_gives_stamps_that_others_accept() {
    let (mut clock, other) = (HlcClock::default(), HlcClock::default());
    let (ahead, right) = (Millis(3_600_000), Millis(1_000));
    assert_eq!(clock.tick_within(ahead, 500), Hlc::at(ahead));
    let stamp = clock.tick_within(right, 500);
    assert_eq!(stamp, Hlc::at(right));
    assert_eq!(other.clone().observe(stamp, right, 500), Ok(()));
    // A small step back is not felt.
    assert_eq!(clock.tick_within(Millis(500), 500), Hlc(stamp.0 + 1));
}

#[test]
fn a_stamp_keeps_its_millisecond_and_sorts_by_it() {
    for ms in [0, 1, 1_800_000_000_000, (1 << 48) - 1] {
        assert_eq!(Hlc::at(Millis(ms)).millis(), Millis(ms));
    }
    assert!(Hlc(Hlc::at(Millis(7)).0 + 0xffff) < Hlc::at(Millis(8)));
    assert_eq!(Hlc::at(Millis(u64::MAX)), Hlc::at(Millis((1 << 48) - 1)));
}

#[test]
fn more_stamps_than_fit_a_millisecond_run_into_the_next() {
    let mut clock = HlcClock::default();
    let first = clock.tick(Millis(5));
    let last = (0..=0xffff).map(|_| clock.tick(Millis(5))).last();
    assert_eq!(
        (first, last),
        (Hlc::at(Millis(5)), Some(Hlc::at(Millis(6))))
    );
}
