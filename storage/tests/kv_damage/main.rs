//! Harms copies of a store, one place at a time, at every place there is, and opens each.
//!
//! ```text
//! journal   cut at every byte | every byte with a bit flipped | every page lost, zeroed or swapped
//! the rest  bits of tables, manifests, mark, clean and format, under a seed
//! ```
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
/// How often each byte of a small file is harmed, on average, and each file at most.
const BITS_PER_FILE_MAX: usize = 48;

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
        victim.harm(&victim.journal, &journal);
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
    let mut rng = fastrand::Rng::with_seed(0x0f11e);
    for made in [Made::WithTables, Made::Closed] {
        let victim = Victim::make(made);
        let files: Vec<_> = victim
            .files()
            .into_iter()
            .filter(|file| *file != victim.journal)
            .collect();
        assert!(
            files
                .iter()
                .any(|file| file.to_string_lossy().contains("tables/"))
        );
        for file in files {
            let whole = victim.file(&file);
            let mut tally = Tally::default();
            for _ in 0..whole.len().min(BITS_PER_FILE_MAX) {
                let (place, bit) = (rng.usize(0..whole.len()), rng.u32(0..8));
                let mut bytes = whole.to_vec();
                bytes[place] ^= 1 << bit;
                victim.harm(&file, &bytes);
                let harm = format!("bit {bit} of byte {place} of {}", file.display());
                tally.count(&judge(&victim, &harm));
            }
            println!(
                "{made:?} {} of {} bytes: {tally:?}",
                file.display(),
                whole.len()
            );
        }
    }
}

#[test]
fn any_other_file_cut_short_is_noticed_when_it_matters() {
    let mut rng = fastrand::Rng::with_seed(0x0c07);
    for made in [Made::WithTables, Made::Closed] {
        let victim = Victim::make(made);
        let mut tally = Tally::default();
        for file in victim
            .files()
            .into_iter()
            .filter(|file| *file != victim.journal)
        {
            let whole = victim.file(&file);
            for cut in [
                0,
                whole.len() / 2,
                rng.usize(0..=whole.len()),
                whole.len().saturating_sub(1),
            ] {
                victim.harm(&file, &whole[..cut]);
                let harm = format!("{} cut at {cut}", file.display());
                tally.count(&judge(&victim, &harm));
            }
        }
        println!("{made:?}, files cut short: {tally:?}");
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
