//! Reads: quorums, hedges, pages, and what a not-found takes.

use dunlin_crdt::{FieldKind, FieldPath, Kind};
use dunlin_protocol::request::{FieldChange, Keys, Page, Query, ReadOptions, Request, WriteOp};
use dunlin_protocol::response::{Answer, Found};
use dunlin_protocol::{Failure, Part};
use dunlin_ring::Quorum;

use crate::harness::{Cluster, blind, elements, page};

#[test]
fn not_found_takes_a_quorum_of_owners() {
    let mut cluster = Cluster::of(5);
    let bucket = cluster.bucket("b", Kind::Register);
    let owners = cluster.owners(&bucket, "k");
    cluster.write(owners[0], &bucket, "k", blind("v")).unwrap();
    let others = cluster.others(&bucket, "k");
    for owner in &owners {
        cluster.cut_off(*owner);
    }
    let read = cluster.read_with(
        others[0],
        &bucket,
        "k",
        Query::Value,
        ReadOptions::default(),
    );
    assert!(
        matches!(read, Err(Failure::Unavailable { needed: 2, .. })),
        "{read:?}"
    );
}

#[test]
fn silent_replica_is_hedged() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    cluster
        .write(cluster.id(1), &bucket, "k", blind("v"))
        .unwrap();
    for silent in [2, 3] {
        cluster.cut_off_unnoticed(cluster.id(silent));
        let before = cluster.now.time;
        assert_eq!(cluster.siblings(cluster.id(1), &bucket, "k").0, ["v"]);
        assert!(cluster.now.time.ms_since(before) <= 60);
        cluster.join(cluster.id(silent));
        cluster.pass_ms(500);
    }
}

#[test]
fn replica_that_was_behind_is_repaired_by_the_read() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Register);
    cluster
        .write(cluster.id(1), &bucket, "k", blind("v"))
        .unwrap();
    cluster.cut_off_unnoticed(cluster.id(3));
    let (_, context) = cluster.siblings(cluster.id(1), &bucket, "k");
    cluster
        .write(
            cluster.id(1),
            &bucket,
            "k",
            crate::harness::put("w", &context),
        )
        .unwrap();
    cluster.join(cluster.id(3));
    let all = ReadOptions {
        r: Some(Quorum::All),
        ..Default::default()
    };
    cluster
        .read_with(cluster.id(1), &bucket, "k", Query::Value, all)
        .unwrap();
    let one = ReadOptions {
        r: Some(Quorum::One),
        ..Default::default()
    };
    let read = cluster
        .read_with(cluster.id(3), &bucket, "k", Query::Value, one)
        .unwrap();
    assert!(matches!(read.found, Found::Siblings { values, .. } if values == elements(&["w"])));
}

#[test]
fn page_of_a_set_shows_what_only_the_other_replica_has() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Set);
    let names: Vec<String> = (0..30).map(|i| format!("e{i:02}")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    cluster
        .write(
            cluster.id(1),
            &bucket,
            "k",
            WriteOp::Add(elements(&refs[..20])),
        )
        .unwrap();
    cluster.cut_off_unnoticed(cluster.id(3));
    cluster
        .write(
            cluster.id(1),
            &bucket,
            "k",
            WriteOp::Add(elements(&refs[20..])),
        )
        .unwrap();
    cluster
        .write(
            cluster.id(1),
            &bucket,
            "k",
            WriteOp::Remove(elements(&refs[5..10])),
        )
        .unwrap();
    cluster.join(cluster.id(3));
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let query = Query::Elements(Page { after, limit: 7 });
        match cluster.read(cluster.id(3), &bucket, "k", query) {
            Found::Elements { items, next } => {
                seen.extend(items);
                after = next;
            }
            other => panic!("{other:?}"),
        }
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<&str> = refs[..5].iter().chain(&refs[10..]).copied().collect();
    assert_eq!(seen, elements(&expected));
    let counted = cluster.read(cluster.id(3), &bucket, "k", Query::Count(page(100)));
    assert_eq!(
        counted,
        Found::Count {
            count: 25,
            next: None
        }
    );
}

#[test]
fn keys_of_all_partitions_are_listed_once() {
    let mut cluster = Cluster::of(4);
    let bucket = cluster.bucket("b", Kind::Set);
    let node = cluster.id(1);
    for at in 0..40 {
        let many: Vec<_> = (0..30)
            .map(|i| format!("{i}").into_bytes().into())
            .collect();
        cluster
            .write(node, &bucket, &format!("key{at:02}"), WriteOp::Add(many))
            .unwrap();
    }
    let mut keys = Vec::new();
    for partition in cluster.layout.partitions().iter().collect::<Vec<_>>() {
        let mut after = None;
        loop {
            let request = Request::Keys(Keys {
                bucket: bucket.id,
                partition,
                prefix: b"key".as_slice().into(),
                page: Page { after, limit: 3 },
                options: ReadOptions::default(),
                seen: None,
            });
            match cluster.ask(node, request) {
                Answer::Read(read) => match read.found {
                    Found::Keys { items, next } => {
                        keys.extend(items);
                        after = next;
                    }
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
            if after.is_none() {
                break;
            }
        }
    }
    keys.sort();
    let expected: Vec<String> = (0..40).map(|at| format!("key{at:02}")).collect();
    assert_eq!(
        keys,
        elements(&expected.iter().map(String::as_str).collect::<Vec<_>>())
    );
}

#[test]
fn fields_of_a_map_are_read_one_by_one_and_in_pages() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Map);
    let path = |text: &str| text.parse::<FieldPath>().unwrap().subkey();
    let node = cluster.id(1);
    let changes = vec![
        FieldChange {
            path: path("name:register"),
            op: blind("Ada"),
        },
        FieldChange {
            path: path("visits:counter"),
            op: WriteOp::Increment(3),
        },
        FieldChange {
            path: path("tags:set"),
            op: WriteOp::Add(elements(&["x", "y"])),
        },
        FieldChange {
            path: path("home:map/city:register"),
            op: blind("Turin"),
        },
        FieldChange {
            path: path("vip:flag"),
            op: WriteOp::Enable,
        },
    ];
    cluster
        .write(node, &bucket, "k", WriteOp::Fields(changes))
        .unwrap();
    let visits = cluster.read(
        cluster.id(2),
        &bucket,
        "k",
        Query::Field(path("visits:counter")),
    );
    assert_eq!(visits, Found::Sum(3));
    let tag = "tags:set".parse::<FieldPath>().unwrap().element(b"y");
    let has = cluster.read(cluster.id(2), &bucket, "k", Query::Field(tag));
    assert_eq!(has, Found::Present);
    let all = Query::Fields {
        prefix: Default::default(),
        page: page(100),
    };
    match cluster.read(cluster.id(3), &bucket, "k", all) {
        Found::Fields { items, next: None } => assert_eq!(items.len(), 6),
        other => panic!("{other:?}"),
    }
    let tags = FieldPath::field("tags", FieldKind::Set).subkey();
    let remove = FieldChange {
        path: tags.clone(),
        op: WriteOp::Delete(dunlin_protocol::request::Replace::Seen),
    };
    cluster
        .write(node, &bucket, "k", WriteOp::Fields(vec![remove]))
        .unwrap();
    let left = Query::Fields {
        prefix: tags,
        page: page(100),
    };
    let found = cluster.read(cluster.id(2), &bucket, "k", left);
    assert_eq!(
        found,
        Found::Fields {
            items: Vec::new(),
            next: None
        }
    );
}

#[test]
fn wrong_kinds_and_sizes_are_refused() {
    let mut cluster = Cluster::of(3);
    let bucket = cluster.bucket("b", Kind::Counter);
    let node = cluster.id(1);
    let wrong = cluster.write(node, &bucket, "k", blind("v"));
    assert_eq!(
        wrong,
        Err(Failure::WrongKind {
            kind: Kind::Counter
        })
    );
    let wrong = cluster.read_with(
        node,
        &bucket,
        "k",
        Query::Has("e".into()),
        Default::default(),
    );
    assert_eq!(
        wrong,
        Err(Failure::WrongKind {
            kind: Kind::Counter
        })
    );
    let long = "k".repeat(1025);
    let large = cluster.write(node, &bucket, &long, WriteOp::Increment(1));
    assert_eq!(
        large,
        Err(Failure::TooLarge {
            what: Part::Key,
            is: 1025,
            max: 1024
        })
    );
    cluster
        .write(node, &bucket, &long[..1024], WriteOp::Increment(1))
        .unwrap();
    cluster
        .write(node, &bucket, "", WriteOp::Increment(1))
        .unwrap();
    let too_many = ReadOptions {
        r: Some(Quorum::Exactly(4)),
        ..Default::default()
    };
    let read = cluster.read_with(node, &bucket, "k", Query::Value, too_many);
    assert_eq!(
        read,
        Err(Failure::QuorumTooLarge {
            asked: Quorum::Exactly(4),
            owners: 3
        })
    );
}
