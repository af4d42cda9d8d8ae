//! A healthy cluster serves through every node, and stops in order.

use dunlin_protocol::request::Request;
use dunlin_protocol::response::Answer;
use dunlin_protocol::status::{StartReport, StorageState};

use crate::harness::{PARTITIONS, TestCluster, counter};

#[tokio::test]
async fn what_is_written_through_one_node_is_read_through_every_other() {
    let cluster = TestCluster::start(3).await;
    let nodes = [
        cluster.connect(1).await,
        cluster.connect(2).await,
        cluster.connect(3).await,
    ];
    let bucket = nodes[0].create_registers("things").await;
    for (writer, node) in nodes.iter().enumerate() {
        for item in 0..20 {
            let copies = node.put(bucket, &format!("{writer}-{item}"), "value").await;
            assert!(copies.unwrap() >= 2, "a majority holds it");
        }
    }
    for node in &nodes {
        for writer in 0..3 {
            for item in 0..20 {
                let values = node.get(bucket, &format!("{writer}-{item}")).await;
                assert_eq!(values, ["value"], "{}", cluster.logs());
            }
        }
    }
    let status = nodes[1].status().await;
    assert_eq!(status.name, "n2");
    assert_eq!(status.start, StartReport::Blank);
    assert_eq!(status.storage, StorageState::Ready);
    assert_eq!(status.partitions, u64::from(PARTITIONS));
    assert!(counter(&status, "commits") > 0);
    assert!(counter(&status, "clients_connected") >= 1);
    assert!(status.disk_bytes > 0 && status.disk_free_bytes > 0);
    let rows: u64 = cluster
        .converged()
        .await
        .iter()
        .map(|digest| digest.rows)
        .sum();
    assert_eq!(rows, 60);
    match nodes[2].ask(&Request::Compact).await {
        Answer::Compacted { after, .. } => assert!(after > 0),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_that_was_stopped_in_order_starts_clean_and_a_killed_one_does_not() {
    let mut cluster = TestCluster::start(1).await;
    let bucket = cluster.connect(1).await.create_registers("things").await;
    assert_eq!(cluster.connect(1).await.put(bucket, "k", "v").await, Ok(1));
    cluster.dev.restart(1).unwrap();
    cluster.ready().await;
    let asking = cluster.connect(1).await;
    assert_eq!(
        asking.status().await.start,
        StartReport::Clean,
        "{}",
        cluster.logs()
    );
    assert_eq!(asking.get(bucket, "k").await, ["v"]);

    assert!(cluster.dev.kill(1).unwrap());
    cluster.dev.start().unwrap();
    cluster.ready().await;
    let asking = cluster.connect(1).await;
    assert_eq!(asking.status().await.start, StartReport::Unclean);
    assert_eq!(asking.get(bucket, "k").await, ["v"], "it was synced");
}
