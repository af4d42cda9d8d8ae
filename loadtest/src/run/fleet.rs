//! The processes that make the load, seen from the one that started them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use super::args::Settings;
use super::worker::{Order, Said, Share};
use crate::error::LoadError;

/// Lines that wait to be looked at.
const HEARD_MAX: usize = 1_024;

/// Processes of load. Dropped, they are killed.
#[derive(Debug)]
pub(super) struct Fleet {
    workers: Vec<Worker>,
    heard: mpsc::Receiver<(usize, Said)>,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    /// None once it was told to stop.
    orders: Option<ChildStdin>,
    /// What it writes when it breaks down.
    log: PathBuf,
}

impl Fleet {
    /// Starts as many as the settings say. What they have to complain about goes to files in `out`.
    pub(super) async fn start(
        settings: &Settings,
        cluster_file: &Path,
        out: &Path,
    ) -> Result<Self, LoadError> {
        let program = std::env::current_exe().map_err(LoadError::Runtime)?;
        let cluster_file = fs::canonicalize(cluster_file).map_err(file(cluster_file))?;
        let (say, heard) = mpsc::channel(HEARD_MAX);
        let mut fleet = Self {
            workers: Vec::new(),
            heard,
        };
        for worker in 0..settings.processes {
            let log = out.join(format!("worker-{worker}.log"));
            let complaints = File::create(&log).map_err(file(&log))?;
            let mut child = Command::new(&program)
                .arg("run-worker")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(complaints)
                // A Ctrl-C is for us: they are told to stop and then say what they have.
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
                .map_err(file(&program))?;
            if let Some(says) = child.stdout.take() {
                tokio::spawn(listen(usize::from(worker), says, say.clone()));
            }
            let orders = child.stdin.take();
            fleet.workers.push(Worker { child, orders, log });
            let share = Share {
                settings: settings.clone(),
                cluster_file: cluster_file.clone(),
                worker,
            };
            fleet.write(worker, &share).await?;
        }
        Ok(fleet)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Their processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        let pids = self.workers.iter().map(|worker| worker.child.id());
        pids.flatten().collect()
    }

    /// Gives each its order.
    pub(super) async fn order(&mut self, order: impl Fn(u16) -> Order) -> Result<(), LoadError> {
        for worker in 0..self.workers.len() as u16 {
            self.write(worker, &order(worker)).await?;
        }
        Ok(())
    }

    async fn write(&mut self, worker: u16, what: &impl serde::Serialize) -> Result<(), LoadError> {
        let line = serde_json::to_string(what);
        let mut line = line.map_err(|error| LoadError::Worker(error.to_string()))?;
        line.push('\n');
        let worker_of = self.workers.get_mut(usize::from(worker));
        if let Some(orders) = worker_of.and_then(|worker| worker.orders.as_mut()) {
            // Who is gone is told of when it is listened to.
            let _ = orders.write_all(line.as_bytes()).await;
            let _ = orders.flush().await;
        }
        Ok(())
    }

    /// Tells all to make no more requests, and to end.
    pub(super) fn stop(&mut self) {
        for worker in &mut self.workers {
            worker.orders = None;
        }
    }

    /// Waits for what the next of them says.
    pub(super) async fn hear(&mut self) -> (usize, Said) {
        match self.heard.recv().await {
            Some(heard) => heard,
            // All have ended, and were heard to.
            None => std::future::pending().await,
        }
    }

    /// Ends them in order.
    pub(super) async fn end(mut self) {
        self.stop();
        for worker in &mut self.workers {
            // It ended, or will be killed.
            let _ = worker.child.wait().await;
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Who broke down has left a word; nobody wants the empty files of the others.
        for worker in &self.workers {
            if fs::metadata(&worker.log).is_ok_and(|log| log.len() == 0) {
                let _ = fs::remove_file(&worker.log);
            }
        }
    }
}

async fn listen(worker: usize, says: ChildStdout, say: mpsc::Sender<(usize, Said)>) {
    let mut lines = BufReader::new(says).lines();
    loop {
        let said = match lines.next_line().await {
            Ok(Some(line)) => match serde_json::from_str(&line) {
                Ok(said) => said,
                Err(error) => Said::Failed(format!("it said what nobody understands: {error}")),
            },
            Ok(None) => Said::Failed("it ended".to_owned()),
            Err(error) => Said::Failed(error.to_string()),
        };
        let is_last = matches!(said, Said::Failed(_));
        if say.send((worker, said)).await.is_err() || is_last {
            return;
        }
    }
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> LoadError {
    let path = path.to_owned();
    |source| LoadError::File { path, source }
}
