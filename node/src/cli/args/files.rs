//! The words of import and export.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dunlin_client::BucketName;

use super::Asking;

/// Writes in flight unless told otherwise.
const CONCURRENCY: u16 = 64;

/// `dunlin import`
#[derive(Debug, Args)]
#[command(after_help = IMPORT_HELP)]
pub(crate) struct ImportArgs {
    /// The bucket, of any kind
    pub(crate) bucket: BucketName,
    /// The file; - is standard input
    pub(crate) file: PathBuf,
    /// What the file is [default: by its ending]
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// The field that holds the key; left out for a file that dunlin export wrote
    #[arg(long, value_name = "FIELD")]
    pub(crate) key: Option<String>,
    /// register, lww, flag: the field that holds the value
    #[arg(long, value_name = "FIELD", conflicts_with_all = ["amount", "element"])]
    pub(crate) value: Option<String>,
    /// counter, max, min: the field that holds the number
    #[arg(long, value_name = "FIELD", conflicts_with = "element")]
    pub(crate) amount: Option<String>,
    /// set: the field that holds the element, or a JSON array of them
    #[arg(long, value_name = "FIELD")]
    pub(crate) element: Option<String>,
    /// Lines written at a time; lines of one key are always written in their order
    #[arg(long, value_name = "N", default_value_t = CONCURRENCY,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// Stop at the first line that fails
    #[arg(long)]
    pub(crate) stop_on_error: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

const IMPORT_HELP: &str = "\
What a line becomes, by the kind of the bucket:
  register, lww      the whole line as JSON, or the field of --value
  map                one field for each field of the line
  counter            adds --amount;  max, min: observes --amount
  set                adds --element
  flag               on, or the field of --value (true/false, on/off, 1/0)
A file that dunlin export wrote is recognised by its first line, and needs no --key.";

/// What an import reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line
    Ndjson,
    /// Comma-separated, with a header
    Csv,
}

/// `dunlin export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The bucket
    pub(crate) bucket: BucketName,
    /// Keys read at a time
    #[arg(long, value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    #[command(flatten)]
    pub(crate) asking: Asking,
}
