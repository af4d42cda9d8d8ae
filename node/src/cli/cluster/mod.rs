//! `dunlin cluster …`
//!
//! ```text
//! change (join, leave, …) ─> plan ─> apply ─> moves        cancel: back, before or after apply
//! ```
//!
//! `shape` asks the cluster how it is; `plan` and `verdict` decide what that means; the others ask,
//! show and write.

use super::args::ClusterCommand;
use super::ended::Ended;
use super::fault::Fault;
use super::output::Output;
use super::session::Session;

mod apply;
mod cancel;
mod change;
mod compact;
mod moves;
mod peers;
mod plan;
mod plan_text;
#[cfg(test)]
mod samples;
mod shape;
mod status;
mod verdict;
mod verify;

pub(super) use shape::{counted, describe, name};

/// `dunlin cluster …`
pub(crate) async fn run(
    session: &Session,
    out: &mut Output,
    command: ClusterCommand,
) -> Result<Ended, Fault> {
    match command {
        ClusterCommand::Status { peers, wait } => status::run(session, out, peers, wait).await,
        ClusterCommand::Change(command) => change::run(session, out, command).await,
        ClusterCommand::Plan(rate) => plan_text::run(session, out, rate.rate).await,
        ClusterCommand::Apply { yes, rate } => apply::run(session, out, yes, rate.rate).await,
        ClusterCommand::Cancel(args) => cancel::run(session, out, args).await,
        ClusterCommand::Moves { watch } => moves::run(session, out, watch).await,
        ClusterCommand::Verify { wait } => verify::run(session, out, wait).await,
        ClusterCommand::Compact => compact::run(session, out).await,
    }
}
