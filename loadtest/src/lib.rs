//! Load on real processes: what it costs, every figure that the project reports by one command; and what happens to
//! clients when the network between nodes is cut.
//!
//! ```text
//!   args ─> commands::{ops, set, repair, footprint, hang} ─> report (a table, or JSON)
//!              │                  │
//!              │                  └─ load: closed loop, open loop, a fill of so many writes
//!              └─ cluster ─┬─ dev   `dunlin dev` starts, kills and restarts the nodes
//!                          └─ proc  CPU, memory and traffic, as /proc tells
//! ```
//!
//! The nodes are unmodified processes and the load comes from the client library as applications use
//! it, on a current-thread runtime. What is compared is measured in one run, in turns, three rounds of
//! it; reported are the medians. `docs/benchmarks.md` has the commands and what came out.
//!
//! Loads of one's choice are in `run/`: the same engine, in processes of its own. Experiments are in
//! `experiment/`. `docs/loadtest.md` is about both.
//! With [`contest`] other stores are measured the same way.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Arguments, Command};
use crate::error::LoadError;
use crate::report::Report;

mod args;
mod cluster;
mod commands;
pub mod contest;
mod dev;
mod error;
mod experiment;
mod histogram;
mod load;
mod page;
mod proc;
mod report;
mod rounds;
mod run;

/// Exit code of a run that could not be measured.
const FAILED: u8 = 1;
/// Exit code of a run that found data wrong.
const WRONG: u8 = 2;

/// Runs what the command line asks for.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match measure(&arguments) {
        Ok((text, is_wrong)) => {
            print!("{text}");
            match is_wrong {
                true => ExitCode::from(WRONG),
                false => ExitCode::SUCCESS,
            }
        }
        Err(error) => {
            eprintln!("dunlin-loadtest: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// What to print, and whether data was found to be wrong.
fn measure(arguments: &Arguments) -> Result<(String, bool), LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LoadError::Runtime)?;
    runtime.block_on(async {
        let run = async {
            match &arguments.command {
                Command::Run(args) => return run::conduct::run(args, arguments.json).await,
                Command::RunWorker => return run::worker::run().await,
                Command::Ops(args) => commands::ops::run(args).await,
                Command::Set(args) => commands::set::run(args).await,
                Command::Repair(args) => commands::repair::run(args).await,
                Command::Footprint(args) => commands::footprint::run(args).await,
                Command::Hang(args) => commands::hang::run(args).await,
                Command::Compare(args) => return commands::compare::run(args),
                Command::Experiment(args) => {
                    return commands::experiment::run(args, arguments.json).await;
                }
            }
            .map(|report: Report| (report.render(arguments.json), report.is_wrong()))
        };
        // What a load has measured until it is interrupted is worth keeping, so it looks after signals itself.
        let ends_at_once = !matches!(arguments.command, Command::Run(_));
        // Dropping the run stops the nodes that it started.
        let mut terminate = signal(SignalKind::terminate()).map_err(LoadError::Runtime)?;
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c(), if ends_at_once => Err(LoadError::Interrupted),
            _ = terminate.recv(), if ends_at_once => Err(LoadError::Interrupted),
            report = run => report,
        }
    })
}
