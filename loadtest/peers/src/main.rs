//! Garage K2V, etcd, NATS JetStream and Redis beside Dunlin: the same keys, values and requests, in turns, in one run.
//!
//! ```text
//!   main ─> dunlin_loadtest::contest   who is asked what, when, and the report
//!     └──> garage, etcd, nats, redis   how each is started on loopback, and reached
//!            └─ server                 a process of ours, and free ports
//! ```
//!
//! Each store is started as its documents have it for three nodes, with the settings that come nearest to what is
//! asked of Dunlin; what is left of the difference is said in the report. `docs/loadtest.md` says how to read it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use dunlin_loadtest::contest::{Contender, ContestArgs, ContestError, contest, dunlin};

use crate::server::StartError;

mod etcd;
mod garage;
mod nats;
mod redis;
mod server;

/// Measures Dunlin and other stores the same way, in one run.
#[derive(Debug, Parser)]
#[command(name = "dunlin-peers", version)]
struct Arguments {
    #[command(flatten)]
    contest: ContestArgs,
    /// Only these [default: all whose programs are there]
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Peer>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    /// The dunlin binary
    #[arg(long, value_name = "PATH", default_value = "dunlin")]
    dunlin: PathBuf,
    /// The garage binary (cargo install garage --no-default-features --features k2v,lmdb,bundled-libs)
    #[arg(long, value_name = "PATH", default_value = "garage")]
    garage: PathBuf,
    /// The etcd binary (Debian: etcd-server)
    #[arg(long, value_name = "PATH", default_value = "etcd")]
    etcd: PathBuf,
    /// The nats-server binary (Debian: nats-server)
    #[arg(long, value_name = "PATH", default_value = "nats-server")]
    nats: PathBuf,
    /// The redis-server binary (Debian: redis-server)
    #[arg(long, value_name = "PATH", default_value = "redis-server")]
    redis: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    Dunlin,
    Garage,
    Etcd,
    Nats,
    Redis,
}

const ALL: [Peer; 5] = [
    Peer::Dunlin,
    Peer::Garage,
    Peer::Etcd,
    Peer::Nats,
    Peer::Redis,
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(async {
            tokio::select! {
                // What was started stops when it is dropped.
                _ = tokio::signal::ctrl_c() => Err("interrupted; there is no report".to_owned()),
                outcome = measure(&arguments) => outcome,
            }
        }),
        Err(error) => Err(format!("no runtime: {error}")),
    };
    match outcome {
        Ok((text, is_wrong)) => {
            print!("{text}");
            ExitCode::from(if is_wrong { 2 } else { 0 })
        }
        Err(why) => {
            eprintln!("dunlin-peers: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<(String, bool), String> {
    let named = match arguments.only.as_slice() {
        [] => &ALL[..],
        only => only,
    };
    let mut contenders = Vec::new();
    for peer in named {
        eprintln!("dunlin-peers: starting {peer:?}");
        match start(*peer, arguments).await {
            Ok(contender) => contenders.push(contender),
            Err(StartError::NoProgram { program, .. }) if arguments.only.is_empty() => {
                eprintln!(
                    "dunlin-peers: {peer:?} is left out: there is no {}",
                    program.display()
                );
            }
            Err(error) => return Err(format!("{peer:?}: {error}")),
        }
    }
    eprintln!("dunlin-peers: measuring");
    let measured = contest(&arguments.contest, &contenders, arguments.json).await;
    measured.map_err(|error| error.to_string())
}

async fn start(peer: Peer, arguments: &Arguments) -> Result<Contender, StartError> {
    let survives = arguments.contest.survives;
    match peer {
        Peer::Dunlin => dunlin(Some(arguments.dunlin.clone()), survives)
            .await
            .map_err(|error: ContestError| StartError::Failed(error.to_string())),
        Peer::Garage => garage::start(&arguments.garage, survives).await,
        Peer::Etcd => etcd::start(&arguments.etcd).await,
        Peer::Nats => nats::start(&arguments.nats).await,
        Peer::Redis => redis::start(&arguments.redis, survives).await,
    }
}
