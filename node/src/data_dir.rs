//! Whose data a directory holds: a small file beside the store, written once and checked ever after.
//!
//! A store opened under another name or another number of partitions would be read as something it
//! is not. The nodes, zones and capacities decide who owns what, so a directory also remembers them:
//! while a cluster cannot change its layout, a cluster file that differs is a mistake to be refused.
//! Addresses may change.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use dunlin_client::tls::ClusterName;
use dunlin_ring::Layout;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

const FILE: &str = "node.toml";
const STORE: &str = "kv";
/// The format of the file that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;

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
    /// It was written under another layout.
    #[error(
        "{} was written when the cluster file said {found}; now it says {now}; restore the cluster file",
        dir.display()
    )]
    OtherLayout {
        /// The directory.
        dir: PathBuf,
        /// What decided then who owns what.
        found: String,
        /// What decides it now.
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
    partitions: u16,
    placement: Placement,
}

/// All that decides which node owns what, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Placement {
    replicas: u8,
    nodes: Vec<PlacedNode>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlacedNode {
    name: String,
    zone: String,
    capacity: u32,
}

impl Placement {
    /// That of a layout.
    pub(crate) fn of(layout: &Layout) -> Self {
        let nodes = layout.members().iter().map(|member| PlacedNode {
            name: member.name.clone(),
            zone: member.zone.clone(),
            capacity: member.capacity,
        });
        Self {
            replicas: layout.replicas(),
            nodes: nodes.collect(),
        }
    }

    /// A hash by which two nodes find out whether they agree, Q included.
    pub(crate) fn hash(&self, layout: &Layout) -> u64 {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&layout.number().0.to_be_bytes());
        bytes.extend_from_slice(&layout.partitions().get().to_be_bytes());
        bytes.push(self.replicas);
        for node in &self.nodes {
            for text in [&node.name, &node.zone] {
                bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            bytes.extend_from_slice(&node.capacity.to_be_bytes());
        }
        xxh3_64(&bytes)
    }
}

impl std::fmt::Display for Owner {
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

/// Whether the node was here before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The directory was nobody's.
    First,
    /// It was this node's.
    Again,
}

/// Makes the directory this node's if it is nobody's, and refuses it if it is somebody else's.
pub(crate) fn claim(
    dir: &Path,
    cluster: &ClusterName,
    node: &str,
    layout: &Layout,
) -> Result<Claim, DataDirError> {
    fs::create_dir_all(dir).map_err(file_error(dir))?;
    let path = dir.join(FILE);
    let now = Owner {
        format: FORMAT,
        cluster: cluster.to_string(),
        node: node.to_owned(),
        partitions: layout.partitions().get(),
        placement: Placement::of(layout),
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write(dir, &path, &now)?;
            return Ok(Claim::First);
        }
        Err(error) => return Err(file_error(&path)(error)),
    };
    let not_readable = |reason: String| DataDirError::NotReadable {
        path: path.clone(),
        reason,
    };
    let found: Owner =
        toml::from_str(&text).map_err(|error| not_readable(error.message().to_owned()))?;
    if found.format > FORMAT {
        let reason = format!(
            "it has format {}, this version reads {FORMAT}",
            found.format
        );
        return Err(not_readable(reason));
    }
    if found.node != now.node || found.cluster != now.cluster {
        return Err(DataDirError::OtherNode {
            dir: dir.to_owned(),
            found_node: found.node,
            found_cluster: found.cluster,
            node: now.node,
            cluster: now.cluster,
        });
    }
    if found.partitions != now.partitions || found.placement != now.placement {
        return Err(DataDirError::OtherLayout {
            dir: dir.to_owned(),
            found: found.to_string(),
            now: now.to_string(),
        });
    }
    Ok(Claim::Again)
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

    #[test]
    fn a_directory_stays_with_its_node_whatever_its_address() {
        let dir = tempfile::tempdir().unwrap();
        let claims = [7001, 7002]
            .map(|port| claim(dir.path(), &shop(), "n1", &layout(&["n1", "n2"], 8, port)).unwrap());
        assert_eq!(claims, [Claim::First, Claim::Again]);
    }

    #[test]
    fn a_directory_of_another_node_or_cluster_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&["n1", "n2"], 8, 7001);
        claim(dir.path(), &shop(), "n1", &layout).unwrap();
        let error = claim(dir.path(), &shop(), "n2", &layout).unwrap_err();
        assert!(
            error.to_string().contains("node n1 of cluster shop"),
            "{error}"
        );
        let other = ClusterName::new("store").unwrap();
        let error = claim(dir.path(), &other, "n1", &layout).unwrap_err();
        assert!(error.to_string().contains("cluster store"), "{error}");
    }

    #[test]
    fn another_count_of_partitions_or_other_nodes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let placed = layout(&["n1", "n2"], 8, 7001);
        claim(dir.path(), &shop(), "n1", &placed).unwrap();
        for other in [
            layout(&["n1", "n2"], 16, 7001),
            layout(&["n1", "n3"], 8, 7001),
        ] {
            let error = claim(dir.path(), &shop(), "n1", &other).unwrap_err();
            assert!(matches!(error, DataDirError::OtherLayout { .. }), "{error}");
            assert_ne!(
                Placement::of(&placed).hash(&placed),
                Placement::of(&other).hash(&other),
                "peers notice as well"
            );
        }
    }

    #[test]
    fn a_damaged_or_newer_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for text in ["node = ", "format = 2\n"] {
            fs::write(&path, text).unwrap();
            let error = claim(dir.path(), &shop(), "n1", &layout(&["n1"], 8, 1)).unwrap_err();
            assert!(matches!(error, DataDirError::NotReadable { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
