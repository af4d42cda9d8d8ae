//! Cuts in the network: two sides, one direction, and a node that sees both sides.

use crate::stage::Stage;
use crate::{Ended, Ended::Held};

/// Five nodes, of which three and two lose sight of each other, with clients on both sides. Owners of each key
/// are three: on the smaller side others stand in for those that are missing, where clients allow it.
pub(crate) fn both_sides_of_a_split_take_writes_and_meet_again_without_losing_one() -> Ended {
    let mut stage = Stage::begin(5, &["major", "minor"]);
    stage
        .net
        .part(&["n1", "n2", "n3", "major"], &["n4", "n5", "minor"]);
    stage.phase("split");
    stage
        .cluster
        .logged("n1", &["peer is unreachable", "peer=\"n4\""]);
    stage
        .cluster
        .logged("n5", &["peer is unreachable", "peer=\"n3\""]);
    stage.go_on(0, 300);
    stage.go_on(1, 60);
    stage.net.heal();
    stage.phase("healed");
    Held(stage.end(500))
}

/// What n1 sends never arrives at n2; what n2 sends does arrive at n1.
pub(crate) fn a_node_that_is_heard_by_one_peer_only_costs_no_write() -> Ended {
    let mut stage = Stage::begin(3, &["c1"]);
    stage.net.cut("n1", "n2");
    stage.phase("one way");
    stage
        .cluster
        .logged("n1", &["peer is unreachable", "peer=\"n2\""]);
    stage.all_go_on(400);
    stage.net.heal();
    stage.phase("healed");
    Held(stage.end(500))
}

/// n1 and n2 don't see each other, n3 sees both; one client sees n1 and n3, the other n2 and n3.
pub(crate) fn two_nodes_that_meet_only_over_a_third_agree_in_the_end() -> Ended {
    let mut stage = Stage::begin(3, &["c1", "c2"]);
    stage.net.part(&["n1", "c1"], &["n2", "c2"]);
    stage.phase("bridge");
    stage
        .cluster
        .logged("n1", &["peer is unreachable", "peer=\"n2\""]);
    stage
        .cluster
        .logged("n2", &["peer is unreachable", "peer=\"n1\""]);
    stage.all_go_on(250);
    stage.net.heal();
    stage.phase("healed");
    Held(stage.end(600))
}
