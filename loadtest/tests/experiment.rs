//! Experiments on real processes: what they judge, and what they report.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dunlin_history::{Outcome, Reader};
use serde_json::Value;

/// The nodes' program, which is built with all tests of the workspace. Without it there is nothing to try.
fn dunlin() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_dunlin-loadtest")).with_file_name("dunlin");
    if !beside.exists() {
        println!(
            "SKIPPED: {} is not there; cargo test --workspace builds it",
            beside.display()
        );
    }
    beside.exists().then_some(beside)
}

fn experiment(dir: &Path, plan: &str) -> Option<Output> {
    Some(experiment_with(dir, plan, &dunlin()?))
}

fn experiment_with(dir: &Path, plan: &str, dunlin: &Path) -> Output {
    let file = dir.join("plan.toml");
    std::fs::write(&file, plan).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin-loadtest"))
        .arg("experiment")
        .arg(file)
        .arg("--dunlin")
        .arg(dunlin)
        .arg("--out")
        .arg(dir.join("out"))
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn result(dir: &Path) -> Value {
    let text = std::fs::read(dir.join("out/result.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

const SPLIT: &str = r#"
name = "short"

[load]
rate = 100
keys = 10

[[clients]]
name = "left"

[[clients]]
name = "right"
sessions = 3

[[phase]]
name = "calm"
seconds = 1

[[phase]]
name = "split"
seconds = 4
split = [["n1", "left"], ["n2", "n3", "right"]]

[[phase]]
name = "healed"
seconds = 2
"#;

#[test]
fn a_split_is_survived_and_its_figures_follow_from_the_history() {
    let dir = tempfile::tempdir().unwrap();
    let Some(output) = experiment(dir.path(), SPLIT) else {
        return;
    };
    assert!(output.status.success());
    let result = result(dir.path());
    assert_eq!(result["verdict"]["holds"], true);
    assert_eq!(result["places"].as_array().unwrap().len(), 5);
    let dropped = result["relay_dropped"].as_u64().unwrap();
    assert!(dropped > 10, "{dropped} packets were stopped");

    let history = std::fs::File::open(dir.path().join("out/history.ndjson")).unwrap();
    let history = Reader::new(std::io::BufReader::new(history)).unwrap();
    let history = history.history().unwrap();
    let load = || history.ops.iter().filter(|op| !op.settled);
    let done = load().filter(|op| matches!(op.outcome, Outcome::Done | Outcome::Read(_)));
    let done = done.count() as u64;
    assert!(done > 100, "{done} operations");
    let points = result["timeline"].as_array().unwrap();
    let sum = |name: &str| {
        points
            .iter()
            .map(|point| point[name].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(sum("reads") + sum("writes"), done);
    let unknown = load().filter(|op| op.outcome == Outcome::Unknown).count();
    assert_eq!(sum("unknown"), unknown as u64);
    assert_eq!(
        result["operations"].as_u64().unwrap(),
        history.ops.len() as u64
    );
    for part in ["map.register", "map.counter", "map.set"] {
        assert!(load().any(|op| op.bucket == part), "nothing of {part}");
    }
    let judged = &result["verdict"]["history"]["checks"]["sessions"]["looked"];
    assert!(judged.as_u64().unwrap() > 0, "no read of a session");
    is_drawn(
        &dir.path().join("out/report.html"),
        "Everything that was promised holds.",
        9,
    );
    let compared = Command::new(env!("CARGO_BIN_EXE_dunlin-loadtest"))
        .current_dir(dir.path())
        .args(["compare", "out", "out/result.json"])
        .status()
        .unwrap();
    assert!(compared.success());
    is_drawn(&dir.path().join("compare.html"), "Two runs", 3);
}

/// Whether a browser draws the page with these words and so many charts, if there is a browser here.
fn is_drawn(report: &Path, words: &str, charts: usize) {
    let page = format!("file://{}", report.display());
    let is_there = Command::new("chromium").arg("--version").output().is_ok();
    if !is_there {
        println!("SKIPPED: chromium is not there to draw the report");
        return;
    }
    // A browser that hangs is a failure, and not the end of all tests.
    let browser = Command::new("timeout")
        .args([
            "120",
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
        ])
        .args([
            "--disable-dev-shm-usage",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ])
        // Whatever the page would fetch fails, and is said.
        .args([
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--enable-logging=stderr",
            "--v=0",
        ])
        .arg(page)
        .output();
    let browser = browser.unwrap();
    let drawn = String::from_utf8_lossy(&browser.stdout);
    let said = String::from_utf8_lossy(&browser.stderr);
    assert!(
        drawn.contains("data-drawn=\"yes\""),
        "the script came to no end: {said}"
    );
    assert!(!said.contains("CONSOLE"), "{said}");
    let seen = drawn.matches("<svg").count();
    assert!(seen >= charts, "{seen} charts");
    assert!(drawn.contains(words), "the page does not say: {words}");
}

const WIPE: &str = r#"
name = "wiped"

[cluster]
nodes = 2
replicas = 1

[load]
rate = 150
keys = 10
r = "one"
w = "one"

[[phase]]
name = "calm"
seconds = 3

[[phase]]
name = "a disk is gone, and there was no other copy"
seconds = 1
wipe = ["n2"]

[[phase]]
name = "after"
seconds = 3
"#;

#[test]
fn a_cluster_that_loses_what_it_acknowledged_is_reported_as_broken() {
    let dir = tempfile::tempdir().unwrap();
    let Some(output) = experiment(dir.path(), WIPE) else {
        return;
    };
    assert_eq!(output.status.code(), Some(2));
    let result = result(dir.path());
    assert_eq!(result["verdict"]["holds"], false);
    let found = result["verdict"]["history"]["checks"]["survival"]["found"]
        .as_u64()
        .unwrap();
    assert!(found > 0, "{}", result["verdict"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("SOMETHING IS WRONG"));
}

#[test]
fn a_plan_that_makes_no_sense_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let plan = SPLIT.replace("\"n2\", \"n3\"", "\"n7\"");
    let Some(output) = experiment(dir.path(), &plan) else {
        return;
    };
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("there is no place \"n7\""), "{said}");
    assert!(!dir.path().join("out").exists());
}

const ON_RUNNING: &str = r#"
name = "cut-off"

[load]
rate = 100
keys = 10

[[clients]]
name = "near"

[[clients]]
name = "far"

[[phase]]
name = "calm"
seconds = 1

[[phase]]
name = "the far clients reach one node, and another stands still"
seconds = 2
split = [["far"], ["n1", "n2"]]
pause = ["n2"]

[[phase]]
name = "healed"
seconds = 1
"#;

#[test]
fn a_cluster_that_runs_is_experimented_with_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let Some(dunlin) = dunlin() else { return };
    let nodes = dir.path().join("nodes");
    let dev = |words: &[&str]| {
        let output = Command::new(&dunlin)
            .arg("dev")
            .args(words)
            .arg("--dir")
            .arg(&nodes)
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    };
    dev(&["--nodes", "3", "--detach"]);
    let file = dir.path().join("plan.toml");
    std::fs::write(&file, ON_RUNNING).unwrap();
    let cluster = nodes.join("cluster.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin-loadtest"))
        .arg("experiment")
        .arg(&file)
        .arg("--cluster")
        .arg(&cluster)
        .arg("--out")
        .arg(dir.path().join("out"))
        .output()
        .unwrap();
    let left = Command::new(&dunlin)
        .args(["bucket", "list", "--cluster"])
        .arg(&cluster)
        .output()
        .unwrap();
    dev(&["stop"]);
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    let result = result(dir.path());
    assert_eq!(result["verdict"]["holds"], true);
    let dropped = result["relay_dropped"].as_u64().unwrap();
    assert!(dropped > 0, "nothing was cut");
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(!left.contains("experiment-"), "{left}");
}

#[test]
fn nodes_that_end_by_themselves_end_the_experiment_and_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let Some(dunlin) = dunlin() else { return };
    let broken = dir.path().join("broken");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = server ] && exit 7\nexec {} \"$@\"\n",
        dunlin.display()
    );
    std::fs::write(&broken, script).unwrap();
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = experiment_with(dir.path(), SPLIT, &broken);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("nodes ended by themselves: n1"), "{said}");
}
