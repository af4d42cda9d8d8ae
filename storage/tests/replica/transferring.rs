//! Whole transfers, page by page.

use dunlin_crdt::Clock;
use dunlin_storage::WholeTaken;

use super::support::{EVERYTHING, P, add, element, new, open, pull, pull_whole, remove, sync};

#[test]
fn a_whole_transfer_takes_live_writes_meanwhile_and_keeps_the_clock_in_one_piece() {
    let ((_, mut a), (kv, _)) = (new(1), new(2));
    let mut rng = fastrand::Rng::with_seed(3);
    let mut order: Vec<u32> = (0..300).collect();
    rng.shuffle(&mut order);
    for n in &order {
        add(&mut a, &element("s", &n.to_string()));
    }
    for n in 0..50 {
        remove(&mut a, &element("s", &n.to_string()));
    }
    kv.wipe();
    let mut b = open(&kv, 4);
    assert!(!b.is_whole(P));
    let (mut after, mut first) = (None, None);
    for page in 0.. {
        let (rows, clock, next) = a.whole_page(P, after.as_ref(), 500).unwrap();
        b.take_whole_page(P, after.as_ref(), &rows, next.as_ref(), &clock)
            .unwrap();
        b.check_invariants().unwrap();
        let pieces = b.clock(P).ranges_by_actor().count();
        assert!(pieces <= 1 + 2 * page, "the clock is in {pieces} pieces");
        assert!(b.tally().pending <= page as u64);
        let first = first.get_or_insert(clock);
        after = next;
        if after.is_none() {
            assert!(page > 20);
            assert!(b.claim(P, first));
            break;
        }
        let event = add(&mut a, &element("live", &page.to_string()));
        b.take(&element("live", &page.to_string()), &event).unwrap();
        if page == 10 {
            // It goes on where it was after a crash.
            sync(&kv, &mut b);
            b = open(&kv, 5);
            assert_eq!(b.transfer(P), Some((&*first, after.clone())));
        }
    }
    pull(&a, &mut b);
    b.strip_pending(P, 1000).unwrap();
    assert_eq!((b.clock(P), b.tally().pending), (a.clock(P), 0));
    assert_eq!(
        a.digest(P, None, usize::MAX, |_| false),
        b.digest(P, None, usize::MAX, |_| false)
    );
}

#[test]
fn a_page_out_of_order_is_refused() {
    let ((_, mut a), (_, mut b)) = (new(1), new(2));
    for n in 0..9 {
        add(&mut a, &element("s", &n.to_string()));
    }
    let (rows, clock, next) = a.whole_page(P, None, 1).unwrap();
    let out_of_order = b.take_whole_page(P, next.as_ref(), &rows, None, &clock);
    assert_eq!(out_of_order, Ok(WholeTaken::OutOfOrder));
    b.take_whole_page(P, None, &rows, next.as_ref(), &clock)
        .unwrap();
    assert!(!b.claim(P, &clock), "there are more pages");
    let older = b.take_whole_page(P, next.as_ref(), &[], None, &Clock::new());
    assert_eq!(older, Ok(WholeTaken::OutOfOrder), "its sender knows less");
    // Beginning anew keeps what came, and claims it.
    pull_whole(&a, &mut b, EVERYTHING);
    assert_eq!(b.clock(P), a.clock(P));
    b.check_invariants().unwrap();
}
