//! What a line becomes, by the kind of the bucket and the fields that the command names.

use std::collections::BTreeMap;

use bytes::Bytes;
use dunlin_client::Kind;
use serde_json::value::RawValue;

use super::cell::Cell;
use crate::cli::args::ImportArgs;
use crate::cli::record::Data;

/// What is to happen to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Add this much.
    Increment(i64),
    /// See that it holds this.
    Hold(Data),
}

/// What a line becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    key: String,
    what: What,
}

/// Which field of the line, or all of it, goes where.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// The whole line without a field.
    Register(Option<String>),
    Lww(Option<String>),
    /// On without a field.
    Flag(Option<String>),
    Counter(String),
    Max(String),
    Min(String),
    Set(String),
    Map,
}

impl Mapping {
    /// The mapping that a command asks for.
    ///
    /// # Errors
    /// What does not fit the kind, or is missing.
    pub(crate) fn new(kind: Kind, args: &ImportArgs) -> Result<Self, String> {
        let key = args.key.clone().ok_or(
            "--key FIELD is missing: which field holds the key? (only what dunlin export wrote needs none)",
        )?;
        let (value, amount, element) = (&args.value, &args.amount, &args.element);
        let none_of = |options: &[(&str, &Option<String>)]| {
            let given = options.iter().find(|(_, field)| field.is_some());
            given.map_or(Ok(()), |(option, _)| {
                Err(format!("{option} does not fit a bucket of kind {kind}"))
            })
        };
        let needed = |field: &Option<String>, option: &str| {
            field
                .clone()
                .ok_or_else(|| format!("a bucket of kind {kind} needs {option} FIELD"))
        };
        let what = match kind {
            Kind::Register | Kind::Lww | Kind::Flag => {
                none_of(&[("--amount", amount), ("--element", element)])?;
                match kind {
                    Kind::Register => What::Register(value.clone()),
                    Kind::Lww => What::Lww(value.clone()),
                    _ => What::Flag(value.clone()),
                }
            }
            Kind::Counter | Kind::Max | Kind::Min => {
                none_of(&[("--value", value), ("--element", element)])?;
                let amount = needed(amount, "--amount")?;
                match kind {
                    Kind::Counter => What::Counter(amount),
                    Kind::Max => What::Max(amount),
                    _ => What::Min(amount),
                }
            }
            Kind::Set => {
                none_of(&[("--value", value), ("--amount", amount)])?;
                What::Set(needed(element, "--element")?)
            }
            Kind::Map => {
                none_of(&[
                    ("--value", value),
                    ("--amount", amount),
                    ("--element", element),
                ])?;
                What::Map
            }
        };
        Ok(Self { key, what })
    }

    /// What a line of JSON becomes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn json(&self, line: &[u8]) -> Result<(Bytes, Change), String> {
        let line = line.trim_ascii();
        let text = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
        if !text.starts_with('{') {
            return Err("not a JSON object".to_owned());
        }
        let fields: BTreeMap<String, &RawValue> =
            serde_json::from_str(text).map_err(|error| not_json(&error))?;
        let cells = fields
            .iter()
            .map(|(name, json)| (name.as_str(), Cell::Json(json)))
            .collect();
        self.change(&Given {
            cells,
            whole: Some(line),
        })
    }

    /// What a record of csv becomes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn csv(
        &self,
        header: &[String],
        fields: &[Vec<u8>],
    ) -> Result<(Bytes, Change), String> {
        if header.len() != fields.len() {
            return Err(format!(
                "{} fields where the header has {}",
                fields.len(),
                header.len()
            ));
        }
        let names = header.iter().map(String::as_str);
        let cells = names
            .zip(fields.iter().map(|field| Cell::Text(field)))
            .collect();
        self.change(&Given { cells, whole: None })
    }

    fn change(&self, given: &Given<'_>) -> Result<(Bytes, Change), String> {
        let key = given.read(&self.key, Cell::name)?;
        let value = |field: &Option<String>| match field {
            None => given.whole(),
            Some(field) => given.read(field, Cell::value),
        };
        let change = match &self.what {
            What::Register(field) => Change::Hold(Data::Register(vec![value(field)?])),
            What::Lww(field) => Change::Hold(Data::Lww(value(field)?)),
            What::Flag(None) => Change::Hold(Data::Flag(true)),
            What::Flag(Some(field)) => Change::Hold(Data::Flag(given.read(field, Cell::switch)?)),
            What::Counter(field) => Change::Increment(given.read(field, Cell::number)?),
            What::Max(field) => Change::Hold(Data::Max(given.read(field, Cell::number)?)),
            What::Min(field) => Change::Hold(Data::Min(given.read(field, Cell::number)?)),
            What::Set(field) => Change::Hold(Data::Set(given.read(field, Cell::elements)?)),
            What::Map => {
                let fields = given.cells.iter().map(|(name, cell)| cell.field(name));
                Change::Hold(Data::Map(fields.collect()))
            }
        };
        Ok((key, change))
    }
}

/// A line, taken apart.
struct Given<'a> {
    cells: BTreeMap<&'a str, Cell<'a>>,
    /// The line as it was given, if that is what its whole is.
    whole: Option<&'a [u8]>,
}

impl<'a> Given<'a> {
    fn read<T>(
        &self,
        field: &str,
        form: impl FnOnce(Cell<'a>) -> Result<T, &'static str>,
    ) -> Result<T, String> {
        let cell = self
            .cells
            .get(field)
            .ok_or_else(|| format!("field {field:?} is missing"))?;
        form(*cell).map_err(|reason| format!("field {field:?} {reason}"))
    }

    /// The whole line: JSON as it was given, a csv record as an object of strings.
    fn whole(&self) -> Result<Bytes, String> {
        if let Some(line) = self.whole {
            return Ok(Bytes::copy_from_slice(line));
        }
        let mut fields = BTreeMap::new();
        for (name, cell) in &self.cells {
            let text = match cell {
                Cell::Text(text) => std::str::from_utf8(text).map_err(|_| {
                    format!("field {name:?} is not UTF-8, so the record is no JSON; use --value")
                })?,
                Cell::Json(json) => json.get(),
            };
            fields.insert(name, text);
        }
        serde_json::to_vec(&fields)
            .map(Bytes::from)
            .map_err(|error| error.to_string())
    }
}

/// What is wrong with JSON, by column: it is one line.
fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    format!("not JSON: {reason} at column {}", error.column())
}

#[cfg(test)]
mod tests;
