//! `dunlin cluster …`

use super::args::ClusterCommand;
use super::ended::Ended;
use super::fault::Fault;
use super::output::Output;
use super::session::Session;

mod compact;
mod status;
mod verify;

/// `dunlin cluster …`
pub(crate) async fn run(
    session: &Session,
    out: &mut Output,
    command: ClusterCommand,
) -> Result<Ended, Fault> {
    match command {
        ClusterCommand::Status => status::run(session, out).await,
        ClusterCommand::Verify { wait } => verify::run(session, out, wait).await,
        ClusterCommand::Compact => compact::run(session, out).await,
    }
}
