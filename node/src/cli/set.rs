//! `dunlin set …`

use bytes::Bytes;
use dunlin_client::{Elements, Kind, Set};
use dunlin_protocol::limits::CHANGES_MAX;
use serde_json::{Value, json};

use super::args::{Asking, ElementsArgs, SetCommand, SetCountArgs, SetListArgs};
use super::ended::Ended;
use super::fault::Fault;
use super::output::Output;
use super::read;
use super::receipt::{self, Done, ShowContext, note_answerers};
use super::session::Session;

/// `dunlin set …`
pub(crate) async fn run(
    session: &Session,
    out: &mut Output,
    command: SetCommand,
) -> Result<Ended, Fault> {
    match command {
        SetCommand::Add(args) => change(session, out, args, Change::Add).await,
        SetCommand::Remove(args) => change(session, out, args, Change::Remove).await,
        SetCommand::Has(args) => has(session, out, args).await,
        SetCommand::List(args) => list(session, out, args).await,
        SetCommand::Count(args) => count(session, out, args).await,
    }
}

#[derive(Clone, Copy)]
enum Change {
    Add,
    Remove,
}

async fn change(
    session: &Session,
    out: &mut Output,
    args: ElementsArgs,
    change: Change,
) -> Result<Ended, Fault> {
    let elements = out.form().read_all(&args.elements)?;
    let (_, set) = open(session, out, &args.at, &args.asking).await?;
    // More than a request takes go in several, each with its own receipt.
    for some in elements.chunks(CHANGES_MAX) {
        let (done, result) = match change {
            Change::Add => ("added", set.add(some).await),
            Change::Remove => ("removed", set.remove(some).await),
        };
        let receipt = result.map_err(Fault::Write)?;
        receipt::show(out, Done::Word(done), &receipt, ShowContext::No)?;
    }
    Ok(Ended::Done)
}

async fn has(session: &Session, out: &mut Output, args: ElementsArgs) -> Result<Ended, Fault> {
    let elements = out.form().read_all(&args.elements)?;
    let (key, set) = open(session, out, &args.at, &args.asking).await?;
    let mut all = true;
    for element in &elements {
        let read = set.read_has(element).await.map_err(Fault::Read)?;
        all &= read.value;
        if out.is_json() {
            let mut object = read::object(out, &key, "set", &read.info);
            object.insert("element".to_owned(), out.value(element));
            object.insert("value".to_owned(), json!(read.value));
            out.json_line(&Value::Object(object))?;
        } else {
            note_answerers(&read.info, false);
            let shown = out.shown(element);
            out.line(&format!(
                "{} {shown}",
                if read.value { "yes" } else { "no" }
            ))?;
        }
    }
    Ok(Ended::answer(all))
}

async fn list(session: &Session, out: &mut Output, args: SetListArgs) -> Result<Ended, Fault> {
    let (key, set) = open(session, out, &args.at, &args.asking).await?;
    show_elements(out, &key, set.elements(), args.limit).await?;
    Ok(Ended::Done)
}

async fn count(session: &Session, out: &mut Output, args: SetCountArgs) -> Result<Ended, Fault> {
    let (key, set) = open(session, out, &args.at, &args.asking).await?;
    let count = set.count().await.map_err(Fault::Read)?;
    if out.is_json() {
        let key = out.value(&key);
        out.json_line(&json!({ "key": key, "kind": "set", "count": count }))?;
    } else {
        out.line(&count.to_string())?;
    }
    Ok(Ended::Done)
}

/// Shows elements as they come, a line each; in JSON all are one array. Answers how many.
pub(crate) async fn show_elements(
    out: &mut Output,
    key: &[u8],
    mut elements: Elements,
    limit: Option<u64>,
) -> Result<u64, Fault> {
    let mut count = 0;
    if out.is_json() {
        // Written piece by piece: a set may be larger than memory.
        let head = format!(
            "{{\"key\":{},\"kind\":\"set\",\"elements\":[",
            out.value(key)
        );
        out.raw(head.as_bytes())?;
    }
    while limit.is_none_or(|limit| count < limit)
        && let Some(element) = elements.next().await
    {
        let element = element.map_err(Fault::Read)?;
        if out.is_json() {
            let comma = if count == 0 { "" } else { "," };
            let item = format!("{comma}{}", out.value(&element));
            out.raw(item.as_bytes())?;
        } else {
            let shown = out.shown(&element);
            out.line(&shown)?;
        }
        count += 1;
    }
    if out.is_json() {
        out.line(&format!("],\"found\":{}}}", count > 0))?;
    }
    Ok(count)
}

async fn open(
    session: &Session,
    out: &Output,
    at: &super::args::KeyArgs,
    asking: &Asking,
) -> Result<(Bytes, Set), Fault> {
    let key = out.form().read(&at.key)?;
    let bucket = session.bucket(&at.bucket, asking).await?;
    if bucket.info().kind != Kind::Set {
        return Err(Fault::wrong_kind(at.bucket.as_str(), bucket.info().kind));
    }
    let set = bucket.set(&key).map_err(Fault::Read)?;
    Ok((key, set))
}
