//! The names of clusters, nodes and users, and how a certificate spells them.
//!
//! Each is one DNS label in lower case, so that it fits a certificate, a file name and a log line
//! unchanged, and has one spelling only.

use std::fmt;

use super::TlsError;

/// The last label of every name in a certificate.
const ROOT_LABEL: &str = "dunlin";

/// The name of a cluster: one DNS label, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClusterName(String);

impl ClusterName {
    /// Checks and wraps a name.
    pub fn new(name: impl Into<String>) -> Result<Self, TlsError> {
        label(name.into()).map(Self)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the cluster's authority, in its own certificate.
    pub fn authority_name(&self) -> String {
        format!("authority.{}.{ROOT_LABEL}", self.0)
    }

    /// The cluster that an authority's own name belongs to.
    pub fn from_authority_name(name: &str) -> Result<Self, TlsError> {
        match name.split('.').collect::<Vec<_>>().as_slice() {
            ["authority", cluster, ROOT_LABEL] => Self::new(*cluster),
            _ => Err(TlsError::NoName),
        }
    }

    /// What a dialer gives as server name when any node of the cluster will do, as with a seed
    /// address. Use [`Role::dns_name`] to demand a certain node.
    pub fn any_node(&self) -> String {
        format!("node.{}.{ROOT_LABEL}", self.0)
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the holder of a certificate is, and its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// A member of the cluster.
    Node(String),
    /// Somebody who uses it.
    User(String),
}

impl Role {
    /// A node's role, if the name can be one.
    pub fn node(name: impl Into<String>) -> Result<Self, TlsError> {
        label(name.into()).map(Self::Node)
    }

    /// A user's role, if the name can be one.
    pub fn user(name: impl Into<String>) -> Result<Self, TlsError> {
        label(name.into()).map(Self::User)
    }

    /// The DNS name that says so in a certificate.
    pub fn dns_name(&self, cluster: &ClusterName) -> String {
        match self {
            Self::Node(name) => format!("{name}.node.{cluster}.{ROOT_LABEL}"),
            Self::User(name) => format!("{name}.user.{cluster}.{ROOT_LABEL}"),
        }
    }

    /// Reads a certificate's DNS name.
    pub fn from_dns_name(name: &str) -> Result<(Self, ClusterName), TlsError> {
        match name.split('.').collect::<Vec<_>>().as_slice() {
            [name, "node", cluster, ROOT_LABEL] => {
                Ok((Self::node(*name)?, ClusterName::new(*cluster)?))
            }
            [name, "user", cluster, ROOT_LABEL] => {
                Ok((Self::user(*name)?, ClusterName::new(*cluster)?))
            }
            _ => Err(TlsError::NoName),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node {name}"),
            Self::User(name) => write!(f, "user {name}"),
        }
    }
}

/// One label of a DNS name, in the only spelling allowed.
fn label(name: String) -> Result<String, TlsError> {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let sound = (1..=63).contains(&name.len())
        && name.bytes().all(known)
        && !name.starts_with('-')
        && !name.ends_with('-');
    match sound {
        true => Ok(name),
        false => Err(TlsError::BadName(name)),
    }
}
