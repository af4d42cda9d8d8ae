//! Import and export.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::json;

use crate::dunlin::{Dev, dunlin};

pub(crate) fn an_import_writes_good_lines_and_names_bad_ones(dev: &Dev) {
    dev.bucket("spend", "counter");
    let mut csv = String::from("\u{feff}customer,note,amount\r\n");
    for line in 0..300 {
        let _ = write!(csv, "c{},\"a, \"\"b\"\"\nc\",{}\r\n", line % 10, line);
    }
    dev.file("spend.csv", csv);
    let done = dev
        .line("import spend spend.csv --key customer --amount amount --json")
        .ended(0)
        .json();
    assert_eq!(
        (&done["lines"], &done["written"]),
        (&json!(300), &json!(300)),
        "{done}"
    );
    let sum: i64 = (0..300).filter(|line| line % 10 == 3).sum();
    assert_eq!(dev.line("get spend c3").ended(0).text(), sum.to_string());

    dev.bucket("lines", "register");
    let too_large = "x".repeat(1 << 20);
    let text = format!(
        "{{\"id\": 1, \"v\": 1.50}}\nno json\n\n{{\"v\": 2}}\n{{\"id\": 2, \"v\": \"{too_large}\"}}\n{{\"id\": 3}}"
    );
    dev.file("lines.ndjson", text);
    let done = dev
        .line("import lines lines.ndjson --key id --json")
        .ended(3)
        .json();
    assert_eq!(
        (&done["written"], &done["failed"]),
        (&json!(2), &json!(3)),
        "{done}"
    );
    let lines: Vec<_> = done["failed_lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["line"])
        .collect();
    assert_eq!(lines, [2, 4, 5], "{done}");
    assert_eq!(
        dev.line("get lines 1").ended(0).text(),
        "{\"id\": 1, \"v\": 1.50}"
    );
    dev.line("import lines lines.ndjson --key id").ended(3);
    let again = dev.line("get lines 1 --json").ended(0).json();
    assert_eq!(
        again["values"].as_array().unwrap().len(),
        1,
        "imported twice: {again}"
    );

    dev.bucket("stopped", "lww");
    let stopped = dev
        .line("import stopped lines.ndjson --key id --value v --stop-on-error")
        .ended(3);
    assert!(
        stopped.text().contains("stopped before the end: line 2"),
        "{stopped:?}"
    );
    assert_eq!(
        dev.line("keys stopped").ended(0).text(),
        "1",
        "the line before it is written"
    );
}

pub(crate) fn lines_that_add_to_one_set_fail_one_by_one(dev: &Dev) {
    let mut csv = String::from("key,element\n");
    for line in 2..500 {
        let element = match line {
            250 => "x".repeat(1025),
            line => line.to_string(),
        };
        let _ = writeln!(csv, "k,{element}");
    }
    for (bucket, option, count) in [("whole", "", "497"), ("part", "--stop-on-error", "248")] {
        dev.bucket(bucket, "set");
        let line = format!("import {bucket} - --format csv --key key --element element {option}");
        let done = dev.with_input(&line, csv.as_bytes()).ended(3).text();
        assert!(done.contains("line 250: an element is too large"), "{done}");
        let counted = dev.line(&format!("set count {bucket} k")).ended(0).text();
        assert_eq!(counted, count, "{done}");
    }
}

pub(crate) fn lines_of_one_key_are_written_in_their_order(dev: &Dev) {
    dev.bucket("order", "lww");
    let mut csv = String::from("key,value\n");
    for line in 0..200 {
        let _ = writeln!(csv, "k{},{line}", line % 4);
    }
    let done = dev.with_input(
        "import order - --format csv --key key --value value",
        csv.as_bytes(),
    );
    done.ended(0);
    for key in 0..4 {
        let last = dev.line(&format!("get order k{key}")).ended(0).text();
        assert_eq!(last, (196 + key).to_string());
    }
}

pub(crate) fn every_kind_goes_through_an_export_unchanged(dev: &Dev) {
    fill(dev);
    for kind in [
        "register", "lww", "counter", "flag", "max", "min", "set", "map",
    ] {
        let (from, to) = (format!("from-{kind}"), format!("to-{kind}"));
        let exported = dev.line(&format!("export {from}")).ended(0);
        dev.bucket(&to, kind);
        // Twice: what is there already is not doubled.
        for _ in 0..2 {
            dev.with_input(&format!("import {to} - --format ndjson"), &exported.out)
                .ended(0);
        }
        let back = dev.line(&format!("export {to}")).ended(0);
        let (before, after) = (lines(&exported.text()), lines(&back.text()));
        assert!(before.len() >= 2, "{kind}: {before:?}");
        assert_eq!(before, after, "{kind}");
        let cut_off = exported.text().rsplit_once('\n').unwrap().0.to_owned();
        let ran = dev.with_input(
            &format!("import {to} - --format ndjson"),
            cut_off.as_bytes(),
        );
        assert!(ran.ended(3).text().contains("cut off"));
    }
    let other = dev.line("export from-set").ended(0);
    let ran = dev
        .with_input("import to-map - --format ndjson", &other.out)
        .ended(3);
    assert!(ran.err.contains("of kind set"), "{ran:?}");
}

fn fill(dev: &Dev) {
    for kind in [
        "register", "lww", "counter", "flag", "max", "min", "set", "map",
    ] {
        dev.bucket(&format!("from-{kind}"), kind);
    }
    for line in [
        "put from-register one value",
        "put from-register two a",
        "put from-register two b",
        "put from-register 6b00 ff --hex",
        "put from-lww k {\"a\":1}",
        "put from-lww 00 ff00 --hex",
        "incr from-counter k -12",
        "incr from-counter zero 0",
        "flag from-flag k on",
        "flag from-flag l on",
        "put from-max k 9",
        "put from-max l -9",
        "put from-min k 9",
        "put from-min l -9",
        "set add from-set k a b",
        "set add from-set ff ff00 61 --hex",
        "map set from-map u name:register a",
        "map set from-map u name:register b",
        "map set from-map u at:map/city:lww Bern",
        "map incr from-map u at:map/visits:counter -3",
        "map set from-map u 2f00:hex:flag on",
        "map add from-map u tags:set x y",
        "map incr from-map v n:counter 1",
    ] {
        dev.line(line).ended(0);
    }
}

/// Lines of an export but its first and last; keys come in no particular order, nor do siblings.
fn lines(text: &str) -> BTreeSet<String> {
    let sorted = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        for place in ["/register/siblings", "/map/name:register/siblings"] {
            if let Some(serde_json::Value::Array(siblings)) = line.pointer_mut(place) {
                siblings.sort_by_key(ToString::to_string);
            }
        }
        line.to_string()
    };
    text.lines()
        .filter(|line| !line.contains("dunlin_export"))
        .map(sorted)
        .collect()
}

pub(crate) fn a_reader_that_goes_away_is_no_error(dev: &Dev) {
    dev.bucket("many", "flag");
    let mut csv = String::from("key\n");
    for line in 0..600 {
        let _ = writeln!(csv, "{line}-{}", "x".repeat(400));
    }
    dev.with_input(
        "import many - --format csv --key key --concurrency 256",
        csv.as_bytes(),
    )
    .ended(0);
    assert_eq!(dev.line("keys many --count").ended(0).text(), "600");
    for line in ["export many", "keys many"] {
        let mut child = dunlin(dev.dir())
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut out = BufReader::with_capacity(16, child.stdout.take().unwrap());
        out.read_line(&mut first).unwrap();
        drop(out);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{line}: {ended:?}");
        assert!(ended.stderr.is_empty(), "{line}: {ended:?}");
    }
}
