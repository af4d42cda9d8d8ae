//! What the store on disk costs: CPU per put, and reads per second.
//!
//! Puts of 1 KiB, 64 to a batch, each into `rows` with an entry in `log`; a sync every 16 batches.
//! Then reads of random keys, first from memory and tables as they lie, then after a compaction.
//!
//! ```text
//! cargo run --release -p dunlin-storage --example kv_bench -- [puts] [worker threads]
//! ```

#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]

use std::time::Instant;

use bytes::Bytes;
use dunlin_storage::{Batch, FjallKv, FjallOptions, Keyspace, Kv, KvError};

const VALUE_BYTES: usize = 1024;
const BATCH_PUTS: u64 = 64;
const BATCHES_PER_SYNC: u64 = 16;
const GETS: u64 = 200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let puts: u64 = args.next().map_or(Ok(500_000), |arg| arg.parse())?;
    let worker_threads = args.next().map_or(Ok(2), |arg| arg.parse())?;
    let dir = tempfile::tempdir_in(".")?;
    let options = FjallOptions {
        worker_threads,
        ..FjallOptions::default()
    };
    let kv = FjallKv::open(dir.path(), &options)?.kv;

    let (wall, cpu) = (Instant::now(), cpu_seconds()?);
    let slowest_ms = fill(&kv, puts)?;
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let per_put = |seconds: f64| seconds * 1e6 / puts as f64;
    println!("puts: {puts} of {VALUE_BYTES} bytes, {worker_threads} workers");
    println!(
        "  {:.0} a second, {:.1} us each",
        puts as f64 / wall,
        per_put(wall)
    );
    println!("  {:.1} us of CPU each, all threads", per_put(cpu));
    println!("  slowest commit {slowest_ms:.1} ms");
    println!(
        "  on disk {} MiB, written {} MiB",
        kv.disk_bytes() >> 20,
        (puts * 1040) >> 20
    );

    read(&kv, puts, "as written")?;
    let wall = Instant::now();
    kv.compact()?;
    println!(
        "compact: {:.1} s, on disk {} MiB",
        wall.elapsed().as_secs_f64(),
        kv.disk_bytes() >> 20
    );
    read(&kv, puts, "compacted")?;
    kv.close_clean()?;
    drop(kv);
    let wall = Instant::now();
    FjallKv::open(dir.path(), &options)?;
    println!("open: {:.0} ms", wall.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn key(number: u64) -> Bytes {
    // Spread like hashed keys, so that merges have something to merge.
    number
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .to_be_bytes()
        .to_vec()
        .into()
}

/// Writes everything and returns the slowest commit in milliseconds.
fn fill(kv: &FjallKv, puts: u64) -> Result<f64, KvError> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut slowest = 0_f64;
    for batch_number in 0..puts / BATCH_PUTS {
        let mut batch = Batch::new();
        for place in 0..BATCH_PUTS {
            let number = batch_number * BATCH_PUTS + place;
            let mut value = vec![0; VALUE_BYTES];
            rng.fill(&mut value);
            batch.put(Keyspace::Rows, key(number), value.into());
            batch.put(
                Keyspace::Log,
                number.to_be_bytes().to_vec().into(),
                key(number),
            );
        }
        let start = Instant::now();
        kv.commit(&batch)?;
        if batch_number % BATCHES_PER_SYNC == 0 {
            kv.sync()?;
        }
        slowest = slowest.max(start.elapsed().as_secs_f64() * 1e3);
    }
    kv.sync()?;
    Ok(slowest)
}

fn read(kv: &FjallKv, puts: u64, label: &str) -> Result<(), KvError> {
    let mut rng = fastrand::Rng::with_seed(2);
    let mut rate = |what: &str, offset: u64| -> Result<(), KvError> {
        let start = Instant::now();
        let mut found = 0_u64;
        for _ in 0..GETS {
            let number = rng.u64(0..puts / BATCH_PUTS * BATCH_PUTS) + offset;
            found += u64::from(kv.get(Keyspace::Rows, &key(number))?.is_some());
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "gets {label}, {what}: {:.0} a second, {found} found",
            GETS as f64 / seconds
        );
        Ok(())
    };
    rate("hits", 0)?;
    rate("misses", puts)
}

/// User and system time of this process, all threads. Linux counts it in hundredths of a second.
fn cpu_seconds() -> Result<f64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no process name")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).ok_or("too few fields");
    Ok((ticks(11)?.parse::<f64>()? + ticks(12)?.parse::<f64>()?) / 100.0)
}
