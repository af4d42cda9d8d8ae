//! The command line: what the `dunlin` binary does for people and scripts.
//!
//! ```text
//! main ─> args (parse) ─> dispatch ─> one file per command ─> Output (standard output)
//!    <─────────────────── Ended, or a Fault (standard error) ─> exit code
//! ```
//!
//! Commands are written on the client library, as any application is; only `dev` and `server` know
//! that there are processes. Answers go to standard output, as text or with `--json` as JSON; notes,
//! errors and progress to standard error. `docs/cli.md` is the reference.

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Write};

use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use self::args::{Cli, Command, Global};
use self::ended::Ended;
use self::fault::Fault;
use self::output::{Output, note};
use self::session::Session;
use self::text::Form;

mod args;
mod bucket;
mod cert;
mod cluster;
mod dev;
mod ended;
mod explain;
mod export;
mod fault;
mod field;
mod given;
mod import;
mod keys;
mod map;
mod map_tree;
mod output;
mod progress;
mod read;
mod receipt;
mod record;
mod session;
mod set;
mod siblings;
mod table;
mod text;
mod token_file;
mod write;

/// Runs the command that `arguments` are, and says how it ended.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> Ended {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version are answers; nobody is left to be told if they cannot be written.
            let _ = error.print();
            return if error.use_stderr() {
                Ended::Usage
            } else {
                Ended::Done
            };
        }
    };
    let form = if cli.global.hex {
        Form::Hex
    } else {
        Form::Text
    };
    let mut out = Output::standard(cli.global.json, form);
    let ended = dispatch(&cli.global, &mut out, cli.command);
    // What was shown before an error is shown all the same.
    let flushed = out.flush().map_err(Fault::Output);
    match ended.and_then(|ended| flushed.map(|()| ended)) {
        Ok(ended) => ended,
        Err(fault) => {
            report(&fault, cli.global.json);
            fault.ended()
        }
    }
}

fn report(fault: &Fault, json: bool) {
    if fault.is_silent() {
        return;
    }
    match json {
        true => note(&fault.json().to_string()),
        // The text has its newlines.
        false => drop(io::stderr().write_all(fault.text().as_bytes())),
    }
}

fn dispatch(global: &Global, out: &mut Output, command: Command) -> Result<Ended, Fault> {
    let session = Session::new(global);
    match command {
        Command::Dev(args) => dev::run(out, args),
        Command::Server { config } => dev::server(&config),
        Command::Cert(command) => cert::run(out, command),
        Command::Bucket(command) => talk(&session, bucket::run(&session, out, command)),
        Command::Put(args) => talk(&session, write::put(&session, out, args)),
        Command::Get(args) => talk(&session, read::get(&session, out, args)),
        Command::Delete(args) => talk(&session, write::delete(&session, out, args)),
        Command::Incr(args) => talk(&session, write::incr(&session, out, args)),
        Command::Flag(args) => talk(&session, write::flag(&session, out, args)),
        Command::Set(command) => talk(&session, set::run(&session, out, command)),
        Command::Map(command) => talk(&session, map::run(&session, out, command)),
        Command::Keys(args) => talk(&session, keys::run(&session, out, args)),
        Command::Import(args) => talk(&session, import::run(&session, out, args)),
        Command::Export(args) => talk(&session, export::run(&session, out, args)),
        Command::Explain(at) => talk(&session, explain::run(&session, out, at)),
        Command::Cluster(command) => talk(&session, cluster::run(&session, out, command)),
    }
}

/// Runs a command that talks to a cluster, and says goodbye.
fn talk(
    session: &Session,
    command: impl Future<Output = Result<Ended, Fault>>,
) -> Result<Ended, Fault> {
    wait_for(async {
        let ended = command.await;
        session.close().await;
        let kept = session.keep_token();
        ended.and_then(|ended| kept.map(|()| ended))
    })
}

/// Runs a command to its end. One thread drives its sockets, which costs least.
fn wait_for(command: impl Future<Output = Result<Ended, Fault>>) -> Result<Ended, Fault> {
    let runtime = event_loop()?;
    let ended = runtime.block_on(command);
    // A thread may wait for standard input for ever.
    runtime.shutdown_background();
    ended
}

fn event_loop() -> Result<Runtime, Fault> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Fault::Start)
}
