//! The cluster that is measured, ours or somebody's, and what can be seen of it from outside.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dunlin_client::status::NodeStatus;
use dunlin_client::{Bucket, BucketDefaults, Client, Durability, Kind, NodeId, Options, Quorum};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::args::ClusterArgs;
use crate::dev::Dev;
use crate::error::LoadError;
use crate::proc;

/// Between looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A node that starts reads its log; more than this is not patience but a fault.
pub(crate) const START_MAX: Duration = Duration::from_secs(600);

/// A cluster under measurement.
pub(crate) struct Cluster {
    client: Client,
    file: PathBuf,
    buckets: Vec<String>,
    /// Ours, if we started it. Dropped last: it stops the nodes.
    dev: Option<Arc<Dev>>,
}

/// One node, and the process that it is.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) pid: u32,
}

impl Node {
    /// The number by which `dunlin dev` knows the node that it called `n` and that number.
    pub(crate) fn number(&self) -> u16 {
        self.name
            .strip_prefix('n')
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    }
}

impl Cluster {
    /// Connects to the cluster named, or starts one.
    pub(crate) async fn open(args: &ClusterArgs) -> Result<Self, LoadError> {
        let (dev, file) = match &args.cluster {
            Some(file) => (None, file.clone()),
            None => {
                let dev = Dev::start(args)?;
                let file = dev.cluster_file();
                (Some(Arc::new(dev)), file)
            }
        };
        let client = Client::builder().cluster_file(&file).connect().await?;
        Ok(Self {
            client,
            file,
            buckets: Vec::new(),
            dev,
        })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The file that names its nodes.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The commands that stop and start nodes, if they may be.
    pub(crate) fn dev(&self, command: &'static str) -> Result<Arc<Dev>, LoadError> {
        self.dev.clone().ok_or(LoadError::OwnClusterOnly(command))
    }

    /// The nodes in the order of their names, each with its process.
    pub(crate) fn nodes(&self) -> Result<Vec<Node>, LoadError> {
        let mut nodes = Vec::new();
        for view in self.client.nodes() {
            let name = view.node.to_string();
            let port = view
                .address
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse().ok());
            let Some(pid) = port.and_then(proc::process_of_port) else {
                return Err(LoadError::NoProcess {
                    node: name,
                    address: view.address,
                });
            };
            nodes.push(Node {
                id: view.node.id,
                name,
                pid,
            });
        }
        nodes.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(nodes)
    }

    /// How every node is.
    pub(crate) async fn statuses(&self) -> Result<Vec<NodeStatus>, LoadError> {
        let nodes: Vec<NodeId> = self
            .client
            .nodes()
            .iter()
            .map(|view| view.node.id)
            .collect();
        self.statuses_of(&nodes).await
    }

    /// How these nodes are.
    pub(crate) async fn statuses_of(&self, nodes: &[NodeId]) -> Result<Vec<NodeStatus>, LoadError> {
        let patient = self
            .client
            .with_options(Options::new().timeout(Duration::from_secs(20)));
        let mut statuses = Vec::new();
        for node in nodes {
            let status = patient.status(*node).await;
            statuses.push(status.map_err(LoadError::request("asking for a node's status"))?);
        }
        Ok(statuses)
    }

    /// How many partitions there are whose owners do not hold the same. Every row is read for it.
    pub(crate) async fn partitions_that_differ(&self) -> Result<u64, LoadError> {
        let patient = self
            .client
            .with_options(Options::new().timeout(Duration::from_secs(60)));
        let layout = self.client.layout();
        let mut differ = 0;
        for partition in layout.partitions().iter() {
            let mut seen = BTreeSet::new();
            for owner in layout.owners(partition) {
                let digest = patient.digest(*owner, partition).await;
                let digest = digest.map_err(LoadError::request("asking for a digest"))?;
                seen.insert((digest.clock, digest.content, digest.rows));
            }
            differ += u64::from(seen.len() > 1);
        }
        Ok(differ)
    }

    /// A bucket of this run, dropped at its end.
    pub(crate) async fn bucket(
        &mut self,
        what: &str,
        kind: Kind,
        durability: Durability,
    ) -> Result<Bucket, LoadError> {
        let name = format!("loadtest-{}-{what}", std::process::id());
        let defaults = BucketDefaults {
            r: Quorum::Majority,
            w: Quorum::Majority,
            dw: None,
            durability,
        };
        self.client
            .create_bucket(&name, kind, defaults)
            .await
            .map_err(LoadError::request("creating a bucket"))?;
        self.buckets.push(name.clone());
        self.client
            .bucket(&name)
            .await
            .map_err(LoadError::request("opening a bucket"))
    }

    /// Waits until every node answers and what they say satisfies `settled`; returns how long it took.
    pub(crate) async fn wait_for(
        &self,
        what: &'static str,
        at_most: Duration,
        settled: impl Fn(&[NodeStatus]) -> bool,
    ) -> Result<Duration, LoadError> {
        let start = Instant::now();
        loop {
            // A node that does not answer is not there yet.
            let seen = match self.statuses_now().await {
                Ok(statuses) if settled(&statuses) => return Ok(start.elapsed()),
                Ok(statuses) => statuses.iter().map(looks).collect::<Vec<_>>().join("; "),
                Err(error) => error.to_string(),
            };
            if start.elapsed() > at_most {
                let after = at_most;
                return Err(LoadError::TimedOut { what, after, seen });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until all owners hold the same and nothing is on its way.
    pub(crate) async fn wait_until_equal(&self, at_most: Duration) -> Result<Duration, LoadError> {
        let settled = |status: &NodeStatus| {
            status.clocks_behind == 0 && status.hints == 0 && status.filling == 0
        };
        let equal = |statuses: &[NodeStatus]| statuses.iter().all(settled);
        self.wait_for("that all clocks are equal", at_most, equal)
            .await
    }

    async fn statuses_now(&self) -> Result<Vec<NodeStatus>, dunlin_client::Error> {
        let brief = self
            .client
            .with_options(Options::new().timeout(Duration::from_millis(500)));
        let mut statuses = Vec::new();
        for view in self.client.nodes() {
            statuses.push(brief.status(view.node.id).await?);
        }
        Ok(statuses)
    }

    /// Removes what the run made. Nodes of our own are stopped as well.
    pub(crate) async fn close(self) {
        if self.dev.is_none() {
            for bucket in &self.buckets {
                if let Err(error) = self.client.drop_bucket(bucket).await {
                    eprintln!("dunlin-loadtest: bucket {bucket} stays: {error}");
                }
            }
        }
        self.client.close().await;
    }
}

/// What may keep a node from being settled.
fn looks(status: &NodeStatus) -> String {
    let away = status.peers.iter().filter(|peer| !peer.reachable).count();
    format!(
        "{} has {} clocks behind, {} hints, {} partitions to fill, {} peers out of reach",
        status.name, status.clocks_behind, status.hints, status.filling, away
    )
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<(), LoadError> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let sent = match process {
        Some(process) => kill_process(process, signal).map_err(Into::into),
        None => Err(std::io::ErrorKind::InvalidInput.into()),
    };
    sent.map_err(|source| LoadError::Signal { pid, source })
}

/// A counter of the nodes, added up.
pub(crate) fn counted(statuses: &[NodeStatus], name: &str) -> u64 {
    let counters = statuses.iter().flat_map(|status| &status.counters);
    counters
        .filter(|(counter, _)| counter == name)
        .map(|(_, count)| count)
        .sum()
}
