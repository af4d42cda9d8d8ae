//! A node is added, joins, is killed and restarted, leaves, and is removed.

use serde_json::json;

use crate::dunlin::{Dev, dunlin, run};

pub(crate) fn a_cluster_grows_and_shrinks_by_a_node(dev: &Dev) {
    dev.bucket("growth", "counter");
    for key in 0..20 {
        dev.line(&format!("incr growth k{key} 7")).ended(0);
    }
    let added = dev.line("dev add --json").ended(0).json();
    assert_eq!(added["node"], json!("n4"), "{added}");
    // Before it owns anything, it comes back as any other.
    dev.line("dev kill 4").ended(0);
    dev.line("dev restart 4").ended(0);

    dev.line("cluster join n4").ended(0);
    let refused = dev.line("dev remove 4").ended(3);
    assert!(refused.err.contains("staged to join"), "{refused:?}");
    let plan = dev.line("cluster plan").ended(0).text();
    assert!(plan.contains("n4    n4"), "its zone is known: {plan}");
    dev.line("cluster apply --yes").ended(0);
    dev.line("cluster moves --watch").ended(0);
    let refused = dev.line("dev remove 4").ended(3);
    assert!(refused.err.contains("is a member"), "{refused:?}");
    dev.line("cluster verify --wait 20s").ended(0);

    dev.line("cluster leave n4").ended(0);
    dev.line("cluster apply --yes").ended(0);
    dev.line("cluster moves --watch").ended(0);
    dev.line("dev remove 4").ended(0);
    for key in 0..20 {
        let read = dev.line(&format!("get growth k{key} --r all")).ended(0);
        assert_eq!(read.text(), "7", "k{key}");
    }
    let gone = dev.line("dev restart 4").ended(3);
    assert!(gone.err.contains("there are n1, n2, n3"), "{gone:?}");
    let status = dev.line("cluster status --wait 20s --json").ended(0).json();
    assert_eq!(status["safe"], json!(true), "{status}");
}

pub(crate) fn nothing_is_added_where_no_cluster_runs(dev: &Dev) {
    let nowhere = run(dunlin(dev.dir()).args(["dev", "add", "--dir", "nowhere"])).ended(3);
    assert!(nowhere.err.contains("there is no cluster"), "{nowhere:?}");
}

pub(crate) fn certificates_are_made_and_never_overwritten(dev: &Dev) {
    let make = |line: &str| run(dunlin(dev.dir()).args(line.split(' ')));
    let none = make("cert node n1 --dir certificates").ended(3);
    assert!(none.err.contains("ca.pem"), "{none:?}");
    std::fs::create_dir(dev.dir().join("certificates")).unwrap();
    make("cert create Shop --dir certificates").ended(3);
    make("cert create shop --dir certificates").ended(0);
    make("cert node n1 --dir certificates").ended(0);
    make("cert user ann --dir certificates").ended(0);
    let again = make("cert node n1 --dir certificates").ended(3);
    assert!(again.err.contains("exists already"), "{again:?}");
    for file in ["ca.pem", "node-n1.pem", "node-n1-key.pem", "user-ann.pem"] {
        assert!(dev.dir().join("certificates").join(file).exists(), "{file}");
    }
}
