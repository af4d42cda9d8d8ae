//! `dunlin cluster cancel`: takes back what is staged, or goes back from the change that is running.

use dunlin_protocol::cluster::{ClusterRequest, ClusterState};
use serde_json::json;

use super::shape::{change, complete, connect, counted, describe, is_running, newest, paste};
use crate::cli::args::CancelArgs;
use crate::cli::ended::Ended;
use crate::cli::fault::Fault;
use crate::cli::output::Output;
use crate::cli::session::Session;

/// What there is to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Staged,
    Running,
}

/// `dunlin cluster cancel`
pub(super) async fn run(
    session: &Session,
    out: &mut Output,
    args: CancelArgs,
) -> Result<Ended, Fault> {
    let client = connect(session).await?;
    let before = describe(&client).await?;
    match what(&before, args)? {
        What::Staged => {
            let changes = before.staged.len() as u64;
            change(&client, ClusterRequest::Unstage).await?;
            if out.is_json() {
                out.json_line(&json!({ "unstaged": changes }))?;
            } else {
                let changes = counted(changes, "staged change is", "staged changes are");
                out.line(&format!("{changes} taken back; nothing had moved"))?;
            }
        }
        What::Running => {
            let back_to = complete(&before)?.id;
            let from = newest(&before)?.id;
            let after = change(&client, ClusterRequest::Revert).await?;
            let applied = newest(&after)?.id;
            if out.is_json() {
                out.json_line(&json!({
                    "left": from.to_string(),
                    "back_to": back_to.to_string(),
                    "applied": applied.to_string(),
                }))?;
            } else {
                out.line(&format!(
                    "back to the owners of layout {back_to}, as layout {applied}; what layout {from} was to \
                     do is not staged again"
                ))?;
                let watch = paste(session, "cluster moves --watch");
                out.line(&format!("to watch it: {watch}"))?;
            }
        }
    }
    Ok(Ended::Done)
}

fn what(state: &ClusterState, args: CancelArgs) -> Result<What, Fault> {
    let nothing = |what: &str| Fault::Refused {
        what: what.to_owned(),
        advice: "dunlin cluster status shows what is staged and what is running".to_owned(),
    };
    match (!state.staged.is_empty(), is_running(state)) {
        (true, true) if !args.staged && !args.running => Err(Fault::Refused {
            what: "changes are staged, and another one is running".to_owned(),
            advice:
                "dunlin cluster cancel --staged takes back the first, --running goes back from the \
                     second"
                    .to_owned(),
        }),
        (true, _) if !args.running => Ok(What::Staged),
        (_, true) if !args.staged => Ok(What::Running),
        (false, _) if args.staged => Err(nothing("nothing is staged")),
        (_, false) if args.running => Err(nothing("no change is running")),
        _ => Err(nothing("nothing is staged, and no change is running")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[track_caller]
    fn check(state: &ClusterState, words: &str, expected: Result<What, &str>) {
        let args = CancelArgs {
            staged: words == "--staged",
            running: words == "--running",
        };
        match (what(state, args), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(fault), Err(says)) => {
                assert_eq!(fault.ended(), Ended::Failed);
                assert!(fault.text().contains(says), "{}", fault.text());
            }
            (found, _) => panic!("{words}: {found:?}"),
        }
    }

    #[test]
    fn what_is_cancelled_is_what_there_is_and_of_two_it_has_to_be_said() {
        let nothing = samples::state(3);
        let staged = samples::joining();
        let running = samples::running();
        let both = ClusterState {
            staged: staged.staged.clone(),
            ..running.clone()
        };
        check(&nothing, "", Err("nothing is staged, and no change"));
        check(&nothing, "--staged", Err("nothing is staged"));
        check(&nothing, "--running", Err("no change is running"));
        check(&staged, "", Ok(What::Staged));
        check(&staged, "--running", Err("no change is running"));
        check(&running, "", Ok(What::Running));
        check(&running, "--staged", Err("nothing is staged"));
        check(&both, "", Err("--staged takes back"));
        check(&both, "--staged", Ok(What::Staged));
        check(&both, "--running", Ok(What::Running));
    }
}
