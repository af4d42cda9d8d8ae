//! Kills a real process that writes to a real store, again and again, and looks at what is left.
//!
//! Run without arguments, this program is the parent; it starts itself as the writer, reads what the
//! writer acknowledges, and kills it with SIGKILL after a random number of lines, or while it opens what
//! the last kill left. A commit must then survive, a sync all the more; a batch must be there whole or
//! not at all, and nothing else.
//!
//! `DUNLIN_KILL_ROUNDS=100 cargo test -p dunlin-storage --test kv_kill` is for a night, and
//! `DUNLIN_KILL_SEED` for another one.

#![expect(clippy::expect_used, reason = "a test may fail")]

use std::io::{BufRead, BufReader, Write};
use std::ops::Bound;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use dunlin_storage::{Batch, FjallKv, FjallOptions, Keyspace, Kv, Start};

/// As many as take some twenty seconds where two cores are busy with other things.
const ROUNDS: u64 = 32;
const SEED: u64 = 0xd0_11;
/// After so many kills a new store is begun: looking at all of an old one takes ever longer.
const STORE_ROUNDS: u64 = 16;
/// One round of so many is killed while it opens the store.
const OPENING_SHARE: u64 = 4;
const WRITER: &str = "--writer";
/// Large enough that some twenty batches fill a memtable: flushes and merges must be hit too.
const VALUE_BYTES: usize = 6000;

fn options() -> FjallOptions {
    FjallOptions {
        memtable_bytes: 256 << 10,
        ..FjallOptions::default()
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().position(|arg| arg == WRITER) {
        Some(at) => write_for_ever(Path::new(&args[at + 1])),
        None => kill_and_look(),
    }
}

fn key(number: u64) -> Bytes {
    number.to_be_bytes().to_vec().into()
}

fn value(number: u64) -> Bytes {
    let mut rng = fastrand::Rng::with_seed(number);
    std::iter::repeat_with(|| rng.u8(..))
        .take(VALUE_BYTES)
        .collect()
}

fn last(kv: &FjallKv) -> u64 {
    let log = kv.range(Keyspace::Log, Bound::Unbounded, Bound::Unbounded);
    let last = log
        .map(|entry| entry.expect("the log is readable").0)
        .last();
    last.map_or(0, |key| {
        u64::from_be_bytes(key[..].try_into().expect("a number"))
    })
}

fn write_for_ever(dir: &Path) {
    println!("opening");
    let kv = FjallKv::open(dir, &options()).expect("the store opens").kv;
    let mut out = std::io::stdout();
    for number in last(&kv) + 1.. {
        let mut batch = Batch::new();
        batch.put(Keyspace::Rows, key(number), value(number));
        batch.put(Keyspace::Log, key(number), key(number));
        kv.commit(&batch).expect("the batch is taken");
        writeln!(out, "committed {number}").expect("the parent listens");
        if number % 7 == 0 {
            kv.sync().expect("the sync succeeds");
            writeln!(out, "synced {number}").expect("the parent listens");
        }
    }
}

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |number| number.parse().expect("a number"))
}

fn kill_and_look() {
    let rounds = number_from("DUNLIN_KILL_ROUNDS", ROUNDS);
    let seed = number_from("DUNLIN_KILL_SEED", SEED);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut killed, mut acknowledged) = (0, 0);
    while killed < rounds {
        let of_store = STORE_ROUNDS.min(rounds - killed);
        let what = format!("DUNLIN_KILL_SEED={seed}, the store of round {killed}");
        acknowledged += kill_one_store(&mut rng, of_store, &what);
        killed += of_store;
    }
    println!("{killed} kills, {acknowledged} batches acknowledged, none lost");
}

/// Kills the writers of one store, closes it in order, and returns how many batches were acknowledged.
fn kill_one_store(rng: &mut fastrand::Rng, rounds: u64, what: &str) -> u64 {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = 0;
    for round in 0..rounds {
        let lines = match rng.u64(0..OPENING_SHARE) {
            0 => 0,
            _ => rng.usize(2..250),
        };
        let what = format!("{what}, kill {round} after {lines} lines");
        let before = acknowledged;
        acknowledged = acknowledged.max(run_and_kill(dir.path(), lines));
        let opened = FjallKv::open(dir.path(), &options()).expect("the store opens after a kill");
        let is_expected = match opened.start {
            Start::Unclean => true,
            // Who is killed before the first store was made leaves none.
            Start::Blank => acknowledged == 0,
            Start::Clean | Start::Amnesia { .. } => false,
        };
        assert!(is_expected, "{what}: {:?}", opened.start);
        let last = check(&opened.kv);
        assert!(
            last >= acknowledged,
            "{what}: {acknowledged} was acknowledged, not {last}"
        );
        assert!(acknowledged > before || lines == 0, "{what} did nothing");
    }
    let opened = FjallKv::open(dir.path(), &options()).expect("the store opens");
    opened.kv.close_clean().expect("the store closes");
    drop(opened);
    let opened = FjallKv::open(dir.path(), &options()).expect("the store opens after a close");
    assert_eq!(opened.start, Start::Clean, "{what}");
    acknowledged
}

/// Lets a writer run for some lines, kills it, and returns the highest batch it acknowledged.
fn run_and_kill(dir: &Path, lines: usize) -> u64 {
    let mut writer = Killed(
        Command::new(std::env::current_exe().expect("this program"))
            .arg(WRITER)
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the writer starts"),
    );
    let out = writer.0.stdout.take().expect("the writer's output");
    let mut highest = 0;
    for (count, line) in BufReader::new(out).lines().enumerate() {
        if count == lines {
            writer.0.kill().expect("the writer is killed");
        }
        // What it said before it died counts, so read to the end. The last line may be cut.
        let line = line.expect("a line");
        let number = line
            .split_once(' ')
            .and_then(|(_, number)| number.parse().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    highest
}

/// Checks that the store holds the batches from 1 to some number, each whole, and returns it.
fn check(kv: &FjallKv) -> u64 {
    let last = last(kv);
    let rows = kv.range(Keyspace::Rows, Bound::Unbounded, Bound::Unbounded);
    let mut count = 0;
    for (row, number) in rows.zip(1..) {
        assert_eq!(
            row.expect("the row is readable"),
            (key(number), value(number))
        );
        count += 1;
    }
    assert_eq!(count, last, "rows and log end together");
    last
}

/// A child that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be dead already; then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
