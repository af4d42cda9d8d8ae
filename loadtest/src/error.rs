//! Why there is no report.

use std::path::PathBuf;
use std::time::Duration;

use dunlin_client::{ConnectError, Error};
use thiserror::Error;

/// Why there is no report. Nodes that were started are stopped in every case.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    /// The runtime does not start.
    #[error("no runtime: {0}")]
    Runtime(std::io::Error),
    /// Ctrl-C, or a signal to end.
    #[error("interrupted; there is no report")]
    Interrupted,
    /// The binary of the nodes cannot be started.
    #[error("cannot start {}: {source}; name the dunlin binary with --dunlin", program.display())]
    NoDunlin {
        /// What was tried.
        program: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// `dunlin dev …` failed.
    #[error("dunlin {words}: {said}")]
    Dev {
        /// What was asked of it.
        words: String,
        /// What it wrote.
        said: String,
    },
    /// No client.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A request that the measurement cannot do without failed.
    #[error("{what}: {source}")]
    Request {
        /// What for.
        what: &'static str,
        /// Why it failed.
        source: Box<Error>,
    },
    /// Too many writes of a preload failed, one after the other.
    #[error("filling stopped after {done} of {count}: {source}")]
    Fill {
        /// Writes done.
        done: u64,
        /// Writes asked for.
        count: u64,
        /// Why the last one failed.
        source: Box<Error>,
    },
    /// The command does something to the nodes that only their starter may do.
    #[error("{0} stops nodes, so it runs on a cluster of its own only: leave --cluster away")]
    OwnClusterOnly(&'static str),
    /// The nodes run elsewhere, or as another user.
    #[error(
        "the process of node {node} at {address} is not on this machine, or not ours to look at"
    )]
    NoProcess {
        /// Its name.
        node: String,
        /// Where it listens.
        address: String,
    },
    /// The layout has fewer nodes than the command needs.
    #[error("this takes at least {needed} nodes; the cluster has {nodes}")]
    TooFewNodes {
        /// How many it takes.
        needed: usize,
        /// How many there are.
        nodes: usize,
    },
    /// A signal could not be sent.
    #[error("cannot signal process {pid}: {source}")]
    Signal {
        /// To whom.
        pid: u32,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something that had to happen did not.
    #[error("{what} did not happen within {} s; in the end: {seen}", after.as_secs())]
    TimedOut {
        /// What.
        what: &'static str,
        /// How long was waited.
        after: Duration,
        /// What was seen instead.
        seen: String,
    },
    /// A file or folder.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No plan of that name, and no such file.
    #[error(
        "there is no plan {name}, and no file of that name; dunlin-loadtest experiment lists the plans"
    )]
    NoPlan {
        /// What was asked for.
        name: String,
    },
    /// The plan makes no sense.
    #[error("the plan: {0}")]
    Plan(String),
    /// A node that was told to stop goes on.
    #[error("{node} was told to stop and did not")]
    DoesNotStop {
        /// Its name.
        node: String,
    },
    /// A node's address names no machine.
    #[error("node {node} is said to be at {address}, which is nowhere")]
    NoAddress {
        /// Its name.
        node: String,
        /// As the cluster has it.
        address: String,
    },
    /// A process that was to be signalled can't be.
    #[error("{node} has no process on this machine that could be had to stand still")]
    NotHere {
        /// Its name.
        node: String,
    },
    /// Nodes ended by themselves.
    #[error(
        "nodes ended by themselves: {0}; their logs are beside their data, which --keep leaves there"
    )]
    Ended(String),
    /// There is no such node.
    #[error("there is no node {at} of {names}")]
    NoNode {
        /// Which, from 0.
        at: usize,
        /// How many there are.
        names: usize,
    },
    /// Clocks can't be set off.
    #[error(
        "the plan sets clocks off, which takes libfaketime (Debian: apt-get install libfaketime)"
    )]
    NoFaketime,
    /// The history can't be judged.
    #[error("{0}")]
    History(String),
    /// The settings of a run make no sense together.
    #[error("{0}")]
    Settings(String),
    /// The folder of the results holds something else.
    #[error("{} is not empty and not the folder of a run; name another with --out", .0.display())]
    NotOurFolder(PathBuf),
    /// A process of the load broke down.
    #[error("{0}; its log, if it wrote one, is beside the results")]
    Worker(String),
    /// The load of keys was interrupted.
    #[error(
        "interrupted while keys were loaded; in a cluster that goes on running, go on with \
         --load-from {next} (of {of})"
    )]
    LoadStopped {
        /// The first key that may be missing.
        next: u64,
        /// How many there are to be.
        of: u64,
    },
    /// Not one request succeeded.
    #[error("no request succeeded: {0}")]
    NothingDone(String),
    /// The page's way to a node broke.
    #[error("reading a page: {0}")]
    Page(String),
}

impl LoadError {
    /// For `map_err`: says what the request was for.
    pub(crate) fn request(what: &'static str) -> impl FnOnce(Error) -> Self {
        move |source| Self::Request {
            what,
            source: Box::new(source),
        }
    }
}

/// One word for why a request failed, to count by.
pub(crate) fn word(error: &Error) -> &'static str {
    match error {
        Error::Timeout { .. } => "timeout",
        Error::Unknown { .. } => "unknown",
        Error::Unreachable { .. } => "unreachable",
        Error::Refused { .. } => "refused",
        Error::NoSuchBucket { .. } => "no such bucket",
        Error::Incomplete { .. } => "incomplete",
        Error::Unexpected { .. } => "unexpected answer",
        Error::BadBucketName { .. }
        | Error::WrongKind { .. }
        | Error::WrongFieldKind { .. }
        | Error::NoSuchNode { .. }
        | Error::SessionFull(_)
        | Error::Encoding { .. } => "mistaken request",
    }
}
