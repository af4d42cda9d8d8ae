//! One node of three is killed, missed, and comes back.

use serde_json::json;

use crate::dunlin::Dev;

pub(crate) fn a_killed_node_is_shown_and_missed_and_catches_up(dev: &Dev) {
    dev.bucket("outage", "counter");
    dev.line("incr outage k 1").ended(0);
    dev.line("cluster verify --wait 20s").ended(0);
    dev.line("cluster compact").ended(0);
    let well = dev.line("cluster status --json").ended(0).json();
    assert_eq!(well["tolerates"]["majority"]["nodes"], json!(1), "{well}");

    dev.line("dev kill 3").ended(0);
    dev.line("dev kill 3").ended(1);
    dev.line("incr outage k 1 --w majority").ended(0);
    wait_until_missed(dev, "n3");
    dev.line("incr outage k 1 --pw all --strict").ended(3);
    assert_eq!(dev.line("get outage k").ended(0).text(), "2");
    let status = dev.line("cluster status --json").ended(0).json();
    let up: Vec<_> = status["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| &node["up"])
        .collect();
    assert_eq!(up, [&json!(true), &json!(true), &json!(false)], "{status}");
    assert_eq!(status["safe"], json!(false), "{status}");
    let text = dev.line("cluster status").ended(0).text();
    for part in [
        "not every write is at all its owners: n3 is down",
        "tolerates: 0 nodes or 0 zones by majority; 1 node or 1 zone by last copy",
        "change:    none is running",
        "n3: down",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let unequal = dev.line("cluster verify --wait 1ms --json").ended(3).json();
    assert_eq!(
        (&unequal["unanswered"], &unequal["differ"]),
        (&json!(64), &json!(0)),
        "{unequal}"
    );

    dev.line("cluster status --wait 1s").ended(1);
    dev.line("dev restart 3").ended(0);
    dev.line("cluster status --wait 30s").ended(0);
    dev.line("cluster verify --wait 30s").ended(0);
    assert_eq!(dev.line("get outage k --r all").ended(0).text(), "2");
    dev.line("dev kill 4").ended(3);
}

pub(crate) fn a_disk_put_back_from_a_backup_is_recognised_and_refilled(dev: &Dev) {
    dev.bucket("restored", "counter");
    dev.line("incr restored k 1").ended(0);
    dev.line("cluster status --wait 30s").ended(0);
    dev.line("dev kill 3").ended(0);
    let (data, backup) = (
        dev.dir().join("dunlin-dev/n3/data"),
        dev.dir().join("backup"),
    );
    copy_dir(&data, &backup);
    dev.line("dev restart 3").ended(0);
    dev.line("cluster status --wait 30s").ended(0);
    // Over many pings, each of which says how far the store is.
    for _ in 0..20 {
        dev.line("incr restored k 1 --w all").ended(0);
    }
    dev.line("cluster status --wait 30s").ended(0);
    dev.line("dev kill 3").ended(0);
    std::fs::remove_dir_all(&data).unwrap();
    copy_dir(&backup, &data);
    dev.line("dev restart 3").ended(0);
    dev.line("cluster status --wait 30s").ended(0);
    let status = dev.line("cluster status").ended(0).text();
    assert!(
        status.contains("it came back from an older state"),
        "{status}"
    );
    assert_eq!(dev.line("get restored k --r all").ended(0).text(), "21");
}

pub(crate) fn a_bit_that_flips_in_a_table_is_found_and_healed(dev: &Dev) {
    dev.bucket("flipped", "register");
    let rows: String = (0..300)
        .map(|row| format!("{{\"key\":\"row-{row}\",\"value\":\"{row}\"}}\n"))
        .collect();
    let rows = dev.file("flipped.ndjson", rows);
    dev.words([
        "import",
        "flipped",
        rows.to_str().unwrap(),
        "--key",
        "key",
        "--value",
        "value",
    ])
    .ended(0);
    dev.line("cluster status --wait 30s").ended(0);
    dev.line("cluster compact").ended(0);
    dev.line("dev kill 3").ended(0);
    let tables = dev
        .dir()
        .join("dunlin-dev/n3/data/kv/store/keyspaces/1/tables");
    let tables = std::fs::read_dir(tables)
        .unwrap()
        .map(|table| table.unwrap().path());
    let largest = tables
        .max_by_key(|table| std::fs::metadata(table).unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    // In the first of its blocks.
    bytes[1000] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    dev.line("dev restart 3").ended(0);
    // A node gives no digest of what it can't read, and says so from then on.
    // Whether the answer of that moment is missing depends on how far the node is with healing.
    dev.line("cluster verify");
    dev.line("cluster status --wait 60s").ended(0);
    dev.line("cluster verify --wait 30s").ended(0);
    let status = dev.line("cluster status").ended(0).text();
    assert!(status.contains("of keyspace rows is damaged"), "{status}");
    assert_eq!(dev.line("get flipped row-7 --r all").ended(0).text(), "7");
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Until the others know that a node is away, a write that needs it may still wait for its answer.
fn wait_until_missed(dev: &Dev, name: &str) {
    let knows = |node: &serde_json::Value| {
        let mut peers = node["status"]["peers"].as_array().unwrap().iter();
        peers.any(|peer| peer["name"] == name && peer["reachable"] == false)
    };
    // Each look takes two seconds, as long as the node is given to answer.
    let missed = (0..10).any(|_| {
        let status = dev.line("cluster status --json").ended(0).json();
        let mut up = status["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|node| node["up"] == true);
        up.all(knows)
    });
    assert!(missed, "nobody noticed that {name} is away");
}
