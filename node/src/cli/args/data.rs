//! The words of the commands about data: put, get, delete, incr, flag, set, map, keys.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueEnum};
use dunlin_client::BucketName;

use super::{Asking, KeyArgs};

/// `dunlin put`
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    pub(crate) at: KeyArgs,
    /// The value; - reads it from standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: OsString,
    #[command(flatten)]
    pub(crate) replacing: Replacing,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// What a write to a register replaces. Nothing, if nothing is said.
#[derive(Debug, Args)]
pub(crate) struct Replacing {
    /// Replace what the get that showed this context has shown (registers)
    #[arg(long, value_name = "CONTEXT", conflicts_with = "overwrite")]
    pub(crate) context: Option<String>,
    /// Replace whatever is there now (registers)
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// `dunlin get`
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) at: KeyArgs,
    /// Write exactly the bytes of the one value, with no newline after it
    #[arg(long, conflicts_with_all = ["json", "hex", "verbose"])]
    pub(crate) raw: bool,
    /// Show the context and who answered, on standard error
    #[arg(long, short)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// `dunlin delete`
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) at: KeyArgs,
    /// Remove what the get that showed this context has shown, and nothing else (registers)
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// `dunlin incr`
#[derive(Debug, Args)]
pub(crate) struct IncrArgs {
    #[command(flatten)]
    pub(crate) at: KeyArgs,
    /// How much; negative to subtract
    #[arg(default_value_t = 1, allow_negative_numbers = true, value_name = "N")]
    pub(crate) amount: i64,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// `dunlin flag`
#[derive(Debug, Args)]
pub(crate) struct FlagArgs {
    #[command(flatten)]
    pub(crate) at: KeyArgs,
    /// What it shall be; left out, it is shown
    #[arg(value_name = "on|off")]
    pub(crate) switch: Option<Switch>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// What a flag can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// On
    On,
    /// Off
    Off,
}

/// `dunlin set …`
#[derive(Debug, Subcommand)]
pub(crate) enum SetCommand {
    /// Add elements
    Add(ElementsArgs),
    /// Remove elements
    Remove(ElementsArgs),
    /// Ask whether all these elements are in it
    Has(ElementsArgs),
    /// List the elements, in order
    List(SetListArgs),
    /// Count the elements
    Count(SetCountArgs),
}

/// Elements of a set.
#[derive(Debug, Args)]
pub(crate) struct ElementsArgs {
    #[command(flatten)]
    pub(crate) at: KeyArgs,
    /// The elements
    #[arg(required = true, allow_negative_numbers = true, value_name = "ELEMENT")]
    pub(crate) elements: Vec<OsString>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// `dunlin set list`
#[derive(Debug, Args)]
pub(crate) struct SetListArgs {
    #[command(flatten)]
    pub(crate) at: KeyArgs,
    /// No more than this many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// `dunlin set count`
#[derive(Debug, Args)]
pub(crate) struct SetCountArgs {
    #[command(flatten)]
    pub(crate) at: KeyArgs,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// `dunlin map …`. FIELD is typed: name:register, seen:lww, visits:counter, active:flag, tags:set,
/// and below maps address:map/city:register.
#[derive(Debug, Subcommand)]
#[command(after_help = FIELD_HELP)]
pub(crate) enum MapCommand {
    /// Write a register, an lww, or a flag (on or off)
    Set(MapSetArgs),
    /// Add to a counter
    Incr(MapIncrArgs),
    /// Add elements to a set
    Add(MapAddArgs),
    /// Show one field, or all of them
    Get(MapGetArgs),
    /// Remove a field, or elements of a set
    Remove(MapRemoveArgs),
}

const FIELD_HELP: &str = "\
FIELD is typed: name:register  seen:lww  visits:counter  active:flag  tags:set
Below a map:    address:map/city:register
A name that is no text, or holds '/': 2f00:hex:register";

/// Which field of which map.
#[derive(Debug, Args)]
pub(crate) struct FieldArgs {
    #[command(flatten)]
    pub(crate) at: KeyArgs,
    /// The field, as name:kind
    pub(crate) field: String,
}

/// `dunlin map set`
#[derive(Debug, Args)]
pub(crate) struct MapSetArgs {
    #[command(flatten)]
    pub(crate) at: FieldArgs,
    /// The value; - reads it from standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: OsString,
    #[command(flatten)]
    pub(crate) replacing: Replacing,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// `dunlin map incr`
#[derive(Debug, Args)]
pub(crate) struct MapIncrArgs {
    #[command(flatten)]
    pub(crate) at: FieldArgs,
    /// How much; negative to subtract
    #[arg(default_value_t = 1, allow_negative_numbers = true, value_name = "N")]
    pub(crate) amount: i64,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// `dunlin map add`
#[derive(Debug, Args)]
pub(crate) struct MapAddArgs {
    #[command(flatten)]
    pub(crate) at: FieldArgs,
    /// The elements
    #[arg(required = true, allow_negative_numbers = true, value_name = "ELEMENT")]
    pub(crate) elements: Vec<OsString>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// `dunlin map get`
#[derive(Debug, Args)]
pub(crate) struct MapGetArgs {
    #[command(flatten)]
    pub(crate) at: KeyArgs,
    /// The field, as name:kind; all of them if it is left out
    pub(crate) field: Option<String>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// `dunlin map remove`
#[derive(Debug, Args)]
pub(crate) struct MapRemoveArgs {
    #[command(flatten)]
    pub(crate) at: FieldArgs,
    /// Elements to remove from a set; the whole field if there are none
    #[arg(allow_negative_numbers = true, value_name = "ELEMENT")]
    pub(crate) elements: Vec<OsString>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// `dunlin keys`
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// The bucket
    pub(crate) bucket: BucketName,
    /// Only keys that start with this
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub(crate) prefix: Option<OsString>,
    /// Only say how many there are
    #[arg(long)]
    pub(crate) count: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}
