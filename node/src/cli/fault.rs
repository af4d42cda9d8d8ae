//! Why a command failed: what happened, what that means for the data, and what to do.
//!
//! Every error of the command line is one of these, so that all are shown in one form and the exit
//! code follows from what happened to the data.

use std::io;
use std::path::PathBuf;

use dunlin_client::{AttemptEnd, ConnectError, DataEffect, Error, Failure, Kind, NodeRef};
use dunlin_node::dev::DevError;
use dunlin_node::pki::PkiError;
use dunlin_node::server::ServerError;
use serde_json::{Value, json};
use thiserror::Error as ThisError;

use super::ended::Ended;
use super::receipt::names;

/// Why a command failed.
#[derive(Debug, ThisError)]
pub(crate) enum Fault {
    /// Something given does not fit; nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// It fits, but not with what is there; nothing was written.
    #[error("{what}")]
    Refused {
        /// What does not fit.
        what: String,
        /// What to do instead.
        advice: String,
    },
    /// What was asked for is not there. Nothing was written.
    #[error("not found: {0}")]
    NotFound(String),
    /// There is no client. Nothing was sent.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The bucket could not be opened, so nothing was read or written.
    #[error("{}", reason(.0))]
    Bucket(Error),
    /// A read failed. There was nothing to be written.
    #[error("{}", reason(.0))]
    Read(Error),
    /// A write failed; the error says whether it may be applied.
    #[error("{}", reason(.0))]
    Write(Error),
    /// A change of the cluster's shape failed; the error says whether it may be done.
    #[error("{}", reason(.0))]
    Change(Error),
    /// A cluster for development could not be made or driven.
    #[error("{0}")]
    Dev(#[from] DevError),
    /// A certificate could not be made.
    #[error("{0}")]
    Cert(#[from] PkiError),
    /// A node could not be run.
    #[error("{0}")]
    Server(#[from] ServerError),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Input {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The command was done, but what its session has seen could not be kept.
    #[error("the command was done, but the session token cannot be kept in {}: {source}", path.display())]
    Token {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Standard output takes no more.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
    /// The system gives no event loop.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

impl Fault {
    /// How the command ended.
    pub(crate) fn ended(&self) -> Ended {
        match self {
            Self::Usage(_) => Ended::Usage,
            Self::NotFound(_) => Ended::No,
            Self::Write(error) | Self::Change(error) => match error.effect() {
                DataEffect::NotApplied => Ended::Failed,
                DataEffect::Unknown => Ended::Unknown,
            },
            // Whoever reads has closed the pipe: it has what it wants.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ended::Done,
            // Not to be taken for *nothing was written*.
            Self::Token { .. } => Ended::Unknown,
            Self::Refused { .. }
            | Self::Connect(_)
            | Self::Bucket(_)
            | Self::Read(_)
            | Self::Dev(_)
            | Self::Cert(_)
            | Self::Server(_)
            | Self::Input { .. }
            | Self::Output(_)
            | Self::Start(_) => Ended::Failed,
        }
    }

    /// Whether there is anybody to be told.
    pub(crate) fn is_silent(&self) -> bool {
        self.ended() == Ended::Done
    }

    /// What it means for the data.
    fn effect(&self) -> &'static str {
        match self.ended() {
            Ended::Unknown if matches!(self, Self::Change(_)) => {
                "the change may be made, now or later"
            }
            Ended::Unknown => "it may be written, now or later",
            Ended::Done | Ended::No | Ended::Usage | Ended::Failed => "nothing was written",
        }
    }

    /// What to do about it.
    fn advice(&self) -> Option<String> {
        match self {
            Self::Usage(_) => Some("--help after the command shows its usage".into()),
            Self::Refused { advice, .. } => Some(advice.clone()),
            Self::Connect(error) => connect_advice(error),
            Self::Bucket(error) | Self::Read(error) | Self::Write(error) => request_advice(error),
            Self::Change(error) => change_advice(error),
            Self::NotFound(_)
            | Self::Dev(_)
            | Self::Cert(_)
            | Self::Server(_)
            | Self::Input { .. }
            | Self::Output(_)
            | Self::Start(_) => None,
            Self::Token { .. } => {
                Some("reads of this session may miss what this command did".to_owned())
            }
        }
    }

    /// As lines for standard error.
    pub(crate) fn text(&self) -> String {
        let mut text = match self {
            Self::NotFound(_) => return format!("{self}\n"),
            _ => format!("error: {self}\n"),
        };
        if matches!(
            self,
            Self::Write(_)
                | Self::Change(_)
                | Self::Bucket(_)
                | Self::Connect(_)
                | Self::Refused { .. }
        ) {
            text.push_str(&format!("data:  {}\n", self.effect()));
        }
        if let Some(advice) = self.advice() {
            text.push_str(&format!("do:    {advice}\n"));
        }
        text
    }

    /// As a line of JSON for standard error.
    pub(crate) fn json(&self) -> Value {
        let effect = match self.ended() {
            Ended::Unknown => "unknown",
            Ended::Done | Ended::No | Ended::Usage | Ended::Failed => "not_applied",
        };
        json!({
            "error": self.to_string(),
            "effect": effect,
            "do": self.advice(),
            "exit": self.ended().code(),
        })
    }

    /// A command that does not fit the kind of the bucket.
    pub(crate) fn wrong_kind(bucket: &str, is: Kind) -> Self {
        Self::Refused {
            what: format!("bucket {bucket} is of kind {is}, which this command does not fit"),
            advice: format!("use {}", commands_for(is)),
        }
    }
}

/// What happened. What every node that was asked said alike is said once.
pub(crate) fn reason(error: &Error) -> String {
    let Error::Refused { failure, .. } = error else {
        return error.to_string();
    };
    let said = failure.to_string();
    let alike = error.asked().iter().all(|attempt| match &attempt.end {
        AttemptEnd::Failed(failure) => failure.to_string() == said,
        AttemptEnd::Unanswered(_) | AttemptEnd::Garbled(_) => false,
    });
    match error.asked().last() {
        Some(last) if alike => {
            let asked: Vec<NodeRef> = error.asked().iter().map(|a| a.node.clone()).collect();
            let named = match last.named.is_empty() {
                true => String::new(),
                false => format!("; at hand: {}", names(&last.named)),
            };
            format!("{said} (so said {}{named})", names(&asked))
        }
        Some(_) | None => error.to_string(),
    }
}

/// The commands that fit a kind.
pub(crate) fn commands_for(kind: Kind) -> &'static str {
    match kind {
        Kind::Register | Kind::Lww => "dunlin put BUCKET KEY VALUE, dunlin get BUCKET KEY",
        Kind::Max | Kind::Min => "dunlin put BUCKET KEY NUMBER, dunlin get BUCKET KEY",
        Kind::Counter => "dunlin incr BUCKET KEY [N], dunlin get BUCKET KEY",
        Kind::Flag => "dunlin flag BUCKET KEY [on|off]",
        Kind::Set => "dunlin set add|remove|has|list|count BUCKET KEY [ELEMENT…]",
        Kind::Map => "dunlin map set|incr|add|get|remove BUCKET KEY FIELD [VALUE]",
    }
}

fn connect_advice(error: &ConnectError) -> Option<String> {
    let advice = match error {
        ConnectError::ClusterFile(_) => {
            "start a cluster with dunlin dev, or name the file of another one with --cluster or in \
             DUNLIN_CLUSTER"
        }
        ConnectError::NoneReachable { .. } => {
            "see that the cluster runs; dunlin dev starts one for development"
        }
        ConnectError::NoNodes
        | ConnectError::BadAddress(_)
        | ConnectError::NoIdentity
        | ConnectError::Identity(_)
        | ConnectError::OtherCluster { .. } => "correct the cluster file",
        ConnectError::NoRandomness => return None,
    };
    Some(advice.to_owned())
}

fn change_advice(error: &Error) -> Option<String> {
    match (error, error.effect()) {
        (Error::Refused { failure, .. }, DataEffect::NotApplied) => failure_advice(failure),
        (_, DataEffect::NotApplied) => Some("try again".to_owned()),
        (_, DataEffect::Unknown) => {
            Some("dunlin cluster status shows whether it was made; then try again".to_owned())
        }
    }
}

fn request_advice(error: &Error) -> Option<String> {
    let advice = match error {
        Error::NoSuchBucket { bucket } => {
            return Some(format!(
                "dunlin bucket create {bucket} --kind KIND; dunlin bucket list shows what is there"
            ));
        }
        Error::WrongKind { is, .. } => return Some(format!("use {}", commands_for(*is))),
        Error::Refused { failure, .. } => return failure_advice(failure),
        Error::Unreachable { .. } => "see with dunlin cluster status which nodes are up",
        Error::Unknown { .. }
        | Error::Timeout {
            effect: DataEffect::Unknown,
            ..
        } => {
            "read the key to see. A put or add may be repeated; an increment would count twice if the \
             first was applied"
        }
        Error::Timeout {
            effect: DataEffect::NotApplied,
            ..
        } => "try again, with a longer --timeout; dunlin cluster status shows which nodes are up",
        Error::Incomplete { .. } => "repeat the command: it removes what is left",
        Error::BadBucketName { .. }
        | Error::WrongFieldKind { .. }
        | Error::NoSuchNode { .. }
        | Error::Unexpected { .. }
        | Error::SessionFull(_)
        | Error::Encoding { .. } => return None,
    };
    Some(advice.to_owned())
}

fn failure_advice(failure: &Failure) -> Option<String> {
    let advice = match failure {
        Failure::Unavailable { .. } => {
            "wait until more nodes are up, or ask for fewer with --w, --r or without --strict"
        }
        Failure::QuorumTooLarge { owners, .. } => {
            return Some(format!("ask for at most {owners}, or for all"));
        }
        Failure::Overloaded
        | Failure::Expired
        | Failure::NotOwner
        | Failure::BehindSession { .. }
        | Failure::ReadTimeout { .. } => "try again",
        Failure::StorageFull | Failure::StorageFailed => {
            "dunlin cluster status shows the disks; other nodes may take the write"
        }
        Failure::TooManySiblings { .. } => {
            "dunlin get the key, and dunlin put the settled value with --context"
        }
        Failure::NoSuchBucket => "dunlin bucket list shows what is there",
        Failure::WrongKind { kind } => return Some(format!("use {}", commands_for(*kind))),
        Failure::BucketExists { .. } => "choose another name, or drop that bucket first",
        Failure::WriteTimeout { .. } | Failure::Lost { .. } | Failure::Partial { .. } => {
            "read the key to see"
        }
        Failure::ChangeRefused { .. } => {
            "dunlin cluster plan shows what is staged and what it would do"
        }
        Failure::NotUnderstood => "use the version of dunlin that the nodes have",
        Failure::TooLarge { .. } | Failure::Invalid { .. } | Failure::CounterOverflow => {
            return None;
        }
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use dunlin_client::{Asked, Attempt, NodeId};

    use super::*;

    fn refused(failure: Failure) -> Error {
        Error::Refused {
            failure,
            asked: Asked::default(),
        }
    }

    fn check(fault: &Fault, ended: Ended, says: &[&str]) {
        assert_eq!(fault.ended(), ended, "{fault}");
        let text = fault.text();
        for part in says {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(fault.is_silent() || fault.json()["exit"] == ended.code());
    }

    #[test]
    fn a_write_of_unknown_outcome_is_exit_4_and_says_so() {
        let error = Error::Unknown {
            asked: Asked::default(),
        };
        check(
            &Fault::Write(error),
            Ended::Unknown,
            &["may be written", "count twice"],
        );
    }

    #[test]
    fn a_change_of_the_cluster_is_refused_with_exit_3_or_its_outcome_is_unknown() {
        let why = "the newest layout is 3-0".to_owned();
        check(
            &Fault::Change(refused(Failure::ChangeRefused { why })),
            Ended::Failed,
            &[
                "newest layout is 3-0",
                "nothing was written",
                "dunlin cluster plan",
            ],
        );
        let unknown = Error::Unknown {
            asked: Asked::default(),
        };
        check(
            &Fault::Change(unknown),
            Ended::Unknown,
            &["may be made", "dunlin cluster status"],
        );
    }

    #[test]
    fn a_refused_write_is_exit_3_and_nothing_was_written() {
        let unavailable = refused(Failure::Unavailable {
            needed: 2,
            reachable: vec![],
        });
        check(
            &Fault::Write(unavailable),
            Ended::Failed,
            &["nothing was written", "--w"],
        );
    }

    #[test]
    fn a_read_never_has_an_unknown_outcome() {
        let error = Error::Unknown {
            asked: Asked::default(),
        };
        assert_eq!(Fault::Read(error).ended(), Ended::Failed);
    }

    #[test]
    fn a_wrong_kind_names_the_command_that_fits() {
        check(
            &Fault::wrong_kind("b", Kind::Counter),
            Ended::Failed,
            &["counter", "dunlin incr"],
        );
        let told = refused(Failure::WrongKind { kind: Kind::Set });
        check(&Fault::Write(told), Ended::Failed, &["dunlin set add"]);
    }

    #[test]
    fn a_closed_pipe_is_nobodys_error() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Fault::Output(closed).is_silent());
        let full = io::Error::from(io::ErrorKind::StorageFull);
        check(
            &Fault::Output(full),
            Ended::Failed,
            &["cannot write the answer"],
        );
    }

    fn attempt(name: &str, failure: Failure) -> Attempt {
        let node = |name: &str| NodeRef {
            id: NodeId::from_name(name),
            name: Some(name.into()),
        };
        Attempt {
            node: node(name),
            end: AttemptEnd::Failed(failure),
            named: vec![node("n9")],
        }
    }

    #[test]
    fn what_all_nodes_said_is_said_once_and_else_by_each() {
        let overloaded = || Failure::Overloaded;
        let alike = Asked(vec![
            attempt("n1", overloaded()),
            attempt("n2", overloaded()),
        ]);
        let said = reason(&Error::Refused {
            failure: overloaded(),
            asked: alike,
        });
        let text = Failure::Overloaded.to_string();
        assert_eq!(said, format!("{text} (so said n1, n2; at hand: n9)"));
        let mixed = Asked(vec![
            attempt("n1", Failure::Expired),
            attempt("n2", overloaded()),
        ]);
        let said = reason(&Error::Refused {
            failure: overloaded(),
            asked: mixed,
        });
        assert!(
            said.contains("n1 said") && said.contains("n2 said"),
            "{said}"
        );
    }

    #[test]
    fn what_is_not_found_is_exit_1() {
        check(
            &Fault::NotFound("key \"a\"".into()),
            Ended::No,
            &["not found: key"],
        );
    }
}
