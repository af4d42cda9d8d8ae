//! Runs the binary, and a cluster of it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What a run of the binary came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output, without the last newline.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.out).into_owned();
        text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same, having ended with this code.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// The binary, in no cluster.
pub(crate) fn dunlin(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    command
        .current_dir(dir)
        .env_remove("DUNLIN_CLUSTER")
        .stdin(Stdio::null());
    command
}

/// Runs a command.
pub(crate) fn run(command: &mut Command) -> Ran {
    Ran::of(command.output().unwrap())
}

/// A cluster for one test; it ends with it.
pub(crate) struct Dev {
    dir: TempDir,
    nodes: usize,
}

impl Dev {
    pub(crate) fn start(nodes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dev = Self { dir, nodes };
        let line = format!("dev --detach --nodes {nodes} --json");
        let ready = dev.line(&line).ended(0).json();
        assert_eq!(ready["nodes"].as_array().unwrap().len(), nodes);
        dev
    }

    pub(crate) fn stop(self) {
        let stopped = self.line("dev stop --json").ended(0).json();
        assert_eq!(
            stopped["stopped"].as_array().unwrap().len(),
            self.nodes,
            "{stopped}"
        );
        self.line("dev stop").ended(0);
        self.line("cluster status").ended(1);
    }

    /// Runs a command whose words hold no spaces.
    #[track_caller]
    pub(crate) fn line(&self, line: &str) -> Ran {
        self.words(line.split_whitespace())
    }

    /// Runs a command.
    pub(crate) fn words(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
        run(dunlin(self.dir.path()).args(words))
    }

    /// Runs a command that reads standard input.
    pub(crate) fn with_input(&self, line: &str, input: &[u8]) -> Ran {
        let mut child = dunlin(self.dir.path())
            .args(line.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may stop reading before the end.
        let _ = child.stdin.take().unwrap().write_all(input);
        Ran::of(child.wait_with_output().unwrap())
    }

    /// Creates a bucket.
    #[track_caller]
    pub(crate) fn bucket(&self, name: &str, kind: &str) {
        self.line(&format!("bucket create {name} --kind {kind}"))
            .ended(0);
    }

    /// Writes a file beside the cluster.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Dev {
    /// A test that fails leaves no processes behind.
    fn drop(&mut self) {
        run(dunlin(self.dir.path()).args(["dev", "stop"]));
    }
}
