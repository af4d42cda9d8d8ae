//! The words of dev and bucket.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use dunlin_client::{BucketName, Durability, Kind, Quorum};

/// `dunlin dev`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_precedence_over_arg = true
)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DevCommand>,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(crate) nodes: u16,
    #[command(flatten)]
    pub(crate) place: DevPlace,
    /// The port of the first node; the others follow [default: free ones]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1024..))]
    pub(crate) port: Option<u16>,
    /// Copies of everything [default: 3, or as many as there are nodes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) replicas: Option<u8>,
    /// Parts that the data is cut into, a power of two [default: 64]
    #[arg(long, value_name = "Q", value_parser = partition_count)]
    pub(crate) partitions: Option<u16>,
    /// Return when the cluster is ready, and leave it running
    #[arg(long)]
    pub(crate) detach: bool,
}

fn partition_count(text: &str) -> Result<u16, String> {
    let count = text
        .parse()
        .ok()
        .filter(|count: &u16| count.is_power_of_two() && *count <= 4096);
    count.ok_or_else(|| "write a power of two up to 4096".to_owned())
}

/// Where a cluster for development lives.
#[derive(Clone, Debug, Args)]
pub(crate) struct DevPlace {
    /// The folder of its certificates, logs and data
    #[arg(long, default_value = "./dunlin-dev")]
    pub(crate) dir: PathBuf,
}

/// `dunlin dev …`
#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Add a node and start it; it owns nothing until it is let join (dunlin cluster join)
    Add {
        #[command(flatten)]
        place: DevPlace,
    },
    /// Stop a node that has left the cluster, and remove it with its data
    Remove {
        /// Which, from 1
        #[arg(value_name = "I", value_parser = clap::value_parser!(u16).range(1..))]
        node: u16,
        #[command(flatten)]
        place: DevPlace,
    },
    /// Stop all nodes
    Stop {
        #[command(flatten)]
        place: DevPlace,
    },
    /// Kill one node at once, as a power cut would (SIGKILL)
    Kill {
        /// Which, from 1
        #[arg(value_name = "I", value_parser = clap::value_parser!(u16).range(1..))]
        node: u16,
        #[command(flatten)]
        place: DevPlace,
    },
    /// Start one node again, stopping it first if it runs
    Restart {
        /// Which, from 1
        #[arg(value_name = "I", value_parser = clap::value_parser!(u16).range(1..))]
        node: u16,
        #[command(flatten)]
        place: DevPlace,
    },
}

/// `dunlin bucket …`
#[derive(Debug, Subcommand)]
pub(crate) enum BucketCommand {
    /// Create a bucket; what it is cannot be changed later
    Create(BucketCreateArgs),
    /// List the buckets
    List,
    /// Show one bucket
    Show {
        /// Its name
        name: BucketName,
    },
    /// Drop a bucket with all that is in it
    Drop {
        /// Its name
        name: BucketName,
    },
}

/// `dunlin bucket create`
#[derive(Debug, Args)]
pub(crate) struct BucketCreateArgs {
    /// Its name: letters, digits, '_', '-', '.'
    pub(crate) name: BucketName,
    /// What its keys are: register, lww, counter, flag, max, min, set or map
    #[arg(long)]
    pub(crate) kind: Kind,
    /// Nodes that answer a read, unless it asks for another number: one, majority, all or a number
    #[arg(long, value_name = "N")]
    pub(crate) r: Option<Quorum>,
    /// Nodes that hold a write, likewise
    #[arg(long, value_name = "N")]
    pub(crate) w: Option<Quorum>,
    /// Of those, nodes that have synced it; as many as --w if synced, none if periodic
    #[arg(long, value_name = "N")]
    pub(crate) dw: Option<Quorum>,
    /// synced: a node holds a write once it is on its disk. periodic: a little before
    #[arg(long, default_value = "synced", value_name = "HOW")]
    pub(crate) durability: Durability,
}

/// `dunlin cert …`
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Make the authority that signs the others; keep its key off the nodes
    Create {
        /// The cluster's name: lower-case letters, digits and inner hyphens
        name: String,
        #[command(flatten)]
        place: CertPlace,
    },
    /// Make the certificate and key of a node
    Node {
        /// The node's name, one lower-case DNS label
        name: String,
        #[command(flatten)]
        place: CertPlace,
    },
    /// Make the certificate and key of a user: a person or a program
    User {
        /// The user's name, one lower-case DNS label
        name: String,
        #[command(flatten)]
        place: CertPlace,
    },
}

/// Where certificates are.
#[derive(Debug, Args)]
pub(crate) struct CertPlace {
    /// The folder with the authority's files, where the new ones are written too
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
}
