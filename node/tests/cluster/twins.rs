//! A second process of a node that lives is refused, whatever it brings along, and the first goes on.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output};

use dunlin_node::dev::DevNode;
use dunlin_protocol::status::NodeStatus;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{PATIENCE, TestCluster, counter};

/// What the second process finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    /// A copy of what the first one had when it was copied.
    Cloned,
    Empty,
}

/// A configuration of the same node, at another address, with a disk of its own.
fn twin_of(node: &DevNode, dir: &Path, disk: Disk) -> std::path::PathBuf {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let dev = node.dir.parent().unwrap().display().to_string();
    let data = dir.join(format!("{disk:?}"));
    if disk == Disk::Cloned {
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(node.data_dir()).arg(&data);
        assert!(copy.status().unwrap().success());
    }
    let (name, data) = (&node.name, data.display());
    let config = format!(
        "name = \"{name}\"\ncluster_file = \"{dev}/cluster.toml\"\ndata_dir = \"{data}\"\n\
         [tls]\ncertificate = \"{dev}/node-{name}.pem\"\nkey = \"{dev}/node-{name}-key.pem\"\n\
         [node]\naddress = \"{address}\"\n"
    );
    let path = dir.join(format!("{disk:?}.toml"));
    std::fs::write(&path, config).unwrap();
    path
}

/// Runs it until it ends by itself.
async fn ended(config: &Path) -> Output {
    let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .arg("server")
        .arg("--config")
        .arg(config)
        .kill_on_drop(true)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    output.expect("a twin ends by itself").unwrap()
}

#[tokio::test]
async fn a_second_process_of_a_node_that_lives_is_refused_and_the_first_goes_on() {
    let mut cluster = TestCluster::start(3).await;
    let first = cluster.connect(2).await;
    let bucket = first.create_registers("things").await;
    first.put(bucket, "before", "v").await.unwrap();
    let node = cluster.dev.node(2).unwrap().clone();
    let dir = tempfile::tempdir().unwrap();
    for disk in [Disk::Cloned, Disk::Empty] {
        let config = twin_of(&node, dir.path(), disk);
        let output = ended(&config).await;
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{disk:?}: {says}");
        for part in ["n2 lives already", &node.address, "no write"] {
            assert!(says.contains(part), "{disk:?}: {part:?} is not in {says}");
        }
        first.put(bucket, &format!("{disk:?}"), "v").await.unwrap();
    }
    // On the first one's own disk.
    let output = ended(&node.config()).await;
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{says}");
    assert!(says.contains("another process"), "{says}");

    assert_eq!(first.get(bucket, "before").await, ["v"]);
    for number in [1, 3] {
        let status = cluster
            .until(number, "it reaches the first one", |status| {
                status.peers.iter().all(|peer| peer.reachable)
            })
            .await;
        assert_eq!(counter(&status, "peers_lost"), 0, "{}", cluster.logs());
    }
    cluster.converged().await;
}

fn reaches(status: &NodeStatus, name: &str) -> bool {
    let peer = status.peers.iter().find(|peer| peer.name == name);
    peer.is_some_and(|peer| peer.reachable)
}

#[tokio::test]
async fn of_two_processes_that_could_not_see_each_other_the_later_stands_and_the_other_ends() {
    let mut cluster = TestCluster::start(3).await;
    let node = cluster.dev.node(2).unwrap().clone();
    let pid = std::fs::read_to_string(node.dir.join("pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    // As a machine that is paused while its copy is started elsewhere.
    kill_process(pid, Signal::STOP).unwrap();
    for number in [1, 3] {
        cluster
            .until(number, "it misses the first one", |status| {
                !reaches(status, "n2")
            })
            .await;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = twin_of(&node, dir.path(), Disk::Cloned);
    let mut twin = tokio::process::Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .arg("server")
        .arg("--config")
        .arg(&config)
        .kill_on_drop(true)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for number in [1, 3] {
        cluster
            .until(number, "it reaches the later one", |status| {
                reaches(status, "n2")
            })
            .await;
    }
    kill_process(pid, Signal::CONT).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while cluster.dev.is_running(2).unwrap() {
        assert!(
            std::time::Instant::now() < deadline,
            "the first one goes on\n{}",
            cluster.logs()
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let log = std::fs::read_to_string(node.log()).unwrap();
    assert!(log.contains("takes its place: this one ends"), "{log}");
    assert!(twin.try_wait().unwrap().is_none(), "the later one lives");
    twin.kill().await.unwrap();
}
