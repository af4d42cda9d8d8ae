//! The lines of an export: what each says, written and read back.
//!
//! ```text
//! {"dunlin_export":1,"bucket":"carts","kind":"set"}                     the first line
//! {"key":"ana","set":["apples",{"hex":"ff00"}]}                         a part of a set
//! {"key":{"hex":"00"},"register":"value"}                               any byte string may be hex
//! {"key":"bo","register":{"siblings":["a","b"]}}                        siblings stay siblings
//! {"key":"cy","map":{"visits:counter":3,"at:map":{"on:flag":true}}}     fields as `field` spells them
//! {"dunlin_export":1,"end":true,"keys":3,"lines":4}                     the last line
//! ```
//!
//! A set or map may be spread over many lines of one key, so that lines stay small whatever its size.
//! The last line tells a whole export from one that was cut off.

use bytes::Bytes;
use dunlin_client::{FieldEntry, FieldKind, FieldPath, FieldValue, Kind};
use serde_json::{Map, Value, json};

use super::field::{read_step, show_step};
use super::text::{Form, from_json};

/// The version of the form.
const VERSION: u64 = 1;
/// The name of the version, by which an export is recognised.
pub(crate) const MARK: &str = "dunlin_export";

/// What is to be under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// These siblings; at least one.
    Register(Vec<Bytes>),
    /// This value.
    Lww(Bytes),
    /// This sum.
    Counter(i64),
    /// This state.
    Flag(bool),
    /// At least this.
    Max(i64),
    /// At most this.
    Min(i64),
    /// These elements among others.
    Set(Vec<Bytes>),
    /// These fields among others, each with what is to be in it: never `Max`, `Min` or `Map`.
    Map(Vec<(FieldPath, Data)>),
}

/// One line of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The first: the kind of the bucket.
    Head(Kind),
    /// What is under a key.
    Key(Bytes, Data),
    /// The last.
    End,
}

/// The first line.
pub(crate) fn head(bucket: &str, kind: Kind) -> Value {
    json!({ MARK: VERSION, "bucket": bucket, "kind": kind.name() })
}

/// The last line.
pub(crate) fn end(keys: u64, lines: u64) -> Value {
    json!({ MARK: VERSION, "end": true, "keys": keys, "lines": lines })
}

/// The line of a key, or of a part of it.
pub(crate) fn line(key: &[u8], kind: Kind, data: Value) -> Value {
    json!({ "key": Form::Text.json(key), kind.name(): data })
}

/// Siblings: a value alone is itself.
pub(crate) fn register(values: &[Bytes], form: Form) -> Value {
    match values {
        [value] => form.json(value),
        values => {
            let values: Value = values.iter().map(|value| form.json(value)).collect();
            json!({ "siblings": values })
        }
    }
}

/// Whether siblings are shown with the context that settles them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contexts {
    /// For people and programs that will.
    Shown,
    /// For exports: a context means nothing in another cluster.
    LeftOut,
}

/// The rows of a map as a tree.
pub(crate) fn tree<'a>(
    entries: impl IntoIterator<Item = &'a FieldEntry>,
    form: Form,
    contexts: Contexts,
) -> Value {
    let mut root = Map::new();
    for entry in entries {
        insert(&mut root, entry, form, contexts);
    }
    Value::Object(root)
}

fn insert(root: &mut Map<String, Value>, entry: &FieldEntry, form: Form, contexts: Contexts) {
    let Some(((name, kind), outer)) = entry.path.steps().split_last() else {
        return;
    };
    let mut at = root;
    for (name, kind) in outer {
        let below = at
            .entry(show_step(name, *kind))
            .or_insert_with(|| json!({}));
        // Spellings are unique, so only maps lie under the name of a map.
        let Value::Object(below) = below else { return };
        at = below;
    }
    let name = show_step(name, *kind);
    let value = match &entry.value {
        FieldValue::Register(found) => {
            let mut value = register(&found.values, form);
            if contexts == Contexts::Shown && found.is_conflict() {
                value["context"] = json!(found.context.to_string());
            }
            value
        }
        FieldValue::Lww(latest) => form.json(&latest.value),
        FieldValue::Counter(sum) => json!(sum),
        FieldValue::On => json!(true),
        FieldValue::Present => {
            let element = form.json(entry.element.as_deref().unwrap_or_default());
            if let Value::Array(elements) = at.entry(name).or_insert_with(|| json!([])) {
                elements.push(element);
            }
            return;
        }
    };
    at.insert(name, value);
}

/// Reads a line of an export.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(line: &Value) -> Result<Line, String> {
    let object = line.as_object().ok_or("not a JSON object")?;
    if let Some(version) = object.get(MARK) {
        if version.as_u64() != Some(VERSION) {
            return Err(format!(
                "an export of version {version}, of which nothing is known here"
            ));
        }
        if object.get("end") == Some(&json!(true)) {
            return Ok(Line::End);
        }
        let kind = object
            .get("kind")
            .and_then(Value::as_str)
            .ok_or("the kind is missing")?;
        return kind.parse().map(Line::Head);
    }
    let key = object.get("key").ok_or("the key is missing")?;
    let key = bytes(key, "the key")?;
    let mut rest = object.iter().filter(|(name, _)| *name != "key");
    let (Some((kind, value)), None) = (rest.next(), rest.next()) else {
        return Err("a line has a key and one kind".to_owned());
    };
    Ok(Line::Key(key, data(kind.parse()?, value)?))
}

fn data(kind: Kind, value: &Value) -> Result<Data, String> {
    Ok(match kind {
        Kind::Register => Data::Register(siblings(value)?),
        Kind::Lww => Data::Lww(bytes(value, "the value")?),
        Kind::Counter => Data::Counter(number(value)?),
        Kind::Max => Data::Max(number(value)?),
        Kind::Min => Data::Min(number(value)?),
        Kind::Flag => Data::Flag(value.as_bool().ok_or("a flag is true or false")?),
        Kind::Set => Data::Set(list(value, "elements")?),
        Kind::Map => {
            let mut fields = Vec::new();
            read_tree(value, &mut Vec::new(), &mut fields)?;
            Data::Map(fields)
        }
    })
}

fn read_tree(
    value: &Value,
    above: &mut Vec<(Bytes, FieldKind)>,
    fields: &mut Vec<(FieldPath, Data)>,
) -> Result<(), String> {
    for (spelling, value) in value.as_object().ok_or("a map is a JSON object")? {
        let (name, kind) = read_step(spelling)?;
        above.push((name, kind));
        // Also bounds the depth.
        let path = FieldPath::new(above.clone()).map_err(|error| error.to_string())?;
        if kind == FieldKind::Map {
            read_tree(value, above, fields)?;
        } else {
            fields.push((path, data(kind.kind(), value)?));
        }
        above.pop();
    }
    Ok(())
}

fn siblings(value: &Value) -> Result<Vec<Bytes>, String> {
    let values = match value.get("siblings") {
        None => return Ok(vec![bytes(value, "the value")?]),
        Some(values) => list(values, "siblings")?,
    };
    match values.is_empty() {
        true => Err("there are no siblings".to_owned()),
        false => Ok(values),
    }
}

fn list(value: &Value, what: &str) -> Result<Vec<Bytes>, String> {
    let items = value
        .as_array()
        .ok_or_else(|| format!("{what} are a JSON array"))?;
    items.iter().map(|item| bytes(item, "an item")).collect()
}

fn bytes(value: &Value, what: &str) -> Result<Bytes, String> {
    from_json(value).ok_or_else(|| format!("{what} is neither a string nor {{\"hex\": \"…\"}}"))
}

fn number(value: &Value) -> Result<i64, String> {
    value
        .as_i64()
        .ok_or_else(|| format!("{value} is no whole number between -2^63 and 2^63-1"))
}

#[cfg(test)]
mod tests;
