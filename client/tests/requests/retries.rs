//! What is sent again, and what is not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dunlin_client::{DataEffect, Error, Failure, Kind, NodeId, Options};
use dunlin_protocol::request::Request;

use crate::fake::{FakeCluster, Say, failed, op_of, within, written};

/// A script in which the first write is met by `first`, and the others by `then`.
fn first_write(
    first: fn(NodeId) -> Say,
    then: fn(NodeId) -> Say,
) -> impl Fn(NodeId, &Request) -> Option<Say> + Send + Sync {
    let met = AtomicBool::new(false);
    move |node, request| {
        op_of(request)?;
        match met.swap(true, Relaxed) {
            false => Some(first(node)),
            true => Some(then(node)),
        }
    }
}

fn hang(_: NodeId) -> Say {
    Say::Nothing
}

fn hangup(_: NodeId) -> Say {
    Say::Hangup
}

/// Long enough that a busy machine does not matter, and an attempt is given up after a quarter.
fn patient() -> Options {
    Options::new().timeout(Duration::from_secs(2))
}

fn hasty() -> Options {
    Options::new().timeout(Duration::from_millis(200))
}

#[tokio::test]
async fn a_put_that_a_node_leaves_unanswered_goes_to_another_under_the_same_id() {
    for first in [hang, hangup] {
        let mut cluster = FakeCluster::start(3, 3);
        let bucket = cluster.bucket(Kind::Lww, patient()).await;
        cluster.script(first_write(first, written));
        let receipt = within(bucket.lww("k").unwrap().put("v")).await.unwrap();
        let (one, two) = (cluster.next_seen().await, cluster.next_seen().await);
        assert_ne!(one.node, two.node);
        assert_eq!(receipt.coordinator.id, two.node);
        assert_eq!(receipt.attempts, 2);
        assert_eq!(one.write().id, two.write().id);
        assert!(cluster.rest_seen().is_empty());
    }
}

#[tokio::test]
async fn two_requests_have_two_ids() {
    let mut cluster = FakeCluster::start(1, 1);
    let bucket = cluster.bucket(Kind::Lww, patient()).await;
    cluster.script(|node, request| op_of(request).map(|_| written(node)));
    for _ in 0..2 {
        bucket.lww("k").unwrap().put("v").await.unwrap();
    }
    let (one, two) = (cluster.next_seen().await, cluster.next_seen().await);
    assert_ne!(one.write().id, two.write().id);
}

#[tokio::test]
async fn an_increment_that_is_not_answered_is_sent_once_and_its_outcome_is_unknown() {
    let mut cluster = FakeCluster::start(3, 3);
    let bucket = cluster.bucket(Kind::Counter, hasty()).await;
    cluster.script(first_write(hang, written));
    let error = within(bucket.counter("k").unwrap().increment(1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert_eq!(error.effect(), DataEffect::Unknown);
    let asked = cluster.next_seen().await.node;
    assert!(cluster.rest_seen().is_empty());
    assert_eq!(error.asked()[0].node.id, asked);
}

#[tokio::test]
async fn an_increment_whose_connection_is_lost_is_sent_once_and_its_outcome_is_unknown() {
    let mut cluster = FakeCluster::start(3, 3);
    let bucket = cluster.bucket(Kind::Counter, patient()).await;
    cluster.script(first_write(hangup, written));
    let error = within(bucket.counter("k").unwrap().increment(1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    assert_eq!(error.effect(), DataEffect::Unknown);
    cluster.next_seen().await;
    assert!(cluster.rest_seen().is_empty());
}

#[tokio::test]
async fn a_removal_is_not_repeated_either() {
    let mut cluster = FakeCluster::start(3, 3);
    let bucket = cluster.bucket(Kind::Set, patient()).await;
    cluster.script(first_write(hangup, written));
    let error = within(bucket.set("k").unwrap().remove(["e"]))
        .await
        .unwrap_err();
    assert_eq!(error.effect(), DataEffect::Unknown);
    cluster.next_seen().await;
    assert!(cluster.rest_seen().is_empty());
}

#[tokio::test]
async fn an_increment_that_was_not_applied_goes_to_another_node() {
    let mut cluster = FakeCluster::start(3, 3);
    let bucket = cluster.bucket(Kind::Counter, patient()).await;
    cluster.script(first_write(|_| failed(Failure::Overloaded), written));
    let increment = within(bucket.counter("k").unwrap().increment(1)).await;
    assert_eq!(increment.unwrap().attempts, 1);
    let (one, two) = (cluster.next_seen().await, cluster.next_seen().await);
    assert_ne!(one.node, two.node);
}

#[tokio::test]
async fn what_every_node_refuses_in_passing_is_tried_until_the_time_is_up() {
    let mut cluster = FakeCluster::start(2, 2);
    let bucket = cluster.bucket(Kind::Counter, hasty()).await;
    cluster.script(|_, request| op_of(request).map(|_| failed(Failure::Overloaded)));
    let error = within(bucket.counter("k").unwrap().increment(1))
        .await
        .unwrap_err();
    assert_eq!(error.failure(), Some(&Failure::Overloaded));
    assert_eq!(error.effect(), DataEffect::NotApplied);
    assert!(cluster.rest_seen().len() > 2);
}

#[tokio::test]
async fn what_only_another_node_could_do_is_asked_of_each_once() {
    let mut cluster = FakeCluster::start(3, 3);
    let bucket = cluster.bucket(Kind::Counter, Options::new().strict()).await;
    let reachable = NodeId::from_name("n2");
    cluster.script(move |_, request| {
        op_of(request)?;
        Some(failed(Failure::Unavailable {
            needed: 2,
            reachable: vec![reachable],
        }))
    });
    let error = within(bucket.counter("k").unwrap().increment(1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let asked: BTreeSet<_> = cluster.rest_seen().iter().map(|seen| seen.node).collect();
    assert_eq!(asked.len(), 3);
    // Who was asked, who can be reached, what was needed.
    let shown = error.to_string();
    for part in [
        "n1 said",
        "n2 said",
        "n3 said",
        "[n2]",
        "2 nodes are needed",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[tokio::test]
async fn a_refusal_after_an_unknown_outcome_does_not_make_it_known() {
    let mut cluster = FakeCluster::start(2, 2);
    let bucket = cluster.bucket(Kind::Lww, patient()).await;
    let full = |_| failed(Failure::TooManySiblings { bytes: 9 });
    cluster.script(first_write(hang, full));
    let error = within(bucket.lww("k").unwrap().put("v")).await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    assert_eq!(error.effect(), DataEffect::Unknown);
    assert_eq!(error.asked().len(), 2);
}

#[tokio::test]
async fn a_node_that_hangs_is_avoided_until_it_answers_again() {
    let mut cluster = FakeCluster::start(2, 2);
    let bucket = cluster.bucket(Kind::Lww, patient()).await;
    let hung = Arc::new(std::sync::Mutex::new(None));
    let script = hung.clone();
    cluster.script(move |node, request| {
        let mut hung = script.lock().unwrap();
        if op_of(request).is_some() && hung.is_none() {
            *hung = Some(node);
        }
        match *hung == Some(node) {
            true => Some(Say::Nothing),
            false => op_of(request).map(|_| written(node)),
        }
    });
    for _ in 0..10 {
        within(bucket.lww("k").unwrap().put("v")).await.unwrap();
    }
    let hung_node = hung.lock().unwrap().unwrap();
    let asked: Vec<_> = cluster.rest_seen().iter().map(|seen| seen.node).collect();
    let unanswered = asked.iter().filter(|node| **node == hung_node).count();
    assert_eq!(unanswered, 1, "{asked:?}");
    // It answers again, the probes first.
    cluster.script(|node, request| op_of(request).map(|_| written(node)));
    within(async {
        loop {
            let receipt = bucket.lww("k").unwrap().put("v").await.unwrap();
            if receipt.coordinator.id == hung_node {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_is_gone_is_named_node_by_node() {
    let mut cluster = FakeCluster::start(2, 2);
    let bucket = cluster.bucket(Kind::Lww, hasty()).await;
    for node in cluster.owners("k") {
        cluster.stop(node).await;
    }
    let error = within(async {
        loop {
            // The first may still be sent on a connection that is about to be lost.
            let error = bucket.lww("k").unwrap().put("v").await.unwrap_err();
            if let Error::Unreachable { .. } = error {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.effect(), DataEffect::NotApplied);
    let shown = error.to_string();
    assert!(
        shown.contains("n1: 127.0.0.1:") && shown.contains("n2: 127.0.0.1:"),
        "{shown}"
    );
}
