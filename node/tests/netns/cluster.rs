//! A cluster of real processes, each in a namespace of its own, with certificates as `dunlin cert` makes them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant, SystemTime};

use dunlin_client::tls::ClusterName;
use dunlin_node::pki::ClusterAuthority;
use rustix::process::{Pid, Signal, kill_process};

use crate::net::Net;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_dunlin");
/// How long anything may take on a busy machine before the scenario says what is missing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const PORT: u16 = 7101;
const NAME: &str = "netns";

/// The files and processes of a cluster. Its processes end when it is dropped; its folder is the caller's.
pub(crate) struct Cluster {
    dir: PathBuf,
    nodes: BTreeMap<String, Node>,
    user: String,
}

#[derive(Default)]
struct Node {
    child: Option<Child>,
    /// What its next process finds in its environment.
    environment: Vec<(String, String)>,
}

impl Cluster {
    /// Writes the files of all nodes. Nothing runs yet.
    pub(crate) fn create(dir: &Path, net: &Net, names: &[String]) -> Self {
        let now = SystemTime::now();
        let authority = ClusterAuthority::create(ClusterName::new(NAME).unwrap(), now).unwrap();
        authority.save(dir).unwrap();
        authority
            .issue_user("admin", now)
            .unwrap()
            .save(dir)
            .unwrap();
        let mut cluster = Self {
            dir: dir.to_owned(),
            nodes: BTreeMap::new(),
            user: "user-admin".into(),
        };
        let mut nodes = String::new();
        for name in names {
            authority.issue_node(name, now).unwrap().save(dir).unwrap();
            fs::create_dir_all(cluster.data_dir(name)).unwrap();
            cluster.configure(name, &format!("../node-{name}"));
            let address = net.address(name);
            nodes.push_str(&format!(
                "\n[[node]]\nname = \"{name}\"\naddress = \"{address}:{PORT}\"\nzone = \"{name}\"\n"
            ));
            cluster.nodes.insert(name.clone(), Node::default());
        }
        fs::write(dir.join("nodes.toml"), nodes).unwrap();
        cluster.identify("user-admin");
        cluster
    }

    /// From now on clients, and commands, show this certificate.
    pub(crate) fn identify(&mut self, user: &str) {
        self.user = user.to_owned();
        let nodes = fs::read_to_string(self.dir.join("nodes.toml")).unwrap();
        let text = format!(
            "cluster = \"{NAME}\"\nca = \"ca.pem\"\ncertificate = \"{user}.pem\"\n\
             key = \"{user}-key.pem\"\nreplicas = 3\npartitions = 16\n{nodes}"
        );
        fs::write(self.file(), text).unwrap();
    }

    /// The next process of a node shows this certificate.
    pub(crate) fn configure(&self, name: &str, identity: &str) {
        // Small enough for a disk of 256 MiB.
        let text = format!(
            "name = \"{name}\"\ncluster_file = \"../cluster.toml\"\ndata_dir = \"data\"\n\n\
             [tls]\ncertificate = \"{identity}.pem\"\nkey = \"{identity}-key.pem\"\n\n\
             [storage]\nmemtable_bytes = 8388608\njournal_bytes_max = 67108864\n\
             disk_reserve_bytes = 16777216\n"
        );
        fs::write(self.dir.join(name).join("config.toml"), text).unwrap();
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join("cluster.toml")
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.join(name).join("data")
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// What the node's next process finds in its environment.
    pub(crate) fn set_environment(&mut self, name: &str, environment: Vec<(String, String)>) {
        self.node(name).environment = environment;
    }

    /// Starts a node.
    pub(crate) fn start(&mut self, net: &Net, name: &str) {
        let folder = self.dir.join(name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("log"));
        let log = log.unwrap();
        let mut command = net.inside(name, Path::new(PROGRAM));
        command
            .arg("server")
            .arg("--config")
            .arg(folder.join("config.toml"));
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let node = self.node(name);
        assert!(node.child.is_none(), "{name} runs");
        command.envs(node.environment.clone());
        node.child = Some(command.spawn().unwrap());
    }

    /// Ends a node at once.
    pub(crate) fn kill(&mut self, name: &str) {
        let child = self.node(name).child.take();
        let mut child = child.expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Tells a node to stop in order, and waits until it has.
    pub(crate) fn terminate(&mut self, name: &str) {
        self.signal(name, Signal::TERM);
        let until = Instant::now() + PATIENCE;
        while self.runs(name) {
            assert!(
                Instant::now() < until,
                "{name} does not stop\n{}",
                self.logs()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether a node's process has not ended; takes note if it has.
    pub(crate) fn runs(&mut self, name: &str) -> bool {
        let node = self.node(name);
        if let Some(child) = &mut node.child
            && child.try_wait().unwrap().is_some()
        {
            node.child = None;
        }
        node.child.is_some()
    }

    /// Sends a signal to a node that runs.
    pub(crate) fn signal(&mut self, name: &str, signal: Signal) {
        let child = self.node(name).child.as_ref().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Runs a command of the binary as a host.
    pub(crate) fn run(&self, net: &Net, host: &str, arguments: &str) -> Output {
        let mut command: Command = net.inside(host, Path::new(PROGRAM));
        command.arg("--cluster").arg(self.file());
        command.args(arguments.split_whitespace());
        command.output().unwrap()
    }

    /// Likewise; it must succeed.
    #[track_caller]
    pub(crate) fn must(&self, net: &Net, host: &str, arguments: &str) -> String {
        let ran = self.run(net, host, arguments);
        let out = String::from_utf8_lossy(&ran.stdout).into_owned();
        let error = String::from_utf8_lossy(&ran.stderr);
        let logs = || self.logs();
        assert!(
            ran.status.success(),
            "dunlin {arguments}: {out}{error}\n{}",
            logs()
        );
        out
    }

    /// Waits until a node's log has a line with all of these words.
    #[track_caller]
    pub(crate) fn logged(&self, name: &str, words: &[&str]) {
        let until = Instant::now() + PATIENCE;
        loop {
            let log = fs::read(self.dir.join(name).join("log")).unwrap();
            let log = String::from_utf8_lossy(&log);
            let has_all = |line: &str| words.iter().all(|word| line.contains(word));
            if log.lines().any(has_all) {
                return;
            }
            let is_late = Instant::now() >= until;
            assert!(!is_late, "{name} has not logged {words:?}\n{}", self.logs());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The ends of the nodes' logs.
    pub(crate) fn logs(&self) -> String {
        let tail = |name: &String| {
            let log = fs::read(self.dir.join(name).join("log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(25);
            format!("--- {name} ---\n{}\n", lines[from..].join("\n"))
        };
        self.nodes.keys().map(tail).collect()
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).expect("a node of this cluster")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self
            .nodes
            .values_mut()
            .filter_map(|node| node.child.as_mut())
        {
            // One that has ended can't be killed, and is reaped all the same. One that is stopped can.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
