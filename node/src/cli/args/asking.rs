//! How many nodes a request asks for, and how long it may take.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dunlin_client::{Options, Quorum};

/// What a request asks for beyond its bucket's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "How many nodes, how long")]
pub(crate) struct Asking {
    /// Nodes that answer a read: one, majority, all or a number
    #[arg(long, value_name = "N")]
    pub(crate) r: Option<Quorum>,
    /// Of those, owners of the key
    #[arg(long, value_name = "N")]
    pub(crate) pr: Option<Quorum>,
    /// Nodes that hold a write
    #[arg(long, value_name = "N")]
    pub(crate) w: Option<Quorum>,
    /// Of those, owners of the key
    #[arg(long, value_name = "N")]
    pub(crate) pw: Option<Quorum>,
    /// Of those, nodes that have synced it to disk
    #[arg(long, value_name = "N")]
    pub(crate) dw: Option<Quorum>,
    /// Only owners of the key count: nobody stands in for one that is away
    #[arg(long)]
    pub(crate) strict: bool,
    /// How long a request may take, such as 500ms or 10s [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Go on with the session whose token is in this file, and keep its token there: reads show what commands
    /// of the session have written and read before. Not for several commands at once
    #[arg(long, value_name = "FILE")]
    pub(crate) session: Option<PathBuf>,
}

impl Asking {
    /// As the client library takes it.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new();
        if let Some(r) = self.r {
            options = options.r(r);
        }
        if let Some(pr) = self.pr {
            options = options.pr(pr);
        }
        if let Some(w) = self.w {
            options = options.w(w);
        }
        if let Some(pw) = self.pw {
            options = options.pw(pw);
        }
        if let Some(dw) = self.dw {
            options = options.dw(dw);
        }
        if self.strict {
            options = options.strict();
        }
        if let Some(timeout) = self.timeout {
            options = options.timeout(timeout);
        }
        options
    }

    /// The same, with this timeout unless one was asked for.
    pub(crate) fn with_timeout_default(mut self, timeout: Duration) -> Self {
        self.timeout = self.timeout.or(Some(timeout));
        self
    }
}

/// Parses `500ms`, `10s`, `2m`; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("", 1_000)];
    let parsed = units.into_iter().find_map(|(unit, factor)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(factor)
    });
    match parsed {
        Some(ms) if (1..=86_400_000).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err("write a time between 1ms and a day, such as 500ms, 10s or 2m".to_owned()),
    }
}
