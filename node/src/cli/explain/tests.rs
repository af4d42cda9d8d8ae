//! What is found from the reports of three owners.

use dunlin_client::Hlc;
use dunlin_crdt::Clock;
use dunlin_protocol::cluster::AppliedLayout;
use dunlin_protocol::explain::{CellReport, KeptHints};
use dunlin_ring::{Layout, Member, MemberState, PartitionCount};

use super::*;

const ACTOR: ActorId = ActorId(0xa);

fn member(name: &str) -> Member {
    Member {
        id: NodeId::from_name(name),
        name: name.to_owned(),
        address: format!("{name}:7400"),
        zone: name.to_owned(),
        capacity: 1,
        state: MemberState::Active,
    }
}

fn state(nodes: &[&str]) -> ClusterState {
    let members = nodes.iter().map(|name| member(name)).collect();
    let layout = Layout::first(members, 3, PartitionCount::new(4).unwrap()).unwrap();
    let founding = AppliedLayout::founding(layout);
    ClusterState {
        complete: founding.id,
        layouts: vec![founding],
        staged: Vec::new(),
        next: None,
        nodes: Vec::new(),
    }
}

/// A node that has seen the events `1..=seen` and holds these of them in one row.
fn report(seen: u64, held: &[u64]) -> KeyReport {
    let mut clock = Clock::new();
    if seen > 0 {
        clock.add_range(ACTOR, 1, seen);
    }
    let cell = |counter: &u64| CellReport {
        actor: ACTOR,
        counter: *counter,
        stamp: Hlc(0),
        expired: false,
    };
    let row = RowReport {
        subkey: Bytes::new(),
        cells: held.iter().map(cell).collect(),
        cells_more: 0,
        past: Clock::new(),
        shows: Some(Found::Sum(7)),
    };
    KeyReport {
        owner: true,
        holds: true,
        whole: true,
        clock: seen,
        seen: clock,
        rows: vec![row],
        ..KeyReport::default()
    }
}

fn explained(reports: impl IntoIterator<Item = Result<KeyReport, &'static str>>) -> Explained {
    let holders = (1..).zip(reports).map(|(number, said)| Holder {
        name: format!("n{number}"),
        role: Role::Owner,
        said: said.map_err(str::to_owned),
    });
    Explained {
        state: state(&["n1", "n2", "n3"]),
        kind: Kind::Register,
        partition: PartitionId(0),
        holders: holders.collect(),
    }
}

#[track_caller]
fn check_finds(explained: &Explained, parts: &[&str]) {
    let findings = explained.findings().join("\n");
    for part in parts {
        assert!(findings.contains(part), "{part:?} is not in {findings}");
    }
}

#[test]
fn owners_that_agree_have_nothing_to_explain() {
    let same = explained([Ok(report(2, &[2])), Ok(report(2, &[2]))]);
    assert_eq!(same.differences(), []);
    assert_eq!(
        same.findings(),
        ["all who hold the partition hold the same"]
    );
}

#[test]
fn an_event_that_was_not_seen_and_one_that_was_replaced_are_told_apart() {
    let behind = explained([
        Ok(report(2, &[2])),
        Ok(report(2, &[2])),
        Ok(report(1, &[1])),
    ]);
    let differences = behind.differences();
    assert_eq!(differences.len(), 1);
    use Mark::{Held, Replaced, Unseen};
    assert_eq!(
        differences[0].dots,
        [
            ((ACTOR, 1), vec![Replaced, Replaced, Held]),
            ((ACTOR, 2), vec![Held, Held, Unseen]),
        ]
    );
    check_finds(
        &behind,
        &[
            "n3 has not seen 1 of them and still shows 1 that were replaced",
            "verify",
        ],
    );
    assert_eq!(
        marks_text(&["n1", "n2", "n3"], &differences[0].dots[0].1),
        "held by n3; replaced at n1, n2"
    );
}

#[test]
fn equal_clocks_with_different_rows_are_damage() {
    check_finds(
        &explained([Ok(report(2, &[2])), Ok(report(2, &[]))]),
        &["DAMAGE"],
    );
}

#[test]
fn different_clocks_with_equal_rows_are_no_fault_of_this_key() {
    check_finds(
        &explained([Ok(report(3, &[2])), Ok(report(2, &[2]))]),
        &["this key is the same everywhere"],
    );
}

#[test]
fn who_is_silent_fills_or_keeps_hints_is_named() {
    let filling = KeyReport {
        whole: false,
        ..report(0, &[])
    };
    let fallback = KeyReport {
        hints: vec![KeptHints {
            owner: NodeId::from_name("n2"),
            events: 2,
        }],
        ..KeyReport::default()
    };
    let all = explained([Ok(filling), Err("timed out"), Ok(fallback)]);
    check_finds(
        &all,
        &[
            "n1 is being filled",
            "n2 does not answer: timed out",
            "n3 keeps 2 events for n2",
        ],
    );
    assert_eq!(all.table().lines().len(), 4);
}

#[test]
fn reports_that_were_cut_are_compared_as_far_as_all_reach() {
    let mut long = report(2, &[1]);
    long.more = true;
    let mut other = report(2, &[1]);
    let mut further = other.rows[0].clone();
    further.subkey = Bytes::from_static(b"z");
    other.rows.push(further);
    assert_eq!(explained([Ok(long), Ok(other)]).differences(), []);
}

#[test]
fn owners_are_asked_first_then_those_who_stand_in() {
    let five = state(&["n1", "n2", "n3", "n4", "n5"]);
    let roles = roles(&five, PartitionId(0));
    let found: Vec<Role> = roles.iter().map(|(_, role)| *role).collect();
    use Role::{Fallback, Owner};
    assert_eq!(found, [Owner, Owner, Owner, Fallback, Fallback]);
}
