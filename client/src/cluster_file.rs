//! The file that says where a cluster is and who we are in it.
//!
//! ```toml
//! cluster = "dev"
//! ca = "ca.pem"                # paths are relative to this file
//! certificate = "admin.pem"
//! key = "admin-key.pem"
//! replicas = 3                 # optional, for the cluster's birth
//! partitions = 256             # optional, likewise
//!
//! [[node]]
//! name = "n1"
//! address = "127.0.0.1:7101"
//! zone = "a"                   # optional
//! capacity = 1                 # optional
//!
//! [[seed]]                     # optional: a node that came later
//! name = "n4"
//! address = "127.0.0.1:7104"
//! ```
//!
//! An application needs one node that can be reached; the layout has the others. The nodes of a new
//! cluster make the first layout of the list of nodes; for everybody else nodes and seeds are alike,
//! some places where the cluster can be met. A file with seeds only founds nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use crate::tls::{ClusterName, IdentityFiles};

/// Why a cluster file is not usable. Nothing was sent.
#[derive(Debug, Error)]
pub enum ClusterFileError {
    /// It cannot be read.
    #[error("cannot read the cluster file {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no TOML, or something in it is missing, unknown or not what it must be.
    #[error("{}{}: {reason}", path.display(), Line(*line))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Where in it, if that is known.
        line: Option<usize>,
        /// What is wrong, and what to write instead.
        reason: String,
    },
}

/// What a cluster file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFile {
    /// The cluster.
    pub cluster: ClusterName,
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The user's certificate, if the file names one.
    pub certificate: Option<PathBuf>,
    /// The key that belongs to it.
    pub key: Option<PathBuf>,
    /// N, for the cluster's birth.
    pub replicas: Option<u8>,
    /// Q, for the cluster's birth.
    pub partitions: Option<u16>,
    /// The nodes that the cluster was or will be born with.
    pub nodes: Vec<ClusterFileNode>,
    /// Nodes that came later.
    pub seeds: Vec<ClusterFileNode>,
}

/// One node in a cluster file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFileNode {
    /// What operators call it.
    pub name: String,
    /// Where it is reached, as `host:port`.
    pub address: String,
    /// What it may fail together with.
    pub zone: Option<String>,
    /// Its weight beside the others.
    pub capacity: Option<u32>,
}

impl ClusterFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ClusterFileError`] says where in the file, and what to do.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ClusterFileError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| ClusterFileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// As [`load`](Self::load), of text at hand; `path` names it, and is what paths are relative to.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: &Path) -> Result<Self, ClusterFileError> {
        let invalid = |offset: Option<usize>, reason: String| ClusterFileError::Invalid {
            path: path.to_owned(),
            line: offset.map(|offset| line_of(text, offset)),
            reason,
        };
        let file: FileText = toml::from_str(text).map_err(|error| {
            let offset = error.span().map(|span| span.start);
            invalid(offset, error.message().to_owned())
        })?;
        let cluster_at = file.cluster.span().start;
        let cluster = ClusterName::new(file.cluster.into_inner())
            .map_err(|error| invalid(Some(cluster_at), error.to_string()))?;
        if file.node.is_empty() && file.seed.is_empty() {
            let reason = "no nodes are listed; add [[node]] with name and address";
            return Err(invalid(None, reason.to_owned()));
        }
        let mut names = BTreeSet::new();
        for node in file.node.iter().chain(&file.seed) {
            let (name, address) = (&node.name, &node.address);
            if !names.insert(name.get_ref()) {
                let reason = format!("node {:?} is listed twice", name.get_ref());
                return Err(invalid(Some(name.span().start), reason));
            }
            if !is_host_and_port(address.get_ref()) {
                let reason = format!(
                    "{:?} is no address; write host:port, such as \"127.0.0.1:7101\"",
                    address.get_ref()
                );
                return Err(invalid(Some(address.span().start), reason));
            }
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(Self {
            cluster,
            ca: folder.join(file.ca),
            certificate: file.certificate.map(|file| folder.join(file)),
            key: file.key.map(|file| folder.join(file)),
            replicas: file.replicas,
            partitions: file.partitions,
            nodes: file.node.into_iter().map(NodeText::into_node).collect(),
            seeds: file.seed.into_iter().map(NodeText::into_node).collect(),
        })
    }

    /// Every node that is listed, at least one, founders first.
    pub fn listed(&self) -> impl Iterator<Item = &ClusterFileNode> {
        self.nodes.iter().chain(&self.seeds)
    }

    /// The files of the user's identity, if the file names them.
    pub fn identity(&self) -> Option<IdentityFiles> {
        Some(IdentityFiles {
            certificate: self.certificate.clone()?,
            key: self.key.clone()?,
            authority: self.ca.clone(),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    cluster: Spanned<String>,
    ca: PathBuf,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    replicas: Option<u8>,
    partitions: Option<u16>,
    #[serde(default)]
    node: Vec<NodeText>,
    #[serde(default)]
    seed: Vec<NodeText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeText {
    name: Spanned<String>,
    address: Spanned<String>,
    zone: Option<String>,
    capacity: Option<u32>,
}

impl NodeText {
    fn into_node(self) -> ClusterFileNode {
        ClusterFileNode {
            name: self.name.into_inner(),
            address: self.address.into_inner(),
            zone: self.zone,
            capacity: self.capacity,
        }
    }
}

/// Whether it has the form `host:port`; the host is looked up only when it is dialed.
pub fn is_host_and_port(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p != 0))
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

/// `:7`, or nothing.
struct Line(Option<usize>);

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "cluster = \"dev\"\nca = \"ca.pem\"\n";
    const NODE: &str = "[[node]]\nname = \"n1\"\naddress = \"127.0.0.1:7101\"\n";

    fn parse(text: &str) -> Result<ClusterFile, ClusterFileError> {
        ClusterFile::parse(text, Path::new("conf/cluster.toml"))
    }

    /// The message of a text that is refused.
    fn check(text: &str, line: Option<usize>, says: &str) {
        let error = parse(text).unwrap_err();
        let shown = error.to_string();
        let ClusterFileError::Invalid { line: found, .. } = error else {
            panic!("{shown}");
        };
        assert_eq!(found, line, "{shown}");
        assert!(shown.contains(says), "{shown}");
        assert!(shown.contains("conf/cluster.toml"), "{shown}");
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = format!("{HEAD}certificate = \"a.pem\"\nkey = \"/keys/a.pem\"\n{NODE}");
        let identity = parse(&text).unwrap().identity().unwrap();
        assert_eq!(identity.authority, Path::new("conf/ca.pem"));
        assert_eq!(identity.certificate, Path::new("conf/a.pem"));
        assert_eq!(identity.key, Path::new("/keys/a.pem"));
    }

    #[test]
    fn what_is_optional_may_be_left_out_or_given() {
        let file = parse(&format!("{HEAD}{NODE}")).unwrap();
        assert_eq!(file.identity(), None);
        assert_eq!((file.replicas, file.partitions), (None, None));
        let text =
            format!("{HEAD}replicas = 2\npartitions = 64\n{NODE}zone = \"a\"\ncapacity = 4\n");
        let file = parse(&text).unwrap();
        assert_eq!((file.replicas, file.partitions), (Some(2), Some(64)));
        assert_eq!(file.nodes[0].zone.as_deref(), Some("a"));
        assert_eq!(file.nodes[0].capacity, Some(4));
    }

    #[test]
    fn a_refusal_names_the_file_and_the_line() {
        check("cluster = \"dev\"\nca = \n", Some(2), "");
        check(&format!("{HEAD}{NODE}adress = \"x\"\n"), Some(6), "adress");
        check(
            &format!("cluster = \"De v\"\nca = \"x\"\n{NODE}"),
            Some(1),
            "a-z",
        );
        check(&format!("{HEAD}{NODE}{NODE}"), Some(7), "twice");
        let bad_address = "[[node]]\nname = \"n1\"\naddress = \"localhost\"\n";
        check(&format!("{HEAD}{bad_address}"), Some(5), "host:port");
    }

    #[test]
    fn seeds_are_listed_and_found_nothing() {
        let seed = "[[seed]]\nname = \"n4\"\naddress = \"127.0.0.1:7104\"\n";
        let file = parse(&format!("{HEAD}{NODE}{seed}")).unwrap();
        assert_eq!(file.nodes.len(), 1);
        let names: Vec<&str> = file.listed().map(|node| &*node.name).collect();
        assert_eq!(names, ["n1", "n4"]);
        let file = parse(&format!("{HEAD}{seed}")).unwrap();
        assert!(file.nodes.is_empty());
        check(&format!("{HEAD}{seed}{seed}"), Some(7), "twice");
    }

    #[test]
    fn what_is_missing_is_named() {
        check(&format!("ca = \"x\"\n{NODE}"), Some(1), "cluster");
        check(HEAD, None, "[[node]]");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = ClusterFile::load("no/such/cluster.toml").unwrap_err();
        assert!(
            error.to_string().contains("no/such/cluster.toml"),
            "{error}"
        );
    }
}
