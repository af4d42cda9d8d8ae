//! `dunlin cluster compact`: every node returns the disk space of what was overwritten and deleted.
//!
//! One node after the other, so that the others answer meanwhile at full speed.

use std::time::Duration;

use dunlin_client::Options;
use serde_json::{Value, json};

use super::shape::active;
use crate::cli::ended::Ended;
use crate::cli::fault::{Fault, reason};
use crate::cli::output::{Output, note};
use crate::cli::progress::bytes;
use crate::cli::session::Session;

/// How long a node may take: it rewrites its files.
const TIMEOUT: Duration = Duration::from_secs(600);

/// `dunlin cluster compact`
pub(super) async fn run(session: &Session, out: &mut Output) -> Result<Ended, Fault> {
    let client = session.connect(Options::new().timeout(TIMEOUT)).await?;
    let mut ended = Ended::Done;
    let mut nodes = Vec::new();
    for member in active(&client.layout()) {
        let name = &member.name;
        match client.compact(member.id).await {
            Ok(done) if out.is_json() => {
                nodes.push(json!({ "node": name, "before": done.before, "after": done.after }));
            }
            Ok(done) => {
                out.line(&format!(
                    "{name}: {} before, {} now",
                    bytes(done.before),
                    bytes(done.after)
                ))?;
                out.flush()?;
            }
            Err(error) => {
                ended = Ended::Failed;
                match out.is_json() {
                    true => nodes.push(json!({ "node": name, "error": reason(&error) })),
                    false => note(&format!("{name}: not compacted: {}", reason(&error))),
                }
            }
        }
    }
    if out.is_json() {
        out.json_line(&json!({ "nodes": Value::Array(nodes) }))?;
    }
    Ok(ended)
}
