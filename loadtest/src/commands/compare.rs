//! `dunlin-loadtest compare`: two runs side by side.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::args::CompareArgs;
use crate::error::LoadError;
use crate::experiment::report::comparison;
use crate::experiment::result::{FORMAT, RESULT};

/// Writes the page. Returns what to print.
pub(crate) fn run(args: &CompareArgs) -> Result<(String, bool), LoadError> {
    let (left, right) = (load(&args.left)?, load(&args.right)?);
    let page = comparison(&json!([left, right]));
    let page = page.map_err(|error| LoadError::History(error.to_string()))?;
    let path = args.out.clone();
    fs::write(&path, page).map_err(|source| LoadError::File { path, source })?;
    Ok((format!("{}\n", args.out.display()), false))
}

/// The result of a run, by its folder or file.
fn load(path: &Path) -> Result<Value, LoadError> {
    let file = match path.is_dir() {
        true => path.join(RESULT),
        false => path.to_owned(),
    };
    let text = fs::read(&file).map_err(|source| LoadError::File {
        path: file.clone(),
        source,
    })?;
    let broken = |what: String| LoadError::History(format!("{}: {what}", file.display()));
    let result: Value = serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
    match result.get("format").and_then(Value::as_u64) {
        Some(format) if format == u64::from(FORMAT) => {
            Ok(json!({ "path": path.display().to_string(), "result": result }))
        }
        _ => Err(broken(format!("is no result of format {FORMAT}"))),
    }
}
