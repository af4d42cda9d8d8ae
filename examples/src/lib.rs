//! What the examples share: a cluster that lives as long as the program.
//!
//! ```text
//! cargo run --example shopping_cart
//! ```
//!
//! | example | shows |
//! |---|---|
//! | `shopping_cart` | siblings that the application merges, and the same as a map that needs no merging |
//! | `like_counter` | many increments at once, and what an unknown outcome means |
//! | `presence` | who is online: heartbeats, and sweeping away those that stopped |
//! | `leaderboard` | the top of a large set, page by page |
//! | `todo_list` | two people on two sides of a split |
//! | `login_sessions` | last writer wins, and what it loses |
//! | `import_csv` | many writes at a time from a file |
//!
//! A real application connects to a cluster that is there: `Client::builder().cluster_file(path).connect()`.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dunlin_client::status::NodeStatus;
use dunlin_client::{Bucket, BucketDefaults, Client, Kind};
use dunlin_node::config::ServerConfig;
use dunlin_node::dev::{DevCluster, DevOptions};
use dunlin_node::server::Server;
use dunlin_relay::{LinkRule, Place, Relay, free_addresses};
use tempfile::TempDir;

/// What goes wrong in an example ends it.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Three nodes in this process, behind a relay that can cut them apart, and two groups of clients.
pub struct Cluster {
    dev: DevCluster,
    servers: Vec<Server>,
    relay: Relay,
    _dir: TempDir,
}

/// Where a client is: the left one beside n1 and n2, the right one beside n3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Beside n1 and n2.
    Left,
    /// Beside n3.
    Right,
}

const NODES: usize = 3;
/// How long the nodes may take to find each other, and between looks.
const START_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Cluster {
    /// Starts the cluster.
    ///
    /// # Errors
    /// If the system gives no ports, threads or files.
    pub async fn start() -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let listening = free_addresses(NODES as u16)?;
        let mut options = DevOptions::new(dir.path().join("cluster"));
        options.base_port = listening.first().map(SocketAddr::port);
        let dev = DevCluster::create(&options)?;
        let relay = Relay::start(&listening, 2, 1)?;
        // The nodes know each other by the relay's doors.
        let mut file = fs::read_to_string(dev.cluster_file())?;
        for (node, door) in dev.nodes().iter().zip(relay.addresses()) {
            file = file.replace(&node.address, &door.to_string());
            let config = fs::read_to_string(node.config())?;
            let listen = format!("listen = \"{}\"\n{config}", node.address);
            fs::write(node.config(), listen)?;
        }
        fs::write(dev.cluster_file(), file)?;
        let mut servers = Vec::new();
        for node in dev.nodes() {
            servers.push(Server::start(ServerConfig::load(node.config())?).await?);
        }
        let cluster = Self {
            dev,
            servers,
            relay,
            _dir: dir,
        };
        cluster.is_ready().await?;
        Ok(cluster)
    }

    /// Waits until the nodes have found each other, and each answers for what it owns.
    async fn is_ready(&self) -> Outcome {
        let client = self.client().await?;
        let began = Instant::now();
        loop {
            let mut waits_for = None;
            for view in client.nodes() {
                match client.status(view.node.id).await {
                    Ok(status) if is_at_work(&status) => {}
                    _ => waits_for = Some(view.node),
                }
            }
            match waits_for {
                None => return Ok(()),
                Some(node) if began.elapsed() > START_MAX => {
                    return Err(format!("{node} is not ready").into());
                }
                Some(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// A client, on the left.
    ///
    /// # Errors
    /// If no node answers.
    pub async fn client(&self) -> Outcome<Client> {
        self.client_on(Side::Left).await
    }

    /// A client on this side.
    ///
    /// # Errors
    /// If no node answers.
    pub async fn client_on(&self, side: Side) -> Outcome<Client> {
        let doors = self.relay.addresses_for(side.place());
        let mut builder = Client::builder().cluster_file(self.dev.cluster_file());
        for (node, door) in self.dev.nodes().iter().zip(doors) {
            builder = builder.address(&node.name, door.to_string());
        }
        Ok(builder.connect().await?)
    }

    /// Cuts the left from the right, and waits until the nodes have noticed.
    pub async fn split(&self) {
        let cut = LinkRule {
            cut: true,
            ..LinkRule::default()
        };
        let left = [Place(0), Place(1), Side::Left.place()];
        let right = [Place(2), Side::Right.place()];
        for (a, b) in left
            .iter()
            .flat_map(|a| right.iter().map(move |b| (*a, *b)))
        {
            self.relay.rules().set(a, b, cut);
            self.relay.rules().set(b, a, cut);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    /// Joins the two sides, and waits until they have told each other everything.
    pub async fn heal(&self) {
        self.relay.rules().heal();
        tokio::time::sleep(Duration::from_secs(4)).await;
    }

    /// Stops the nodes.
    ///
    /// # Errors
    /// If one could not write its last words to the disk.
    pub fn stop(self) -> Outcome {
        for server in self.servers {
            server.stop()?;
        }
        Ok(())
    }
}

impl Side {
    fn place(self) -> Place {
        match self {
            Self::Left => Place(NODES),
            Self::Right => Place(NODES + 1),
        }
    }
}

fn is_at_work(status: &NodeStatus) -> bool {
    let peers = &status.peers;
    status.filling == 0 && peers.len() + 1 == NODES && peers.iter().all(|peer| peer.reachable)
}

/// Creates a bucket.
///
/// # Errors
/// If no node answers.
pub async fn bucket(client: &Client, name: &str, kind: Kind) -> Outcome<Bucket> {
    let defaults = BucketDefaults::default();
    client.create_bucket(name, kind, defaults).await?;
    Ok(client.bucket(name).await?)
}
