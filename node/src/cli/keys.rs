//! `dunlin keys`: every key of a bucket once, as they come.

use serde_json::json;

use super::args::KeysArgs;
use super::ended::Ended;
use super::fault::Fault;
use super::output::Output;
use super::progress::Progress;
use super::session::Session;

/// `dunlin keys`
pub(crate) async fn run(
    session: &Session,
    out: &mut Output,
    args: KeysArgs,
) -> Result<Ended, Fault> {
    let prefix = args
        .prefix
        .as_deref()
        .map(|prefix| out.form().read(prefix))
        .transpose()?;
    let bucket = session.bucket(&args.bucket, &args.asking).await?;
    let mut keys = bucket.keys(prefix.unwrap_or_default());
    let mut progress = Progress::new();
    let mut count = 0_u64;
    while let Some(key) = keys.next().await {
        let key = key.map_err(Fault::Read)?;
        count += 1;
        if args.count {
            progress.show(|| format!("{count} keys"));
        } else if out.is_json() {
            let key = out.value(&key);
            out.json_line(&key)?;
        } else {
            let shown = out.shown(&key);
            out.line(&shown)?;
        }
    }
    progress.clear();
    match (args.count, out.is_json()) {
        (true, true) => out.json_line(&json!({ "count": count }))?,
        (true, false) => out.line(&count.to_string())?,
        (false, _) => {}
    }
    Ok(Ended::Done)
}
