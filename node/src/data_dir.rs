//! Whose data a directory holds: a small file beside the store, written once and checked ever after.
//!
//! A store opened under another name or in another cluster would be read as something it is not. So the
//! file keeps the node's name, the cluster's, and the [`BirthId`] by which two clusters of one name are
//! told apart. Who owns what is not in it: that the store knows itself.
//!
//! The first format kept, instead of the birth id, the list of nodes that the cluster was born with. It
//! is read as long as the cluster file still says the same, and written anew.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use dunlin_client::tls::ClusterName;
use dunlin_ring::Layout;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::birth::BirthId;

const FILE: &str = "node.toml";
const STORE: &str = "kv";
/// The format of the file that this version writes, and the newest that it reads.
const FORMAT: u32 = 2;

/// Why a data directory is not used. Nothing was changed.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file in it is damaged, or was written by a newer version.
    #[error("{} is not readable: {reason}", path.display())]
    NotReadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It belongs to another node or cluster.
    #[error(
        "{} holds the data of node {found_node} of cluster {found_cluster}, and this is node {node} \
         of cluster {cluster}; give each node its own data_dir",
        dir.display()
    )]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// Whose data it holds.
        found_node: String,
        /// Of which cluster.
        found_cluster: String,
        /// Who wants to use it.
        node: String,
        /// Of which cluster.
        cluster: String,
    },
    /// It was written by a version that went by the cluster file, and that says something else now.
    #[error(
        "{} was written when the cluster file said {found}; now it says {now}; restore the cluster file \
         for one start with this version",
        dir.display()
    )]
    OtherLayout {
        /// The directory.
        dir: PathBuf,
        /// What decided then who owns what.
        found: String,
        /// What the cluster file says now.
        now: String,
    },
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    format: u32,
    cluster: String,
    node: String,
    birth: String,
}

/// What it said in its first format.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstOwner {
    #[serde(rename = "format")]
    _format: u32,
    cluster: String,
    node: String,
    partitions: u16,
    placement: Placement,
}

/// What is the same in every format.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// All that decided which node owned what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Placement {
    replicas: u8,
    nodes: Vec<PlacedNode>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlacedNode {
    name: String,
    zone: String,
    capacity: u32,
}

/// The layout that a cluster was born with, as the first format has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Founding {
    partitions: u16,
    placement: Placement,
}

impl Founding {
    fn of(layout: &Layout) -> Self {
        let nodes = layout.members().iter().map(|member| PlacedNode {
            name: member.name.clone(),
            zone: member.zone.clone(),
            capacity: member.capacity,
        });
        Self {
            partitions: layout.partitions().get(),
            placement: Placement {
                replicas: layout.replicas(),
                nodes: nodes.collect(),
            },
        }
    }

    /// Refuses a cluster file that founds another layout, or none.
    pub(crate) fn check(&self, dir: &Path, now: Option<&Layout>) -> Result<(), DataDirError> {
        let now = now.map(Self::of);
        if now.as_ref() == Some(self) {
            return Ok(());
        }
        Err(DataDirError::OtherLayout {
            dir: dir.to_owned(),
            found: self.to_string(),
            now: now.map_or("nothing of this node".to_owned(), |now| now.to_string()),
        })
    }
}

impl std::fmt::Display for Founding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (partitions, replicas) = (self.partitions, self.placement.replicas);
        write!(f, "partitions = {partitions}, replicas = {replicas}, nodes")?;
        for node in &self.placement.nodes {
            let PlacedNode {
                name,
                zone,
                capacity,
            } = node;
            write!(f, " {name} (zone {zone}, capacity {capacity})")?;
        }
        Ok(())
    }
}

/// Where the store is in a data directory.
pub(crate) fn store(dir: &Path) -> PathBuf {
    dir.join(STORE)
}

/// Whose a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody's.
    Nobodys,
    /// This node's, in the cluster of this birth.
    Ours(BirthId),
    /// This node's, in a cluster that was born with this.
    OursSince(Founding),
}

/// Looks whose a directory is, and refuses somebody else's. It is made if it is not there.
pub(crate) fn look(dir: &Path, cluster: &ClusterName, node: &str) -> Result<Claim, DataDirError> {
    fs::create_dir_all(dir).map_err(file_error(dir))?;
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Claim::Nobodys),
        Err(error) => return Err(file_error(&path)(error)),
    };
    let not_readable = |reason: String| DataDirError::NotReadable {
        path: path.clone(),
        reason,
    };
    let no_toml = |error: toml::de::Error| not_readable(error.message().to_owned());
    let Format { format } = toml::from_str(&text).map_err(no_toml)?;
    let (found_cluster, found_node, claim) = match format {
        1 => {
            let found: FirstOwner = toml::from_str(&text).map_err(no_toml)?;
            let founding = Founding {
                partitions: found.partitions,
                placement: found.placement,
            };
            (found.cluster, found.node, Claim::OursSince(founding))
        }
        FORMAT => {
            let found: Owner = toml::from_str(&text).map_err(no_toml)?;
            let birth = BirthId::parse(&found.birth).ok_or_else(|| {
                not_readable("its birth is no number of 16 hex digits".to_owned())
            })?;
            (found.cluster, found.node, Claim::Ours(birth))
        }
        _ => {
            let reason = format!("it has format {format}, this version reads up to {FORMAT}");
            return Err(not_readable(reason));
        }
    };
    if found_node != node || found_cluster != cluster.as_str() {
        return Err(DataDirError::OtherNode {
            dir: dir.to_owned(),
            found_node,
            found_cluster,
            node: node.to_owned(),
            cluster: cluster.to_string(),
        });
    }
    Ok(claim)
}

/// Makes the directory this node's. To be called on what [`look`] found to be nobody's or its own.
pub(crate) fn claim(
    dir: &Path,
    cluster: &ClusterName,
    node: &str,
    birth: BirthId,
) -> Result<(), DataDirError> {
    let owner = Owner {
        format: FORMAT,
        cluster: cluster.to_string(),
        node: node.to_owned(),
        birth: birth.to_string(),
    };
    write(dir, &dir.join(FILE), &owner)
}

/// Writes the file whole or not at all.
fn write(dir: &Path, path: &Path, owner: &Owner) -> Result<(), DataDirError> {
    let text = toml::to_string(owner).map_err(|error| DataDirError::NotReadable {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let temporary = path.with_extension("toml.new");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(file_error(&temporary))?;
    fs::rename(&temporary, path).map_err(file_error(path))?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(file_error(dir))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_ring::{Member, MemberState, NodeId, PartitionCount};

    fn layout(names: &[&str], partitions: u16, port: u16) -> Layout {
        let members = names.iter().map(|name| Member {
            id: NodeId::from_name(name),
            name: (*name).to_owned(),
            address: format!("127.0.0.1:{port}"),
            zone: "default".to_owned(),
            capacity: 1,
            state: MemberState::Active,
        });
        let partitions = PartitionCount::new(partitions).unwrap();
        Layout::first(members.collect(), 3, partitions).unwrap()
    }

    fn shop() -> ClusterName {
        ClusterName::new("shop").unwrap()
    }

    fn birth() -> BirthId {
        BirthId::parse("0123456789abcdef").unwrap()
    }

    #[test]
    fn a_directory_stays_with_its_node_and_its_birth() {
        let dir = tempfile::tempdir().unwrap();
        let look = || look(dir.path(), &shop(), "n1").unwrap();
        assert_eq!(look(), Claim::Nobodys);
        claim(dir.path(), &shop(), "n1", birth()).unwrap();
        assert_eq!(look(), Claim::Ours(birth()));
    }

    #[test]
    fn a_directory_of_another_node_or_cluster_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        claim(dir.path(), &shop(), "n1", birth()).unwrap();
        let error = look(dir.path(), &shop(), "n2").unwrap_err();
        assert!(
            error.to_string().contains("node n1 of cluster shop"),
            "{error}"
        );
        let other = ClusterName::new("store").unwrap();
        let error = look(dir.path(), &other, "n1").unwrap_err();
        assert!(error.to_string().contains("cluster store"), "{error}");
    }

    #[test]
    fn the_first_format_is_read_while_the_cluster_file_says_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut text = "format = 1\ncluster = \"shop\"\nnode = \"n1\"\npartitions = 8\n\
                        [placement]\nreplicas = 3\n"
            .to_owned();
        for member in layout(&["n1", "n2"], 8, 7001).members() {
            let name = &member.name;
            text.push_str(&format!(
                "[[placement.nodes]]\nname = \"{name}\"\nzone = \"default\"\ncapacity = 1\n"
            ));
        }
        fs::write(dir.path().join(FILE), text).unwrap();
        let Claim::OursSince(founding) = look(dir.path(), &shop(), "n1").unwrap() else {
            panic!("it is in the first format");
        };
        for port in [7001, 7002] {
            let same = layout(&["n1", "n2"], 8, port);
            founding.check(dir.path(), Some(&same)).unwrap();
        }
        let others = [
            Some(layout(&["n1", "n2"], 16, 7001)),
            Some(layout(&["n1", "n3"], 8, 7001)),
            None,
        ];
        for other in others {
            let error = founding.check(dir.path(), other.as_ref()).unwrap_err();
            assert!(matches!(error, DataDirError::OtherLayout { .. }), "{error}");
        }
    }

    #[test]
    fn a_damaged_or_newer_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let no_birth = "format = 2\ncluster = \"shop\"\nnode = \"n1\"\nbirth = \"x\"\n";
        for text in ["node = ", "format = 2\n", "format = 3\n", no_birth] {
            fs::write(&path, text).unwrap();
            let error = look(dir.path(), &shop(), "n1").unwrap_err();
            assert!(matches!(error, DataDirError::NotReadable { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
