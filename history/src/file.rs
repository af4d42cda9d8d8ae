//! Histories on disk: a line of JSON for the header, and one for each operation.
//!
//! Lines are appended as operations end. A process that is killed leaves at most one line that is torn, the
//! last: that one is passed over. Every other line that can't be read is an error that names it, since a
//! verdict on half of a history would be none.

use std::io::{self, BufRead, Read, Write};

use thiserror::Error;

use crate::op::{Header, History, Op};

/// The version of the form that is written and read here.
pub const FORMAT: u32 = 1;

/// No line is longer. A set of 100,000 elements in one read takes a few MiB.
pub const LINE_BYTES_MAX: u64 = 64 << 20;

/// Why a history can't be read. What was read before stands.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file can't be read.
    #[error("the history can't be read: {0}")]
    Io(#[from] io::Error),
    /// There is no first line, or it is torn: nothing was recorded.
    #[error("the history has no header")]
    Empty,
    /// It has a form of another version.
    #[error("the history is of format {found}, not {FORMAT}")]
    Format {
        /// Which.
        found: u32,
    },
    /// A line is not what it should be.
    #[error("line {line} of the history: {source}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A line is too long to be one.
    #[error("line {line} of the history is longer than {LINE_BYTES_MAX} bytes")]
    TooLong {
        /// Which, from 1.
        line: u64,
    },
}

/// Writes a history, line by line.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Begins with the header. Each line goes to `out` in one piece; buffering is up to the caller.
    ///
    /// # Errors
    /// As `out` says.
    pub fn new(out: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self { out };
        writer.line(serde_json::to_vec(header)?)?;
        Ok(writer)
    }

    /// Appends an operation.
    ///
    /// # Errors
    /// As `out` says; the line may be torn then.
    pub fn write(&mut self, op: &Op) -> io::Result<()> {
        self.line(serde_json::to_vec(op)?)
    }

    /// Hands over what is buffered.
    ///
    /// # Errors
    /// As `out` says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn line(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        self.out.write_all(&line)
    }
}

/// Reads a history, line by line.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    /// The number of the line that was read last.
    line: u64,
    is_torn: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn new(mut input: R) -> Result<Self, ReadError> {
        let (line, is_whole) = next_line(&mut input, 1)?;
        let header: Header = match serde_json::from_slice(&line) {
            Ok(header) => header,
            Err(_) if !is_whole => return Err(ReadError::Empty),
            Err(source) => return Err(ReadError::Line { line: 1, source }),
        };
        match header.format {
            FORMAT => Ok(Self {
                input,
                header,
                line: 1,
                is_torn: false,
            }),
            found => Err(ReadError::Format { found }),
        }
    }

    /// What it is about.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the last line was torn, and passed over. Known at the end.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// The whole of it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn history(mut self) -> Result<History, ReadError> {
        let ops = self.by_ref().collect::<Result<_, _>>()?;
        Ok(History {
            header: self.header,
            ops,
        })
    }

    fn read(&mut self) -> Result<Option<Op>, ReadError> {
        let number = self.line + 1;
        let (line, is_whole) = next_line(&mut self.input, number)?;
        if line.is_empty() && !is_whole {
            return Ok(None);
        }
        self.line = number;
        match serde_json::from_slice(&line) {
            Ok(op) => Ok(Some(op)),
            Err(_) if !is_whole => {
                self.is_torn = true;
                Ok(None)
            }
            Err(source) => Err(ReadError::Line {
                line: number,
                source,
            }),
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Op, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The next line without its end, and whether it has one.
fn next_line(input: &mut impl BufRead, number: u64) -> Result<(Vec<u8>, bool), ReadError> {
    let mut line = Vec::new();
    let read = input
        .by_ref()
        .take(LINE_BYTES_MAX + 1)
        .read_until(b'\n', &mut line)?;
    let is_whole = line.last() == Some(&b'\n');
    if is_whole {
        line.pop();
    } else if read as u64 > LINE_BYTES_MAX {
        return Err(ReadError::TooLong { line: number });
    }
    Ok((line, is_whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Found, Kind, Replaces};
    use crate::testing::{add, at, header, put, read};

    fn written() -> (Vec<Op>, Vec<u8>) {
        let header = header(&[("b", Kind::Register), ("s", Kind::Set)]);
        let mut ops = vec![
            put("k", "1-1", Replaces::Read(vec!["0-1".into()])),
            read("k", Found::Values(vec!["1-1".into(), "é\n\"".into()])),
            add("s", &["x", "y"]),
        ];
        at(&mut ops);
        ops[0].sent = 3;
        ops[0].node = Some("n1".into());
        ops[1].settled = true;
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &header).unwrap();
        ops.iter().for_each(|op| writer.write(op).unwrap());
        (ops, bytes)
    }

    #[test]
    fn what_was_written_is_read() {
        let (ops, bytes) = written();
        let reader = Reader::new(&bytes[..]).unwrap();
        let history = reader.history().unwrap();
        assert_eq!(history.ops, ops);
        assert_eq!(history.header.buckets["s"], Kind::Set);
    }

    #[test]
    fn lines_have_the_form_that_is_documented() {
        let (_, bytes) = written();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..2],
            [
                r#"{"format":1,"owners":3,"buckets":{"b":"register","s":"set"},"clock_skew_us":1000000}"#,
                concat!(
                    r#"{"client":0,"bucket":"b","key":"k","#,
                    r#""do":{"put":{"value":"1-1","replaces":{"read":["0-1"]}}},"#,
                    r#""start_us":0,"end_us":5,"outcome":"done","sent":3,"node":"n1"}"#
                ),
            ]
        );
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn a_torn_last_line_is_passed_over_wherever_it_is_torn() {
        let (ops, bytes) = written();
        let body = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in body..bytes.len() {
            let mut reader = Reader::new(&bytes[..cut]).unwrap();
            let read: Vec<Op> = reader.by_ref().map(Result::unwrap).collect();
            assert_eq!(read, ops[..read.len()], "{cut}");
            let ends = bytes[body..cut].iter().filter(|byte| **byte == b'\n');
            assert!(read.len() >= ends.count(), "{cut}");
        }
    }

    #[test]
    fn any_other_bad_line_is_an_error_that_names_it() {
        let (_, bytes) = written();
        let text = String::from_utf8(bytes).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines[2] = "{\"client\":";
        let text = lines.join("\n");
        let mut reader = Reader::new(text.as_bytes()).unwrap();
        assert!(reader.next().unwrap().is_ok());
        let error = reader.next().unwrap().unwrap_err();
        assert!(matches!(error, ReadError::Line { line: 3, .. }), "{error}");
    }

    #[test]
    fn a_file_without_a_header_or_of_another_format_is_refused() {
        for empty in ["", "{\"form"] {
            let error = Reader::new(empty.as_bytes()).unwrap_err();
            assert!(matches!(error, ReadError::Empty), "{error}");
        }
        let other = "{\"format\":2,\"owners\":3,\"buckets\":{}}\n";
        let error = Reader::new(other.as_bytes()).unwrap_err();
        assert!(matches!(error, ReadError::Format { found: 2 }), "{error}");
    }
}
