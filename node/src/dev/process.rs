//! One node's process, known by its pid file and, since pids are used again, by its command line.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::DevError;
use super::files::file;

/// How long a new process may stay without a command line: far longer than it takes.
const KNOWN_MAX: Duration = Duration::from_secs(5);

/// Whether there was somebody to be signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signalled {
    Yes,
    NotRunning,
}

/// A process that may or may not run.
pub(super) struct Process {
    pid_file: PathBuf,
    /// What stands in its command line.
    config: PathBuf,
}

impl Process {
    pub(super) fn new(pid_file: PathBuf, config: PathBuf) -> Self {
        Self { pid_file, config }
    }

    /// Runs the node, in a process group of its own, so that what ends this process's group does not
    /// end it.
    pub(super) fn spawn(&self, program: &Path, log: &Path) -> Result<Child, DevError> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let (out, err) = open()
            .and_then(|out| Ok((out.try_clone()?, out)))
            .map_err(|source| file(log, source))?;
        let mut child = Command::new(program)
            .arg("server")
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(|source| DevError::Spawn {
                program: program.to_owned(),
                source,
            })?;
        fs::write(&self.pid_file, child.id().to_string())
            .map_err(|source| file(&self.pid_file, source))?;
        self.wait_until_known(&mut child);
        Ok(child)
    }

    /// For a moment the system says nothing of a new process's command line, as if it had ended.
    fn wait_until_known(&self, child: &mut Child) {
        let until = Instant::now() + KNOWN_MAX;
        while self.pid().is_none() && matches!(child.try_wait(), Ok(None)) && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The process's number, if it runs and is the node.
    pub(super) fn pid(&self) -> Option<Pid> {
        let pid = fs::read_to_string(&self.pid_file).ok()?;
        let pid: i32 = pid.trim().parse().ok()?;
        // That of a process that has ended is empty until its parent has asked for it.
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let config = self.config.as_os_str().as_bytes();
        let is_ours = command_line
            .split(|byte| *byte == 0)
            .any(|word| word == config);
        if is_ours { Pid::from_raw(pid) } else { None }
    }

    /// Whether it still runs, or has ended so lately that it still holds its files: a process loses its
    /// command line first, and the lock on its store later.
    pub(super) fn is_there(&self) -> bool {
        self.pid().is_some() || self.is_ending().unwrap_or(false)
    }

    /// Whether what is left of a process that was ours has threads; `None` if there is nothing left.
    fn is_ending(&self) -> Option<bool> {
        let pid = fs::read_to_string(&self.pid_file).ok()?;
        let pid: i32 = pid.trim().parse().ok()?;
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may hold anything: the state, the parent, and as the 18th the threads.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?);
        let threads: u32 = fields.nth(15)?.parse().ok()?;
        // Threads of the kernel have no command line either.
        let is_kernels = parent == "2" || parent == "0";
        let is_over = state == "Z" && threads <= 1;
        Some(command_line.is_empty() && !is_kernels && !is_over)
    }

    /// Tells it to stop in order.
    pub(super) fn terminate(&self, node: &str) -> Result<Signalled, DevError> {
        self.signal(node, Signal::TERM)
    }

    /// Ends it at once.
    pub(super) fn kill(&self, node: &str) -> Result<Signalled, DevError> {
        self.signal(node, Signal::KILL)
    }

    /// Whether whoever ended it wanted it: a process that ends by itself leaves its pid file.
    pub(super) fn is_forgotten(&self) -> bool {
        !self.pid_file.exists()
    }

    /// Removes the pid file of a process that has ended.
    pub(super) fn forget(&self) -> Result<(), DevError> {
        match fs::remove_file(&self.pid_file) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(file(&self.pid_file, source)),
        }
    }

    fn signal(&self, node: &str, signal: Signal) -> Result<Signalled, DevError> {
        let Some(pid) = self.pid() else {
            return Ok(Signalled::NotRunning);
        };
        match kill_process(pid, signal) {
            Ok(()) => Ok(Signalled::Yes),
            // It has just ended.
            Err(rustix::io::Errno::SRCH) => Ok(Signalled::NotRunning),
            Err(error) => Err(DevError::Signal {
                node: node.to_owned(),
                pid: pid.as_raw_nonzero().get(),
                source: error.into(),
            }),
        }
    }
}
