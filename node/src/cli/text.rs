//! Bytes as people and programs read them.
//!
//! Keys, values and elements are byte strings. On the terminal, text is shown as it is, and anything
//! else in the form `b"…"` with `\xff` for what is no text; text that begins with `b"` itself is shown
//! in that form too, so that the two are never confused. Control characters count as no text: they
//! could play with the terminal. In JSON, text is a string and anything else `{"hex": "…"}`. With
//! `--hex` all of it is hex, given and shown.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;

use bytes::Bytes;
use serde_json::{Value, json};

use super::fault::Fault;

/// Where text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It has the output to itself: newlines are fine.
    Whole,
    /// One of many, each on a line.
    Line,
}

/// Whether bytes are given and shown as text or as hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As text.
    Text,
    /// As hex.
    Hex,
}

impl Form {
    /// The bytes that an argument stands for.
    ///
    /// # Errors
    /// [`Fault::Usage`] if it is to be hex and is not.
    pub(crate) fn read(self, argument: &OsStr) -> Result<Bytes, Fault> {
        match self {
            Self::Text => Ok(Bytes::copy_from_slice(argument.as_encoded_bytes())),
            Self::Hex => argument
                .to_str()
                .and_then(from_hex)
                .map(Bytes::from)
                .ok_or_else(|| Fault::Usage(format!("{} is no hex", argument.display()))),
        }
    }

    /// Several of them.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_all<'a>(
        self,
        arguments: impl IntoIterator<Item = &'a (impl AsRef<OsStr> + ?Sized + 'a)>,
    ) -> Result<Vec<Bytes>, Fault> {
        arguments
            .into_iter()
            .map(|argument| self.read(argument.as_ref()))
            .collect()
    }

    /// The bytes as people read them.
    pub(crate) fn shown(self, bytes: &[u8], room: Room) -> Cow<'_, str> {
        if self == Self::Hex {
            return Cow::Owned(to_hex(bytes));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if is_plain(text, room) && !text.starts_with("b\"") => Cow::Borrowed(text),
            _ => Cow::Owned(escaped(bytes)),
        }
    }

    /// The bytes as programs read them.
    pub(crate) fn json(self, bytes: &[u8]) -> Value {
        match (self, std::str::from_utf8(bytes)) {
            (Self::Text, Ok(text)) if is_plain(text, Room::Whole) => json!(text),
            _ => json!({ "hex": to_hex(bytes) }),
        }
    }
}

/// The bytes that `Form::json` shows, in either form.
pub(crate) fn from_json(value: &Value) -> Option<Bytes> {
    match value {
        Value::String(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        Value::Object(object) if object.len() == 1 => {
            from_hex(object.get("hex")?.as_str()?).map(Bytes::from)
        }
        _ => None,
    }
}

/// Lower-case hex.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes of hex in either case.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty().then(|| {
        let byte = |[high, low]: &[u32; 2]| u8::try_from(high << 4 | low).unwrap_or(u8::MAX);
        pairs.iter().map(byte).collect()
    })
}

/// One word of a command that can be pasted into a POSIX shell.
pub(crate) fn shell_word(word: &str) -> String {
    let harmless = |c: char| c.is_alphanumeric() || "_-./:,@%+=".contains(c);
    match !word.is_empty() && word.chars().all(harmless) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn is_plain(text: &str, room: Room) -> bool {
    text.chars().all(|c| match c {
        '\t' => true,
        '\n' => room == Room::Whole,
        c => !c.is_control(),
    })
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::from("b\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() => {
                    let mut utf8 = [0; 4];
                    for byte in c.encode_utf8(&mut utf8).bytes() {
                        let _ = write!(text, "\\x{byte:02x}");
                    }
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check(bytes: &[u8], line: &str) {
        assert_eq!(Form::Text.shown(bytes, Room::Line), line);
    }

    #[test]
    fn text_is_shown_as_it_is() {
        check(b"apples", "apples");
        check("Lavāsān شهرک".as_bytes(), "Lavāsān شهرک");
        check(b"", "");
        check(br#"{"a": "b\\c"}"#, r#"{"a": "b\\c"}"#);
    }

    #[test]
    fn what_is_no_text_is_escaped() {
        check(b"\xff\x00a\"\\", r#"b"\xff\x00a\"\\""#);
        check("é\u{1b}[31m\u{85}".as_bytes(), r#"b"é\x1b[31m\xc2\x85""#);
        check(b"two\nlines", r#"b"two\nlines""#);
        assert_eq!(Form::Text.shown(b"two\nlines", Room::Whole), "two\nlines");
    }

    #[test]
    fn no_two_byte_strings_are_shown_alike() {
        let alphabet = [b'b', b'"', b'\\', b'x', b'n', b'\n', 0xff, b'f'];
        let mut seen = BTreeSet::new();
        let mut all = vec![vec![]];
        for _ in 0..4 {
            let longer: Vec<Vec<u8>> = all
                .iter()
                .flat_map(|head| {
                    alphabet
                        .iter()
                        .map(move |last| [&head[..], &[*last]].concat())
                })
                .collect();
            for bytes in &longer {
                assert!(
                    seen.insert(Form::Text.shown(bytes, Room::Line).into_owned()),
                    "{bytes:?}"
                );
            }
            all = longer;
        }
        assert_eq!(seen.len(), 8 + 64 + 512 + 4096);
    }

    #[test]
    fn json_gives_the_bytes_back_in_either_form() {
        for bytes in [
            &b""[..],
            b"text",
            "é\n\t".as_bytes(),
            b"\0",
            b"\xff\xfe",
            b"b\"x\"",
        ] {
            for form in [Form::Text, Form::Hex] {
                let value = form.json(bytes);
                assert_eq!(from_json(&value).as_deref(), Some(bytes), "{value}");
            }
        }
        assert_eq!(from_json(&json!({"hex": "0g"})), None);
        assert_eq!(from_json(&json!({"hex": "00", "more": 1})), None);
        assert_eq!(from_json(&json!(7)), None);
    }

    #[test]
    fn hex_is_read_strictly() {
        assert_eq!(from_hex("00fFa0"), Some(vec![0, 0xff, 0xa0]));
        assert_eq!(from_hex(""), Some(vec![]));
        for text in ["0", "0x00", "zz", "00 11", "é"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
        assert!(matches!(
            Form::Hex.read(OsStr::new("xyz")),
            Err(Fault::Usage(_))
        ));
    }

    #[test]
    fn pasted_words_survive_the_shell() {
        assert_eq!(shell_word("carts"), "carts");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's $HOME"), r"'it'\''s $HOME'");
    }
}
