//! One field of a line: JSON as it was given, or the text of a csv field, and what it can become.

use bytes::Bytes;
use dunlin_client::{FieldKind, FieldPath};
use serde_json::value::RawValue;

use crate::cli::record::Data;

/// One field of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    /// JSON, byte for byte as it was given.
    Json(&'a RawValue),
    /// A field of csv.
    Text(&'a [u8]),
}

impl Cell<'_> {
    /// As a name: a key or an element. Strings without their quotes; numbers and booleans as written.
    pub(crate) fn name(self) -> Result<Bytes, &'static str> {
        let json = match self {
            Self::Text(text) => return Ok(Bytes::copy_from_slice(text)),
            Self::Json(json) => json.get(),
        };
        match json.as_bytes().first() {
            Some(b'"') => string(json),
            Some(b'{' | b'[') => Err("is no string or number"),
            Some(b'n') | None => Err("is null"),
            Some(_) => Ok(Bytes::copy_from_slice(json.as_bytes())),
        }
    }

    /// As a value: strings without their quotes; everything else as written.
    pub(crate) fn value(self) -> Result<Bytes, &'static str> {
        match self {
            Self::Text(text) => Ok(Bytes::copy_from_slice(text)),
            Self::Json(json) if json.get().starts_with('"') => string(json.get()),
            Self::Json(json) => Ok(Bytes::copy_from_slice(json.get().as_bytes())),
        }
    }

    /// As a whole number.
    pub(crate) fn number(self) -> Result<i64, &'static str> {
        let text = self.name()?;
        std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or("is no whole number between -2^63 and 2^63-1")
    }

    /// As on or off.
    pub(crate) fn switch(self) -> Result<bool, &'static str> {
        match &self.name()?[..] {
            b"true" | b"on" | b"1" => Ok(true),
            b"false" | b"off" | b"0" => Ok(false),
            _ => Err("is none of true, false, on, off, 1, 0"),
        }
    }

    /// As elements: one, or a JSON array of them.
    pub(crate) fn elements(self) -> Result<Vec<Bytes>, &'static str> {
        match self {
            Self::Json(json) if json.get().starts_with('[') => {
                let items: Vec<&RawValue> =
                    serde_json::from_str(json.get()).map_err(|_| "is no JSON array")?;
                items
                    .into_iter()
                    .map(|item| Cell::Json(item).name())
                    .collect()
            }
            one => one.name().map(|element| vec![element]),
        }
    }

    /// As a field of a map. An array of strings becomes a set; any other JSON a register that holds it
    /// as it was given, quotes and all, so that it can be told from text; a field of csv a register
    /// that holds its text.
    pub(crate) fn field(self, name: &str) -> (FieldPath, Data) {
        let path = |kind| FieldPath::field(Bytes::copy_from_slice(name.as_bytes()), kind);
        let bytes = match self {
            Self::Text(text) => text,
            Self::Json(json) => match strings(json.get()) {
                Some(elements) => return (path(FieldKind::Set), Data::Set(elements)),
                None => json.get().as_bytes(),
            },
        };
        (
            path(FieldKind::Register),
            Data::Register(vec![Bytes::copy_from_slice(bytes)]),
        )
    }
}

fn string(json: &str) -> Result<Bytes, &'static str> {
    let text: String = serde_json::from_str(json).map_err(|_| "is no JSON string")?;
    Ok(Bytes::from(text))
}

/// The strings of an array of nothing else. An empty one stays a register: a set without elements is
/// not there.
fn strings(json: &str) -> Option<Vec<Bytes>> {
    if !json.starts_with('[') {
        return None;
    }
    let strings: Vec<String> = serde_json::from_str(json).ok()?;
    (!strings.is_empty()).then(|| strings.into_iter().map(Bytes::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json<'a, T>(text: &'a str, form: impl FnOnce(Cell<'a>) -> T) -> T {
        form(Cell::Json(serde_json::from_str(text).unwrap()))
    }

    #[test]
    fn names_are_strings_and_numbers() {
        assert_eq!(
            json("\"a\\u00e9\\n\"", Cell::name).unwrap(),
            "aé\n".as_bytes()
        );
        assert_eq!(json("1.50", Cell::name).unwrap(), &b"1.50"[..]);
        assert_eq!(json("true", Cell::name).unwrap(), &b"true"[..]);
        for text in ["null", "{}", "[1]"] {
            assert!(json(text, Cell::name).is_err(), "{text}");
        }
        assert_eq!(Cell::Text(b"\xff").name().unwrap(), &b"\xff"[..]);
    }

    #[test]
    fn numbers_are_whole_and_may_be_quoted() {
        assert_eq!(json("-7", Cell::number), Ok(-7));
        assert_eq!(json("\" 12 \"", Cell::number), Ok(12));
        assert_eq!(Cell::Text(b"9223372036854775807").number(), Ok(i64::MAX));
        for text in ["1.5", "1e3", "9223372036854775808", "\"\"", "null"] {
            assert!(json(text, Cell::number).is_err(), "{text}");
        }
    }

    #[test]
    fn elements_are_one_or_an_array() {
        assert_eq!(json("\"a\"", Cell::elements).unwrap(), ["a"]);
        assert_eq!(json("[\"a\", 2]", Cell::elements).unwrap(), ["a", "2"]);
        assert_eq!(json("[]", Cell::elements).unwrap(), Vec::<Bytes>::new());
        assert!(json("[[]]", Cell::elements).is_err());
    }

    #[test]
    fn switches_have_a_few_spellings_and_no_others() {
        assert_eq!(json("true", Cell::switch), Ok(true));
        assert_eq!(Cell::Text(b"off").switch(), Ok(false));
        assert!(json("2", Cell::switch).is_err());
        assert!(Cell::Text(b"yes").switch().is_err());
    }

    #[test]
    fn a_field_of_a_map_keeps_its_json_to_the_byte() {
        for text in [
            "\"5\"",
            "5",
            "5.00",
            "{ \"a\" : 1 }",
            "[1, \"a\"]",
            "[]",
            "null",
        ] {
            let (path, data) = json(text, |cell| cell.field("f"));
            assert_eq!(
                path,
                FieldPath::field(&b"f"[..], FieldKind::Register),
                "{text}"
            );
            assert_eq!(
                data,
                Data::Register(vec![Bytes::copy_from_slice(text.as_bytes())])
            );
        }
    }

    #[test]
    fn an_array_of_strings_becomes_a_set() {
        let (path, data) = json("[\"b\", \"a\"]", |cell| cell.field("tags"));
        assert_eq!(path, FieldPath::field(&b"tags"[..], FieldKind::Set));
        assert_eq!(data, Data::Set(vec![Bytes::from("b"), Bytes::from("a")]));
    }
}
