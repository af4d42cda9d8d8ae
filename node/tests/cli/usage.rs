//! What needs no cluster.

use std::path::Path;

use crate::dunlin::{dunlin, run};

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_is_right() {
    for (line, says) in [
        ("", "Usage"),
        ("frobnicate", "unrecognized"),
        ("get carts", "KEY"),
        ("put b k v --w many", "--w"),
        ("incr b k one", "one"),
        ("bucket create b --kind heap", "counter"),
        ("import b lines.txt --key id", "--format"),
    ] {
        let ran = run(dunlin(Path::new(".")).args(line.split_whitespace())).ended(2);
        assert!(ran.err.contains(says), "{line}: {}", ran.err);
        assert!(ran.out.is_empty(), "{line}: {ran:?}");
    }
}

#[test]
fn help_and_version_are_answers() {
    let help = run(dunlin(Path::new(".")).arg("--help")).ended(0);
    assert!(help.text().contains("Exit codes"), "{help:?}");
    let version = run(dunlin(Path::new(".")).arg("--version")).ended(0);
    assert!(version.text().starts_with("dunlin "), "{version:?}");
}

#[test]
fn without_a_cluster_file_nothing_is_done_and_the_way_out_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(dunlin(dir.path()).args(["get", "b", "k"])).ended(3);
    for part in [
        "cluster.toml",
        "nothing was written",
        "dunlin dev",
        "DUNLIN_CLUSTER",
    ] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    let json = run(dunlin(dir.path()).args(["get", "b", "k", "--json"])).ended(3);
    let error: serde_json::Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!(
        (&error["exit"], &error["effect"]),
        (&3.into(), &"not_applied".into())
    );
}

#[test]
fn a_folder_without_a_cluster_has_nothing_to_stop_or_kill() {
    let dir = tempfile::tempdir().unwrap();
    for line in ["dev stop", "dev kill 1", "dev restart 1"] {
        let ran = run(dunlin(dir.path()).args(line.split_whitespace())).ended(3);
        assert!(ran.err.contains("no cluster"), "{line}: {}", ran.err);
    }
}
