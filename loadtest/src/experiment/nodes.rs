//! The cluster of an experiment: certificates, files and processes, made with the commands that users have.
//!
//! Each node listens where only the relay knows, and is known by its door there. Dropped, the processes are
//! killed and the folder is removed, whatever happened meanwhile.
//!
//! Or somebody else's, that run already: those can be had to stand still, and go on when dropped.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::plan::ClusterPlan;
use crate::cluster::signal;
use crate::error::LoadError;
use crate::proc::is_alive;

const CLUSTER: &str = "experiment";
const USER: &str = "admin";
const DATA: &str = "data";
/// How long a node that was told to stop may take.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Where Debian and others keep the library that lies about the time.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// The processes and files of a cluster.
#[derive(Debug)]
pub(crate) struct Nodes {
    program: PathBuf,
    dir: PathBuf,
    keep: bool,
    cluster_file: PathBuf,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    name: String,
    dir: PathBuf,
    child: Option<Child>,
    /// The process of a node that somebody else started, if it is on this machine.
    foreign: Option<u32>,
    is_paused: bool,
    clock_ms: i64,
}

impl Nodes {
    /// Writes all files. Nodes listen at `listening` and are known at `doors`.
    pub(crate) fn create(
        program: PathBuf,
        dir: PathBuf,
        keep: bool,
        plan: &ClusterPlan,
        listening: &[SocketAddr],
        doors: &[SocketAddr],
    ) -> Result<Self, LoadError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LoadError::File { path, source }
        };
        if dir.exists() {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(LoadError::File { path: dir, source });
        }
        fs::create_dir_all(&dir).map_err(failed(&dir))?;
        let mut nodes = Self {
            program,
            cluster_file: dir.join("cluster.toml"),
            dir,
            keep,
            nodes: Vec::new(),
        };
        nodes.cert(&["create", CLUSTER])?;
        nodes.cert(&["user", USER])?;
        let mut cluster = format!(
            "cluster = \"{CLUSTER}\"\nca = \"ca.pem\"\ncertificate = \"user-{USER}.pem\"\n\
             key = \"user-{USER}-key.pem\"\nreplicas = {}\npartitions = {}\n",
            plan.replicas, plan.partitions
        );
        for (at, (listen, door)) in listening.iter().zip(doors).enumerate() {
            let name = format!("n{}", at + 1);
            let zone = plan.zones.get(at).unwrap_or(&name);
            nodes.cert(&["node", &name])?;
            let is_founder = at < plan.nodes;
            let place = format!("address = \"{door}\"\nzone = \"{zone}\"\n");
            if is_founder {
                cluster.push_str(&format!("\n[[node]]\nname = \"{name}\"\n{place}"));
            }
            let own = match is_founder {
                true => String::new(),
                false => format!("\n[node]\n{place}"),
            };
            let config = format!(
                "name = \"{name}\"\ncluster_file = \"../cluster.toml\"\ndata_dir = \"{DATA}\"\n\
                 listen = \"{listen}\"\n\n[tls]\ncertificate = \"../node-{name}.pem\"\n\
                 key = \"../node-{name}-key.pem\"\n{own}"
            );
            let dir = nodes.dir.join(&name);
            fs::create_dir(&dir).map_err(failed(&dir))?;
            let path = dir.join("config.toml");
            fs::write(&path, config).map_err(failed(&path))?;
            nodes.nodes.push(Node {
                clock_ms: plan.clocks_ms.get(&name).copied().unwrap_or(0),
                name,
                dir,
                child: None,
                foreign: None,
                is_paused: false,
            });
        }
        let path = &nodes.cluster_file;
        fs::write(path, cluster).map_err(failed(path))?;
        Ok(nodes)
    }

    /// Nodes that run already, each with its name and its process, if that is on this machine.
    pub(crate) fn running(file: PathBuf, nodes: Vec<(String, Option<u32>)>) -> Self {
        let node = |(name, foreign)| Node {
            name,
            dir: PathBuf::new(),
            child: None,
            foreign,
            is_paused: false,
            clock_ms: 0,
        };
        Self {
            program: PathBuf::new(),
            dir: PathBuf::new(),
            keep: false,
            cluster_file: file,
            nodes: nodes.into_iter().map(node).collect(),
        }
    }

    fn cert(&self, words: &[&str]) -> Result<(), LoadError> {
        let output = Command::new(&self.program)
            .arg("cert")
            .args(words)
            .arg("--dir")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| LoadError::NoDunlin {
                program: self.program.clone(),
                source,
            })?;
        match output.status.success() {
            true => Ok(()),
            false => Err(LoadError::Dev {
                words: format!("cert {}", words.join(" ")),
                said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            }),
        }
    }

    /// The file with which clients find it.
    pub(crate) fn cluster_file(&self) -> &Path {
        &self.cluster_file
    }

    /// The names of all nodes, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.name.as_str())
    }

    /// The process of a node, while it has one.
    pub(crate) fn pid(&self, at: usize) -> Option<u32> {
        let node = self.nodes.get(at)?;
        node.child.as_ref().map(Child::id).or(node.foreign)
    }

    /// Starts a node, if it does not run.
    pub(crate) fn start(&mut self, at: usize) -> Result<(), LoadError> {
        let program = self.program.clone();
        let node = self.node(at)?;
        if node.child.is_some() {
            return Ok(());
        }
        let path = node.dir.join("log");
        let log = File::options().append(true).create(true).open(&path);
        let log = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_err(|source| LoadError::File { path, source })?;
        let mut command = Command::new(&program);
        command
            .arg("server")
            .arg("--config")
            .arg(node.dir.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        if node.clock_ms != 0 {
            let library = FAKETIME.iter().find(|path| Path::new(path).exists());
            let library = library.ok_or(LoadError::NoFaketime)?;
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME", format!("{:+}", node.clock_ms as f64 / 1000.0))
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let child = command
            .spawn()
            .map_err(|source| LoadError::NoDunlin { program, source })?;
        node.child = Some(child);
        Ok(())
    }

    /// Kills a node at once.
    pub(crate) fn kill(&mut self, at: usize) -> Result<(), LoadError> {
        let node = self.node(at)?;
        if let Some(mut child) = node.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        node.is_paused = false;
        Ok(())
    }

    /// Kills a node, and removes all that it has on its disk.
    pub(crate) fn wipe(&mut self, at: usize) -> Result<(), LoadError> {
        self.kill(at)?;
        let path = self.node(at)?.dir.join(DATA);
        fs::remove_dir_all(&path).map_err(|source| LoadError::File { path, source })
    }

    /// Has a node stop in order, and waits for it.
    pub(crate) async fn stop(&mut self, at: usize) -> Result<(), LoadError> {
        let node = self.node(at)?;
        let Some(child) = &mut node.child else {
            return Ok(());
        };
        signal(child.id(), Signal::TERM)?;
        let asked = Instant::now();
        while !matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            if asked.elapsed() > STOP_MAX {
                let node = node.name.clone();
                return Err(LoadError::DoesNotStop { node });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        node.child = None;
        Ok(())
    }

    /// Has a node stand still, or go on.
    pub(crate) fn pause(&mut self, at: usize, pause: bool) -> Result<(), LoadError> {
        let pid = self.pid(at);
        let node = self.node(at)?;
        if node.is_paused == pause {
            return Ok(());
        }
        let Some(pid) = pid else {
            let node = node.name.clone();
            return Err(LoadError::NotHere { node });
        };
        let what = if pause { Signal::STOP } else { Signal::CONT };
        signal(pid, what)?;
        node.is_paused = pause;
        Ok(())
    }

    /// The names of nodes that have ended by themselves.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let mut ended = Vec::new();
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child
                && let Ok(Some(status)) = child.try_wait()
            {
                ended.push(format!("{} ({status})", node.name));
                node.child = None;
            }
            if node.foreign.is_some_and(|pid| !is_alive(pid)) {
                ended.push(node.name.clone());
                node.foreign = None;
            }
        }
        ended
    }

    fn node(&mut self, at: usize) -> Result<&mut Node, LoadError> {
        let names = self.nodes.len();
        self.nodes
            .get_mut(at)
            .ok_or(LoadError::NoNode { at, names })
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for at in 0..self.nodes.len() {
            // Somebody else's go on, whatever is left of ours ends with us.
            let _ = self.pause(at, false);
            let _ = self.kill(at);
        }
        if self.dir.as_os_str().is_empty() {
            // Nothing of it is ours.
        } else if self.keep {
            eprintln!("the nodes' files are in {}", self.dir.display());
        } else if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("dunlin-loadtest: {} stays: {error}", self.dir.display());
        }
    }
}
