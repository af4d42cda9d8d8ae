//! New certificates, node by node.

use std::fs;

use dunlin_history::{Action, Outcome};

use crate::stage::Stage;
use crate::{Ended, Ended::Held};

/// Nothing is ever overwritten, so the new ones are made in a folder of their own, beside a copy of the
/// authority. Each node is told of its own and restarted in order.
pub(crate) fn certificates_are_replaced_node_by_node_without_a_failed_write() -> Ended {
    let mut stage = Stage::begin(3, &["c1"]);
    let next = stage.path("next");
    fs::create_dir(&next).unwrap();
    for file in ["ca.pem", "ca-key.pem"] {
        fs::copy(stage.path(file), next.join(file)).unwrap();
    }
    for name in stage.cluster.names() {
        stage.phase(&format!("{name} gets a new one"));
        stage.operator(&format!("cert node {name} --dir {}", next.display()));
        stage
            .cluster
            .configure(&name, &format!("../next/node-{name}"));
        // So that nothing but the new one can be what it shows.
        fs::remove_file(stage.path(&format!("node-{name}.pem"))).unwrap();
        stage.cluster.terminate(&name);
        stage.start(&name);
        stage.spares_one();
        stage.all_go_on(60);
    }
    stage.operator(&format!("cert user admin --dir {}", next.display()));
    stage.cluster.identify("next/user-admin");
    fs::remove_file(stage.path("user-admin.pem")).unwrap();
    let history = stage.stop_clients();
    let failed = history.iter().filter(|op| op.action != Action::Read);
    let failed: Vec<_> = failed
        .filter(|op| op.outcome == Outcome::NotApplied)
        .collect();
    assert!(failed.is_empty(), "writes failed: {failed:?}");
    Held(stage.end(250))
}
