//! A node is killed, writes go on, and it catches up.

use dunlin_protocol::status::StartReport;

use crate::harness::TestCluster;

#[tokio::test]
async fn writes_go_on_while_a_node_is_dead_and_it_catches_up_when_it_is_back() {
    let mut cluster = TestCluster::start(3).await;
    let survivor = cluster.connect(1).await;
    let bucket = survivor.create_registers("things").await;
    for item in 0..30 {
        survivor
            .put(bucket, &format!("before-{item}"), "v")
            .await
            .unwrap();
    }
    assert!(cluster.dev.kill(3).unwrap());
    // While it is not known to be dead, too: that is when fallbacks take over.
    for item in 0..30 {
        survivor
            .put(bucket, &format!("during-{item}"), "v")
            .await
            .unwrap();
    }
    cluster
        .until(1, "it notices that a peer is away", |status| {
            status.peers.iter().any(|peer| !peer.reachable)
        })
        .await;
    let other = cluster.connect(2).await;
    for item in 0..30 {
        other
            .put(bucket, &format!("after-{item}"), "v")
            .await
            .unwrap();
    }
    assert_eq!(other.get(bucket, "during-7").await, ["v"]);

    cluster.dev.start().unwrap();
    cluster.ready().await;
    let rows: u64 = cluster
        .converged()
        .await
        .iter()
        .map(|digest| digest.rows)
        .sum();
    assert_eq!(rows, 90, "{}", cluster.logs());
    let returned = cluster.connect(3).await;
    assert_eq!(returned.status().await.start, StartReport::Unclean);
    assert_eq!(returned.get(bucket, "after-29").await, ["v"]);
    for number in 1..=3 {
        cluster
            .until(number, "no hints are left", |status| status.hints == 0)
            .await;
    }
}

#[tokio::test]
async fn a_node_whose_store_is_gone_says_so_and_is_refilled() {
    let mut cluster = TestCluster::start(3).await;
    let bucket = cluster.connect(1).await.create_registers("things").await;
    for item in 0..30 {
        cluster
            .connect(1)
            .await
            .put(bucket, &item.to_string(), "v")
            .await
            .unwrap();
    }
    let before = cluster.converged().await;
    assert!(cluster.dev.kill(2).unwrap());
    std::fs::remove_dir_all(cluster.dev.node(2).unwrap().data_dir().join("kv")).unwrap();
    cluster.dev.start().unwrap();
    cluster.ready().await;
    let start = cluster.connect(2).await.status().await.start;
    assert!(matches!(start, StartReport::Amnesia(_)), "{start:?}");
    let after = cluster.converged().await;
    assert_eq!(rows(&after), rows(&before));
}

fn rows(digests: &[dunlin_protocol::status::PartitionDigest]) -> u64 {
    digests.iter().map(|digest| digest.rows).sum()
}
