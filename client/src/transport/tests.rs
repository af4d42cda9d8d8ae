//! Links over loopback: what arrives, what is refused, and what becomes of requests.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use dunlin_protocol::frame::{Frame, FrameError, FrameKind, RequestId};
use dunlin_protocol::limits::CLIENT_FRAME_BYTES_MAX;
use quinn::{Connection, ConnectionError, Endpoint};
use rustls::pki_types::UnixTime;
use tokio::{sync::mpsc, time::timeout};

use super::{link::lane_frame, *};
use crate::tls::{
    Identity, PeerIdentity, Role, TlsError, WireProtocol, peer_role, test_authority::TestAuthority,
};

/// Long enough for a loaded machine; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a handler saw, in order.
#[derive(Debug)]
enum Seen {
    Frame(Frame),
    Refused(Refusal),
    Closed(ConnectionError),
}

/// Reports what it sees, and echoes requests if it is told to.
struct Recorder {
    seen: mpsc::UnboundedSender<Seen>,
    echoes: bool,
}

impl FrameHandler for Recorder {
    fn frame(&self, link: &Link, frame: Frame) {
        if self.echoes && frame.kind == FrameKind::Request {
            let lane = frame.id.0 as usize;
            let answer = Frame {
                kind: FrameKind::Response,
                deadline_ms: 0,
                ..frame
            };
            link.send(answer, lane).unwrap();
        } else {
            self.seen.send(Seen::Frame(frame)).ok();
        }
    }

    fn refused(&self, _: &Link, refusal: &Refusal) {
        self.seen.send(Seen::Refused(refusal.clone())).ok();
    }

    fn closed(&self, _: &Link, reason: &ConnectionError) {
        self.seen.send(Seen::Closed(reason.clone())).ok();
    }
}

struct Inbox(mpsc::UnboundedReceiver<Seen>);

impl Inbox {
    fn new(echoes: bool) -> (Arc<Recorder>, Self) {
        let (seen, inbox) = mpsc::unbounded_channel();
        (Arc::new(Recorder { seen, echoes }), Self(inbox))
    }

    async fn next(&mut self) -> Seen {
        timeout(PATIENCE, self.0.recv()).await.unwrap().unwrap()
    }

    async fn frame(&mut self) -> Frame {
        match self.next().await {
            Seen::Frame(frame) => frame,
            other => panic!("expected a frame, saw {other:?}"),
        }
    }

    async fn refused(&mut self) -> Refusal {
        match self.next().await {
            Seen::Refused(refusal) => refusal,
            other => panic!("expected a refusal, saw {other:?}"),
        }
    }

    async fn closed(&mut self) -> ConnectionError {
        match self.next().await {
            Seen::Closed(reason) => reason,
            other => panic!("expected the end, saw {other:?}"),
        }
    }
}

/// A cluster's authority with one listening node, n1.
struct Cluster {
    authority: TestAuthority,
    settings: TransportSettings,
    node: Endpoint,
}

impl Cluster {
    fn new() -> Self {
        let authority = TestAuthority::new().unwrap();
        let settings = TransportSettings::default();
        let identity = identity(&authority, "n1.node.shop.dunlin");
        let server = settings.server_config(&identity).unwrap();
        let node = settings.bind(any_port(), Some(server)).unwrap();
        Self {
            authority,
            settings,
            node,
        }
    }

    async fn accept(&self) -> Result<Connection, ConnectionError> {
        timeout(PATIENCE, self.node.accept())
            .await
            .unwrap()
            .unwrap()
            .await
    }

    async fn dial(
        &self,
        name: &str,
        protocol: WireProtocol,
    ) -> Result<Connection, ConnectionError> {
        self.dial_as(
            &identity(&self.authority, name),
            protocol,
            "n1.node.shop.dunlin",
        )
        .await
    }

    async fn dial_as(
        &self,
        identity: &Identity,
        protocol: WireProtocol,
        server_name: &str,
    ) -> Result<Connection, ConnectionError> {
        let config = self.settings.client_config(identity, protocol).unwrap();
        let endpoint = self.settings.bind(any_port(), None).unwrap();
        let address = self.node.local_addr().unwrap();
        let dialing = endpoint.connect_with(config, address, server_name).unwrap();
        timeout(PATIENCE, dialing).await.unwrap()
    }

    /// Both ends of a connection: the dialing one, and the node's.
    async fn pair(&self, name: &str, protocol: WireProtocol) -> (Connection, Connection) {
        let (dialed, accepted) = tokio::join!(self.dial(name, protocol), self.accept());
        (dialed.unwrap(), accepted.unwrap())
    }

    async fn user_pair(&self) -> (Connection, Connection) {
        self.pair("ana.user.shop.dunlin", WireProtocol::Client)
            .await
    }
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn identity(authority: &TestAuthority, name: &str) -> Identity {
    let (certificate, key) = authority.issue(&[name]).unwrap();
    Identity::from_pem(
        &certificate,
        &key,
        authority.certificate_pem(),
        UnixTime::now(),
    )
    .unwrap()
}

fn frame(kind: FrameKind, id: u64, body: impl Into<Bytes>) -> Frame {
    Frame {
        kind,
        id: RequestId(id),
        deadline_ms: 0,
        body: body.into(),
    }
}

fn close_code(reason: &ConnectionError) -> Option<u64> {
    match reason {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        _ => None,
    }
}

#[tokio::test]
async fn every_request_in_flight_gets_its_own_answer() {
    let cluster = Cluster::new();
    let (dialed, accepted) = cluster.user_pair().await;
    let (echo, _inbox) = Inbox::new(true);
    let node = Link::accept(accepted, LinkOptions::SERVER, echo);
    let requester = Arc::new(Requester::open(dialed, LinkOptions::CLIENT, 1_000));
    let asked: Vec<_> = (0..1_000usize)
        .map(|n| {
            let requester = requester.clone();
            // From a few bytes to frames that leave the lane's buffer uncopied.
            let body = Bytes::from(vec![n as u8; 3 + n * 20]);
            tokio::spawn(async move {
                let answer = requester.request(body.clone(), PATIENCE).await.unwrap();
                assert_eq!(answer.body, body);
            })
        })
        .collect();
    for asked in asked {
        asked.await.unwrap();
    }
    assert_eq!(requester.open_count(), 0);
    assert_eq!(node.stats().frames_received, 1_000);
    assert_eq!(requester.link().stats().frames_received, 1_000);
}

#[tokio::test]
async fn a_request_of_a_megabyte_is_answered_in_full() {
    let cluster = Cluster::new();
    let (dialed, accepted) = cluster.user_pair().await;
    let (echo, _inbox) = Inbox::new(true);
    Link::accept(accepted, LinkOptions::SERVER, echo);
    let requester = Requester::open(dialed, LinkOptions::CLIENT, 8);
    let body: Bytes = (0..1024 * 1024u32).map(|n| (n % 251) as u8).collect();
    // More of them than streams of their own are allowed at once.
    let (a, b, c, d, e, f) = tokio::join!(
        requester.request(body.clone(), PATIENCE),
        requester.request(body.clone(), PATIENCE),
        requester.request(body.clone(), PATIENCE),
        requester.request(body.clone(), PATIENCE),
        requester.request(body.clone(), PATIENCE),
        requester.request(body.clone(), PATIENCE),
    );
    for answer in [a, b, c, d, e, f] {
        assert_eq!(answer.unwrap().body, body);
    }
}

#[tokio::test]
async fn frames_of_one_lane_keep_their_order() {
    let cluster = Cluster::new();
    let (dialed, accepted) = cluster.user_pair().await;
    let (recorder, mut inbox) = Inbox::new(false);
    Link::accept(accepted, LinkOptions::SERVER, recorder);
    let (other, _other_inbox) = Inbox::new(false);
    let link = Link::open(dialed, LinkOptions::CLIENT, other);
    for id in 0..500 {
        link.send(frame(FrameKind::Request, id, vec![0; id as usize * 37]), 2)
            .unwrap();
    }
    for id in 0..500 {
        assert_eq!(inbox.frame().await.id, RequestId(id));
    }
}

#[tokio::test]
async fn either_node_may_speak_first() {
    let cluster = Cluster::new();
    let (dialed, accepted) = cluster
        .pair("n2.node.shop.dunlin", WireProtocol::Peer)
        .await;
    let (recorder, mut dialing) = Inbox::new(false);
    let (other, mut accepting) = Inbox::new(false);
    // Sent before a single lane has been opened, and on a lane that is not there yet.
    let node = Link::accept(accepted, LinkOptions::PEER, other);
    node.send(frame(FrameKind::Peer, 1, "from n1"), 3).unwrap();
    let link = Link::open(dialed, LinkOptions::PEER, recorder);
    link.send(frame(FrameKind::Peer, 2, "from n2"), 3).unwrap();
    node.send(frame(FrameKind::Peer, 3, vec![9; 200_000]), 0)
        .unwrap();
    assert_eq!(accepting.frame().await.body, "from n2");
    let mut bodies = [dialing.frame().await.body, dialing.frame().await.body];
    bodies.sort_by_key(Bytes::len);
    assert_eq!(bodies[0], "from n1");
    assert_eq!(bodies[1], vec![9; 200_000]);
}

#[tokio::test]
async fn a_lost_connection_fails_every_open_request_as_unknown() {
    let cluster = Cluster::new();
    let (dialed, accepted) = cluster.user_pair().await;
    let (silent, mut inbox) = Inbox::new(false);
    let node = Link::accept(accepted, LinkOptions::SERVER, silent);
    let requester = Arc::new(Requester::open(dialed, LinkOptions::CLIENT, 100));
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let requester = requester.clone();
            tokio::spawn(async move { requester.request("ping".into(), PATIENCE).await })
        })
        .collect();
    for _ in 0..100 {
        inbox.frame().await;
    }
    node.close(CloseCode::ShuttingDown, "stopping");
    for asked in asked {
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error, RequestError::ConnectionLost);
        assert!(error.outcome_unknown());
    }
    assert_eq!(
        close_code(&requester.link().closed().await),
        Some(CloseCode::ShuttingDown as u64)
    );
    let late = requester
        .request("ping".into(), PATIENCE)
        .await
        .unwrap_err();
    assert_eq!(late, RequestError::NotSent(SendError::Closed));
    assert!(!late.outcome_unknown());
}

#[tokio::test]
async fn a_request_given_up_leaves_nothing_behind() {
    let cluster = Cluster::new();
    let (dialed, accepted) = cluster.user_pair().await;
    let (silent, mut inbox) = Inbox::new(false);
    let node = Link::accept(accepted, LinkOptions::SERVER, silent);
    let requester = Requester::open(dialed, LinkOptions::CLIENT, 1);

    let error = requester
        .request("ping".into(), Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(error, RequestError::TimedOut(Duration::ZERO));
    assert_eq!(requester.open_count(), 0);

    {
        let mut asking = std::pin::pin!(requester.request("ping".into(), PATIENCE));
        tokio::select! {
            biased;
            answer = &mut asking => panic!("nobody answers, got {answer:?}"),
            _ = inbox.frame() => {}
        }
        assert_eq!(requester.open_count(), 1);
        let refused = requester
            .request("ping".into(), PATIENCE)
            .await
            .unwrap_err();
        assert_eq!(refused, RequestError::TooManyOpen { open: 1 });
    }
    assert_eq!(requester.open_count(), 0);

    // The late answer to the first finds nobody, and the connection goes on.
    node.send(frame(FrameKind::Response, 1, "late"), 0).unwrap();
    let (answer, ()) = tokio::join!(requester.request("ping".into(), PATIENCE), async {
        let mut question = inbox.frame().await;
        while question.deadline_ms != PATIENCE.as_millis() as u32 || question.id.0 < 4 {
            question = inbox.frame().await;
        }
        node.send(frame(FrameKind::Response, question.id.0, "pong"), 0)
            .unwrap();
    });
    assert_eq!(answer.unwrap().body, "pong");
}

#[tokio::test]
async fn a_full_queue_is_reported_and_the_rest_still_arrives() {
    let cluster = Cluster::new();
    let (dialed, accepted) = cluster.user_pair().await;
    let (recorder, mut inbox) = Inbox::new(false);
    let (other, _other_inbox) = Inbox::new(false);
    let options = LinkOptions {
        lane_frames_max: 10,
        large_bytes_max: 150_000,
        ..LinkOptions::CLIENT
    };
    let link = Link::open(dialed, options, other);
    // No task runs while this one does not wait: the queues only fill.
    for id in 0..10 {
        link.send(frame(FrameKind::Request, id, ""), 0).unwrap();
    }
    assert_eq!(
        link.send(frame(FrameKind::Request, 10, ""), 0),
        Err(SendError::QueueFull)
    );
    link.send(frame(FrameKind::Request, 11, ""), 1).unwrap();
    let large = vec![0; 100_000];
    link.send(frame(FrameKind::Request, 12, large.clone()), 0)
        .unwrap();
    assert_eq!(
        link.send(frame(FrameKind::Request, 13, large), 0),
        Err(SendError::QueueFull)
    );
    assert_eq!(link.stats().queue_full, 2);

    Link::accept(accepted, LinkOptions::SERVER, recorder);
    let mut arrived = Vec::new();
    for _ in 0..12 {
        arrived.push(inbox.frame().await.id.0);
    }
    arrived.sort_unstable();
    assert_eq!(arrived, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12]);
    link.send(frame(FrameKind::Request, 14, ""), 0).unwrap();
    assert_eq!(inbox.frame().await.id, RequestId(14));
}

#[tokio::test]
async fn a_frame_past_the_limit_is_not_sent() {
    let cluster = Cluster::new();
    let (dialed, _accepted) = cluster.user_pair().await;
    let (other, _inbox) = Inbox::new(false);
    let link = Link::open(dialed, LinkOptions::CLIENT, other);
    let body = vec![0; CLIENT_FRAME_BYTES_MAX];
    let refused = link.send(frame(FrameKind::Request, 1, body), 0);
    assert!(
        matches!(refused, Err(SendError::TooLong { .. })),
        "{refused:?}"
    );
}

/// Sends `bytes` as the whole of one stream, and returns what the node makes of it. An honest
/// link to the same node must go on as if nothing had happened.
async fn refusal_of(bytes: Bytes) -> Refusal {
    let cluster = Cluster::new();
    let (honest, accepted) = cluster.user_pair().await;
    let (echo, _echo_inbox) = Inbox::new(true);
    Link::accept(accepted, LinkOptions::SERVER, echo);
    let honest = Requester::open(honest, LinkOptions::CLIENT, 8);
    honest.request("before".into(), PATIENCE).await.unwrap();

    let (hostile, accepted) = cluster.user_pair().await;
    let (recorder, mut inbox) = Inbox::new(true);
    Link::accept(accepted, LinkOptions::SERVER, recorder);
    let (mut stream, _incoming) = hostile.open_bi().await.unwrap();
    stream.write_chunk(bytes).await.unwrap();
    stream.finish().unwrap();
    let refusal = inbox.refused().await;
    let reason = timeout(PATIENCE, hostile.closed()).await.unwrap();
    assert_eq!(close_code(&reason), Some(CloseCode::BadFrame as u64));
    inbox.closed().await;

    assert_eq!(
        honest.request("after".into(), PATIENCE).await.unwrap().body,
        "after"
    );
    refusal
}

fn encoded(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        frame.encode_into(&mut out);
    }
    out
}

#[tokio::test]
async fn a_length_past_the_limit_closes_only_that_connection() {
    let mut bytes = encoded(&[frame(FrameKind::Request, 1, "x")]);
    bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let refusal = refusal_of(bytes.freeze()).await;
    assert!(
        matches!(refusal, Refusal::Frame(FrameError::TooLong { .. })),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn garbage_closes_only_that_connection() {
    let refusal = refusal_of(Bytes::from_static(&[0xff; 3_000])).await;
    assert!(matches!(refusal, Refusal::Frame(_)), "{refusal:?}");
}

#[tokio::test]
async fn a_peer_frame_from_a_client_closes_only_that_connection() {
    let refusal = refusal_of(encoded(&[frame(FrameKind::Peer, 1, "x")]).freeze()).await;
    assert_eq!(
        refusal,
        FrameError::RefusedKind {
            kind: FrameKind::Peer
        }
        .into()
    );
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_closes_only_that_connection() {
    let bytes = encoded(&[frame(FrameKind::Request, 1, "x")])
        .split_to(12)
        .freeze();
    assert_eq!(
        refusal_of(bytes).await,
        FrameError::Truncated { bytes: 12 }.into()
    );
}

#[tokio::test]
async fn lanes_that_do_not_exist_are_refused() {
    for body in [&[0u8, 0][..], &[4, 4], &[0, 200], &[0], &[]] {
        let bytes = encoded(&[frame(FrameKind::Lane, 0, Bytes::copy_from_slice(body))]);
        assert_eq!(refusal_of(bytes.freeze()).await, Refusal::Lane, "{body:?}");
    }
}

#[tokio::test]
async fn a_lane_that_ends_is_refused() {
    let bytes = encoded(&[lane_frame(0, 4)]).freeze();
    assert_eq!(refusal_of(bytes).await, Refusal::LaneEnded);
}

#[tokio::test]
async fn a_second_frame_on_a_stream_of_its_own_is_refused() {
    let cluster = Cluster::new();
    let (hostile, accepted) = cluster.user_pair().await;
    let (recorder, mut inbox) = Inbox::new(false);
    Link::accept(accepted, LinkOptions::SERVER, recorder);
    let (mut stream, _incoming) = hostile.open_bi().await.unwrap();
    let two = [
        frame(FrameKind::Request, 1, "x"),
        frame(FrameKind::Request, 2, "y"),
    ];
    stream.write_chunk(encoded(&two).freeze()).await.unwrap();
    assert_eq!(inbox.frame().await.id, RequestId(1));
    assert_eq!(inbox.refused().await, Refusal::LargeStream);
}

#[tokio::test]
async fn a_lane_opened_twice_is_refused() {
    let cluster = Cluster::new();
    let (hostile, accepted) = cluster.user_pair().await;
    let (recorder, mut inbox) = Inbox::new(false);
    Link::accept(accepted, LinkOptions::SERVER, recorder);
    let mut streams = Vec::new();
    for _ in 0..2 {
        let (mut stream, incoming) = hostile.open_bi().await.unwrap();
        stream
            .write_chunk(encoded(&[lane_frame(1, 4)]).freeze())
            .await
            .unwrap();
        streams.push((stream, incoming));
    }
    assert_eq!(inbox.refused().await, Refusal::Lane);
}

#[tokio::test]
async fn no_more_streams_can_be_opened_than_are_allowed() {
    let cluster = Cluster::new();
    let (hostile, accepted) = cluster.user_pair().await;
    let (recorder, _inbox) = Inbox::new(false);
    Link::accept(accepted, LinkOptions::SERVER, recorder);
    let mut streams = Vec::new();
    for _ in 0..cluster.settings.streams_max {
        streams.push(timeout(PATIENCE, hostile.open_bi()).await.unwrap().unwrap());
    }
    tokio::select! {
        biased;
        more = hostile.open_bi() => panic!("one more was opened: {more:?}"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn each_end_learns_who_the_other_is() {
    let cluster = Cluster::new();
    for (name, protocol) in [
        ("ana.user.shop.dunlin", WireProtocol::Client),
        ("n2.node.shop.dunlin", WireProtocol::Client),
        ("n2.node.shop.dunlin", WireProtocol::Peer),
    ] {
        let (dialed, accepted) = cluster.pair(name, protocol).await;
        let (role, cluster) = Role::from_dns_name(name).unwrap();
        assert_eq!(
            peer_role(&accepted).unwrap(),
            PeerIdentity {
                role,
                cluster: cluster.clone(),
                protocol
            }
        );
        assert_eq!(
            peer_role(&dialed).unwrap(),
            PeerIdentity {
                role: Role::node("n1").unwrap(),
                cluster,
                protocol
            }
        );
    }
}

#[tokio::test]
async fn a_user_may_not_speak_the_peer_protocol() {
    let cluster = Cluster::new();
    let (_dialed, accepted) = cluster
        .pair("ana.user.shop.dunlin", WireProtocol::Peer)
        .await;
    let refused = peer_role(&accepted);
    assert!(
        matches!(&refused, Err(TlsError::NotANode { user }) if user == "ana"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_dialer_of_another_cluster_is_refused() {
    let cluster = Cluster::new();
    let elsewhere = TestAuthority::new().unwrap();
    for stranger in [
        // The same authority, another cluster; then another authority, the same cluster.
        identity(&cluster.authority, "n2.node.bakery.dunlin"),
        identity(&elsewhere, "n2.node.shop.dunlin"),
    ] {
        let any_node = stranger.cluster().any_node();
        let (_, accepted) = tokio::join!(
            cluster.dial_as(&stranger, WireProtocol::Peer, &any_node),
            cluster.accept(),
        );
        assert!(accepted.is_err(), "the node accepted {stranger:?}");
    }
}

#[tokio::test]
async fn a_node_that_is_not_the_one_dialed_is_refused() {
    let cluster = Cluster::new();
    let user = identity(&cluster.authority, "ana.user.shop.dunlin");
    for (server_name, reached) in [
        ("n1.node.shop.dunlin", true),
        ("node.shop.dunlin", true),
        ("n2.node.shop.dunlin", false),
        ("node.bakery.dunlin", false),
    ] {
        let (dialed, _) = tokio::join!(
            cluster.dial_as(&user, WireProtocol::Client, server_name),
            cluster.accept(),
        );
        assert_eq!(dialed.is_ok(), reached, "{server_name}");
    }
}

#[tokio::test]
async fn a_user_cannot_pass_for_a_node() {
    let cluster = Cluster::new();
    let user = identity(&cluster.authority, "ana.user.shop.dunlin");
    let server = cluster.settings.server_config(&user).unwrap();
    cluster.node.set_server_config(Some(server));
    let (dialed, _) = tokio::join!(
        cluster.dial("n2.node.shop.dunlin", WireProtocol::Client),
        cluster.accept(),
    );
    assert!(dialed.is_err());
}
