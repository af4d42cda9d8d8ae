//! The fields of maps in words: `address:map/city:register`.
//!
//! A name that is no text, holds `/` or a control character, or ends with `:hex` itself is written in
//! hex: `2f00:hex:register`. So every field has exactly one spelling, on the command line and in
//! exports alike.

use bytes::Bytes;
use dunlin_client::{FieldKind, FieldPath};

use super::text::{from_hex, to_hex};

/// Marks a name in hex.
const HEX: &str = ":hex";

/// Reads a path.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_path(text: &str) -> Result<FieldPath, String> {
    let steps: Result<Vec<_>, String> = text.split('/').map(read_step).collect();
    FieldPath::new(steps?).map_err(|error| error.to_string())
}

/// Shows a path.
pub(crate) fn show_path(path: &FieldPath) -> String {
    let steps: Vec<String> = path
        .steps()
        .iter()
        .map(|(name, kind)| show_step(name, *kind))
        .collect();
    steps.join("/")
}

/// Reads one step, `name:kind`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_step(text: &str) -> Result<(Bytes, FieldKind), String> {
    let (name, kind) = text.rsplit_once(':').ok_or_else(|| {
        format!("field {text:?} says no kind; write name:kind, such as {text}:register or visits:counter")
    })?;
    let kind = kind.parse()?;
    let name = match name.strip_suffix(HEX) {
        None => name.as_bytes().to_vec(),
        Some(hex) => from_hex(hex).ok_or_else(|| format!("{hex:?} in field {text:?} is no hex"))?,
    };
    Ok((name.into(), kind))
}

/// Shows one step.
pub(crate) fn show_step(name: &[u8], kind: FieldKind) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if is_plain(text) => format!("{text}:{kind}"),
        _ => format!("{}{HEX}:{kind}", to_hex(name)),
    }
}

fn is_plain(name: &str) -> bool {
    !name.ends_with(HEX) && !name.chars().any(|c| c == '/' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_reads_back_from_its_spelling() {
        let names: [&[u8]; 8] = [
            b"city",
            b"",
            b"a:b",
            b"x/y",
            b"\xff\0",
            b"ff:hex",
            b":hex",
            "Zürich".as_bytes(),
        ];
        for name in names {
            for kind in FieldKind::ALL {
                let below = (Bytes::from_static(b"outer"), FieldKind::Map);
                let path =
                    FieldPath::new(vec![below, (Bytes::copy_from_slice(name), kind)]).unwrap();
                let spelling = show_path(&path);
                assert_eq!(read_path(&spelling).unwrap(), path, "{spelling}");
            }
        }
    }

    #[test]
    fn names_are_plain_where_they_can_be() {
        let path = FieldPath::field(&b"visits"[..], FieldKind::Counter);
        assert_eq!(show_path(&path), "visits:counter");
        let odd = FieldPath::field(&b"a/b"[..], FieldKind::Set);
        assert_eq!(show_path(&odd), "612f62:hex:set");
    }

    #[test]
    fn a_field_that_does_not_fit_is_explained() {
        for (text, says) in [
            ("visits", "visits:register"),
            ("visits:heap", "heap"),
            ("a:set/b:register", "no map"),
            ("zz:hex:register", "no hex"),
            ("", "says no kind"),
        ] {
            let error = read_path(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
