//! Processes that end, stand still, or live in another time.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::stage::Stage;
use crate::{Ended, Ended::Held, Ended::Skipped};

/// Longer than a request may take (5 s), than a peer may be silent (1 s), and than membership waits.
const STILL: Duration = Duration::from_secs(9);
/// Ten minutes ahead, and behind.
const AHEAD: i64 = 600;
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// One after the other is killed and started again while clients go on.
pub(crate) fn killing_one_node_after_the_other_loses_nothing() -> Ended {
    let mut stage = Stage::begin(3, &["c1"]);
    for name in stage.cluster.names() {
        stage.phase(&format!("{name} is killed"));
        stage.cluster.kill(&name);
        stage.all_go_on(150);
        stage.start(&name);
        stage.spares_one();
    }
    Held(stage.end(500))
}

/// What was on its way to the node, or waits in it, is taken up when everybody has given up on it.
pub(crate) fn a_node_that_stood_still_longer_than_every_timeout_takes_nothing_back() -> Ended {
    let mut stage = Stage::begin(3, &["c1"]);
    stage.cluster.signal("n2", Signal::STOP);
    stage.phase("n2 stands still");
    stage
        .cluster
        .logged("n1", &["peer is unreachable", "peer=\"n2\""]);
    let until = Instant::now() + STILL;
    while Instant::now() < until {
        stage.all_go_on(20);
    }
    stage.cluster.signal("n2", Signal::CONT);
    stage.phase("n2 goes on");
    stage.all_go_on(150);
    Held(stage.end(300))
}

/// Its stamps are ten minutes ahead, then ten minutes behind, then right.
pub(crate) fn a_clock_that_is_off_by_ten_minutes_loses_no_write() -> Ended {
    let library = FAKETIME.into_iter().find(|file| Path::new(file).exists());
    let Some(library) = library.filter(|library| is_faked(library)) else {
        return Skipped("libfaketime is missing (Debian: apt-get install faketime)".into());
    };
    let mut stage = Stage::begin(3, &["c1"]);
    for offset in [AHEAD, -AHEAD] {
        stage.phase(&format!("n3 is off by {offset} s"));
        stage.cluster.terminate("n3");
        stage
            .cluster
            .set_environment("n3", environment(library, offset));
        stage.start("n3");
        stage.all_go_on(300);
    }
    stage.phase("n3 is right");
    stage.cluster.terminate("n3");
    stage.cluster.set_environment("n3", Vec::new());
    stage.start("n3");
    Held(stage.end(600))
}

fn environment(library: &str, offset: i64) -> Vec<(String, String)> {
    let pairs = [
        ("LD_PRELOAD", library.to_owned()),
        ("FAKETIME", format!("{offset:+}s")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Whether a process is shown another time.
fn is_faked(library: &str) -> bool {
    let ran = Command::new("date")
        .arg("+%s")
        .envs(environment(library, AHEAD))
        .output();
    let told = ran.ok().and_then(|ran| String::from_utf8(ran.stdout).ok());
    let told = told.and_then(|told| told.trim().parse::<u64>().ok());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    told.is_some_and(|told| told > now + AHEAD.unsigned_abs() / 2)
}
