//! Disks that are full, and disks that lose what was not synced.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use serde_json::json;

use crate::stage::{Disk, Stage};
use crate::{Ended, Ended::Held, Ended::Skipped};

/// The disk of n3, in MiB: its journals and what it keeps free fit.
const DISK_MIB: u32 = 256;
/// What is left of it when it is nearly full: less than n3 keeps free.
const LEFT_BYTES: u64 = 8 << 20;

/// Nearly full, n3 refuses writes, answers reads, and takes writes again by itself. Then somebody takes the last
/// byte: it may end, and has everything when it is started again.
pub(crate) fn a_full_disk_loses_nothing_and_is_used_again_once_there_is_room() -> Ended {
    let mut stage = Stage::set(3, &["c1"]);
    if let Err(reason) = stage.mount("n3", &Disk::Memory(DISK_MIB)) {
        return Skipped(format!("no tmpfs can be mounted: {reason}"));
    }
    stage.go(&["c1"]);
    let filler = stage.cluster.data_dir("n3").join("filler");

    // What little is written here would not make it look at its disk for long: it does at its start.
    stage.phase("the disk of n3 is nearly full");
    stage.cluster.terminate("n3");
    fill(&filler);
    let full = fs::metadata(&filler).unwrap().len();
    File::options()
        .write(true)
        .open(&filler)
        .unwrap()
        .set_len(full - LEFT_BYTES)
        .unwrap();
    stage.start("n3");
    stage.until("n3 refuses writes", |n3| n3["storage"] == json!("Full"));
    stage.all_go_on(200);
    stage.phase("there is room again");
    fs::remove_file(&filler).unwrap();
    stage.until("n3 takes writes", |n3| n3["storage"] == json!("Ready"));
    assert!(
        stage.cluster.runs("n3"),
        "n3 has ended\n{}",
        stage.cluster.logs()
    );

    stage.phase("there is no room at all");
    fill(&filler);
    stage.all_go_on(200);
    fs::remove_file(&filler).unwrap();
    if !stage.cluster.runs("n3") {
        stage.start("n3");
    }
    Held(stage.end(500))
}

/// The power of n3 is cut while it writes: what its disk has is what was written through to it.
pub(crate) fn a_node_that_lost_its_power_has_all_that_it_said_is_synced() -> Ended {
    let mut stage = Stage::set(3, &["c1"]);
    let (image, copy) = (stage.path("n3.img"), stage.path("n3-copy.img"));
    File::create(&image)
        .unwrap()
        .set_len(u64::from(DISK_MIB) << 20)
        .unwrap();
    let made = Command::new("mkfs.ext4").arg("-q").arg(&image).output();
    match made {
        Ok(made) if made.status.success() => {}
        made => return Skipped(format!("mkfs.ext4 does not work: {made:?}")),
    }
    if let Err(reason) = stage.mount("n3", &Disk::Image(&image)) {
        return Skipped(format!("no image can be mounted: {reason}"));
    }
    stage.go(&["c1"]);
    stage.all_go_on(150);
    stage.phase("n3 has no power");
    stage.cluster.kill("n3");
    // Before the file system writes what it holds back. Of what it has, the image is all that a disk would.
    fs::copy(&image, &copy).unwrap();
    stage.all_go_on(200);
    stage.mount("n3", &Disk::Image(&copy)).unwrap();
    stage.start("n3");
    stage.phase("n3 is back");
    stage.all_go_on(100);
    Held(stage.end(500))
}

/// Writes until there is no room at all.
fn fill(path: &std::path::Path) {
    let mut filler = File::create(path).unwrap();
    let mut bytes = vec![0; 1 << 20];
    while !bytes.is_empty() {
        if filler.write_all(&bytes).is_err() {
            bytes.truncate(bytes.len() / 2);
        }
    }
}
