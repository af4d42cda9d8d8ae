//! A cluster of our own, through the command line that users have: `dunlin dev`.
//!
//! Dropped, it is stopped and its folder removed, whatever happened meanwhile.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, process};

use crate::args::ClusterArgs;
use crate::error::LoadError;

/// Nodes that run because we started them.
#[derive(Debug)]
pub(crate) struct Dev {
    program: PathBuf,
    dir: PathBuf,
    keep: bool,
}

impl Dev {
    /// Starts a cluster and waits until it is ready.
    pub(crate) fn start(args: &ClusterArgs) -> Result<Self, LoadError> {
        let own = |dir: &Path| dir.join(format!("dunlin-loadtest-{}", process::id()));
        let dev = Self {
            program: args.dunlin.clone().unwrap_or_else(beside_us),
            dir: args.dir.clone().unwrap_or_else(|| own(&env::temp_dir())),
            keep: args.keep,
        };
        if dev.dir.exists() {
            let said = format!("{} exists already", dev.dir.display());
            let words = "dev".to_owned();
            // It is not ours: nothing may be stopped or removed there.
            std::mem::forget(dev);
            return Err(LoadError::Dev { words, said });
        }
        let nodes = args.nodes.to_string();
        dev.dunlin(&["dev", "--nodes", &nodes, "--detach"])?;
        Ok(dev)
    }

    /// The file with which clients find it.
    pub(crate) fn cluster_file(&self) -> PathBuf {
        self.dir.join("cluster.toml")
    }

    /// Kills node `which`, from 1, at once.
    pub(crate) fn kill(&self, which: u16) -> Result<(), LoadError> {
        self.dunlin(&["dev", "kill", &which.to_string()])
    }

    /// Starts node `which` again, stopping it first if it runs.
    pub(crate) fn restart(&self, which: u16) -> Result<(), LoadError> {
        self.dunlin(&["dev", "restart", &which.to_string()])
    }

    fn dunlin(&self, words: &[&str]) -> Result<(), LoadError> {
        let output = Command::new(&self.program)
            .args(words)
            .arg("--dir")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| LoadError::NoDunlin {
                program: self.program.clone(),
                source,
            })?;
        if output.status.success() {
            return Ok(());
        }
        let mut said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if said.is_empty() {
            said = output.status.to_string();
        }
        Err(LoadError::Dev {
            words: words.join(" "),
            said,
        })
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if !self.dir.exists() {
            return;
        }
        if let Err(error) = self.dunlin(&["dev", "stop"]) {
            // Nodes may still write there: the folder stays, so that they can be looked after.
            eprintln!("dunlin-loadtest: {error}; {} stays", self.dir.display());
        } else if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.dir)
        {
            eprintln!("dunlin-loadtest: {} stays: {error}", self.dir.display());
        }
    }
}

/// The binary that was built together with this one.
pub(crate) fn beside_us() -> PathBuf {
    let name = format!("dunlin{}", env::consts::EXE_SUFFIX);
    let beside = env::current_exe()
        .ok()
        .and_then(|us| Some(us.parent()?.join(&name)));
    beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| name.into())
}
