//! `dunlin cluster apply`: makes the staged changes the next layout.
//!
//! What is applied is what was shown: whatever changes in between, another layout or another change that
//! is staged, has it refused.

use std::io::{self, BufRead, IsTerminal, Write};

use dunlin_client::Client;
use dunlin_protocol::cluster::{ChangeId, ClusterRequest, ClusterState};
use serde_json::json;

use super::change::staged_lines;
use super::plan::Plan;
use super::plan_text::{json_of, lines, no_layout, warn};
use super::shape::{Shape, change, connect, describe, look, newest, paste};
use crate::cli::ended::Ended;
use crate::cli::fault::Fault;
use crate::cli::output::Output;
use crate::cli::session::Session;

/// `dunlin cluster apply`
pub(super) async fn run(
    session: &Session,
    out: &mut Output,
    yes: bool,
    rate: u64,
) -> Result<Ended, Fault> {
    let is_asked = !yes && !out.is_json() && io::stdin().is_terminal();
    if !yes && !is_asked {
        return Err(Fault::Usage(
            "nobody is there to be asked: say --yes to apply what is staged".to_owned(),
        ));
    }
    let client = connect(session).await?;
    let shape = look(&client).await?;
    let plan = Plan::of(&shape, rate)?.ok_or_else(|| Fault::Refused {
        what: "nothing is staged".to_owned(),
        advice: "dunlin cluster join, leave, replace, zone, capacity and n stage changes"
            .to_owned(),
    })?;
    let next = match &plan.next {
        Ok(next) => next,
        Err(why) => return Err(no_layout(session, why)),
    };
    if !out.is_json() {
        for line in staged_lines(&shape.state)
            .into_iter()
            .chain(lines(next, rate))
        {
            out.line(&line)?;
        }
        warn(out, next)?;
        out.flush()?;
    }
    if is_asked && !confirmed()? {
        out.line("not applied; it stays staged")?;
        return Ok(Ended::No);
    }
    let state = apply(session, &client, &shape, &plan).await?;
    let applied = newest(&state)?;
    if out.is_json() {
        let mut object = json_of(&shape, &plan);
        object["applied"] = json!(applied.id.to_string());
        out.json_line(&object)?;
        return Ok(Ended::Done);
    }
    out.line(&format!("layout {} is applied and on its way", applied.id))?;
    out.line(&format!(
        "to watch it: {}",
        paste(session, "cluster moves --watch")
    ))?;
    out.line(&format!(
        "to go back:  {}",
        paste(session, "cluster cancel")
    ))?;
    Ok(Ended::Done)
}

async fn apply(
    session: &Session,
    client: &Client,
    shown: &Shape,
    plan: &Plan,
) -> Result<ClusterState, Fault> {
    let now = describe(client).await?;
    if staged(&now) != staged(&shown.state) {
        return Err(Fault::Refused {
            what: "somebody has staged or cancelled a change since the plan was made".to_owned(),
            advice: format!("look at it again: {}", paste(session, "cluster plan")),
        });
    }
    let based_on = plan.based_on;
    change(client, ClusterRequest::Apply { based_on }).await
}

fn staged(state: &ClusterState) -> Vec<ChangeId> {
    state.staged.iter().map(|staged| staged.id).collect()
}

fn confirmed() -> Result<bool, Fault> {
    let mut stderr = io::stderr();
    // Whoever is asked sees the question or does not answer it.
    let _ = write!(stderr, "apply it? [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|source| Fault::Input {
            path: "standard input".into(),
            source,
        })?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
