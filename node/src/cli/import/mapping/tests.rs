//! What lines become, kind by kind, and what is said about lines that do not fit.

use clap::Parser;
use dunlin_client::{FieldKind, FieldPath};

use super::*;
use crate::cli::args::{Cli, Command};

fn mapping(kind: Kind, options: &str) -> Result<Mapping, String> {
    let line = format!("dunlin import b f {options}");
    let Command::Import(args) = Cli::try_parse_from(line.split_whitespace())
        .unwrap()
        .command
    else {
        panic!("not an import");
    };
    Mapping::new(kind, &args)
}

fn check(kind: Kind, options: &str, line: &str, expected: Change) {
    let (key, change) = mapping(kind, options)
        .unwrap()
        .json(line.as_bytes())
        .unwrap();
    assert_eq!(
        (key.as_ref(), change),
        (&b"k"[..], expected),
        "{kind} {options} {line}"
    );
}

fn held(value: &str) -> Change {
    Change::Hold(Data::Register(vec![Bytes::copy_from_slice(
        value.as_bytes(),
    )]))
}

#[test]
fn a_register_holds_the_line_as_given_or_a_field() {
    let line = "{ \"id\":\"k\",  \"n\": 1.50, \"s\": \"a\\n\" }";
    check(
        Kind::Register,
        "--key id",
        &format!(" {line}\r\n"),
        held(line),
    );
    check(Kind::Register, "--key id --value n", line, held("1.50"));
    check(Kind::Register, "--key id --value s", line, held("a\n"));
    let lww = Change::Hold(Data::Lww(Bytes::from_static(b"1.50")));
    check(Kind::Lww, "--key id --value n", line, lww);
}

#[test]
fn numbers_elements_and_flags_come_from_their_fields() {
    let line = r#"{"id":"k","n":-3,"e":"x","es":["x","y"],"on":false}"#;
    check(
        Kind::Counter,
        "--key id --amount n",
        line,
        Change::Increment(-3),
    );
    check(
        Kind::Max,
        "--key id --amount n",
        line,
        Change::Hold(Data::Max(-3)),
    );
    check(
        Kind::Min,
        "--key id --amount n",
        line,
        Change::Hold(Data::Min(-3)),
    );
    let elements = |all: &[&'static str]| {
        Change::Hold(Data::Set(
            all.iter()
                .map(|e| Bytes::from_static(e.as_bytes()))
                .collect(),
        ))
    };
    check(Kind::Set, "--key id --element e", line, elements(&["x"]));
    check(
        Kind::Set,
        "--key id --element es",
        line,
        elements(&["x", "y"]),
    );
    check(Kind::Flag, "--key id", line, Change::Hold(Data::Flag(true)));
    check(
        Kind::Flag,
        "--key id --value on",
        line,
        Change::Hold(Data::Flag(false)),
    );
}

#[test]
fn a_map_has_every_field_of_the_line() {
    let line = r#"{"id":"k","n":5,"tags":["a"]}"#;
    let field = |name: &'static str, kind| FieldPath::field(name.as_bytes(), kind);
    let bytes = |text: &'static str| vec![Bytes::from_static(text.as_bytes())];
    let fields = vec![
        (
            field("id", FieldKind::Register),
            Data::Register(bytes("\"k\"")),
        ),
        (field("n", FieldKind::Register), Data::Register(bytes("5"))),
        (field("tags", FieldKind::Set), Data::Set(bytes("a"))),
    ];
    check(Kind::Map, "--key id", line, Change::Hold(Data::Map(fields)));
}

#[test]
fn a_csv_record_is_an_object_of_strings() {
    let header = ["id".to_owned(), "n".to_owned()];
    let record = [b"k".to_vec(), b"05".to_vec()];
    let change = |kind, options| {
        mapping(kind, options)
            .unwrap()
            .csv(&header, &record)
            .unwrap()
            .1
    };
    assert_eq!(
        change(Kind::Register, "--key id"),
        held(r#"{"id":"k","n":"05"}"#)
    );
    assert_eq!(change(Kind::Register, "--key id --value n"), held("05"));
    assert_eq!(
        change(Kind::Counter, "--key id --amount n"),
        Change::Increment(5)
    );
}

#[test]
fn a_line_that_does_not_fit_is_explained() {
    let mapping = mapping(Kind::Counter, "--key id --amount n").unwrap();
    for (line, says) in [
        ("", "not a JSON object"),
        ("7", "not a JSON object"),
        ("{\"id\":", "not JSON"),
        ("{\"id\":1} x", "not JSON"),
        ("{\"n\":1}", "\"id\" is missing"),
        ("{\"id\":null,\"n\":1}", "\"id\" is null"),
        ("{\"id\":\"k\"}", "\"n\" is missing"),
        ("{\"id\":\"k\",\"n\":1.5}", "\"n\" is no whole number"),
    ] {
        let error = mapping.json(line.as_bytes()).unwrap_err();
        assert!(error.contains(says), "{line}: {error}");
    }
    assert!(
        mapping
            .json(b"{\"id\":\"\xff\"}")
            .unwrap_err()
            .contains("UTF-8")
    );
    let header = ["id".to_owned(), "n".to_owned()];
    let error = mapping.csv(&header, &[b"k".to_vec()]).unwrap_err();
    assert!(error.contains("1 fields where the header has 2"), "{error}");
}

#[test]
fn options_that_do_not_fit_the_kind_are_refused() {
    for (kind, options, says) in [
        (Kind::Register, "", "--key"),
        (
            Kind::Register,
            "--key id --amount n",
            "--amount does not fit",
        ),
        (Kind::Counter, "--key id", "needs --amount"),
        (Kind::Counter, "--key id --value n", "--value does not fit"),
        (Kind::Set, "--key id", "needs --element"),
        (Kind::Map, "--key id --element n", "--element does not fit"),
    ] {
        let error = mapping(kind, options).unwrap_err();
        assert!(error.contains(says), "{kind} {options}: {error}");
    }
}
