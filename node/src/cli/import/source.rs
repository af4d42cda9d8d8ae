//! From a file to changes of keys, line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use bytes::Bytes;
use dunlin_client::Kind;
use serde_json::Value;

use super::csv::Records;
use super::lines::{LINE_BYTES_MAX, Line, Lines, is_blank};
use super::mapping::{Change, Mapping};
use crate::cli::args::Format;
use crate::cli::record::{self, Data, MARK};

/// An input that a thread of its own reads.
type Input = Box<dyn BufRead + Send>;

/// One line, and what it is to change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Its number, from 1; of a record, where it begins.
    pub(crate) line: u64,
    /// The key and what is to happen to it, or what is wrong with the line.
    pub(crate) change: Result<(Bytes, Change), String>,
}

/// A file that is opened, before it is known what its lines become. Its first line was read, so that
/// nothing waits for it later.
pub(crate) enum Opened {
    /// One JSON object a line.
    Ndjson {
        /// What is left.
        lines: Lines<Input>,
        /// The first line.
        first: Option<Line>,
    },
    /// Comma-separated.
    Csv {
        /// What is left.
        records: Records<Input>,
        /// The names of the fields.
        header: Vec<String>,
    },
    /// What `dunlin export` wrote.
    Export {
        /// What is left.
        lines: Lines<Input>,
        /// The kind that its first line says.
        kind: Kind,
    },
}

impl Opened {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    /// What the system says, or that a csv file has no header.
    pub(crate) fn open(path: &Path, format: Format) -> io::Result<Self> {
        let input: Input = match path.as_os_str() == "-" {
            true => Box::new(BufReader::new(io::stdin())),
            false => Box::new(BufReader::with_capacity(1 << 18, File::open(path)?)),
        };
        Self::new(input, format)
    }

    fn new(input: Input, format: Format) -> io::Result<Self> {
        let mut lines = Lines::new(input, LINE_BYTES_MAX);
        match format {
            Format::Csv => {
                let mut records = Records::new(lines);
                let header = header(&mut records)?;
                Ok(Self::Csv { records, header })
            }
            Format::Ndjson => {
                let first = lines.next()?;
                let bytes = first.as_ref().and_then(|line| line.bytes.as_deref());
                Ok(match bytes.and_then(export_head) {
                    Some(kind) => Self::Export { lines, kind },
                    None => Self::Ndjson { lines, first },
                })
            }
        }
    }

    /// Its lines, where `mapping` says what those become that do not say it themselves.
    ///
    /// # Errors
    /// What `mapping` says.
    pub(crate) fn lines<E>(
        self,
        bucket: Kind,
        mapping: impl FnOnce() -> Result<Mapping, E>,
    ) -> Result<Source, E> {
        Ok(match self {
            Self::Ndjson { lines, first } => Source::Ndjson {
                lines,
                first,
                mapping: mapping()?,
            },
            Self::Csv { records, header } => Source::Csv {
                records,
                header,
                mapping: mapping()?,
            },
            Self::Export { lines, .. } => Source::Export {
                lines,
                state: ExportState {
                    bucket,
                    ended: false,
                },
            },
        })
    }
}

/// The names of the fields of a csv file.
fn header(records: &mut Records<Input>) -> io::Result<Vec<String>> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let header = records
        .next()?
        .ok_or_else(|| invalid("there is no header"))?;
    let names = header.fields.map_err(|reason| invalid(&reason))?;
    let names: Result<Vec<_>, _> = names.into_iter().map(String::from_utf8).collect();
    names.map_err(|_| invalid("the header is not UTF-8"))
}

/// Where the lines come from, and what they become.
pub(crate) enum Source {
    /// One JSON object a line.
    Ndjson {
        /// What is left.
        lines: Lines<Input>,
        /// What was looked at already.
        first: Option<Line>,
        /// What lines become.
        mapping: Mapping,
    },
    /// Comma-separated.
    Csv {
        /// What is left.
        records: Records<Input>,
        /// The names of the fields.
        header: Vec<String>,
        /// What records become.
        mapping: Mapping,
    },
    /// What `dunlin export` wrote, after its first line.
    Export {
        /// What is left.
        lines: Lines<Input>,
        /// Where in the export it is.
        state: ExportState,
    },
}

/// What is known while an export is read.
#[derive(Debug)]
pub(crate) struct ExportState {
    /// The kind of the bucket that it goes into.
    bucket: Kind,
    /// Whether the last line was read.
    ended: bool,
}

impl Source {
    /// The next line that says anything; nothing at the end.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn next(&mut self) -> io::Result<Option<Parsed>> {
        match self {
            Self::Ndjson {
                lines,
                first,
                mapping,
            } => loop {
                let next = match first.take() {
                    None => lines.next()?,
                    first => first,
                };
                let Some(line) = next else { return Ok(None) };
                if let Some(parsed) = parsed(line, |bytes| mapping.json(bytes).map(Some)) {
                    return Ok(Some(parsed));
                }
            },
            Self::Csv {
                records,
                header,
                mapping,
            } => Ok(records.next()?.map(|record| Parsed {
                line: record.line,
                change: record
                    .fields
                    .and_then(|fields| mapping.csv(header, &fields)),
            })),
            Self::Export { lines, state } => loop {
                let Some(line) = lines.next()? else {
                    return Ok(state.at_end(lines.count()));
                };
                if let Some(parsed) = parsed(line, |bytes| state.line(bytes)) {
                    return Ok(Some(parsed));
                }
            },
        }
    }
}

/// What a line says, if it says anything.
fn parsed(
    line: Line,
    read: impl FnOnce(&[u8]) -> Result<Option<(Bytes, Change)>, String>,
) -> Option<Parsed> {
    let change = match line.bytes {
        None => Err(format!("the line is longer than {LINE_BYTES_MAX} bytes")),
        Some(bytes) if is_blank(&bytes) => return None,
        Some(bytes) => read(&bytes).transpose()?,
    };
    Some(Parsed {
        line: line.number,
        change,
    })
}

impl ExportState {
    fn line(&mut self, bytes: &[u8]) -> Result<Option<(Bytes, Change)>, String> {
        let line: Value =
            serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))?;
        let is_it = |kind: Kind, bucket: Kind| match kind == bucket {
            true => Ok(()),
            false => Err(format!(
                "it is of kind {kind}, and the bucket of kind {bucket}"
            )),
        };
        match record::read(&line)? {
            // Exports may be put one after the other.
            record::Line::Head(kind) => {
                self.ended = false;
                is_it(kind, self.bucket).map(|()| None)
            }
            record::Line::End => {
                self.ended = true;
                Ok(None)
            }
            record::Line::Key(key, data) => {
                is_it(kind_of(&data), self.bucket)?;
                Ok(Some((key, Change::Hold(data))))
            }
        }
    }

    /// That it was cut off is the last thing to be said.
    fn at_end(&mut self, lines: u64) -> Option<Parsed> {
        let was_cut_off = !std::mem::replace(&mut self.ended, true);
        was_cut_off.then(|| Parsed {
            line: lines + 1,
            change: Err("the export was cut off: its last line is missing".to_owned()),
        })
    }
}

fn kind_of(data: &Data) -> Kind {
    match data {
        Data::Register(_) => Kind::Register,
        Data::Lww(_) => Kind::Lww,
        Data::Counter(_) => Kind::Counter,
        Data::Flag(_) => Kind::Flag,
        Data::Max(_) => Kind::Max,
        Data::Min(_) => Kind::Min,
        Data::Set(_) => Kind::Set,
        Data::Map(_) => Kind::Map,
    }
}

/// The kind that the first line of an export says, if it is one.
fn export_head(line: &[u8]) -> Option<Kind> {
    let line: Value = serde_json::from_slice(line).ok()?;
    line.get(MARK)?;
    match record::read(&line) {
        Ok(record::Line::Head(kind)) => Some(kind),
        Ok(record::Line::Key(..) | record::Line::End) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn open(text: &'static str, format: Format) -> io::Result<Opened> {
        Opened::new(Box::new(text.as_bytes()), format)
    }

    /// Its lines, by options that fit if it needs any.
    fn source(text: &'static str, format: Format, bucket: Kind) -> Source {
        let opened = open(text, format).unwrap();
        let mapping = || Ok::<_, String>(mapping(bucket, "--amount n"));
        opened.lines(bucket, mapping).unwrap()
    }

    fn mapping(kind: Kind, options: &str) -> Mapping {
        let line = format!("dunlin import b f --key id {options}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Import(args) = cli.command else {
            panic!("not an import")
        };
        Mapping::new(kind, &args).unwrap()
    }

    /// The lines, each with its key or what is wrong with it.
    fn all(mut source: Source) -> Vec<(u64, Result<String, String>)> {
        std::iter::from_fn(|| source.next().unwrap())
            .map(|parsed| {
                let key = parsed
                    .change
                    .map(|(key, _)| String::from_utf8_lossy(&key).into_owned());
                (parsed.line, key)
            })
            .collect()
    }

    #[test]
    fn ndjson_goes_on_after_bad_lines_and_counts_them() {
        let text = "\u{feff}{\"id\":\"a\",\"n\":1}\r\nnot json\n\n{\"id\":\"b\",\"n\":2}";
        let lines = all(source(text, Format::Ndjson, Kind::Counter));
        assert_eq!(lines[0], (1, Ok("a".to_owned())));
        assert!(lines[1].0 == 2 && lines[1].1.is_err());
        assert_eq!(lines[2], (4, Ok("b".to_owned())));
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn csv_takes_its_names_from_the_header() {
        let lines = all(source(
            "id,n\na,1\nb\n\"c\nd\",2\n",
            Format::Csv,
            Kind::Counter,
        ));
        assert_eq!(lines[0], (2, Ok("a".to_owned())));
        assert!(
            lines[1].1.as_ref().unwrap_err().contains("1 fields"),
            "{lines:?}"
        );
        assert_eq!(lines[2], (4, Ok("c\nd".to_owned())));
    }

    #[test]
    fn csv_without_a_header_is_refused() {
        assert!(open("", Format::Csv).is_err());
    }

    const EXPORT: &str = "{\"dunlin_export\":1,\"bucket\":\"b\",\"kind\":\"counter\"}\n\
                          {\"key\":\"a\",\"counter\":1}\n";

    #[test]
    fn an_export_is_recognised_and_a_whole_one_says_so() {
        let whole =
            format!("{EXPORT}{{\"dunlin_export\":1,\"end\":true,\"keys\":1,\"lines\":1}}\n");
        let lines = all(source(whole.leak(), Format::Ndjson, Kind::Counter));
        assert_eq!(lines, [(2, Ok("a".to_owned()))]);
    }

    #[test]
    fn an_export_that_was_cut_off_is_noticed() {
        let lines = all(source(EXPORT, Format::Ndjson, Kind::Counter));
        assert_eq!(lines[0], (2, Ok("a".to_owned())));
        assert!(
            lines[1].1.as_ref().unwrap_err().contains("cut off"),
            "{lines:?}"
        );
        assert_eq!((lines[1].0, lines.len()), (3, 2));
    }

    #[test]
    fn a_line_of_another_kind_is_refused() {
        let lines = all(source(EXPORT, Format::Ndjson, Kind::Set));
        assert!(
            lines[0].1.as_ref().unwrap_err().contains("of kind counter"),
            "{lines:?}"
        );
    }
}
