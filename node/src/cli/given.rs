//! What is given on the command line besides keys: values, numbers, contexts.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::PathBuf;

use bytes::Bytes;
use dunlin_client::Context;
use dunlin_protocol::limits::VALUE_BYTES_MAX;

use super::args::Switch;
use super::fault::Fault;
use super::text::{Form, from_hex};

/// The value that an argument stands for: itself, or for `-` what comes from standard input, taken
/// as it is.
///
/// # Errors
/// [`Fault`] if it is no hex where it has to be, or standard input cannot be read.
pub(crate) fn value(argument: &OsStr, form: Form) -> Result<Bytes, Fault> {
    match argument == "-" {
        true => bounded(io::stdin().lock()),
        false => form.read(argument),
    }
}

/// Reads one byte more than a value may have: enough for the request to be refused with the size that
/// is the most.
fn bounded(input: impl Read) -> Result<Bytes, Fault> {
    let mut value = Vec::new();
    input
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut value)
        .map_err(|source| Fault::Input {
            path: PathBuf::from("standard input"),
            source,
        })?;
    Ok(value.into())
}

/// The number that a value stands for, for kinds that hold numbers.
///
/// # Errors
/// [`Fault::Usage`] if it is none.
pub(crate) fn number(value: &[u8]) -> Result<i64, Fault> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| {
            let given = Form::Text.shown(value, super::text::Room::Line);
            Fault::Usage(format!(
                "{given} is no whole number between -2^63 and 2^63-1"
            ))
        })
}

/// The switch that a value stands for.
///
/// # Errors
/// [`Fault::Usage`] if it is neither on nor off.
pub(crate) fn switch(value: &[u8]) -> Result<Switch, Fault> {
    match value {
        b"on" => Ok(Switch::On),
        b"off" => Ok(Switch::Off),
        _ => Err(Fault::Usage("a flag is set to on or off".to_owned())),
    }
}

/// The context that a get has shown.
///
/// # Errors
/// [`Fault::Usage`] if it never was one.
pub(crate) fn context(text: &str) -> Result<Context, Fault> {
    from_hex(text)
        .map(Context::from_bytes)
        .filter(|context| context.clock().is_ok())
        .ok_or_else(|| Fault::Usage(format!("{text} is no context; dunlin get -v shows it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_is_needed_to_refuse_it() {
        let value = bounded(io::repeat(7)).unwrap();
        assert_eq!(value.len(), VALUE_BYTES_MAX + 1);
        assert_eq!(bounded(&b"x\n"[..]).unwrap(), &b"x\n"[..]);
    }

    #[test]
    fn numbers_are_whole_and_fit() {
        assert_eq!(number(b"-9223372036854775808").unwrap(), i64::MIN);
        assert_eq!(number(b"7\n").unwrap(), 7);
        for text in [&b"9223372036854775808"[..], b"1.0", b"", b"\xff"] {
            assert!(matches!(number(text), Err(Fault::Usage(_))), "{text:?}");
        }
    }

    #[test]
    fn only_what_was_a_context_is_taken_for_one() {
        assert_eq!(context("").unwrap(), Context::default());
        for text in ["zz", "ffffffff", "0"] {
            assert!(matches!(context(text), Err(Fault::Usage(_))), "{text}");
        }
    }
}
