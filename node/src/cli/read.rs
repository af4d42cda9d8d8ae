//! `dunlin get`: what is under a key, whatever the kind of its bucket.

use std::io;

use bytes::Bytes;
use dunlin_client::{Bucket, Kind, Latest, Read, ReadInfo, Siblings};
use serde_json::{Map, Value, json};

use super::args::GetArgs;
use super::ended::Ended;
use super::fault::Fault;
use super::output::{Output, note};
use super::receipt::{add_answerers, note_answerers};
use super::session::Session;
use super::siblings::{self, FoundAt};
use super::text::{Form, Room};
use super::{map, set};

/// `dunlin get`
pub(crate) async fn get(
    session: &Session,
    out: &mut Output,
    args: GetArgs,
) -> Result<Ended, Fault> {
    let key = out.form().read(&args.at.key)?;
    let bucket = session.bucket(&args.at.bucket, &args.asking).await?;
    let shown = Shown {
        bucket: args.at.bucket.as_str(),
        key: &key,
        raw: args.raw,
    };
    let ended = match bucket.info().kind {
        Kind::Register => {
            let read = bucket.register(&key).map_err(Fault::Read)?.read().await;
            let read = read.map_err(Fault::Read)?;
            if !out.is_json() {
                note_answerers(&read.info, args.verbose);
                if let (true, Some(found)) = (args.verbose, &read.value) {
                    note(&format!("context: {}", found.context));
                }
            }
            shown.register(session, out, read)?
        }
        Kind::Lww => {
            let read = bucket.lww(&key).map_err(Fault::Read)?.read().await;
            let read = noted(out, &args, read)?;
            shown.lww(out, read)?
        }
        Kind::Counter => {
            let read = bucket.counter(&key).map_err(Fault::Read)?.read().await;
            let read = noted(out, &args, read)?;
            shown.number(out, "counter", Some(read.value), &read.info)?
        }
        Kind::Max | Kind::Min => {
            let read = extreme(&bucket, &key).await;
            let read = noted(out, &args, read)?;
            shown.number(out, bucket.info().kind.name(), read.value, &read.info)?
        }
        Kind::Flag => {
            let read = bucket.flag(&key).map_err(Fault::Read)?.read().await;
            let read = noted(out, &args, read)?;
            flag(out, &key, read)?
        }
        Kind::Set => {
            let elements = bucket.set(&key).map_err(Fault::Read)?.elements();
            match set::show_elements(out, &key, elements, None).await? {
                0 => shown.nothing(out)?,
                _ => Ended::Done,
            }
        }
        Kind::Map => {
            let fields = bucket.map(&key).map_err(Fault::Read)?;
            let at = map::At {
                session,
                bucket: shown.bucket,
                key: &key,
            };
            match map::show_fields(out, &at, &fields).await? {
                0 => shown.nothing(out)?,
                _ => Ended::Done,
            }
        }
    };
    Ok(ended)
}

async fn extreme(bucket: &Bucket, key: &Bytes) -> Result<Read<Option<i64>>, dunlin_client::Error> {
    match bucket.info().kind {
        Kind::Min => bucket.min(key)?.read().await,
        _ => bucket.max(key)?.read().await,
    }
}

fn noted<T>(
    out: &Output,
    args: &GetArgs,
    read: Result<Read<T>, dunlin_client::Error>,
) -> Result<Read<T>, Fault> {
    let read = read.map_err(Fault::Read)?;
    if !out.is_json() {
        note_answerers(&read.info, args.verbose);
    }
    Ok(read)
}

/// Shows a flag: its state, and no as the answer if it is off.
pub(crate) fn flag(out: &mut Output, key: &[u8], read: Read<bool>) -> Result<Ended, Fault> {
    if out.is_json() {
        let mut object = object(out, key, "flag", &read.info);
        object.insert("value".to_owned(), json!(read.value));
        out.json_line(&Value::Object(object))?;
    } else {
        out.line(if read.value { "on" } else { "off" })?;
    }
    Ok(Ended::answer(read.value))
}

/// What every read says in JSON.
pub(crate) fn object(out: &Output, key: &[u8], kind: &str, info: &ReadInfo) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("key".to_owned(), out.value(key));
    object.insert("kind".to_owned(), json!(kind));
    add_answerers(&mut object, info);
    object
}

/// What is shown, and how.
struct Shown<'a> {
    bucket: &'a str,
    key: &'a Bytes,
    raw: bool,
}

impl Shown<'_> {
    fn register(
        &self,
        session: &Session,
        out: &mut Output,
        read: Read<Option<Siblings>>,
    ) -> Result<Ended, Fault> {
        let Some(found) = read.value else {
            return self.missing(out, "register", &read.info);
        };
        if out.is_json() {
            let mut object = object(out, self.key, "register", &read.info);
            object.insert("found".to_owned(), json!(true));
            object.insert("values".to_owned(), out.values(&found.values));
            object.insert("context".to_owned(), json!(found.context.to_string()));
            out.json_line(&Value::Object(object))?;
            return Ok(Ended::Done);
        }
        if self.raw {
            let value = found.single().ok_or_else(|| Fault::Refused {
                what: format!(
                    "there are {} siblings, and --raw shows one value",
                    found.values.len()
                ),
                advice: "leave out --raw to see them, and settle them".to_owned(),
            })?;
            out.raw(value)?;
            return Ok(Ended::Done);
        }
        let at = FoundAt {
            command: "put",
            bucket: self.bucket,
            key: self.key,
            field: None,
            cluster_file: session.named_file(),
        };
        siblings::show(out, &found, &at)?;
        Ok(Ended::Done)
    }

    fn lww(&self, out: &mut Output, read: Read<Option<Latest>>) -> Result<Ended, Fault> {
        let Some(latest) = read.value else {
            return self.missing(out, "lww", &read.info);
        };
        if out.is_json() {
            let mut object = object(out, self.key, "lww", &read.info);
            object.insert("found".to_owned(), json!(true));
            object.insert("value".to_owned(), out.value(&latest.value));
            object.insert("written_at_ms".to_owned(), json!(latest.stamp.millis().0));
            out.json_line(&Value::Object(object))?;
        } else if self.raw {
            out.raw(&latest.value)?;
        } else {
            whole(out, &latest.value)?;
        }
        Ok(Ended::Done)
    }

    fn number(
        &self,
        out: &mut Output,
        kind: &str,
        number: Option<i64>,
        info: &ReadInfo,
    ) -> Result<Ended, Fault> {
        let Some(number) = number else {
            return self.missing(out, kind, info);
        };
        if out.is_json() {
            let mut object = object(out, self.key, kind, info);
            object.insert("found".to_owned(), json!(true));
            object.insert("value".to_owned(), json!(number));
            out.json_line(&Value::Object(object))?;
        } else {
            out.line(&number.to_string())?;
        }
        Ok(Ended::Done)
    }

    fn missing(&self, out: &mut Output, kind: &str, info: &ReadInfo) -> Result<Ended, Fault> {
        if out.is_json() {
            let mut object = object(out, self.key, kind, info);
            object.insert("found".to_owned(), json!(false));
            out.json_line(&Value::Object(object))?;
            return Ok(Ended::No);
        }
        self.nothing(out)
    }

    /// Nothing is there. In JSON, what was shown says so itself.
    fn nothing(&self, out: &Output) -> Result<Ended, Fault> {
        match out.is_json() {
            true => Ok(Ended::No),
            false => Err(not_found(self.bucket, self.key, out.form())),
        }
    }
}

/// That a key is not there.
pub(crate) fn not_found(bucket: &str, key: &[u8], form: Form) -> Fault {
    Fault::NotFound(format!(
        "key {} in bucket {bucket}",
        form.shown(key, Room::Line)
    ))
}

/// A value that has the output to itself.
pub(crate) fn whole(out: &mut Output, value: &[u8]) -> io::Result<()> {
    let shown = out.form().shown(value, Room::Whole).into_owned();
    out.line(&shown)
}
