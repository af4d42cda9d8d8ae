//! Harms copies of a store, one place at a time, at every place there is, and opens each.
//!
//! ```text
//! journal   cut at every byte | every byte with a bit flipped | every page lost, zeroed or swapped
//! the rest  bits of tables, manifests, mark, clean and format, under a seed
//! ```
//!
//! `DUNLIN_DAMAGE_BITS=400 cargo test -p dunlin-storage --test kv_damage` flips more.
//!
//! The claim is in `verdict.rs`: an opened store has all that was synced, or says amnesia, or refuses;
//! a read is right or an error; and nothing panics, hangs, or shows what was never written.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::verdict::{Verdict, judge};
use crate::victim::{Made, Victim};

mod verdict;
mod victim;

/// What a disk loses at once.
const PAGE_BYTES: usize = 4096;
/// How many bits of each file are flipped; `DUNLIN_DAMAGE_BITS` says otherwise, for a night.
const BITS: usize = 6;

/// How often each verdict was given.
#[derive(Debug, Default)]
struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    fn count(&mut self, verdict: &Verdict) {
        *self.0.entry(verdict.name()).or_default() += 1;
    }

    fn of(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// Harms the journal of copies of `victim`, each in one way.
fn harm_journal(
    victim: &Victim,
    harms: impl Iterator<Item = (String, Vec<u8>)>,
    tally: &mut Tally,
) {
    for (harm, journal) in harms {
        victim.harm(&victim.journal, Some(&journal));
        tally.count(&judge(victim, &harm));
    }
}

#[test]
fn a_journal_cut_at_any_byte_keeps_what_was_synced_or_is_amnesia() {
    let victim = Victim::make(Made::Small);
    let whole = victim.file(&victim.journal);
    let cuts = (0..=whole.len()).map(|cut| (format!("cut at {cut}"), whole[..cut].to_vec()));
    let mut tally = Tally::default();
    harm_journal(&victim, cuts, &mut tally);
    println!("{} bytes cut off one by one: {tally:?}", whole.len());
    // What was synced ends somewhere in the middle, and every cut is judged by that.
    assert!(tally.of("sound") > whole.len() / 5 && tally.of("amnesia") > whole.len() / 5);
    assert_eq!(tally.of("sound") + tally.of("amnesia"), whole.len() + 1);
}

#[test]
fn a_flipped_bit_in_any_byte_of_the_journal_keeps_what_was_synced_or_is_amnesia() {
    let victim = Victim::make(Made::Small);
    let whole = victim.file(&victim.journal);
    let mut rng = fastrand::Rng::with_seed(0x0b17);
    let flips = (0..whole.len()).map(|place| {
        let (bit, mut journal) = (rng.u32(0..8), whole.to_vec());
        journal[place] ^= 1 << bit;
        (format!("bit {bit} of byte {place}"), journal)
    });
    let mut tally = Tally::default();
    harm_journal(&victim, flips, &mut tally);
    println!("{} bytes flipped one by one: {tally:?}", whole.len());
    assert!(tally.of("amnesia") > whole.len() / 2, "{tally:?}");
}

#[test]
fn lost_pages_of_the_journal_keep_what_was_synced_or_are_amnesia() {
    let victim = Victim::make(Made::Long);
    let whole = victim.file(&victim.journal);
    let pages = whole.len().div_ceil(PAGE_BYTES);
    assert!(pages > 8, "{pages} pages");
    let page = |at: usize| at * PAGE_BYTES..((at + 1) * PAGE_BYTES).min(whole.len());
    let zeroed = (0..pages).map(|at| {
        let mut journal = whole.to_vec();
        journal[page(at)].fill(0);
        (format!("page {at} zeroed"), journal)
    });
    let gone = (0..pages).map(|at| {
        let journal = [&whole[..page(at).start], &whole[page(at).end..]].concat();
        (format!("page {at} gone"), journal)
    });
    // An old page where a new one should be: a write that went nowhere.
    let stale = (1..pages - 1).map(|at| {
        let mut journal = whole.to_vec();
        journal.copy_within(page(at - 1), page(at).start);
        (format!("page {at} is as the one before"), journal)
    });
    let from_here = (0..pages).map(|at| {
        let mut journal = whole.to_vec();
        journal[page(at).start..].fill(0);
        (format!("all pages from {at} zeroed"), journal)
    });
    let mut tally = Tally::default();
    harm_journal(
        &victim,
        zeroed.chain(gone).chain(stale).chain(from_here),
        &mut tally,
    );
    println!("{pages} pages lost: {tally:?}");
    assert!(
        tally.of("sound") > 2 && tally.of("amnesia") > pages,
        "{tally:?}"
    );
}

#[test]
fn a_flipped_bit_in_any_other_file_is_noticed_when_it_matters() {
    let bits = std::env::var("DUNLIN_DAMAGE_BITS").map_or(BITS, |bits| bits.parse().unwrap());
    for made in [Made::WithTables, Made::Closed] {
        let victim = Victim::make(made);
        let mut tally = Tally::default();
        for (number, file) in victim.other_files().enumerate() {
            // A file's own seed: what is flipped first does not depend on how much is.
            let mut rng = fastrand::Rng::with_seed(number as u64);
            let whole = victim.file(file);
            for _ in 0..bits.min(whole.len() * 8) {
                let (place, bit) = (rng.usize(0..whole.len()), rng.u32(0..8));
                let mut bytes = whole.to_vec();
                bytes[place] ^= 1 << bit;
                victim.harm(file, Some(&bytes));
                let harm = format!("bit {bit} of byte {place} of {}", file.display());
                tally.count(&judge(&victim, &harm));
            }
        }
        println!("{made:?}, {bits} bits flipped in each file but the journal: {tally:?}");
        assert!(
            tally.of("unreadable") > 0 && tally.of("refused") > 0,
            "{tally:?}"
        );
    }
}

#[test]
fn any_other_file_cut_short_or_lost_is_noticed_when_it_matters() {
    for made in [Made::WithTables, Made::Closed] {
        let victim = Victim::make(made);
        let mut tally = Tally::default();
        for file in victim.other_files() {
            let whole = victim.file(file);
            for cut in [0, whole.len() / 2, whole.len().saturating_sub(1)] {
                victim.harm(file, whole.get(..cut));
                tally.count(&judge(&victim, &format!("{} cut at {cut}", file.display())));
            }
            victim.harm(file, None);
            tally.count(&judge(&victim, &format!("{} lost", file.display())));
        }
        // A format that cannot be read may be a later one, and is left alone. Whatever else is wrong,
        // the node starts, and its peers give it what it lost.
        assert_eq!(
            tally.of("refused"),
            2,
            "only the format cut at 0 and in the middle"
        );
        println!("{made:?}, each file cut short or lost, but the journal: {tally:?}");
        assert!(tally.of("amnesia") > 0, "{tally:?}");
    }
}

/// Whoever reads this far wants to know that the judge can condemn.
#[test]
fn a_store_that_lost_a_synced_batch_in_silence_is_condemned() {
    let mut victim = Victim::make(Made::Small);
    victim.restore();
    assert!(matches!(judge(&victim, "nothing"), Verdict::Sound));
    victim.restore();
    victim.batches += 1;
    victim.synced = victim.batches;
    assert!(catch_unwind(AssertUnwindSafe(|| judge(&victim, "nothing"))).is_err());
}
