//! What every scenario needs: a network, a cluster that serves on it, clients, and an end at which all of it is
//! judged.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use dunlin_history::{Op, Report};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Cluster, PATIENCE};
use crate::judge::judge;
use crate::load::Load;
use crate::net::Net;
use crate::worker::BUCKETS;

/// Where commands and the last reads come from. It is never cut off.
const OPERATOR: &str = "op";

/// More than a process of clients has.
const CLIENTS_MAX: u32 = 100;
/// Between two looks at the status.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Dropped in this order: processes, then what they have mounted, then the rest.
pub(crate) struct Stage {
    pub(crate) loads: Vec<Load>,
    pub(crate) cluster: Cluster,
    mounts: Vec<PathBuf>,
    histories: Vec<PathBuf>,
    dir: TempDir,
    pub(crate) net: Net,
}

/// What is mounted on a node's data folder.
pub(crate) enum Disk<'a> {
    /// So many MiB of memory.
    Memory(u32),
    /// An image of a disk.
    Image(&'a Path),
}

impl Stage {
    /// So many nodes, `n1` and so on, and clients on hosts of these names. Nothing runs yet.
    pub(crate) fn set(nodes: u16, clients: &[&str]) -> Self {
        let names: Vec<String> = (1..=nodes).map(|number| format!("n{number}")).collect();
        let mut hosts = names.clone();
        hosts.extend(clients.iter().map(|name| (*name).to_owned()));
        hosts.push(OPERATOR.into());
        let net = Net::new(&hosts).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::create(dir.path(), &net, &names);
        Self {
            loads: Vec::new(),
            cluster,
            mounts: Vec::new(),
            histories: Vec::new(),
            dir,
            net,
        }
    }

    /// Likewise; all nodes serve, and the clients are at work.
    pub(crate) fn begin(nodes: u16, clients: &[&str]) -> Self {
        let mut stage = Self::set(nodes, clients);
        stage.go(clients);
        stage
    }

    /// Starts all nodes and the clients on these hosts, and waits until everything goes on.
    pub(crate) fn go(&mut self, clients: &[&str]) {
        for name in self.cluster.names() {
            self.start(&name);
        }
        self.safe();
        for (name, kind) in BUCKETS {
            let kind = format!("{kind:?}").to_lowercase();
            self.operator(&format!("bucket create {name} --kind {kind}"));
        }
        clients.iter().for_each(|host| self.call(host));
        self.phase("before");
        self.all_go_on(60);
    }

    /// Puts clients to work on a host.
    pub(crate) fn call(&mut self, host: &str) {
        let processes = self.loads.len() + self.histories.len();
        let first = u32::try_from(processes).unwrap() * CLIENTS_MAX + 1;
        let load = Load::start(&self.cluster, &self.net, host, first);
        self.loads.push(load);
    }

    /// Starts a node.
    pub(crate) fn start(&mut self, name: &str) {
        self.cluster.start(&self.net, name);
    }

    /// Waits until every write is at all its owners and synced.
    #[track_caller]
    pub(crate) fn safe(&self) {
        self.operator("cluster status --wait 45s");
    }

    /// Waits until the cluster can do without any one node, as far as every node is up and whole. While clients
    /// write, some write is always on its way, so [`safe`](Self::safe) can't be waited for.
    #[track_caller]
    pub(crate) fn spares_one(&self) {
        self.look("it spares one", |status| {
            let mut nodes = status["nodes"].as_array().unwrap().iter();
            status["tolerates"]["majority"]["nodes"] == json!(1)
                && nodes.all(|node| node["status"]["hints"] == json!(0))
        });
    }

    /// Waits until what n3 says of itself is so.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        self.look(what, |status| {
            let nodes = status["nodes"].as_array().unwrap();
            let n3 = nodes.iter().find(|node| node["name"] == json!("n3"));
            is_so(&n3.unwrap()["status"])
        });
    }

    #[track_caller]
    fn look(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.operator("cluster status --json");
            if is_so(&serde_json::from_str(&status).unwrap()) {
                return;
            }
            let is_late = Instant::now() >= until;
            assert!(
                !is_late,
                "not so: {what}: {status}\n{}",
                self.cluster.logs()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Runs a command of an operator, which must succeed.
    #[track_caller]
    pub(crate) fn operator(&self, arguments: &str) -> String {
        self.cluster.must(&self.net, OPERATOR, arguments)
    }

    /// Runs a command of an operator, whatever becomes of it.
    pub(crate) fn ask(&self, arguments: &str) -> Output {
        self.cluster.run(&self.net, OPERATOR, arguments)
    }

    /// What is going on, for the history.
    pub(crate) fn phase(&mut self, name: &str) {
        self.loads.iter_mut().for_each(|load| load.phase(name));
    }

    /// Waits until the clients on each host had so many more writes acknowledged.
    #[track_caller]
    pub(crate) fn all_go_on(&mut self, more: u64) {
        for at in 0..self.loads.len() {
            self.go_on(at, more);
        }
    }

    /// Waits until the clients on one host had.
    #[track_caller]
    pub(crate) fn go_on(&mut self, at: usize, more: u64) {
        self.loads[at].goes_on(more, &self.cluster);
    }

    /// Mounts a disk on a node's data folder, in place of what is mounted there.
    pub(crate) fn mount(&mut self, name: &str, disk: &Disk<'_>) -> Result<(), String> {
        let folder = self.cluster.data_dir(name);
        self.unmount(name);
        let mut mount = Command::new("mount");
        match disk {
            Disk::Memory(mib) => mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"]),
            Disk::Image(image) => mount.args(["-o", "loop"]).arg(image),
        };
        let ran = mount
            .arg(&folder)
            .output()
            .map_err(|error| error.to_string())?;
        if !ran.status.success() {
            return Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned());
        }
        self.mounts.push(folder);
        Ok(())
    }

    fn unmount(&mut self, name: &str) {
        let folder = self.cluster.data_dir(name);
        if let Some(at) = self.mounts.iter().position(|mounted| *mounted == folder) {
            unmount(&self.mounts.remove(at));
        }
    }

    /// A path in the scenario's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Ends the clients, once they have gone on for a while with nothing in their way. Says what they asked
    /// and were told.
    pub(crate) fn stop_clients(&mut self) -> Vec<Op> {
        self.phase("after");
        self.all_go_on(40);
        let loads = std::mem::take(&mut self.loads);
        self.histories.extend(loads.into_iter().map(Load::stop));
        judge(&self.histories).0.ops
    }

    /// Everything is as it should be again: waits until every write is safe, reads every key through every
    /// node, and judges. At least so many writes must have been acknowledged, so that nothing passes by
    /// doing nothing.
    pub(crate) fn end(mut self, acknowledged_min: u64) -> Report {
        if !self.loads.is_empty() {
            self.stop_clients();
        }
        self.safe();
        self.operator("cluster verify --wait 20s");
        let last = self.path("history-last.jsonl");
        let program = std::env::current_exe().unwrap();
        let mut asking = self.net.inside(OPERATOR, &program);
        let asked = asking
            .arg("judge")
            .arg(self.cluster.file())
            .arg(&last)
            .output();
        let asked = asked.unwrap();
        let error = String::from_utf8_lossy(&asked.stderr);
        assert!(asked.status.success(), "{error}\n{}", self.cluster.logs());
        self.histories.push(last);
        let (history, report) = judge(&self.histories);
        println!("{}", report.to_string().trim_end());
        if !report.holds() {
            let mut named: Vec<u64> = report.violations().flat_map(|v| v.ops.clone()).collect();
            named.sort_unstable();
            named.dedup();
            for number in named {
                println!(
                    "{number}: {:?}",
                    history.ops[usize::try_from(number).unwrap() - 1]
                );
            }
            self.dir.disable_cleanup(true);
            panic!("violations; the files are in {}", self.dir.path().display());
        }
        assert_eq!(report.unread_keys, 0);
        assert!(
            report.acknowledged >= acknowledged_min,
            "too little was done: {report}"
        );
        report
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.loads.clear();
        for name in self.cluster.names() {
            if self.cluster.runs(&name) {
                self.cluster.kill(&name);
            }
        }
        self.mounts.iter().for_each(|folder| unmount(folder));
    }
}

fn unmount(folder: &Path) {
    let ran = Command::new("umount").arg(folder).output();
    let is_done = ran.as_ref().is_ok_and(|ran| ran.status.success());
    if !is_done && !std::thread::panicking() {
        panic!("umount {}: {ran:?}", folder.display());
    }
}
