//! `dunlin export`: a bucket as ndjson on standard output, in the form of `record`.
//!
//! Keys are read as they are listed, several at a time, and written as they come, so their order is
//! not fixed. Each key is a read of its own: what is written meanwhile may or may not be in it.

use bytes::Bytes;
use dunlin_client::{Bucket, Error, FieldEntry, FieldValue, Kind};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::args::ExportArgs;
use super::ended::Ended;
use super::fault::Fault;
use super::output::Output;
use super::progress::{Progress, count};
use super::record::{self, Contexts};
use super::session::Session;
use super::text::Form;

/// Elements or fields of one line.
const ROWS_A_LINE: usize = 500;
/// Bytes of values after which a line ends early.
const BYTES_A_LINE: usize = 1 << 20;
/// Lines that wait to be written.
const LINES_AHEAD: usize = 16;

/// Where lines go.
type Lines = mpsc::Sender<Value>;

/// `dunlin export`
pub(crate) async fn run(
    session: &Session,
    out: &mut Output,
    args: ExportArgs,
) -> Result<Ended, Fault> {
    let bucket = session.bucket(&args.bucket, &args.asking).await?;
    out.json_line(&record::head(args.bucket.as_str(), bucket.info().kind))?;
    let (sender, mut lines) = mpsc::channel(LINES_AHEAD);
    let reader = tokio::spawn(read_all(bucket, usize::from(args.concurrency), sender));
    let mut progress = Progress::new();
    let mut written = 0_u64;
    while let Some(line) = lines.recv().await {
        out.json_line(&line)?;
        written += 1;
        progress.show(|| format!("{} lines", count(written)));
    }
    progress.clear();
    let keys = match reader.await {
        Ok(read) => read.map_err(Fault::Read)?,
        Err(error) => return Err(Fault::Output(std::io::Error::other(error))),
    };
    // Only a whole export has its last line.
    out.json_line(&record::end(keys, written))?;
    Ok(Ended::Done)
}

/// Reads every key; answers how many there were.
async fn read_all(bucket: Bucket, at_once: usize, lines: Lines) -> Result<u64, Error> {
    let mut keys = bucket.keys("");
    let mut reading: JoinSet<Result<(), Error>> = JoinSet::new();
    let mut count = 0;
    while let Some(key) = keys.next().await {
        let (bucket, key, lines) = (bucket.clone(), key?, lines.clone());
        while reading.len() >= at_once {
            done(reading.join_next().await)?;
        }
        reading.spawn(async move { read_key(&bucket, &key, &lines).await });
        count += 1;
    }
    while !reading.is_empty() {
        done(reading.join_next().await)?;
    }
    Ok(count)
}

/// Errors end the export. That nobody takes its lines any more is none, and ends it elsewhere.
fn done(joined: Option<Result<Result<(), Error>, tokio::task::JoinError>>) -> Result<(), Error> {
    match joined {
        Some(Ok(result)) => result,
        Some(Err(_)) | None => Ok(()),
    }
}

async fn read_key(bucket: &Bucket, key: &Bytes, lines: &Lines) -> Result<(), Error> {
    let kind = bucket.info().kind;
    let data = match kind {
        Kind::Register => {
            let found = bucket.register(key)?.get().await?;
            found.map(|found| record::register(&found.values, Form::Text))
        }
        Kind::Lww => bucket
            .lww(key)?
            .get()
            .await?
            .map(|value| Form::Text.json(&value)),
        Kind::Counter => Some(json!(bucket.counter(key)?.get().await?)),
        Kind::Flag => bucket.flag(key)?.get().await?.then_some(json!(true)),
        Kind::Max => bucket.max(key)?.get().await?.map(|number| json!(number)),
        Kind::Min => bucket.min(key)?.get().await?.map(|number| json!(number)),
        Kind::Set => return read_set(bucket, key, lines).await,
        Kind::Map => return read_map(bucket, key, lines).await,
    };
    // What was removed since it was listed is not there.
    if let Some(data) = data {
        send(lines, record::line(key, kind, data)).await;
    }
    Ok(())
}

async fn read_set(bucket: &Bucket, key: &Bytes, lines: &Lines) -> Result<(), Error> {
    let mut elements = bucket.set(key)?.elements();
    let mut some = Vec::new();
    while let Some(element) = elements.next().await {
        some.push(Form::Text.json(&element?));
        if some.len() == ROWS_A_LINE {
            let data = Value::Array(std::mem::take(&mut some));
            send(lines, record::line(key, Kind::Set, data)).await;
        }
    }
    if !some.is_empty() {
        send(lines, record::line(key, Kind::Set, Value::Array(some))).await;
    }
    Ok(())
}

async fn read_map(bucket: &Bucket, key: &Bytes, lines: &Lines) -> Result<(), Error> {
    let mut fields = bucket.map(key)?.fields();
    let (mut some, mut bytes) = (Vec::new(), 0);
    while let Some(entry) = fields.next().await {
        let entry = entry?;
        bytes += size_of(&entry);
        some.push(entry);
        if some.len() == ROWS_A_LINE || bytes >= BYTES_A_LINE {
            let data = record::tree(&some, Form::Text, Contexts::LeftOut);
            send(lines, record::line(key, Kind::Map, data)).await;
            (some, bytes) = (Vec::new(), 0);
        }
    }
    if !some.is_empty() {
        let data = record::tree(&some, Form::Text, Contexts::LeftOut);
        send(lines, record::line(key, Kind::Map, data)).await;
    }
    Ok(())
}

fn size_of(entry: &FieldEntry) -> usize {
    match &entry.value {
        FieldValue::Register(found) => found.values.iter().map(Bytes::len).sum(),
        FieldValue::Lww(latest) => latest.value.len(),
        FieldValue::Counter(_) | FieldValue::On | FieldValue::Present => 0,
    }
}

/// The other side is gone once standard output is closed; then there is nothing left to do.
async fn send(lines: &Lines, line: Value) {
    let _ = lines.send(line).await;
}
