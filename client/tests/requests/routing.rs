//! Who is asked.

use dunlin_client::{Kind, Options};
use dunlin_protocol::request::Request;
use dunlin_protocol::response::Found;
use tokio::task::JoinSet;

use crate::fake::{FakeCluster, Say, found, within};

fn sums(node: dunlin_client::NodeId, request: &Request) -> Option<Say> {
    matches!(request, Request::Read(_)).then(|| found(node, Found::Sum(7)))
}

#[tokio::test]
async fn requests_go_to_owners_and_to_each_of_them() {
    let mut cluster = FakeCluster::start(5, 2);
    cluster.script(sums);
    let bucket = cluster.bucket(Kind::Counter, Options::new()).await;
    let owners = cluster.owners("visits");
    // At once: what one owner has to do already makes the other the better one.
    let mut reads = JoinSet::new();
    for _ in 0..64 {
        let counter = bucket.counter("visits").unwrap();
        reads.spawn(async move { counter.read().await.unwrap() });
    }
    for read in within(reads.join_all()).await {
        assert_eq!(read.value, 7);
        assert!(owners.contains(&read.info.coordinator.id));
    }
    let asked: Vec<_> = cluster.rest_seen().iter().map(|seen| seen.node).collect();
    assert!(asked.iter().all(|node| owners.contains(node)), "{asked:?}");
    assert!(
        owners.iter().all(|owner| asked.contains(owner)),
        "{asked:?}"
    );
}

#[tokio::test]
async fn another_node_is_asked_when_no_owner_can_be_reached() {
    let mut cluster = FakeCluster::start(3, 1);
    cluster.script(sums);
    let bucket = cluster.bucket(Kind::Counter, Options::new()).await;
    let [owner] = cluster.owners("visits")[..] else {
        panic!("one copy")
    };
    cluster.stop(owner).await;
    let sum = within(bucket.counter("visits").unwrap().get()).await;
    assert_eq!(sum, Ok(7));
    assert_ne!(cluster.rest_seen().pop().unwrap().node, owner);
}

#[tokio::test]
async fn a_newer_layout_is_fetched_and_its_nodes_are_asked() {
    let mut cluster = FakeCluster::start(2, 1);
    cluster.script(sums);
    let bucket = cluster.bucket(Kind::Counter, Options::new()).await;
    let newcomer = cluster.grow("n3");
    let key = (0..)
        .map(|n: u32| format!("key {n}"))
        .find(|key| cluster.owners(key) == [newcomer])
        .unwrap();
    // The first answer tells of the layout; some answer later it has been fetched and the new node
    // is connected.
    within(async {
        loop {
            assert_eq!(bucket.counter(&key).unwrap().get().await, Ok(7));
            if cluster.next_seen().await.node == newcomer {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_that_restarts_is_connected_again() {
    let mut cluster = FakeCluster::start(1, 1);
    let client = cluster.client(Options::new()).await;
    let node = client.nodes().pop().unwrap().node;
    cluster.stop(node.id).await;
    let down = client
        .with_options(Options::new().timeout(std::time::Duration::from_millis(100)))
        .status(node.id)
        .await;
    assert!(down.is_err(), "{down:?}");
    cluster.restart(node.id).await;
    let status = within(async {
        loop {
            if let Ok(status) = client.status(node.id).await {
                return status;
            }
        }
    });
    assert_eq!(status.await.node, node.id);
}
