//! A cluster of real processes on this machine, for development and tests.
//!
//! ```text
//! dunlin-dev/
//!   cluster.toml                  for clients: the nodes, the authority, an identity for admin
//!   ca.pem  node-n1.pem  …        certificates and keys, made once
//!   n1/config.toml  data/  log    one folder a node
//!   n1/pid                        while it runs, or after a kill
//! ```
//!
//! Nodes that were added later are seeds in the cluster file, see [`DevCluster::add`]. A node that was
//! removed has no folder; a founder stays in the cluster file, for it tells what the cluster was born with.
//!
//! The folder is all there is: whoever opens it can stop, kill and restart nodes that another process
//! started. A process is only ever signalled after its command line has shown that it is the node that
//! the pid file speaks of. Linux only, as it looks into `/proc`.
//!
//! ```no_run
//! use dunlin_node::dev::{DevCluster, DevOptions};
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut cluster = DevCluster::create(&DevOptions::new("./dunlin-dev"))?;
//! cluster.start()?;
//! cluster.kill(1)?;
//! cluster.restart(1)?;
//! cluster.stop()?;
//! # Ok(())
//! # }
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dunlin_client::ConnectError;
use dunlin_client::cluster_file::{ClusterFile, ClusterFileError, ClusterFileNode};
use thiserror::Error;

use crate::pki::PkiError;

use self::process::{Process, Signalled};

mod ask;
mod files;
mod process;
mod run;
mod watch;

pub use self::run::{DevEvent, run};
pub use self::watch::{DevWatch, NodeLook, NodeState};

/// How long nodes may take to stop before they are reported as still running.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The last lines of a log that an error shows.
const LOG_LINES: usize = 5;

/// Why a cluster for development cannot be made or driven.
#[derive(Debug, Error)]
pub enum DevError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The cluster file in the folder is not usable.
    #[error(transparent)]
    ClusterFile(#[from] ClusterFileError),
    /// Certificates cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The folder holds something else.
    #[error("{} holds something else; name another folder", dir.display())]
    Occupied {
        /// Which folder.
        dir: PathBuf,
    },
    /// There is no cluster in the folder.
    #[error("there is no cluster in {}; dunlin dev makes one", dir.display())]
    Missing {
        /// Which folder.
        dir: PathBuf,
    },
    /// The cluster in the folder is not what was asked for.
    #[error(
        "the cluster in {} has {what} {found}, not {asked}; name another folder, or remove this one",
        dir.display()
    )]
    Differs {
        /// Which folder.
        dir: PathBuf,
        /// In what.
        what: &'static str,
        /// What it has.
        found: String,
        /// What was asked for.
        asked: String,
    },
    /// There is no node of that number.
    #[error("there is no node {number}; there are {}", nodes.join(", "))]
    NoSuchNode {
        /// Which.
        number: u16,
        /// Those that there are.
        nodes: Vec<String>,
    },
    /// There are as many nodes as there may be.
    #[error("there is no number left for another node")]
    TooMany,
    /// A port cannot be had.
    #[error("cannot take port {port}: {source}")]
    Port {
        /// Which; 0 for any that is free.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The program cannot be run.
    #[error("cannot run {}: {source}", program.display())]
    Spawn {
        /// Which program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A process cannot be signalled.
    #[error("cannot signal node {node} (process {pid}): {source}")]
    Signal {
        /// Which node.
        node: String,
        /// Its process.
        pid: i32,
        /// What the system says.
        source: io::Error,
    },
    /// Nodes were told to stop and still run.
    #[error("still running after {} s: {}", STOP_MAX.as_secs(), nodes.join(", "))]
    StillRunning {
        /// Which.
        nodes: Vec<String>,
    },
    /// Signals cannot be waited for.
    #[error("cannot take signals: {0}")]
    Signals(io::Error),
    /// A node ended by itself.
    #[error("node {node} ended by itself; the end of {}:\n{tail}", log.display())]
    Died {
        /// Which.
        node: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// No client could be made.
    #[error(transparent)]
    Connect(#[from] Box<ConnectError>),
    /// The nodes run, but did not become ready.
    #[error("not ready after {} s: {}", after.as_secs(), waiting.join("; "))]
    NotReady {
        /// How long was waited.
        after: Duration,
        /// Each node that is not, with what it lacks.
        waiting: Vec<String>,
    },
}

/// What a cluster shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevOptions {
    /// Its folder.
    pub dir: PathBuf,
    /// How many nodes.
    pub nodes: u16,
    /// The port of the first; the others follow. Free ones if `None`.
    pub base_port: Option<u16>,
    /// N.
    pub replicas: u8,
    /// Q.
    pub partitions: u16,
}

impl DevOptions {
    /// Three nodes with three copies of everything.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            nodes: 3,
            base_port: None,
            replicas: 3,
            partitions: 64,
        }
    }
}

/// One node of a cluster for development.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevNode {
    /// From 1.
    pub number: u16,
    /// `n1` and so on.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Its folder.
    pub dir: PathBuf,
}

impl DevNode {
    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join(files::CONFIG)
    }

    /// Its log, of all its lives.
    pub fn log(&self) -> PathBuf {
        self.dir.join(files::LOG)
    }

    /// Its data.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join(files::DATA)
    }

    fn process(&self) -> Process {
        Process::new(self.dir.join(files::PID), self.config())
    }

    /// The last lines of its log.
    fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let skipped = lines.len().saturating_sub(LOG_LINES);
        lines
            .into_iter()
            .skip(skipped)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// What became of nodes that were told to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Those that have.
    pub stopped: Vec<String>,
    /// Those that did not run.
    pub not_running: Vec<String>,
}

/// A cluster in a folder. Dropping it leaves its nodes as they are.
#[derive(Debug)]
pub struct DevCluster {
    dir: PathBuf,
    nodes: Vec<DevNode>,
    program: Option<PathBuf>,
    /// Processes that this one started, to be reaped.
    children: Vec<std::process::Child>,
}

impl DevCluster {
    /// Makes the cluster's files, or takes those that are there if they are what is asked for.
    ///
    /// # Errors
    /// [`DevError`]; a folder that holds something else is left alone.
    pub fn create(options: &DevOptions) -> Result<Self, DevError> {
        match Self::open(&options.dir) {
            Ok(cluster) => {
                cluster.check(options)?;
                Ok(cluster)
            }
            Err(DevError::Missing { .. }) => {
                files::create(options)?;
                Self::open(&options.dir)
            }
            Err(error) => Err(error),
        }
    }

    /// The cluster whose files are in a folder.
    ///
    /// # Errors
    /// [`DevError::Missing`] if there is none; [`DevError::ClusterFile`] if it is damaged.
    pub fn open(dir: &Path) -> Result<Self, DevError> {
        let missing = || DevError::Missing {
            dir: dir.to_owned(),
        };
        // Absolute, as it is what a process is known by.
        let dir = fs::canonicalize(dir).map_err(|_| missing())?;
        if !dir.join(files::CLUSTER).exists() {
            return Err(missing());
        }
        let mut cluster = Self {
            nodes: Vec::new(),
            dir,
            program: None,
            children: Vec::new(),
        };
        cluster.refresh()?;
        Ok(cluster)
    }

    /// Takes note of nodes that were added by another process.
    ///
    /// # Errors
    /// [`DevError::ClusterFile`]; what was known stays.
    pub fn refresh(&mut self) -> Result<(), DevError> {
        let file = ClusterFile::load(self.cluster_file())?;
        let node = |node: &ClusterFileNode| {
            Some(DevNode {
                number: files::number_of(&node.name)?,
                dir: self.dir.join(&node.name),
                name: node.name.clone(),
                address: node.address.clone(),
            })
        };
        let nodes = file.listed().filter_map(node);
        let mut nodes: Vec<DevNode> = nodes.filter(|node| node.config().exists()).collect();
        nodes.sort_by_key(|node| node.number);
        self.nodes = nodes;
        Ok(())
    }

    /// Adds a node, with its certificate, configuration and folder, as a seed of the cluster file. It is
    /// not started, and owns nothing before it is let join.
    ///
    /// # Errors
    /// [`DevError`]; the cluster is as it was then.
    pub fn add(&mut self) -> Result<DevNode, DevError> {
        self.refresh()?;
        let number = files::next_number(&self.dir)?;
        let after = self.nodes.last().and_then(|node| port_of(&node.address));
        files::add(&self.dir, number, after)?;
        self.refresh()?;
        self.node(number).cloned()
    }

    /// Stops a node, and removes it with its data. Its number is not given again. Only for a node that
    /// owns nothing any more: others lose what it alone holds.
    ///
    /// # Errors
    /// As [`stop`](Self::stop), and [`DevError::File`].
    pub fn remove(&mut self, number: u16) -> Result<DevNode, DevError> {
        let node = self.node(number)?.clone();
        self.stop_nodes(&[number])?;
        files::remove(&self.dir, &node)?;
        self.refresh()?;
        Ok(node)
    }

    /// Runs this program instead of the one that is running: it must understand
    /// `server --config FILE`.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// The cluster's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What clients connect with.
    pub fn cluster_file(&self) -> PathBuf {
        self.dir.join(files::CLUSTER)
    }

    /// Its nodes, in order of their numbers.
    pub fn nodes(&self) -> &[DevNode] {
        &self.nodes
    }

    /// The node of that number.
    ///
    /// # Errors
    /// [`DevError::NoSuchNode`].
    pub fn node(&self, number: u16) -> Result<&DevNode, DevError> {
        let found = self.nodes.iter().find(|node| node.number == number);
        found.ok_or_else(|| DevError::NoSuchNode {
            number,
            nodes: self.nodes.iter().map(|node| node.name.clone()).collect(),
        })
    }

    /// Whether the node's process runs.
    ///
    /// # Errors
    /// [`DevError::NoSuchNode`].
    pub fn is_running(&self, number: u16) -> Result<bool, DevError> {
        Ok(self.node(number)?.process().pid().is_some())
    }

    /// Starts every node that does not run. They are ready a while later: see [`DevWatch::ready`].
    ///
    /// # Errors
    /// [`DevError::Spawn`]; nodes that were started before keep running.
    pub fn start(&mut self) -> Result<(), DevError> {
        for number in self.numbers() {
            self.start_node(number)?;
        }
        Ok(())
    }

    /// Starts one node, unless it runs.
    ///
    /// # Errors
    /// [`DevError::Spawn`], [`DevError::NoSuchNode`].
    pub fn start_node(&mut self, number: u16) -> Result<(), DevError> {
        let node = self.node(number)?;
        if node.process().pid().is_some() {
            return Ok(());
        }
        let program = match &self.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(|source| DevError::Spawn {
                program: PathBuf::from("the running program"),
                source,
            })?,
        };
        let child = node.process().spawn(&program, &node.log())?;
        self.children.push(child);
        Ok(())
    }

    /// Stops all nodes in order, and waits until they have.
    ///
    /// # Errors
    /// [`DevError::StillRunning`] names those that have not, after ten seconds.
    pub fn stop(&mut self) -> Result<Stopped, DevError> {
        self.stop_nodes(&self.numbers())
    }

    /// Kills one node at once, as a power cut would. Returns whether it ran.
    ///
    /// # Errors
    /// [`DevError::Signal`], [`DevError::NoSuchNode`].
    pub fn kill(&mut self, number: u16) -> Result<bool, DevError> {
        let node = self.node(number)?.clone();
        let signalled = node.process().kill(&node.name)?;
        self.wait_until_gone(&[node])?;
        Ok(signalled == Signalled::Yes)
    }

    /// Starts one node again; stops it in order first, if it runs.
    ///
    /// # Errors
    /// As [`stop`](Self::stop) and [`start_node`](Self::start_node).
    pub fn restart(&mut self, number: u16) -> Result<(), DevError> {
        self.stop_nodes(&[number])?;
        self.start_node(number)
    }

    fn stop_nodes(&mut self, numbers: &[u16]) -> Result<Stopped, DevError> {
        let mut outcome = Stopped::default();
        let mut told = Vec::new();
        for number in numbers {
            let node = self.node(*number)?.clone();
            match node.process().terminate(&node.name)? {
                Signalled::Yes => told.push(node),
                Signalled::NotRunning => outcome.not_running.push(node.name),
            }
        }
        self.wait_until_gone(&told)?;
        outcome.stopped = told.into_iter().map(|node| node.name).collect();
        Ok(outcome)
    }

    /// Waits until these do not run any more, and forgets their pids.
    fn wait_until_gone(&mut self, nodes: &[DevNode]) -> Result<(), DevError> {
        let until = Instant::now() + STOP_MAX;
        loop {
            self.reap();
            let running = nodes.iter().filter(|node| node.process().is_there());
            let running: Vec<String> = running.map(|node| node.name.clone()).collect();
            if running.is_empty() {
                break;
            }
            if Instant::now() >= until {
                return Err(DevError::StillRunning { nodes: running });
            }
            std::thread::sleep(LOOK_EVERY);
        }
        nodes.iter().try_for_each(|node| node.process().forget())
    }

    /// Takes note of children that have ended, so that the system forgets them.
    fn reap(&mut self) {
        // A child that cannot be asked is not ours any more.
        self.children
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    fn check(&self, options: &DevOptions) -> Result<(), DevError> {
        let file = ClusterFile::load(self.cluster_file())?;
        let base_port = self.nodes.first().and_then(|node| port_of(&node.address));
        let asked_port = options.base_port.or(base_port);
        let pairs = [
            // Those that were added later do not count.
            ("nodes", file.nodes.len() as u64, u64::from(options.nodes)),
            (
                "replicas",
                u64::from(file.replicas.unwrap_or_default()),
                u64::from(options.replicas),
            ),
            (
                "partitions",
                u64::from(file.partitions.unwrap_or_default()),
                u64::from(options.partitions),
            ),
            (
                "first port",
                u64::from(base_port.unwrap_or_default()),
                u64::from(asked_port.unwrap_or_default()),
            ),
        ];
        match pairs.into_iter().find(|(_, found, asked)| found != asked) {
            None => Ok(()),
            Some((what, found, asked)) => Err(DevError::Differs {
                dir: self.dir.clone(),
                what,
                found: found.to_string(),
                asked: asked.to_string(),
            }),
        }
    }

    fn numbers(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.number).collect()
    }
}

fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}
