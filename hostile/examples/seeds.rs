//! Writes the seeds: `cargo run -p dunlin-hostile --example seeds -- hostile/seeds`.
//!
//! Real encodings of everything that a target reads. Certificates are issued anew each time, the rest is
//! always the same. Files under other names, which are what fuzzers found, stay.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use dunlin_client::tls::ClusterName;
use dunlin_crdt::{
    ActorId, Body, Cell, Clock, Dot, Event, FieldKind, FieldPath, Hlc, Millis, OpId, Row,
};
use dunlin_hostile::NOW_SECONDS;
use dunlin_node::pki::ClusterAuthority;
use dunlin_protocol::frame::{Frame, FrameKind, RequestId};
use rustls::pki_types::{CertificateDer, pem::PemObject};

/// Every message there is, one a line: `kind/name hex`.
const MESSAGES: &str = include_str!("../../protocol/tests/claims/golden.txt");
const CLUSTER_FILE: &str = include_str!("../src/files/cluster.toml");

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let folder = std::env::args_os()
        .nth(1)
        .ok_or("give the folder of the seeds")?;
    let seeds = Seeds(folder.into());
    messages(&seeds)?;
    values(&seeds)?;
    merges(&seeds)?;
    files(&seeds)?;
    identity(&seeds)
}

struct Seeds(PathBuf);

impl Seeds {
    fn put(&self, target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Done {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)?;
        Ok(())
    }
}

fn messages(seeds: &Seeds) -> Done {
    for (number, line) in (0u8..).zip(MESSAGES.lines()) {
        let (name, hex) = line.split_once(' ').ok_or("a line without a space")?;
        let digits = hex.as_bytes().chunks(2);
        let digits =
            digits.map(|pair| u8::from_str_radix(str::from_utf8(pair)?, 16).map_err(Box::from));
        let message = digits.collect::<Result<Vec<u8>, Box<dyn Error>>>()?;
        seeds.put("messages", &name.replace('/', "."), &message)?;
        let (ears, kind) = match name.split('/').next() {
            Some("request") => (0, FrameKind::Request),
            Some("response") => (1, FrameKind::Response),
            Some("peer") => (2, FrameKind::Peer),
            _ => continue,
        };
        // A few streams are enough; what is in the frames is the other target's.
        if number % 8 == 0 {
            let mut stream = BytesMut::from(&[ears, number][..]);
            for kind in [FrameKind::Hello, kind, kind] {
                let frame = Frame {
                    kind,
                    id: RequestId(u64::from(number)),
                    deadline_ms: 1_000,
                    body: message.clone().into(),
                };
                frame.encode_into(&mut stream);
            }
            seeds.put("frames", &name.replace('/', "."), stream)?;
        }
    }
    Ok(())
}

fn values(seeds: &Seeds) -> Done {
    let mut clock = Clock::new();
    seeds.put("values", "clock-empty", clock.encode())?;
    clock.add_range(ActorId(0x0a), 1, 300);
    seeds.put("values", "clock-prefix", clock.encode())?;
    clock.add(Dot::new(ActorId(0x0b), 2));
    clock.add_range(ActorId(0x0b), 5, 6);
    clock.add_range(ActorId(0x0b), 200, u64::MAX);
    clock.add_range(ActorId(0x0a), 302, 310);
    seeds.put("values", "clock-gaps", clock.encode())?;

    let bodies = [
        ("value", Body::Value(Bytes::from_static(b"duck"))),
        (
            "count",
            Body::Count {
                plus: 5,
                minus: i64::MAX as u64,
            },
        ),
        ("mark", Body::Mark),
        ("extreme", Body::Extreme(-2)),
    ];
    let mut crowded = Row::new();
    for (counter, (name, body)) in (1..).zip(bodies) {
        let event = Event {
            dot: Dot::new(ActorId(0x0c), counter * 100),
            cell: Some(Cell {
                stamp: Hlc::at(Millis(1_000)),
                op: OpId(0x11, counter),
                expires_at: (counter % 2 == 0).then_some(Millis(2_000)),
                body,
            }),
            replaces: Clock::from_iter([Dot::new(ActorId(0x0c), 1)]),
        };
        let mut row = Row::new();
        row.take(&Clock::new(), &event);
        crowded.take(&Clock::new(), &event);
        seeds.put("values", &format!("event-{name}"), event.encode())?;
        seeds.put("values", &format!("row-{name}"), row.encode())?;
    }
    let removal = Event {
        dot: Dot::new(ActorId(1), 1),
        cell: None,
        replaces: clock,
    };
    seeds.put("values", "event-removal", removal.encode())?;
    crowded.take(&Clock::new(), &removal);
    seeds.put("values", "row-crowded", crowded.encode())?;
    seeds.put("values", "row-empty", Row::new().encode())?;

    let field = |name: &[u8], kind| (Bytes::copy_from_slice(name), kind);
    let deep = FieldPath::new(vec![
        field(b"a\0b", FieldKind::Map),
        field(b"", FieldKind::Map),
        field(b"c", FieldKind::Set),
    ])?;
    seeds.put("values", "path-of-an-element", deep.element(b"e\0"))?;
    for kind in FieldKind::ALL {
        let path = FieldPath::field(&b"f\0"[..], kind);
        seeds.put("values", &format!("path-{kind}"), path.subkey())?;
    }
    Ok(())
}

/// The numbers are those of `History::step`.
fn merges(seeds: &Seeds) -> Done {
    const WRITE: u8 = 0;
    const REMOVE: u8 = 1;
    const WRITE_UNDER: u8 = 2;
    const READ: u8 = 3;
    const DELIVER: u8 = 4;
    const REPAIR: u8 = 5;
    const PULL: u8 = 6;
    const SAVE: u8 = 7;
    const CRASH: u8 = 8;
    let histories: [(&str, &[[u8; 2]]); 6] = [
        (
            "one-writer",
            &[[WRITE, 6], [WRITE, 9], [PULL, 1], [REMOVE, 0], [PULL, 1]],
        ),
        (
            "siblings",
            &[
                [WRITE, 9],
                [WRITE, 13],
                [WRITE, 17],
                [READ, 0],
                [WRITE_UNDER, 1],
                [PULL, 2],
            ],
        ),
        (
            "out-of-order",
            &[
                [WRITE, 12],
                [READ, 0],
                [WRITE_UNDER, 0],
                [DELIVER, 4],
                [DELIVER, 1],
                [PULL, 2],
            ],
        ),
        (
            "crash",
            &[
                [WRITE, 12],
                [SAVE, 0],
                [WRITE, 15],
                [DELIVER, 4],
                [CRASH, 0],
                [WRITE, 18],
                [PULL, 1],
            ],
        ),
        (
            "repair",
            &[
                [WRITE, 12],
                [REMOVE, 0],
                [REPAIR, 1],
                [WRITE, 13],
                [REPAIR, 0],
                [PULL, 2],
                [REPAIR, 2],
            ],
        ),
        (
            "ends",
            &[
                [WRITE, 3],
                [WRITE, 0],
                [WRITE, 1],
                [WRITE, 4],
                [PULL, 0],
                [WRITE, 6],
                [REPAIR, 1],
            ],
        ),
    ];
    for kind in 0..7 {
        for (name, steps) in histories {
            let bytes = [&[kind], steps.as_flattened()].concat();
            seeds.put("merges", &format!("{name}-{kind}"), bytes)?;
        }
    }
    Ok(())
}

fn files(seeds: &Seeds) -> Done {
    let node = "[[node]]\nname = \"n1\"\naddress = \"127.0.0.1:7101\"\n";
    let head = "cluster = \"shop\"\nca = \"ca.pem\"\n";
    for (name, text) in [
        ("whole", CLUSTER_FILE.to_owned()),
        ("least", format!("{head}{node}")),
        (
            "born",
            format!(
                "{head}certificate = \"a.pem\"\nkey = \"k.pem\"\nreplicas = 3\npartitions = 256\n{node}"
            ),
        ),
        ("twice", format!("{head}{node}{node}")),
        ("no-nodes", head.to_owned()),
        (
            "no-port",
            format!("{head}[[seed]]\nname = \"n4\"\naddress = \"localhost\"\n"),
        ),
        (
            "inline",
            format!(
                "{head}node = [{{ name = \"n1\", address = \"[::1]:7101\", zone = '''a''' }}]\n"
            ),
        ),
    ] {
        seeds.put("cluster_file", name, text)?;
    }

    let head = "name = \"n1\"\ncluster_file = \"cluster.toml\"\ndata_dir = \"data\"\n";
    let tls = "[tls]\ncertificate = \"a.pem\"\nkey = \"/keys/a.pem\"\n";
    for (name, text) in [
        ("least", format!("{head}{tls}")),
        (
            "of-its-own",
            format!(
                "{head}listen = \"0.0.0.0:7101\"\nshards = 4\nsync_interval_ms = 100\ninbox_max = 10\n\
             inbox_bytes_max = 1_000\nconnections_max = 5\nconnections_per_address_max = 2\n\
             client_idle_timeout_ms = 1\nhints_bytes_max = 0\n{tls}authority = \"ca.pem\"\n"
            ),
        ),
        (
            "joins",
            format!(
                "{head}{tls}[node]\naddress = \"127.0.0.1:7109\"\nzone = \"z\"\ncapacity = 7\n"
            )
            .replace("n1", "n9"),
        ),
        (
            "engine",
            format!(
                "{head}{tls}[engine]\nhedge_after_min_ms = 1\nhedge_after_max_ms = 0x10\n\
             unreachable_after_ms = 500\nping_every_ms = 100\nslice_rows = 1\n"
            ),
        ),
        (
            "storage",
            format!(
                "{head}{tls}[storage]\ncache_bytes = 1\nmemtable_bytes = 2\nworker_threads = 0\n\
             [log]\nlevel = \"debug\"\nformat = \"json\"\n"
            ),
        ),
        ("no-shards", format!("shards = 0\n{head}{tls}")),
        ("unknown", format!("{head}{tls}[engine]\nslices = 1\n")),
    ] {
        seeds.put("server_config", name, text)?;
    }
    Ok(())
}

fn identity(seeds: &Seeds) -> Done {
    for (name, text) in [
        ("node", "n1.node.shop.dunlin"),
        ("user", "ana.user.shop.dunlin"),
        ("authority", "authority.shop.dunlin"),
        ("any-node", "node.shop.dunlin"),
        ("label", "a-1"),
        ("capitals", "N1.node.shop.dunlin"),
    ] {
        seeds.put("names", name, text)?;
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS);
    let authority = ClusterAuthority::create(ClusterName::new("shop")?, now)?;
    let other = ClusterAuthority::create(ClusterName::new("bank")?, now)?;
    for (name, pem) in [
        ("authority", authority.certificate_pem()),
        ("node", authority.issue_node("n1", now)?.certificate_pem()),
        ("user", authority.issue_user("ana", now)?.certificate_pem()),
        ("stranger", other.issue_user("bob", now)?.certificate_pem()),
        ("another-authority", other.certificate_pem()),
    ] {
        seeds.put(
            "certificates",
            name,
            CertificateDer::from_pem_slice(pem.as_bytes())?,
        )?;
    }
    Ok(())
}
