//! What an export says is what an import reads.

use dunlin_client::{Context, Hlc, Latest, Siblings};

use super::*;
use crate::cli::field::read_path;

const BINARY: &[u8] = b"\xff\0\"\\";

fn bytes_of(all: &[&[u8]]) -> Vec<Bytes> {
    all.iter().map(|one| Bytes::copy_from_slice(one)).collect()
}

/// Through text, as it goes through a file.
fn check(key: &[u8], kind: Kind, written: Value, data: Data) {
    let text = line(key, kind, written).to_string();
    assert!(!text.contains('\n'), "{text}");
    let parsed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        read(&parsed),
        Ok(Line::Key(Bytes::copy_from_slice(key), data)),
        "{text}"
    );
}

#[test]
fn single_values_read_back() {
    check(
        b"k",
        Kind::Counter,
        json!(i64::MIN),
        Data::Counter(i64::MIN),
    );
    check(b"", Kind::Max, json!(i64::MAX), Data::Max(i64::MAX));
    check(b"k", Kind::Min, json!(-1), Data::Min(-1));
    check(b"k", Kind::Flag, json!(true), Data::Flag(true));
    let value = Form::Text.json(BINARY);
    check(
        BINARY,
        Kind::Lww,
        value,
        Data::Lww(Bytes::from_static(BINARY)),
    );
}

#[test]
fn siblings_read_back_in_their_order() {
    for values in [&[b"only" as &[u8]][..], &[b"b", b"a", b"", BINARY]] {
        let values = bytes_of(values);
        check(
            b"k",
            Kind::Register,
            register(&values, Form::Text),
            Data::Register(values),
        );
    }
}

#[test]
fn a_value_that_looks_like_siblings_stays_a_value() {
    let value = bytes_of(&[br#"{"siblings":["a"]}"#]);
    check(
        b"k",
        Kind::Register,
        register(&value, Form::Text),
        Data::Register(value),
    );
}

fn entry(path: &str, element: Option<&[u8]>, value: FieldValue) -> FieldEntry {
    FieldEntry {
        path: read_path(path).unwrap(),
        element: element.map(Bytes::copy_from_slice),
        value,
    }
}

fn found(values: &[&[u8]]) -> FieldValue {
    FieldValue::Register(Siblings {
        values: bytes_of(values),
        context: Context::from_bytes(vec![1]),
    })
}

fn entries() -> Vec<FieldEntry> {
    let latest = Latest {
        value: Bytes::from_static(b"now"),
        stamp: Hlc(7),
    };
    vec![
        entry("at:map/city:register", None, found(&[b"Bern", BINARY])),
        entry("at:map/geo:map/lat:lww", None, FieldValue::Lww(latest)),
        entry("ff:hex:register", None, found(&[b"odd name"])),
        entry("on:flag", None, FieldValue::On),
        entry("tags:set", Some(b"a"), FieldValue::Present),
        entry("tags:set", Some(BINARY), FieldValue::Present),
        entry("tags:counter", None, FieldValue::Counter(-3)),
    ]
}

#[test]
fn every_kind_of_field_reads_back() {
    let written = tree(&entries(), Form::Text, Contexts::LeftOut);
    let path = |text: &str| read_path(text).unwrap();
    // In the order of the spellings, which is how a JSON object is read.
    let fields = vec![
        (
            path("at:map/city:register"),
            Data::Register(bytes_of(&[b"Bern", BINARY])),
        ),
        (
            path("at:map/geo:map/lat:lww"),
            Data::Lww(Bytes::from_static(b"now")),
        ),
        (
            path("ff:hex:register"),
            Data::Register(bytes_of(&[b"odd name"])),
        ),
        (path("on:flag"), Data::Flag(true)),
        (path("tags:counter"), Data::Counter(-3)),
        (path("tags:set"), Data::Set(bytes_of(&[b"a", BINARY]))),
    ];
    check(b"k", Kind::Map, written, Data::Map(fields));
}

#[test]
fn contexts_are_shown_to_readers_and_left_out_of_exports() {
    let shown = tree(&entries(), Form::Text, Contexts::Shown);
    assert_eq!(shown["at:map"]["city:register"]["context"], "01");
    assert_eq!(shown["ff:hex:register"], "odd name");
    let left_out = tree(&entries(), Form::Text, Contexts::LeftOut);
    assert!(left_out["at:map"]["city:register"].get("context").is_none());
}

#[test]
fn heads_and_ends_read_back() {
    for kind in Kind::ALL {
        assert_eq!(read(&head("b", kind)), Ok(Line::Head(kind)));
    }
    assert_eq!(read(&end(3, 4)), Ok(Line::End));
}

#[test]
fn a_line_that_does_not_fit_is_explained() {
    for (text, says) in [
        ("[]", "not a JSON object"),
        (r#"{"set":[]}"#, "the key is missing"),
        (r#"{"key":1,"set":[]}"#, "the key is neither"),
        (r#"{"key":"k"}"#, "one kind"),
        (r#"{"key":"k","set":[],"flag":true}"#, "one kind"),
        (r#"{"key":"k","heap":[]}"#, "heap"),
        (r#"{"key":"k","set":["a",1]}"#, "an item is neither"),
        (r#"{"key":"k","counter":1.5}"#, "1.5"),
        (
            r#"{"key":"k","counter":9223372036854775808}"#,
            "no whole number",
        ),
        (r#"{"key":"k","register":{"siblings":[]}}"#, "no siblings"),
        (
            r#"{"key":"k","register":{"hex":"0"}}"#,
            "the value is neither",
        ),
        (r#"{"key":"k","map":{"visits":3}}"#, "visits:counter"),
        (
            r#"{"key":"k","map":{"visits:counter":"3"}}"#,
            "no whole number",
        ),
        (r#"{"dunlin_export":2,"kind":"set"}"#, "version 2"),
        (r#"{"dunlin_export":1}"#, "the kind is missing"),
    ] {
        let error = read(&serde_json::from_str(text).unwrap()).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn maps_nested_too_deep_are_refused() {
    let mut nested = json!({"x:flag": true});
    for _ in 0..16 {
        nested = json!({ "m:map": nested });
    }
    let error = read(&json!({"key": "k", "map": nested})).unwrap_err();
    assert!(error.contains("deep"), "{error}");
}
