//! The log: lines on standard error, one for each thing worth knowing.

use std::env;

use tracing::level_filters::LevelFilter;

use crate::config::{LogFormat, LogLevel};

/// Overrides the level of the configuration.
const LEVEL_VARIABLE: &str = "DUNLIN_LOG";

/// Sends the log to standard error. Only the first call of a process counts.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let (level, mistake) = match env::var(LEVEL_VARIABLE).map(|name| name.parse()) {
        Ok(Ok(level)) => (level, None),
        Ok(Err(mistake)) => (level, Some(mistake)),
        Err(_) => (level, None),
    };
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_max_level(level);
    // A process that embeds a node may have a log of its own.
    let _ = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if let Some(mistake) = mistake {
        tracing::warn!(mistake, "{LEVEL_VARIABLE} is not used");
    }
}
