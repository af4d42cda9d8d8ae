//! Clients in a namespace, seen from outside: a process of this very binary that writes a history
//! ([`crate::worker`]), and tells how much of it was acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, PATIENCE};
use crate::net::Net;

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Clients that go on until they are told to stop.
pub(crate) struct Load {
    host: String,
    child: Child,
    history: PathBuf,
    acknowledged: Arc<AtomicU64>,
}

impl Load {
    /// Starts them on a host. Their numbers begin with `first`.
    pub(crate) fn start(cluster: &Cluster, net: &Net, host: &str, first: u32) -> Self {
        let history = cluster.dir().join(format!("history-{first}.jsonl"));
        let program = std::env::current_exe().unwrap();
        let mut command = net.inside(host, &program);
        command.arg("worker").arg(cluster.file()).arg(&history);
        command.arg(first.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (told, lines) = (Arc::clone(&acknowledged), child.stdout.take().unwrap());
        // Ends with the process, whose output it reads.
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                if let Ok(number) = line.parse() {
                    told.store(number, Relaxed);
                }
            }
        });
        Self {
            host: host.to_owned(),
            child,
            history,
            acknowledged,
        }
    }

    /// Writes that were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Relaxed)
    }

    /// Waits until so many more were acknowledged.
    #[track_caller]
    pub(crate) fn goes_on(&mut self, more: u64, cluster: &Cluster) {
        let (until, from) = (Instant::now() + PATIENCE, self.acknowledged());
        while self.acknowledged() < from + more {
            let is_stuck = Instant::now() >= until || self.child.try_wait().unwrap().is_some();
            let gone = self.acknowledged() - from;
            assert!(
                !is_stuck,
                "{}: only {gone} of {more} writes were acknowledged\n{}",
                self.host,
                cluster.logs()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// From now on operations carry this remark.
    pub(crate) fn phase(&mut self, name: &str) {
        let input = self.child.stdin.as_mut().expect("it is not stopped");
        writeln!(input, "{name}").unwrap();
    }

    /// Stops them, and says where their history is.
    pub(crate) fn stop(mut self) -> PathBuf {
        drop(self.child.stdin.take());
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "the clients on {}: {ended}", self.host);
        self.history.clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // One that was stopped has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
