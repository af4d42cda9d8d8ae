//! Looking at a running cluster: whether it is ready, and how its nodes are.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use dunlin_client::cluster_file::ClusterFile;
use dunlin_client::{Client, Options};
use dunlin_protocol::status::{NodeStatus, StorageState};
use dunlin_ring::NodeId;

use super::ask::Asking;
use super::{DevCluster, DevError, DevNode};

/// How often it is looked whether the cluster is ready.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a node may take to say how it is. It does so in a millisecond, unless it is starting.
const STATUS_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How one node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLook {
    /// Which.
    pub name: String,
    /// How.
    pub state: NodeState,
    /// Requests that it coordinated in each second since the last look.
    pub ops_per_second: u64,
}

/// Whether a node runs, and what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Its process does not run.
    Down,
    /// Its process runs, and it does not answer.
    Silent,
    /// It runs.
    Up(Box<NodeStatus>),
}

impl NodeState {
    /// What keeps a node from being ready, if anything does.
    fn lacks(&self) -> Option<String> {
        match self {
            Self::Down => Some("does not run".to_owned()),
            Self::Silent => Some("does not answer".to_owned()),
            Self::Up(status) => {
                let away: Vec<&str> = status
                    .peers
                    .iter()
                    .filter(|peer| !peer.reachable)
                    .map(|peer| &*peer.name)
                    .collect();
                if !away.is_empty() {
                    Some(format!("does not reach {}", away.join(", ")))
                } else if status.filling > 0 {
                    Some(format!("refills {} partitions", status.filling))
                } else if status.storage != StorageState::Ready {
                    Some("takes no writes".to_owned())
                } else {
                    None
                }
            }
        }
    }
}

impl fmt::Display for NodeLook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, ops) = (&self.name, self.ops_per_second);
        match &self.state {
            NodeState::Down => write!(f, "{name} down"),
            NodeState::Silent => write!(f, "{name} silent"),
            NodeState::Up(status) => {
                match status.partitions {
                    0 => write!(f, "{name} up: owns nothing")?,
                    _ => write!(f, "{name} up: {} rows", status.rows)?,
                }
                if status.hints > 0 {
                    write!(f, ", {} hints", status.hints)?;
                }
                if status.filling > 0 {
                    write!(f, ", {} partitions to refill", status.filling)?;
                }
                write!(f, ", {ops} ops/s")
            }
        }
    }
}

/// Watches a cluster through a client of its own.
#[derive(Debug)]
pub struct DevWatch {
    client: Client,
    /// For nodes that are no members.
    asking: Option<Asking>,
    /// What each node had coordinated when it was last looked at.
    seen: BTreeMap<String, (Instant, u64)>,
}

impl DevWatch {
    /// Connects to a cluster whose nodes have been started.
    ///
    /// # Errors
    /// [`DevError::Connect`] if none of them answers in that time.
    pub async fn connect(cluster: &DevCluster, timeout: Duration) -> Result<Self, DevError> {
        let client = Client::builder()
            .cluster_file(cluster.cluster_file())
            .options(Options::new().timeout(STATUS_TIMEOUT))
            .connect_timeout(timeout)
            .connect()
            .await
            .map_err(Box::new)?;
        let file = ClusterFile::load(cluster.cluster_file())?;
        Ok(Self {
            client,
            asking: Asking::new(&file),
            seen: BTreeMap::new(),
        })
    }

    /// The client that it watches with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until every node runs, reaches every other, and counts for reads of all it owns.
    ///
    /// # Errors
    /// [`DevError::Died`] if a node has ended by itself, [`DevError::NotReady`] if it takes longer.
    pub async fn ready(&mut self, cluster: &DevCluster, timeout: Duration) -> Result<(), DevError> {
        let until = Instant::now() + timeout;
        loop {
            let looks = self.look(cluster).await;
            let mut waiting = Vec::new();
            for (node, look) in cluster.nodes().iter().zip(&looks) {
                if look.state == NodeState::Down {
                    return Err(died(node));
                }
                if let Some(lack) = look.state.lacks() {
                    waiting.push(format!("{} {lack}", node.name));
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(DevError::NotReady {
                    after: timeout,
                    waiting,
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until one node runs, and all others that do reach it.
    ///
    /// # Errors
    /// As [`ready`](Self::ready).
    pub async fn linked(
        &mut self,
        cluster: &DevCluster,
        number: u16,
        timeout: Duration,
    ) -> Result<(), DevError> {
        let until = Instant::now() + timeout;
        let new = cluster.node(number)?;
        loop {
            let mut waiting = Vec::new();
            for (node, look) in cluster.nodes().iter().zip(self.look(cluster).await) {
                let reached = |status: &NodeStatus| {
                    status
                        .peers
                        .iter()
                        .any(|p| p.name == new.name && p.reachable)
                };
                match look.state {
                    NodeState::Down if node.number == number => return Err(died(node)),
                    NodeState::Silent if node.number == number => {
                        waiting.push(format!("{} does not answer", new.name));
                    }
                    NodeState::Up(status) if node.number != number && !reached(&status) => {
                        waiting.push(format!("{} does not reach {}", node.name, new.name));
                    }
                    NodeState::Down | NodeState::Silent | NodeState::Up(_) => {}
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(DevError::NotReady {
                    after: timeout,
                    waiting,
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How every node is, in order of their numbers.
    pub async fn look(&mut self, cluster: &DevCluster) -> Vec<NodeLook> {
        let mut looks = Vec::new();
        for node in cluster.nodes() {
            looks.push(self.look_at(node).await);
        }
        looks
    }

    async fn look_at(&mut self, node: &DevNode) -> NodeLook {
        let state = if node.process().pid().is_none() {
            NodeState::Down
        } else {
            match self.status(node).await {
                Some(status) => NodeState::Up(Box::new(status)),
                None => NodeState::Silent,
            }
        };
        let ops_per_second = match &state {
            NodeState::Up(status) => self.ops_per_second(&node.name, status),
            NodeState::Down | NodeState::Silent => 0,
        };
        NodeLook {
            name: node.name.clone(),
            state,
            ops_per_second,
        }
    }

    async fn status(&self, node: &DevNode) -> Option<NodeStatus> {
        let id = NodeId::from_name(&node.name);
        match (self.client.layout().member(id), &self.asking) {
            (None, Some(asking)) => asking.status(node, STATUS_TIMEOUT).await,
            (Some(_), _) | (_, None) => self.client.status(id).await.ok(),
        }
    }

    fn ops_per_second(&mut self, node: &str, status: &NodeStatus) -> u64 {
        let counts = |name: &str| matches!(name, "reads" | "writes" | "forwarded");
        let total = status.counters.iter().filter(|(name, _)| counts(name));
        let total: u64 = total.map(|(_, count)| count).sum();
        let now = Instant::now();
        match self.seen.insert(node.to_owned(), (now, total)) {
            Some((before, counted)) => {
                let millis = now.duration_since(before).as_millis().max(1);
                // A restarted node counts from nothing.
                let done = total.saturating_sub(counted);
                u64::try_from(u128::from(done) * 1000 / millis).unwrap_or(u64::MAX)
            }
            None => 0,
        }
    }
}

/// A node that ended by itself, with the end of its log.
pub(super) fn died(node: &DevNode) -> DevError {
    DevError::Died {
        node: node.name.clone(),
        log: node.log(),
        tail: node.log_tail(),
    }
}
