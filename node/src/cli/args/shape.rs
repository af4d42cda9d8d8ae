//! The words of `dunlin cluster`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::duration;

/// Bytes per second that a shard of a node pulls unless its configuration says otherwise.
const RATE_DEFAULT: &str = "64MiB";

/// `dunlin cluster …`
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show how the cluster and each node is
    Status {
        /// Also show how each node finds the others: round trips, losses, answers
        #[arg(long)]
        peers: bool,
        /// If not every write is safe, look again for so long; exit code 1 if it is not by then
        #[arg(long, value_name = "TIME", value_parser = duration)]
        wait: Option<Duration>,
    },
    #[command(flatten)]
    Change(ChangeCommand),
    /// Show what the staged changes would do
    Plan(RateArgs),
    /// Make the staged changes the next layout: data begins to move
    Apply {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        rate: RateArgs,
    },
    /// Take back what is staged, or go back from the change that is running
    Cancel(CancelArgs),
    /// Show how far the running change is, and whom it waits for
    Moves {
        /// Go on until it is done
        #[arg(long)]
        watch: bool,
    },
    /// Compare what the owners of every partition hold; exit code 1 if they differ
    Verify {
        /// If they differ, look again for so long: repair may be under way
        #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration)]
        wait: Duration,
    },
    /// Return the disk space of what was overwritten and deleted, on every node
    Compact,
}

/// The commands that stage one change.
#[derive(Debug, Subcommand)]
pub(crate) enum ChangeCommand {
    /// Stage: a node becomes a member, or one that is leaving stays
    Join {
        /// Its name
        #[arg(value_parser = node_name)]
        node: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Stage: a member gives up all that it owns
    Leave {
        /// Its name
        node: String,
    },
    /// Stage: a node takes the place of a member, which leaves
    Replace {
        /// The member that leaves
        old: String,
        /// The node that takes its place
        #[arg(value_parser = node_name)]
        new: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Stage: a member is in another zone
    Zone {
        /// Its name
        node: String,
        /// Its zone from now on
        #[arg(value_parser = zone)]
        zone: String,
    },
    /// Stage: a member carries more or less
    Capacity {
        /// Its name
        node: String,
        /// Its weight beside the other members
        #[arg(value_name = "C", value_parser = clap::value_parser!(u32).range(1..))]
        capacity: u32,
    },
    /// Stage: so many copies of everything
    N {
        /// How many
        #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
        n: u8,
    },
}

/// What is said of a node that joins. What is left out is taken from the cluster file and from what the
/// cluster has heard.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PlaceArgs {
    /// What it may fail together with [default: as in the cluster file, else "default"; of a replacement,
    /// that of the member whose place it takes]
    #[arg(long, value_name = "Z", value_parser = zone)]
    pub(crate) zone: Option<String>,
    /// Its weight beside the other members [default: likewise, else 1]
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) capacity: Option<u32>,
    /// Where it is reached, as host:port
    #[arg(long, value_name = "A", value_parser = address)]
    pub(crate) address: Option<String>,
}

/// At what rate data is thought to move.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct RateArgs {
    /// Bytes that a node pulls in a second, to estimate the time: repair_bytes_per_second of its
    /// configuration, for one shard
    #[arg(long, value_name = "BYTES", default_value = RATE_DEFAULT, value_parser = byte_count)]
    pub(crate) rate: u64,
}

/// `dunlin cluster cancel`
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct CancelArgs {
    /// Take back what is staged
    #[arg(long, conflicts_with = "running")]
    pub(crate) staged: bool,
    /// Go back from the change that is running to the last layout that was complete
    #[arg(long)]
    pub(crate) running: bool,
}

/// A name as a certificate can have it.
fn node_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_label = (1..=63).contains(&text.len())
        && text.chars().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-');
    match is_label {
        true => Ok(text.to_owned()),
        false => Err("write 1 to 63 of a-z, 0-9 and '-', as in the node's certificate".to_owned()),
    }
}

fn zone(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err("write a name, such as rack-4 or eu-1a".to_owned()),
    }
}

fn address(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':');
    let fits = parts.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0) && text.len() <= 255
    });
    match fits {
        true => Ok(text.to_owned()),
        false => Err("write host:port, such as 127.0.0.1:7104".to_owned()),
    }
}

/// Parses `64MiB`, `1GiB`; a number alone is bytes.
fn byte_count(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("", 0)];
    let parsed = units.into_iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(1 << shift)
    });
    let bytes = parsed.filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "write a number of bytes, such as 64MiB or 1GiB".to_owned())
}
