//! Finding a cluster, and saying why not.

use std::path::Path;
use std::time::Duration;

use dunlin_client::tls::{ClusterName, Identity, Role};
use dunlin_client::{Client, ConnectError};
use rustls::pki_types::UnixTime;

use crate::fake::{CLUSTER, FakeCluster, issue};
use crate::test_authority::TestAuthority;

/// A port that nobody listens on, most likely.
const NOBODY: &str = "127.0.0.1:9";

fn write_cluster_file(folder: &Path, cluster: &FakeCluster, name: &str) {
    let (certificate, key, authority) = cluster.issue(&Role::user("ana").unwrap());
    for (file, text) in [
        ("ca.pem", authority),
        ("ana.pem", certificate),
        ("ana-key.pem", key),
    ] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    let mut text = format!(
        "cluster = {name:?}\nca = \"ca.pem\"\ncertificate = \"ana.pem\"\nkey = \"ana-key.pem\"\n"
    );
    for (n, address) in cluster.addresses().iter().enumerate() {
        text += &format!("[[node]]\nname = \"n{}\"\naddress = {address:?}\n", n + 1);
    }
    std::fs::write(folder.join("cluster.toml"), text).unwrap();
}

#[tokio::test]
async fn a_cluster_file_is_all_that_is_needed() {
    let cluster = FakeCluster::start(2, 2);
    let folder = tempfile::tempdir().unwrap();
    write_cluster_file(folder.path(), &cluster, CLUSTER);
    let client = Client::builder()
        .cluster_file(folder.path().join("cluster.toml"))
        .connect()
        .await
        .unwrap();
    assert_eq!(client.layout(), cluster.layout());
    assert_eq!(client.nodes().len(), 2);
    client.close().await;
}

#[tokio::test]
async fn a_certificate_of_another_cluster_is_refused_before_dialing() {
    let cluster = FakeCluster::start(1, 1);
    let folder = tempfile::tempdir().unwrap();
    write_cluster_file(folder.path(), &cluster, "other");
    let connected = Client::builder()
        .cluster_file(folder.path().join("cluster.toml"))
        .connect()
        .await;
    let error = connected.unwrap_err();
    assert!(
        matches!(error, ConnectError::OtherCluster { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn one_node_that_answers_is_enough() {
    let cluster = FakeCluster::start(1, 1);
    let mut addresses = vec![NOBODY.to_owned()];
    addresses.extend(cluster.addresses());
    let client = Client::builder()
        .nodes(addresses)
        .identity(cluster.user())
        .connect()
        .await
        .unwrap();
    assert_eq!(client.layout(), cluster.layout());
}

#[tokio::test]
async fn a_node_is_reached_where_the_application_says() {
    let mut cluster = FakeCluster::start(2, 2);
    let [first, second] = &cluster.addresses()[..] else {
        panic!("two nodes")
    };
    // At the other node's address nobody of this name answers, so it can't be reached there.
    let client = Client::builder()
        .nodes([first])
        .address("n2", first)
        .identity(cluster.user())
        .options(dunlin_client::Options::new().timeout(Duration::from_millis(300)))
        .connect()
        .await
        .unwrap();
    let reached =
        |client: &Client, address: &str| client.nodes().iter().any(|node| node.address == address);
    assert!(reached(&client, first) && !reached(&client, second));
    let id = dunlin_client::NodeId::from_name("n2");
    assert!(client.status(id).await.is_err());
    cluster.forget_seen();
}

#[tokio::test]
async fn every_address_that_does_not_answer_is_named() {
    let cluster = FakeCluster::start(1, 1);
    let error = Client::builder()
        .nodes([NOBODY, "127.0.0.1:10"])
        .identity(cluster.user())
        .connect_timeout(Duration::from_millis(200))
        .connect()
        .await
        .unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.contains("127.0.0.1:9:") && shown.contains("127.0.0.1:10:"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_client_of_another_authority_is_told_why() {
    let cluster = FakeCluster::start(1, 1);
    let (other, name) = (
        TestAuthority::new().unwrap(),
        ClusterName::new(CLUSTER).unwrap(),
    );
    let (certificate, key, authority) = issue(&other, &Role::user("eve").unwrap(), &name);
    let identity = Identity::from_pem(&certificate, &key, &authority, UnixTime::now()).unwrap();
    let error = Client::builder()
        .nodes(cluster.addresses())
        .identity(identity)
        .connect_timeout(Duration::from_millis(500))
        .connect()
        .await
        .unwrap_err();
    assert!(
        matches!(error, ConnectError::NoneReachable { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let cluster = FakeCluster::start(1, 1);
    let error = Client::builder().connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::NoNodes), "{error:?}");
    let error = Client::builder()
        .nodes(["localhost"])
        .connect()
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::BadAddress(_)), "{error:?}");
    let error = Client::builder()
        .nodes(cluster.addresses())
        .connect()
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::NoIdentity), "{error:?}");
}
