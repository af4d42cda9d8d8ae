//! A little of a real data set, where there is one.

use std::collections::BTreeMap;
use std::path::Path;

use crate::dunlin::Dev;

/// Lines of it, with the header.
const LINES: usize = 3_000;

#[test]
fn purchases_of_a_real_data_set_add_up() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/purchases.csv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: there is no {}", path.display());
        return;
    };
    let dev = Dev::start(1);
    let some: Vec<&str> = text.lines().take(LINES).collect();
    dev.file("purchases.csv", some.join("\n"));
    dev.bucket("purchases", "counter");
    dev.line("import purchases purchases.csv --key customer --amount amount_cents")
        .ended(0);
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for line in some.iter().skip(1) {
        let (customer, rest) = line.split_once(',').unwrap();
        let amount = rest.rsplit_once(',').unwrap().1;
        *sums.entry(customer).or_default() += amount.parse::<i64>().unwrap();
    }
    let exported = dev.line("export purchases").ended(0).text();
    let found: BTreeMap<String, i64> = exported
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|line| Some((line["key"].as_str()?.to_owned(), line["counter"].as_i64()?)))
        .collect();
    let sums: BTreeMap<String, i64> = sums.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    assert_eq!(found, sums);
    dev.stop();
}
