//! New certificates, node by node, and a new authority.

use std::fs;
use std::path::Path;

use dunlin_history::{Action, Op, Outcome};

use crate::stage::Stage;
use crate::{Ended, Ended::Held};

/// Nothing is ever overwritten, so the new ones are made in a folder of their own, beside a copy of the
/// authority. Each node is told of its own and restarted in order.
pub(crate) fn certificates_are_replaced_node_by_node_without_a_failed_write() -> Ended {
    let mut stage = Stage::begin(3, &["c1"]);
    let next = folder(&stage);
    for file in ["ca.pem", "ca-key.pem"] {
        fs::copy(stage.path(file), next.join(file)).unwrap();
    }
    roll(&mut stage, "gets a new one", |stage, name| {
        replace(stage, &next, name)
    });
    stage.operator(&format!("cert user admin --dir {}", next.display()));
    stage.cluster.identify("next/user-admin");
    fs::remove_file(stage.path("user-admin.pem")).unwrap();
    none_failed(&stage.stop_clients());
    Held(stage.end(250))
}

/// First everybody trusts both authorities, then everybody shows a certificate of the new one, then nobody
/// trusts the old one any more.
pub(crate) fn an_authority_is_replaced_in_three_rounds_without_a_failed_write() -> Ended {
    let mut stage = Stage::begin(3, &["c1"]);
    let next = folder(&stage);
    stage.operator(&format!("cert create netns --dir {}", next.display()));
    let (old, new) = (stage.path("ca.pem"), next.join("ca.pem"));
    let (old_text, new_text) = (
        fs::read_to_string(&old).unwrap(),
        fs::read_to_string(new).unwrap(),
    );

    fs::write(&old, format!("{old_text}{new_text}")).unwrap();
    roll(&mut stage, "trusts both", |_, _| {});
    // Clients read what they trust when they start, as nodes do.
    none_failed(&stage.stop_clients());
    stage.operator(&format!("cert user admin --dir {}", next.display()));
    stage.cluster.identify("next/user-admin");
    stage.call("c1");
    roll(
        &mut stage,
        "gets one of the new authority",
        |stage, name| {
            replace(stage, &next, name);
        },
    );
    fs::write(&old, new_text).unwrap();
    roll(&mut stage, "trusts the new one", |_, _| {});
    none_failed(&stage.stop_clients());
    stage.cluster.identify("user-admin");
    let refused = stage.ask("bucket list");
    assert!(
        !refused.status.success(),
        "the old one is still trusted: {refused:?}"
    );
    stage.cluster.identify("next/user-admin");
    stage.operator("bucket list");
    Held(stage.end(400))
}

fn folder(stage: &Stage) -> std::path::PathBuf {
    let next = stage.path("next");
    fs::create_dir(&next).unwrap();
    next
}

/// The node's next process shows a certificate that is made in this folder; the old one is gone, so that
/// nothing else can be what it shows.
fn replace(stage: &Stage, folder: &Path, name: &str) {
    stage.operator(&format!("cert node {name} --dir {}", folder.display()));
    stage
        .cluster
        .configure(name, &format!("../next/node-{name}"));
    fs::remove_file(stage.path(&format!("node-{name}.pem"))).unwrap();
}

/// Changes something about each node and restarts it, one after the other.
fn roll(stage: &mut Stage, what: &str, change: impl Fn(&Stage, &str)) {
    for name in stage.cluster.names() {
        stage.phase(&format!("{name} {what}"));
        change(stage, &name);
        stage.cluster.terminate(&name);
        stage.start(&name);
        stage.spares_one();
        stage.all_go_on(40);
    }
}

fn none_failed(history: &[Op]) {
    let failed = history.iter().filter(|op| op.action != Action::Read);
    let failed: Vec<_> = failed
        .filter(|op| op.outcome == Outcome::NotApplied)
        .collect();
    assert!(failed.is_empty(), "writes failed: {failed:?}");
}
