//! `dunlin cluster verify`: whether the owners of every partition hold the same.
//!
//! Each owner says how many rows it holds of a partition, and gives a hash of its clock and one of the
//! rows themselves. Equal hashes mean equal data; a write that is under way, or repair, makes them
//! differ for a moment, so what differs is looked at again until the time to wait is over.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_client::status::PartitionDigest;
use dunlin_client::{Client, Layout, NodeId, NodeRef, Options, PartitionId};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::shape::active;
use crate::cli::ended::Ended;
use crate::cli::fault::{Fault, reason};
use crate::cli::output::Output;
use crate::cli::progress::{Progress, count};
use crate::cli::session::Session;

/// Digests asked for at a time: a node reads a whole partition for each.
const AT_ONCE: usize = 16;
/// How long a node may take to show that it is there.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Before what differs is looked at again: about as often as owners compare clocks.
const PAUSE: Duration = Duration::from_millis(500);

/// What one owner says of a partition, or why it does not.
type Said = (NodeRef, Result<PartitionDigest, String>);

/// How the owners of a partition stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Equal,
    Differ,
    /// Somebody did not answer; those who did are equal.
    Unanswered,
}

/// `dunlin cluster verify`
pub(super) async fn run(
    session: &Session,
    out: &mut Output,
    wait: Duration,
) -> Result<Ended, Fault> {
    let client = session.connect(Options::new().timeout(TIMEOUT)).await?;
    let deadline = Instant::now() + wait;
    let mut open: Vec<PartitionId> = client.layout().partitions().iter().collect();
    let mut said = BTreeMap::new();
    loop {
        ask_all(&client, &open, &mut said).await;
        open = said
            .iter()
            .filter(|(_, said)| verdict(said) == Verdict::Differ)
            .map(|(partition, _)| *partition)
            .collect();
        if open.is_empty() || Instant::now() >= deadline {
            break;
        }
        sleep(PAUSE).await;
    }
    show(out, &said)
}

/// Asks every owner of these partitions. Nodes that are down are not waited for again and again.
async fn ask_all(
    client: &Client,
    partitions: &[PartitionId],
    said: &mut BTreeMap<PartitionId, Vec<Said>>,
) {
    let layout = client.layout();
    let down = down(client, &layout).await;
    let mut progress = Progress::new();
    let mut asking = JoinSet::new();
    let mut questions: Vec<(PartitionId, NodeRef)> = Vec::new();
    for partition in partitions {
        let mut silent = Vec::new();
        for owner in layout.owners(*partition) {
            let member = layout.member(*owner);
            let name = member.map(|member| member.name.as_str().into());
            let node = NodeRef { id: *owner, name };
            match down.get(owner) {
                Some(reason) => silent.push((node, Err(reason.clone()))),
                None => questions.push((*partition, node)),
            }
        }
        said.insert(*partition, silent);
    }
    let (all, mut answered) = (questions.len(), 0_u64);
    let mut questions = questions.into_iter();
    loop {
        while asking.len() < AT_ONCE
            && let Some((partition, node)) = questions.next()
        {
            let client = client.clone();
            asking.spawn(async move {
                let digest = client.digest(node.id, partition).await;
                (partition, (node, digest.map_err(|error| reason(&error))))
            });
        }
        let Some(joined) = asking.join_next().await else {
            break;
        };
        if let Ok((partition, owner)) = joined {
            said.entry(partition).or_default().push(owner);
        }
        answered += 1;
        progress.show(|| format!("{answered} of {all} digests"));
    }
    for owners in said.values_mut() {
        owners.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    }
}

/// The members that do not answer, with the reason.
async fn down(client: &Client, layout: &Layout) -> BTreeMap<NodeId, String> {
    let client = client.with_options(Options::new().timeout(GREETING_TIMEOUT));
    let mut greeting = JoinSet::new();
    for member in active(layout) {
        let (client, node) = (client.clone(), member.id);
        greeting.spawn(async move { (node, client.status(node).await) });
    }
    let answers = greeting.join_all().await.into_iter();
    answers
        .filter_map(|(node, answer)| Some((node, reason(&answer.err()?))))
        .collect()
}

fn verdict(said: &[Said]) -> Verdict {
    let mut digests = said.iter().filter_map(|(_, digest)| digest.as_ref().ok());
    let first = digests.next();
    match (
        digests.all(|other| Some(other) == first),
        said.iter().all(|(_, d)| d.is_ok()),
    ) {
        (false, _) => Verdict::Differ,
        (true, true) => Verdict::Equal,
        (true, false) => Verdict::Unanswered,
    }
}

fn show(out: &mut Output, all: &BTreeMap<PartitionId, Vec<Said>>) -> Result<Ended, Fault> {
    let count_of = |wanted| all.values().filter(|said| verdict(said) == wanted).count() as u64;
    let (equal, differ, unanswered) = (
        count_of(Verdict::Equal),
        count_of(Verdict::Differ),
        count_of(Verdict::Unanswered),
    );
    let rows: u64 = all
        .values()
        .filter_map(|said| {
            said.iter()
                .filter_map(|(_, d)| d.as_ref().ok())
                .map(|d| d.rows)
                .max()
        })
        .sum();
    let not_equal = all
        .iter()
        .filter(|(_, said)| verdict(said) != Verdict::Equal);
    if out.is_json() {
        let partitions: Value = not_equal.map(|(id, said)| json_of(*id, said)).collect();
        out.json_line(&json!({
            "equal": equal,
            "differ": differ,
            "unanswered": unanswered,
            "rows": rows,
            "partitions": partitions,
        }))?;
    } else {
        for (partition, said) in not_equal {
            let line = line_of(*partition, said);
            out.line(&line)?;
        }
        out.line(&format!(
            "{} of {} partitions are equal at all their owners; {} rows",
            count(equal),
            count(all.len() as u64),
            count(rows)
        ))?;
        if differ > 0 {
            let text = format!("{} partitions differ", count(differ));
            let text = out.alarming(&text);
            out.line(&text)?;
        }
    }
    match (differ, unanswered) {
        (0, 0) => Ok(Ended::Done),
        (0, unanswered) => Err(Fault::Refused {
            what: format!(
                "{} partitions could not be compared: an owner did not answer",
                count(unanswered)
            ),
            advice: "dunlin cluster status shows which nodes are down".to_owned(),
        }),
        _ => Ok(Ended::No),
    }
}

fn line_of(partition: PartitionId, said: &[Said]) -> String {
    let owners: Vec<String> = said
        .iter()
        .map(|(node, digest)| match digest {
            Ok(d) => format!(
                "{node}: {} rows, clock {:016x}, content {:016x}{}",
                d.rows,
                d.clock,
                d.content,
                if d.whole { "" } else { ", being filled" }
            ),
            Err(reason) => format!("{node}: no answer ({reason})"),
        })
        .collect();
    format!("partition {}: {}", partition.0, owners.join("; "))
}

fn json_of(partition: PartitionId, said: &[Said]) -> Value {
    let owners: Value = said
        .iter()
        .map(|(node, digest)| match digest {
            Ok(d) => json!({
                "node": node.to_string(),
                "whole": d.whole,
                "rows": d.rows,
                "clock": format!("{:016x}", d.clock),
                "content": format!("{:016x}", d.content),
            }),
            Err(reason) => json!({ "node": node.to_string(), "error": reason }),
        })
        .collect();
    let verdict = match verdict(said) {
        Verdict::Equal => "equal",
        Verdict::Differ => "differ",
        Verdict::Unanswered => "unanswered",
    };
    json!({ "partition": partition.0, "verdict": verdict, "owners": owners })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, digest: Result<PartitionDigest, &str>) -> Said {
        let node = NodeRef {
            id: NodeId::from_name(name),
            name: Some(name.into()),
        };
        (node, digest.map_err(str::to_owned))
    }

    fn digest(clock: u64, content: u64) -> PartitionDigest {
        PartitionDigest {
            whole: true,
            rows: 2,
            clock,
            content,
            ..PartitionDigest::default()
        }
    }

    #[test]
    fn owners_are_equal_only_if_all_say_the_same() {
        let a = || said("n1", Ok(digest(1, 2)));
        assert_eq!(
            verdict(&[a(), said("n2", Ok(digest(1, 2)))]),
            Verdict::Equal
        );
        assert_eq!(
            verdict(&[a(), said("n2", Ok(digest(1, 3)))]),
            Verdict::Differ
        );
        assert_eq!(
            verdict(&[a(), said("n2", Ok(digest(0, 2)))]),
            Verdict::Differ
        );
        assert_eq!(
            verdict(&[a(), said("n2", Err("down"))]),
            Verdict::Unanswered
        );
        let differ = [a(), said("n2", Ok(digest(1, 3))), said("n3", Err("down"))];
        assert_eq!(verdict(&differ), Verdict::Differ);
    }

    #[test]
    fn a_difference_shows_what_each_owner_holds() {
        let both = [said("n1", Ok(digest(1, 2))), said("n2", Err("timed out"))];
        let line = line_of(PartitionId(7), &both);
        assert!(line.contains("partition 7: n1: 2 rows"), "{line}");
        assert!(line.contains("n2: no answer (timed out)"), "{line}");
        assert_eq!(json_of(PartitionId(7), &both)["verdict"], "unanswered");
    }
}
