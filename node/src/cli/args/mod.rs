//! The words of the command line. Nothing here does anything: parsing has no effects.
//!
//! Keys, values and elements stay [`OsString`]s until they are used, so that any bytes can be given;
//! with `--hex` they are read as hex (see `text`).

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

mod asking;
mod cluster;
mod data;
mod files;
mod shape;

pub(crate) use asking::{Asking, duration};
pub(crate) use cluster::{
    BucketCommand, BucketCreateArgs, CertCommand, CertPlace, DevArgs, DevCommand,
};
pub(crate) use data::{
    DeleteArgs, ElementsArgs, FieldArgs, FlagArgs, GetArgs, IncrArgs, KeysArgs, MapAddArgs,
    MapCommand, MapGetArgs, MapIncrArgs, MapRemoveArgs, MapSetArgs, PutArgs, SetCommand,
    SetCountArgs, SetListArgs, Switch,
};
pub(crate) use files::{ExportArgs, Format, ImportArgs};
pub(crate) use shape::{CancelArgs, ChangeCommand, ClusterCommand, PlaceArgs};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  not found, or the answer is no
  2  wrong usage
  3  refused or failed; nothing was written (an import lists what was)
  4  the outcome is unknown: it may be applied, now or later

Quick start:
  dunlin dev --detach
  dunlin bucket create carts --kind set
  dunlin set add carts ana apples pears
  dunlin get carts ana";

/// A leaderless, eventually consistent key-value store with CRDTs.
#[derive(Debug, Parser)]
#[command(name = "dunlin", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// The cluster file [default: ./dunlin-dev/cluster.toml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DUNLIN_CLUSTER",
        hide_env_values = true
    )]
    pub(crate) cluster: Option<PathBuf>,
    /// Answer in JSON; errors too, on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Keys, values and elements are given and shown as hex
    #[arg(long, global = true)]
    pub(crate) hex: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a cluster of real processes on this machine, for development
    Dev(DevArgs),
    /// Run one node
    Server {
        /// Its configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make the certificates of a cluster: its authority, its nodes and its users
    #[command(subcommand)]
    Cert(CertCommand),
    /// Create, list, show and drop buckets
    #[command(subcommand)]
    Bucket(BucketCommand),
    /// Write a value (register, lww) or a number (max, min)
    Put(PutArgs),
    /// Read what is under a key
    Get(GetArgs),
    /// Remove what is under a key
    Delete(DeleteArgs),
    /// Add to a counter
    Incr(IncrArgs),
    /// Turn a flag on or off, or ask for it
    Flag(FlagArgs),
    /// Change and read sets
    #[command(subcommand)]
    Set(SetCommand),
    /// Change and read the fields of maps
    #[command(subcommand)]
    Map(MapCommand),
    /// List the keys of a bucket
    Keys(KeysArgs),
    /// Write the lines of a file into a bucket
    Import(ImportArgs),
    /// Write a bucket to standard output, as ndjson that import takes
    Export(ExportArgs),
    /// Show what each owner holds of a key, to the dot, and what differs
    Explain(KeyArgs),
    /// Ask about, check, change and maintain the cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
}

/// Which key of which bucket.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// The bucket
    pub(crate) bucket: dunlin_client::BucketName,
    /// The key
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: OsString,
}

#[cfg(test)]
mod tests;
