//! Reads that a second node is asked for.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dunlin_client::{Kind, Options};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Found;

use crate::fake::{FakeCluster, Say, found, within};

#[tokio::test]
async fn a_slow_read_is_asked_of_a_second_node_and_its_answer_counts() {
    let mut cluster = FakeCluster::start(3, 3);
    // An attempt at a page may take half of it, longer than the test waits.
    let options = Options::new().timeout(Duration::from_secs(120));
    let bucket = cluster.bucket(Kind::Set, options).await;
    let met = AtomicBool::new(false);
    cluster.script(move |node, request| {
        let Request::Read(_) = request else {
            return None;
        };
        let (count, next) = (3, None);
        match met.swap(true, Relaxed) {
            false => Some(Say::Nothing),
            true => Some(found(node, Found::Count { count, next })),
        }
    });
    assert_eq!(within(bucket.set("k").unwrap().count()).await, Ok(3));
    let (one, two) = (cluster.next_seen().await, cluster.next_seen().await);
    assert_ne!(one.node, two.node);
}

#[tokio::test]
async fn writes_are_never_hedged() {
    let mut cluster = FakeCluster::start(3, 3);
    let options = Options::new().timeout(Duration::from_millis(400));
    let bucket = cluster.bucket(Kind::Counter, options).await;
    cluster.script(|_, request| matches!(request, Request::Write(_)).then_some(Say::Nothing));
    within(bucket.counter("k").unwrap().increment(1))
        .await
        .unwrap_err();
    assert_eq!(cluster.rest_seen().len(), 1);
}
