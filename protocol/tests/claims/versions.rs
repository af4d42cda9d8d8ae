//! Nodes and clients of neighbouring versions: what one adds, the other passes over or does without.

use bytes::Bytes;
use dunlin_crdt::{Kind, OpId};
use dunlin_protocol::codec::{CodecError, CodecLimits, decode, encode};
use dunlin_protocol::peer::PeerMessage;
use dunlin_protocol::request::{Page, Read, ReadOptions, Request, Write, WriteOp, WriteOptions};
use dunlin_protocol::response::{Answer, HeldBy, ReadAnswer, Response, Rest};
use dunlin_protocol::status::NodeStatus;
use dunlin_protocol::{Bucket, Failure};
use dunlin_ring::{BucketId, NodeId, Quorum};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Says something in the words of another version, and hears it in this one's.
fn heard<T: DeserializeOwned>(said: &impl Serialize) -> Result<T, CodecError> {
    decode(&encode(said).unwrap(), CodecLimits::default())
}

/// A map with a field that this version does not know, in front and at the end.
#[derive(Serialize)]
struct Newer<T: Serialize> {
    zzz: Vec<u8>,
    #[serde(flatten)]
    known: T,
    later: Option<[i64; 2]>,
}

fn newer<T: Serialize>(known: T) -> Newer<T> {
    Newer {
        zzz: vec![1, 2],
        known,
        later: Some([-1, 1]),
    }
}

#[test]
fn fields_of_a_later_version_are_passed_over() {
    let page = Page {
        after: None,
        limit: 5,
    };
    assert_eq!(heard::<Page>(&newer(page.clone())).unwrap(), page);
    let held_by = HeldBy {
        node: NodeId(7),
        hint_for: None,
        synced: true,
    };
    assert_eq!(heard::<HeldBy>(&newer(held_by)).unwrap(), held_by);
    let options = WriteOptions {
        w: Some(Quorum::One),
        ..WriteOptions::default()
    };
    assert_eq!(heard::<WriteOptions>(&newer(options)).unwrap(), options);
    let status = NodeStatus::default();
    assert_eq!(heard::<NodeStatus>(&newer(status.clone())).unwrap(), status);
}

#[test]
fn a_later_field_inside_a_request_is_passed_over() {
    #[derive(Serialize)]
    enum Later<'a> {
        #[serde(rename = "w")]
        Write {
            #[serde(rename = "if")]
            condition: u8,
            b: u64,
            k: &'a Bytes,
            o: WriteOp,
            i: OpId,
        },
    }
    let key = Bytes::from_static(b"k");
    let said = Later::Write {
        condition: 1,
        b: 9,
        k: &key,
        o: WriteOp::Enable,
        i: OpId(1, 2),
    };
    let expected = Request::Write(Write {
        bucket: BucketId(9),
        key: key.clone(),
        op: WriteOp::Enable,
        id: OpId(1, 2),
        options: WriteOptions::default(),
    });
    assert_eq!(heard::<Request>(&said).unwrap(), expected);
}

#[test]
fn what_an_earlier_version_leaves_out_has_its_default() {
    #[derive(Serialize)]
    struct EarlierRead<'a> {
        b: u64,
        k: &'a Bytes,
        o: &'a str,
    }
    let key = Bytes::from_static(b"k");
    let (b, k, o) = (9, &key, "v");
    let read: Read = heard(&EarlierRead { b, k, o }).unwrap();
    assert_eq!(read.options, ReadOptions::default());

    #[derive(Serialize)]
    struct Empty {}
    assert_eq!(
        heard::<WriteOptions>(&Empty {}).unwrap(),
        WriteOptions::default()
    );
    assert_eq!(
        heard::<ReadOptions>(&Empty {}).unwrap(),
        ReadOptions::default()
    );
    assert_eq!(
        heard::<NodeStatus>(&Empty {}).unwrap(),
        NodeStatus::default()
    );

    #[derive(Serialize)]
    struct EarlierReceipt<'a> {
        c: [u8; 0],
        x: &'a Bytes,
    }
    let (c, x) = ([], &Bytes::new());
    let receipt: dunlin_protocol::response::Receipt = heard(&EarlierReceipt { c, x }).unwrap();
    assert_eq!(receipt.rest, Rest::Done);

    #[derive(Serialize)]
    struct EarlierAnswer<'a> {
        v: &'a str,
        o: [u64; 1],
    }
    let answer: ReadAnswer = heard(&EarlierAnswer { v: "n", o: [7] }).unwrap();
    assert_eq!(
        (answer.owners, answer.fallbacks),
        (vec![NodeId(7)], Vec::new())
    );
}

#[test]
fn a_field_that_has_no_default_is_missed() {
    #[derive(Serialize)]
    struct NoKey {
        b: u64,
        o: &'static str,
    }
    let missed = heard::<Read>(&NoKey { b: 9, o: "v" });
    assert!(matches!(missed, Err(CodecError::Shape(_))), "{missed:?}");
}

#[test]
fn a_variant_of_a_later_version_is_an_error() {
    #[derive(Serialize)]
    enum Later {
        #[serde(rename = "swap")]
        Swap {
            from: u8,
            to: u8,
        },
        Unit,
    }
    #[derive(Serialize)]
    struct Around<T> {
        l: u64,
        a: T,
        m: T,
    }
    let swap = || Later::Swap { from: 1, to: 2 };
    let around = Around {
        l: 1,
        a: swap(),
        m: swap(),
    };
    let refused = [
        heard::<Request>(&swap()).map(drop),
        heard::<Request>(&Later::Unit).map(drop),
        heard::<WriteOp>(&swap()).map(drop),
        heard::<Answer>(&swap()).map(drop),
        heard::<Failure>(&Later::Unit).map(drop),
        heard::<Kind>(&Later::Unit).map(drop),
        heard::<Quorum>(&Later::Unit).map(drop),
        heard::<Response>(&around).map(drop),
        heard::<PeerMessage>(&around).map(drop),
    ];
    for (at, refused) in refused.into_iter().enumerate() {
        assert!(
            matches!(refused, Err(CodecError::Shape(_))),
            "{at}: {refused:?}"
        );
    }
}

#[test]
fn a_bucket_with_a_setting_of_a_later_version_is_read_for_what_is_known() {
    #[derive(Serialize)]
    struct LaterBucket {
        id: u64,
        name: &'static str,
        kind: &'static str,
        defaults: LaterDefaults,
        created: u64,
        dropped: bool,
        expires_after_ms: u64,
    }
    #[derive(Serialize)]
    struct LaterDefaults {
        r: &'static str,
        w: &'static str,
        durability: &'static str,
        hedge: bool,
    }
    let later = LaterBucket {
        id: 1,
        name: "a",
        kind: "lww",
        defaults: LaterDefaults {
            r: "majority",
            w: "one",
            durability: "periodic",
            hedge: true,
        },
        created: 0,
        dropped: false,
        expires_after_ms: 1,
    };
    let bucket: Bucket = heard(&later).unwrap();
    assert_eq!((bucket.kind, bucket.defaults.w), (Kind::Lww, Quorum::One));
    assert_eq!(bucket.defaults.dw, None);
}
