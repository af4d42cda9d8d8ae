//! Comma-separated records, by RFC 4180: quoted fields may hold commas, quotes and newlines.
//!
//! The `csv` crate takes records apart. Where one ends is found here first, since a quote that is
//! never closed would make it read the rest of the file into memory.

use std::io::{self, BufRead};

use csv::{ByteRecord, ReaderBuilder, Terminator};

use super::lines::{LINE_BYTES_MAX, Lines, is_blank};

/// One record, with the number of the line where it begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) line: u64,
    /// Its fields, or why there are none.
    pub(crate) fields: Result<Vec<Vec<u8>>, String>,
}

/// The records of an input.
pub(crate) struct Records<R> {
    lines: Lines<R>,
}

impl<R: BufRead> Records<R> {
    /// From where `lines` is.
    pub(crate) fn new(lines: Lines<R>) -> Self {
        Self { lines }
    }

    /// The next record; nothing at the end. Blank lines are no records.
    pub(crate) fn next(&mut self) -> io::Result<Option<Record>> {
        let Some(first) = self.next_that_is_not_blank()? else {
            return Ok(None);
        };
        let line = first.number;
        let Some(mut bytes) = first.bytes else {
            return Ok(Some(Record {
                line,
                fields: Err(too_long()),
            }));
        };
        let mut place = Place::default().after(&bytes);
        while place == Place::Quoted {
            let Some(next) = self.lines.next()? else {
                let reason = "a quote is opened and never closed".to_owned();
                return Ok(Some(Record {
                    line,
                    fields: Err(reason),
                }));
            };
            match next.bytes {
                Some(more) if bytes.len() + more.len() <= LINE_BYTES_MAX => {
                    place = place.after(&more);
                    bytes.extend(more);
                }
                Some(_) | None => {
                    return Ok(Some(Record {
                        line,
                        fields: Err(too_long()),
                    }));
                }
            }
        }
        Ok(Some(Record {
            line,
            fields: split(&bytes),
        }))
    }

    fn next_that_is_not_blank(&mut self) -> io::Result<Option<super::lines::Line>> {
        loop {
            match self.lines.next()? {
                Some(line) if line.bytes.as_deref().is_some_and(is_blank) => {}
                other => return Ok(other),
            }
        }
    }
}

fn too_long() -> String {
    format!("the record is larger than {LINE_BYTES_MAX} bytes, or a quote is never closed")
}

/// Takes one record apart. What ends it is known, so a carriage return in it is a character.
fn split(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .terminator(Terminator::Any(b'\n'))
        .buffer_capacity(bytes.len().clamp(64, 1 << 16))
        .from_reader(bytes);
    let mut record = ByteRecord::new();
    match reader.read_byte_record(&mut record) {
        Ok(true) => Ok(record.iter().map(<[u8]>::to_vec).collect()),
        Ok(false) => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// Where in a record a byte stands, as far as it decides whether a newline ends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// At the beginning of a field, where a quote opens.
    #[default]
    Begin,
    /// In a field, where a quote is a character like any other.
    Bare,
    /// Between quotes.
    Quoted,
    /// After a quote between quotes: it closes them, or the next quote makes it one character.
    Closing,
}

impl Place {
    fn after(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |place, byte| match (place, byte) {
            (Self::Quoted, b'"') => Self::Closing,
            (Self::Quoted, _) => Self::Quoted,
            (Self::Begin | Self::Closing, b'"') => Self::Quoted,
            (_, b',' | b'\n') => Self::Begin,
            (_, _) => Self::Bare,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    type Found = Vec<(u64, Result<Vec<String>, String>)>;

    fn all(text: &[u8]) -> Found {
        let mut records = Records::new(Lines::new(BufReader::new(text), LINE_BYTES_MAX));
        let text = |field: Vec<u8>| String::from_utf8_lossy(&field).into_owned();
        std::iter::from_fn(|| records.next().unwrap())
            .map(|r| {
                (
                    r.line,
                    r.fields
                        .map(|fields| fields.into_iter().map(text).collect()),
                )
            })
            .collect()
    }

    /// The records of a text that is valid, with the lines where they begin.
    fn check(text: &str, expected: &[(u64, &[&str])]) {
        let expected: Found = expected
            .iter()
            .map(|(line, fields)| (*line, Ok(fields.iter().map(|f| (*f).to_owned()).collect())))
            .collect();
        assert_eq!(all(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn quoted_fields_hold_commas_quotes_and_newlines() {
        check(
            "a,\"b,c\"\n\"say \"\"hi\"\"\",\"two\nlines\"\nlast,row\n",
            &[
                (1, &["a", "b,c"]),
                (2, &["say \"hi\"", "two\nlines"]),
                (4, &["last", "row"]),
            ],
        );
    }

    #[test]
    fn lines_end_as_on_any_system_and_the_last_need_not() {
        check(
            "a,b\r\nc,\r\n\r\nd,e",
            &[(1, &["a", "b"]), (2, &["c", ""]), (4, &["d", "e"])],
        );
        check("a\rb,c\nd,e\r", &[(1, &["a\rb", "c"]), (2, &["d", "e"])]);
        check(
            "a,\"b\r\nc\"\r\nd,e\r\n",
            &[(1, &["a", "b\r\nc"]), (3, &["d", "e"])],
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_header() {
        check(
            "\u{feff}key,value\n1,2\n",
            &[(1, &["key", "value"]), (2, &["1", "2"])],
        );
    }

    #[test]
    fn a_quote_in_a_bare_field_is_a_character() {
        check(
            "5\" pipe,x\nnext,y\n",
            &[(1, &["5\" pipe", "x"]), (2, &["next", "y"])],
        );
        check(
            "\"a\"b\"c,x\nnext,y\n",
            &[(1, &["ab\"c", "x"]), (2, &["next", "y"])],
        );
    }

    #[test]
    fn a_quote_that_is_never_closed_is_reported_where_it_begins() {
        let found = all(b"a,b\nc,\"d\ne,f\n");
        assert_eq!(found[1].0, 2);
        assert!(
            found[1].1.as_ref().unwrap_err().contains("never closed"),
            "{found:?}"
        );
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn records_are_those_of_the_csv_crate_reading_the_whole_text() {
        let alphabet = ["a", ",", "\"", "\n", "\r\n"];
        let mut texts = vec![String::new()];
        for _ in 0..6 {
            texts = texts
                .iter()
                .flat_map(|head| alphabet.iter().map(move |last| format!("{head}{last}")))
                .collect();
        }
        for text in texts {
            // A file ends with a newline, and quotes are closed where they were opened.
            let text = format!("{text}\n");
            if Place::default().after(text.as_bytes()) == Place::Quoted {
                continue;
            }
            let mut whole = ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .from_reader(text.as_bytes());
            let whole: Vec<Vec<String>> = whole
                .records()
                .map(|record| record.unwrap().iter().map(str::to_owned).collect())
                .collect();
            let ours: Vec<Vec<String>> = all(text.as_bytes())
                .into_iter()
                .map(|(_, fields)| fields.unwrap())
                .collect();
            assert_eq!(ours, whole, "{text:?}");
        }
    }
}
