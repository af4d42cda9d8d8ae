//! What a request and its answer cost: CPU time of both ends, and throughput, over loopback.
//!
//! Two threads with a current-thread runtime each stand for two processes; one asks, with a number
//! of requests in flight, the other echoes. Linux only, as the CPU time comes from `/proc`.
//!
//! ```text
//! cargo run --release -p dunlin-client --example echo_bench -- \
//!     [body_bytes] [in_flight] [seconds] [ethernet|loopback] [connections] [lanes]
//! ```

use std::{
    error::Error,
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dunlin_client::{
    tls::{Identity, WireProtocol},
    transport::{FrameHandler, Link, LinkOptions, PathMtu, Refusal, Requester, TransportSettings},
};
use dunlin_protocol::frame::{Frame, FrameKind};
use quinn::ConnectionError;
use rustls::pki_types::UnixTime;
use test_authority::TestAuthority;

#[path = "../src/tls/test_authority.rs"]
mod test_authority;

/// Requests before the measurement begins.
const WARM_UP: Duration = Duration::from_millis(500);

struct Echo;

impl FrameHandler for Echo {
    fn frame(&self, link: &Link, frame: Frame) {
        let lane = frame.id.0 as usize;
        let answer = Frame {
            kind: FrameKind::Response,
            deadline_ms: 0,
            ..frame
        };
        if let Err(error) = link.send(answer, lane) {
            eprintln!("answer not sent: {error}");
        }
    }

    fn refused(&self, _: &Link, refusal: &Refusal) {
        eprintln!("refused: {refusal}");
    }

    fn closed(&self, _: &Link, _: &ConnectionError) {}
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| -> Result<usize, std::num::ParseIntError> {
        arguments
            .get(index)
            .map_or(Ok(default), |argument| argument.parse())
    };
    let body_bytes = number(0, 1_024)?;
    let in_flight = number(1, 256)?;
    let seconds = number(2, 5)?;
    let path_mtu = match arguments.get(3).map(String::as_str) {
        None | Some("ethernet") => PathMtu::Ethernet,
        Some("loopback") => PathMtu::Loopback,
        Some(other) => return Err(format!("no such MTU: {other}").into()),
    };
    let connections = number(4, 1)?.max(1);
    let lanes = number(5, LinkOptions::CLIENT.lanes)?;
    let options = LinkOptions {
        lanes,
        ..LinkOptions::CLIENT
    };
    let settings = TransportSettings {
        path_mtu,
        ..TransportSettings::default()
    };

    let authority = TestAuthority::new()?;
    let identity = |name: &str| -> Result<Identity, Box<dyn Error + Send + Sync>> {
        let (certificate, key) = authority.issue(&[name])?;
        let authority = authority.certificate_pem();
        Ok(Identity::from_pem(
            &certificate,
            &key,
            authority,
            UnixTime::now(),
        )?)
    };
    let server_config = settings.server_config(&identity("n1.node.bench.dunlin")?)?;
    let user = identity("ana.user.bench.dunlin")?;
    let client_config = settings.client_config(&user, WireProtocol::Client)?;

    let (bound, address) = mpsc::channel();
    let server_settings = settings.clone();
    thread::spawn(move || -> Result<(), Box<dyn Error + Send + Sync>> {
        runtime()?.block_on(async {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let endpoint = server_settings.bind(any, Some(server_config))?;
            bound.send(endpoint.local_addr()?)?;
            while let Some(incoming) = endpoint.accept().await {
                Link::accept(incoming.await?, LinkOptions::SERVER, Arc::new(Echo));
            }
            Ok(())
        })
    });
    let address = address.recv()?;

    runtime()?.block_on(async {
        let endpoint = settings.bind((Ipv4Addr::LOCALHOST, 0).into(), None)?;
        let mut askers = Vec::new();
        let body = Bytes::from(vec![7; body_bytes]);
        let counts: Arc<Vec<_>> = Arc::new(
            (0..in_flight)
                .map(|_| std::sync::atomic::AtomicU64::new(0))
                .collect(),
        );
        let mut requesters = Vec::new();
        for _ in 0..connections {
            let connection = endpoint
                .connect_with(client_config.clone(), address, &user.cluster().any_node())?
                .await?;
            requesters.push(Arc::new(Requester::open(
                connection,
                options,
                in_flight,
            )));
        }
        for (index, requester) in (0..in_flight).zip(requesters.iter().cycle()) {
            let (requester, body, counts) = (requester.clone(), body.clone(), counts.clone());
            askers.push(tokio::spawn(async move {
                let Some(count) = counts.get(index) else {
                    return;
                };
                while let Ok(answer) = requester
                    .request(body.clone(), Duration::from_secs(10))
                    .await
                {
                    assert_eq!(answer.body.len(), body.len(), "the echo is whole");
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }));
        }
        let total = || -> u64 {
            counts
                .iter()
                .map(|count| count.load(std::sync::atomic::Ordering::Relaxed))
                .sum()
        };
        tokio::time::sleep(WARM_UP).await;
        let (answers, cpu, start) = (total(), cpu_nanos()?, Instant::now());
        tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
        let (answers, cpu, elapsed) = (total() - answers, cpu_nanos()? - cpu, start.elapsed());
        println!(
            "{body_bytes} bytes each way, {in_flight} in flight on {connections} connection(s) of {lanes} lanes, \
             {path_mtu:?}: {:.0} echoes/s, {:.2} µs of CPU each (both ends)",
            answers as f64 / elapsed.as_secs_f64(),
            cpu as f64 / 1_000.0 / answers.max(1) as f64,
        );
        for asker in askers {
            asker.abort();
        }
        Ok(())
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// CPU time of all threads so far.
fn cpu_nanos() -> Result<u64, Box<dyn Error + Send + Sync>> {
    let mut total = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let times = fs::read_to_string(task?.path().join("schedstat"))?;
        total += times.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(total)
}
