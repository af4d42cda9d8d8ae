//! `dunlin-loadtest run` on real processes: every workload, several processes of load, steps, and a stop in the middle.
//! All totals are computed once more from the CSV and from the HdrHistogram log.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

const LOADTEST: &str = env!("CARGO_BIN_EXE_dunlin-loadtest");

/// A cluster that all parts of a test use. Dropped, it is stopped.
struct Nodes {
    dunlin: PathBuf,
    dir: PathBuf,
}

impl Nodes {
    /// None, with a word, if the nodes' program is not there: it is built with all tests of the workspace.
    fn start(dir: &Path) -> Option<Self> {
        let dunlin = Path::new(LOADTEST).with_file_name("dunlin");
        if !dunlin.exists() {
            println!(
                "SKIPPED: {} is not there; cargo test --workspace builds it",
                dunlin.display()
            );
            return None;
        }
        let nodes = Self {
            dunlin,
            dir: dir.join("nodes"),
        };
        nodes.dev(&["--nodes", "3", "--detach"]);
        Some(nodes)
    }

    fn dev(&self, words: &[&str]) {
        let mut dev = Command::new(&self.dunlin);
        dev.arg("dev").args(words).arg("--dir").arg(&self.dir);
        let output = dev.stdin(Stdio::null()).output().unwrap();
        println!("{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success());
    }

    fn run(&self, words: &str, out: &Path) -> Command {
        let mut command = Command::new(LOADTEST);
        command
            .arg("run")
            .args(words.split_ascii_whitespace())
            .arg("--cluster")
            .arg(self.dir.join("cluster.toml"))
            .arg("--out")
            .arg(out);
        command
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.dev(&["stop"]);
    }
}

fn said(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    said.join("\n")
}

fn result(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("result.json")).unwrap()).unwrap()
}

/// Requests of one kind, as the CSV adds up.
#[derive(Default)]
struct Sum {
    done: u64,
    /// Of those, while requests were made.
    made: u64,
    failed: u64,
}

fn from_lines(out: &Path) -> BTreeMap<String, Sum> {
    let mut kinds: BTreeMap<String, Sum> = BTreeMap::new();
    let mut lines = csv::Reader::from_path(out.join("seconds.csv")).unwrap();
    for line in lines.deserialize::<BTreeMap<String, String>>() {
        let line = line.unwrap();
        let done: u64 = line["done"].parse().unwrap();
        let kind = kinds.entry(line["kind"].clone()).or_default();
        kind.done += done;
        kind.failed += line["failed"].parse::<u64>().unwrap();
        if line["drain"] == "false" {
            kind.made += done;
        }
    }
    kinds
}

/// The latencies of each kind, as the log adds up.
fn from_log(out: &Path) -> BTreeMap<String, Histogram<u64>> {
    let log = std::fs::read(out.join("latency.hlog")).unwrap();
    let mut kinds: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.unwrap() else {
            continue;
        };
        let encoded = interval.encoded_histogram();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .unwrap();
        let counts = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .unwrap();
        let kind = kinds.entry(interval.tag().unwrap().as_str().to_owned());
        kind.or_insert_with(|| {
            let mut all = Histogram::new_with_bounds(1_000, 1_000_000, 3).unwrap();
            all.auto(true);
            all
        })
        .add(counts)
        .unwrap();
    }
    kinds
}

/// That the result, the CSV and the log say the same.
fn check(out: &Path) -> Value {
    let result = result(out);
    let (lines, log) = (from_lines(out), from_log(out));
    let steps = result["steps"].as_array().unwrap();
    let (mut kinds, mut failed): (BTreeMap<String, u64>, u64) = Default::default();
    for step in steps {
        // A machine that is busy otherwise may refuse some, and what was not inserted is not found.
        failed += step["failed"].as_u64().unwrap();
        if failed == 0 {
            assert_eq!(step["not_found"], 0, "{step}");
        }
        for (kind, figures) in step["kinds"].as_object().unwrap() {
            *kinds.entry(kind.clone()).or_default() += figures["done"].as_u64().unwrap();
        }
    }
    for (kind, done) in &kinds {
        assert_eq!(lines[kind].done, *done, "{kind} in the CSV");
        assert_eq!(log[kind].len(), *done, "{kind} in the log");
    }
    let done: u64 = kinds.values().sum();
    assert!(done > 20, "{done} requests");
    let failed_lines: u64 = lines.values().map(|kind| kind.failed).sum();
    assert_eq!(failed_lines, failed);
    let made: u64 = lines.values().map(|kind| kind.made).sum();
    let told: f64 = steps
        .iter()
        .map(|step| step["done_per_second"].as_f64().unwrap() * step["seconds"].as_f64().unwrap())
        .sum();
    assert!((told - made as f64).abs() < 0.5 * steps.len() as f64);
    if let [step] = steps.as_slice() {
        for (kind, counts) in &log {
            let exact = counts.value_at_quantile(0.99) / 1_000;
            assert_eq!(step["kinds"][kind]["p99_us"], exact, "{kind}");
        }
    }
    result
}

#[test]
fn every_workload_runs_and_its_totals_follow_from_its_logs() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nodes) = Nodes::start(dir.path()) else {
        return;
    };
    for (workload, kinds) in [
        ("ycsb-a", &["read", "update"][..]),
        ("ycsb-b", &["read", "update"]),
        ("ycsb-c", &["read"]),
        ("ycsb-d", &["insert", "read"]),
        ("ycsb-e", &["insert", "scan"]),
        ("ycsb-f", &["read", "rmw"]),
        ("register", &["read", "update"]),
        ("lww", &["read", "update"]),
        ("counter", &["read", "update"]),
        ("set", &["read", "update"]),
        ("map", &["read", "update"]),
        ("mixed", &["read", "update"]),
    ] {
        let out = dir.path().join(workload);
        let words = format!(
            "{workload} --keys 200 --value 100 --durability periodic --in-flight 8 --measure 400ms --warm-up 0s"
        );
        let output = nodes.run(&words, &out).output().unwrap();
        assert!(output.status.success(), "{workload}: {}", said(&output));
        let result = check(&out);
        let told = result["steps"][0]["kinds"].as_object().unwrap();
        assert_eq!(told.keys().collect::<Vec<_>>(), kinds, "{workload}");
        assert_eq!(result["ended_early"], Value::Null);
    }

    // Two processes, rates one after the other, on the keys that are there.
    let out = dir.path().join("steps");
    let words = "register --skip-load --keys 200 --value mix:100=0.9,2k=0.1 --hot 0.9:5 --processes 2 \
                 --steps 100..300:100 --step-time 1s --p99-max 5s --durability periodic --warm-up 200ms --r one --w 2 --strict";
    let output = nodes.run(words, &out).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let result = check(&out);
    assert_eq!(result["settings"]["processes"], 2);
    let steps = result["steps"].as_array().unwrap();
    let kept_up: Vec<bool> = steps.iter().map(|step| step["kept_up"] == true).collect();
    match kept_up.as_slice() {
        // A machine that is busy otherwise keeps up with less.
        [false, false] => {}
        all => assert_eq!(all.len(), 3),
    }
    let knee = kept_up.iter().rposition(|kept_up| *kept_up);
    assert_eq!(
        result["knee"]["step"].as_u64(),
        knee.map(|step| step as u64)
    );
    for (at, step) in steps.iter().enumerate() {
        let due = 100.0 * (at + 1) as f64;
        assert_eq!(step["due_per_second"], due);
        // So many are due in the second, with a deviation of the root.
        let count = |what: &str| step[what].as_u64().unwrap() as f64;
        let came = count("done") + count("failed") + count("not_sent");
        assert!((came - due).abs() < 5.0 * due.sqrt(), "{step}");
    }
    assert!(said(&output).contains("knee"));

    // A stop in the middle: what was measured is there, and marked.
    let out = dir.path().join("stopped");
    let mut command = nodes.run(
        "lww --skip-load --keys 200 --durability periodic --measure 60s --warm-up 0s",
        &out,
    );
    let run = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // A second is measured when it is in the CSV.
    let lines = || {
        std::fs::read_to_string(out.join("seconds.csv"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    let patience = Instant::now() + Duration::from_secs(60);
    while lines() < 3 {
        assert!(Instant::now() < patience, "nothing was measured");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let result = check(&out);
    assert_eq!(result["ended_early"], "interrupted");
    let seconds = result["steps"][0]["seconds"].as_f64().unwrap();
    assert!((1.0..30.0).contains(&seconds), "{seconds}");
    assert!(!out.join("worker-0.log").exists());
}

#[test]
fn a_run_that_makes_no_sense_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for (words, why) in [
        ("--rate 0", "a rate lies between"),
        ("--value 3m", "no value of more than"),
        ("--skip-load", "is empty"),
        ("--cluster /no/such/file.toml", "/no/such/file.toml"),
    ] {
        let mut command = Command::new(LOADTEST);
        command
            .arg("run")
            .args(words.split(' '))
            .arg("--out")
            .arg(&out);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        assert!(said(&output).contains(why), "{words}: {}", said(&output));
    }
    let other = dir.path().join("thesis");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("chapter.tex"), "years").unwrap();
    let output = Command::new(LOADTEST)
        .arg("run")
        .arg("--out")
        .arg(&other)
        .output()
        .unwrap();
    assert!(
        said(&output).contains("not the folder of a run"),
        "{}",
        said(&output)
    );
}
