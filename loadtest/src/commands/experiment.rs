//! `dunlin-loadtest experiment`: a plan is carried out and judged.

use std::fs;
use std::path::PathBuf;

use crate::args::ExperimentArgs;
use crate::dev::beside_us;
use crate::error::LoadError;
use crate::experiment::bundled;
use crate::experiment::plan::Plan;
use crate::experiment::report::page;
use crate::experiment::result::RESULT;
use crate::experiment::run::{On, Settings, run as carry_out};
use crate::experiment::summary::summary;

/// The page that shows it.
const REPORT: &str = "report.html";

/// Carries out the plan. Returns what to print, and whether anything was wrong.
pub(crate) async fn run(args: &ExperimentArgs, as_json: bool) -> Result<(String, bool), LoadError> {
    let Some(name) = &args.plan else {
        return Ok((bundled::list(), false));
    };
    let text = match bundled::text(name) {
        Some(text) => text.to_owned(),
        None => {
            let path = PathBuf::from(name);
            fs::read_to_string(&path).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => LoadError::NoPlan { name: name.clone() },
                _ => LoadError::File { path, source },
            })?
        }
    };
    let plan = Plan::parse(&text).map_err(|error| LoadError::Plan(error.to_string()))?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("dunlin-experiment-{}", plan.name)));
    let on = match &args.cluster {
        Some(file) => On::Running(file.clone()),
        None => On::Own {
            dunlin: args.dunlin.clone().unwrap_or_else(beside_us),
            work: out.join("cluster"),
            keep: args.keep,
        },
    };
    let settings = Settings {
        on,
        out: out.clone(),
    };
    let result = carry_out(plan, text, &settings).await?;
    let broken = |error: serde_json::Error| LoadError::History(error.to_string());
    let json = serde_json::to_string(&result).map_err(broken)?;
    let page = page(&result.plan.name, &result).map_err(broken)?;
    for (name, text) in [(RESULT, &json), (REPORT, &page)] {
        let path = out.join(name);
        fs::write(&path, text).map_err(|source| LoadError::File { path, source })?;
    }
    let said = match as_json {
        true => format!("{json}\n"),
        false => summary(&result, &out),
    };
    Ok((said, !result.verdict.holds))
}
