//! Where answers go: standard output, as text or JSON, buffered; notes go to standard error.

use std::env;
use std::io::{self, BufWriter, IsTerminal, Write};

use bytes::Bytes;
use serde_json::Value;

use super::text::{Form, Room};

/// Standard output, and the form that was asked for.
pub(crate) struct Output {
    out: BufWriter<Box<dyn Write + Send>>,
    json: bool,
    form: Form,
    coloured: bool,
}

impl Output {
    /// Standard output. Coloured only on a terminal, and not if `NO_COLOR` says so.
    pub(crate) fn standard(json: bool, form: Form) -> Self {
        let stdout = io::stdout();
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            coloured: stdout.is_terminal() && !no_colour && !json,
            out: BufWriter::new(Box::new(stdout)),
            json,
            form,
        }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether bytes are text or hex.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Bytes that share the output with others, as text or hex.
    pub(crate) fn shown(&self, bytes: &[u8]) -> String {
        self.form.shown(bytes, Room::Line).into_owned()
    }

    /// Bytes as JSON.
    pub(crate) fn value(&self, bytes: &[u8]) -> Value {
        self.form.json(bytes)
    }

    /// Several.
    pub(crate) fn values<'a>(&self, all: impl IntoIterator<Item = &'a Bytes>) -> Value {
        all.into_iter().map(|bytes| self.value(bytes)).collect()
    }

    /// A line.
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        self.out.write_all(line.as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// A line of JSON.
    pub(crate) fn json_line(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// The text, to be noticed.
    pub(crate) fn alarming(&self, text: &str) -> String {
        match self.coloured {
            true => format!("\x1b[1;31m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// Hands everything to the system.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A note for people, on standard error. That nobody reads it is no reason to fail.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
