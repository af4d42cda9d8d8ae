//! A server process of ours: started with a log in a folder of its own, ended when it is dropped.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How many nodes each store has.
pub(crate) const NODES: usize = 3;
/// For a cluster to find itself.
const READY_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why a store does not take part.
#[derive(Debug)]
pub(crate) enum StartError {
    /// Its program is not installed.
    NoProgram {
        program: PathBuf,
        source: std::io::Error,
    },
    /// Something else, in words.
    Failed(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProgram { program, source } => {
                write!(f, "cannot start {}: {source}", program.display())
            }
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl StartError {
    /// For `map_err`: what was tried.
    pub(crate) fn at<E: fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Failed(format!("{what}: {error}"))
    }
}

/// The nodes of one store, and all that is on their disks.
pub(crate) struct Servers {
    children: Vec<Child>,
    program: PathBuf,
    dir: TempDir,
}

impl Servers {
    pub(crate) fn new(program: &Path) -> Result<Self, StartError> {
        Ok(Self {
            children: Vec::new(),
            program: program.to_owned(),
            dir: TempDir::with_prefix("dunlin-peers-").map_err(StartError::at("a folder"))?,
        })
    }

    /// The folder of a node, from 1.
    pub(crate) fn dir(&self, node: usize) -> Result<PathBuf, StartError> {
        let dir = self.dir.path().join(format!("n{node}"));
        std::fs::create_dir_all(&dir).map_err(StartError::at("a folder"))?;
        Ok(dir)
    }

    /// Starts a node, which writes its log into its folder.
    pub(crate) fn start(&mut self, node: usize, words: &[String]) -> Result<(), StartError> {
        let log = File::create(self.dir(node)?.join("log")).map_err(StartError::at("a log"))?;
        let again = log.try_clone().map_err(StartError::at("a log"))?;
        let child = Command::new(&self.program)
            .args(words)
            .current_dir(self.dir(node)?)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(again)
            .spawn()
            .map_err(|source| self.no_program(source))?;
        self.children.push(child);
        Ok(())
    }

    /// Runs the program as a command, and returns what it says.
    pub(crate) fn command(&self, words: &[&str]) -> Result<String, StartError> {
        let output = Command::new(&self.program)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| self.no_program(source))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => {
                let error = String::from_utf8_lossy(&output.stderr);
                let words = words.join(" ");
                Err(StartError::Failed(format!("{words}: {said}{error}")))
            }
        }
    }

    pub(crate) fn processes(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    fn no_program(&self, source: std::io::Error) -> StartError {
        let program = self.program.clone();
        StartError::NoProgram { program, source }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended by itself can't be killed, and needs no more than to be waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Ports that nobody listens on now.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], StartError> {
    // All are held until all are known, so that no two are the same.
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(StartError::at("a port"))?;
        *port = listener
            .local_addr()
            .map_err(StartError::at("a port"))?
            .port();
        held.push(listener);
    }
    Ok(ports)
}

/// Tries until it succeeds.
pub(crate) async fn until_ready<T, F, Fut>(what: &'static str, attempt: F) -> Result<T, StartError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let begin = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(why) if begin.elapsed() > READY_MAX => {
                return Err(StartError::Failed(format!("{what}: {why}")));
            }
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}
