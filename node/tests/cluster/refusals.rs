//! What nodes refuse, without harm to others.

use std::net::UdpSocket;

use bytes::Bytes;
use dunlin_client::tls::WireProtocol;
use dunlin_node::server::{Server, ServerError};
use dunlin_protocol::Failure;
use dunlin_protocol::frame::{Frame, FrameKind, RequestId};
use dunlin_protocol::response::Answer;

use crate::harness::{TestCluster, counter};

#[tokio::test]
async fn hostile_bytes_and_wrong_certificates_are_refused_and_counted() {
    let mut cluster = TestCluster::start(1).await;
    let asking = cluster.connect(1).await;
    let bucket = asking.create_registers("things").await;

    // Bytes that are no QUIC, of all lengths that a datagram may have.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    for length in (0..1500).step_by(7) {
        let bytes: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
        socket
            .send_to(&bytes, &cluster.dev.node(1).unwrap().address)
            .unwrap();
    }

    // A user on the protocol of the nodes: the handshake passes, and then it is shown out.
    let admin = cluster
        .dev
        .dir()
        .join("user-admin")
        .to_string_lossy()
        .into_owned();
    let intruder = cluster
        .connect_as(1, &admin, WireProtocol::Peer)
        .await
        .unwrap();
    let reason = intruder.requester.link().closed().await;
    assert!(reason.to_string().contains("may not speak"), "{reason}");
    cluster
        .until(1, "it counts the intruder", |status| {
            counter(status, "not_allowed") == 1
        })
        .await;

    // A request that is none: the connection survives.
    let answer = asking
        .ask_bytes(Bytes::from_static(b"\xc1 no MessagePack"))
        .await;
    assert_eq!(answer, Answer::Failed(Failure::NotUnderstood));
    assert_eq!(asking.put(bucket, "k", "v").await, Ok(1));

    // A frame that a client may not send: the connection does not.
    let rude = cluster.connect(1).await;
    let frame = Frame {
        kind: FrameKind::Peer,
        id: RequestId(1),
        deadline_ms: 0,
        body: Bytes::from_static(b"x"),
    };
    rude.requester.link().send(frame, 0).unwrap();
    rude.requester.link().closed().await;
    let status = asking.status().await;
    assert_eq!(counter(&status, "links_broken"), 1);
    assert_eq!(counter(&status, "not_understood"), 1);
    assert_eq!(asking.get(bucket, "k").await, ["v"], "others never notice");
}

#[tokio::test]
async fn the_data_of_another_node_is_refused_and_left_alone() {
    let mut cluster = TestCluster::create(2);
    let (first, second) = (
        cluster.dev.node(1).unwrap().clone(),
        cluster.dev.node(2).unwrap().clone(),
    );
    let config = dunlin_node::config::ServerConfig::load(first.config()).unwrap();
    Server::start(config).await.unwrap().stop().unwrap();
    std::fs::rename(first.data_dir(), second.data_dir()).unwrap();
    let config = dunlin_node::config::ServerConfig::load(second.config()).unwrap();
    match Server::start(config).await {
        Err(error @ ServerError::DataDir(_)) => {
            assert!(
                error.to_string().contains("node n1 of cluster dev"),
                "{error}"
            );
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it started"),
    }
    // The process says the same, and is known to have died.
    cluster.dev.start_node(2).unwrap();
    let gone = std::time::Instant::now() + crate::harness::PATIENCE;
    while cluster.dev.is_running(2).unwrap() {
        assert!(std::time::Instant::now() < gone);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(
        cluster.logs().contains("node n1 of cluster dev"),
        "{}",
        cluster.logs()
    );
    assert!(!cluster.dev.kill(2).unwrap(), "there is nobody to kill");
}
