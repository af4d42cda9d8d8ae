//! A plan as people and programs read it, and `dunlin cluster plan`.

use dunlin_ring::{Faults, Tolerance};
use serde_json::{Value, json};

use super::change::{staged_json, staged_lines};
use super::plan::{Next, Plan};
use super::shape::{Shape, connect, counted, look, paste};
use crate::cli::ended::Ended;
use crate::cli::fault::Fault;
use crate::cli::output::Output;
use crate::cli::progress::{bytes, count, time};
use crate::cli::session::Session;
use crate::cli::table::{Lean, Table};

/// `dunlin cluster plan`
pub(super) async fn run(session: &Session, out: &mut Output, rate: u64) -> Result<Ended, Fault> {
    let client = connect(session).await?;
    let shape = look(&client).await?;
    let Some(plan) = Plan::of(&shape, rate)? else {
        return nothing_staged(session, out, &shape);
    };
    if out.is_json() {
        out.json_line(&json_of(&shape, &plan))?;
    } else {
        for line in staged_lines(&shape.state) {
            out.line(&line)?;
        }
        if let Ok(next) = &plan.next {
            table(next).show(out)?;
            for line in lines(next, rate) {
                out.line(&line)?;
            }
            warn(out, next)?;
            out.line(&format!("next: {}", paste(session, "cluster apply")))?;
        }
    }
    match plan.next {
        Ok(_) => Ok(Ended::Done),
        Err(why) => Err(no_layout(session, &why)),
    }
}

/// The staged changes make no layout.
pub(super) fn no_layout(session: &Session, why: &str) -> Fault {
    Fault::Refused {
        what: format!("the staged changes make no layout: {why}"),
        advice: format!(
            "stage what is missing, or {}",
            paste(session, "cluster cancel")
        ),
    }
}

fn nothing_staged(session: &Session, out: &mut Output, shape: &Shape) -> Result<Ended, Fault> {
    if out.is_json() {
        out.json_line(&json!({ "staged": [], "running": super::shape::is_running(&shape.state) }))?;
        return Ok(Ended::Done);
    }
    out.line("nothing is staged")?;
    if super::shape::is_running(&shape.state) {
        let moves = paste(session, "cluster moves");
        out.line(&format!("a change is running; {moves} shows how far it is"))?;
    }
    Ok(Ended::Done)
}

/// The warnings, to be noticed.
pub(super) fn warn(out: &mut Output, next: &Next) -> Result<(), Fault> {
    for warning in &next.warnings {
        let mark = out.alarming("warning");
        out.line(&format!("{mark}: {warning}"))?;
    }
    Ok(())
}

fn table(next: &Next) -> Table {
    let mut table = Table::new([
        ("NODE", Lean::Left),
        ("ZONE", Lean::Left),
        ("NOW", Lean::Right),
        ("AFTER", Lean::Right),
        ("GAINS", Lean::Right),
        ("GIVES UP", Lean::Right),
        ("TO COPY", Lean::Right),
        ("LOAD", Lean::Right),
    ]);
    for node in &next.nodes {
        table.row([
            node.name.clone(),
            node.zone.clone(),
            count(node.now as u64),
            count(node.after as u64),
            count(node.gains as u64),
            count(node.loses as u64),
            bytes(node.bytes),
            node.load
                .map_or_else(|| "leaves".to_owned(), |load| format!("{load} %")),
        ]);
    }
    table
}

/// What the table does not say.
pub(super) fn lines(next: &Next, rate: u64) -> Vec<String> {
    let least = match next.copies - next.copies_least {
        0 => "the fewest possible".to_owned(),
        more => format!("{more} more than the fewest possible"),
    };
    let moves = match next.copies {
        0 => "nothing moves".to_owned(),
        copies => format!(
            "{} to make, {least}; about {}, {} at {} a second",
            counted(copies as u64, "copy", "copies"),
            bytes(next.bytes),
            at_least(next.seconds_least),
            bytes(rate)
        ),
    };
    vec![
        format!("moves:     {moves}"),
        format!(
            "balance:   the fullest node has {} % of its fair share, {} % now",
            next.load_after, next.load_now
        ),
        format!("tolerates: now {}", tolerates(next.now)),
        format!("           meanwhile {}", tolerates(next.during)),
        format!("           after {}", tolerates(next.after)),
    ]
}

fn at_least(seconds: u64) -> String {
    match seconds {
        0 | 1 => "about a second".to_owned(),
        seconds => format!("at least {}", time(seconds.saturating_mul(1000))),
    }
}

/// How many more may fail.
pub(super) fn tolerates(tolerance: Tolerance) -> String {
    format!(
        "{} by majority; {} by last copy",
        faults(tolerance.majority),
        faults(tolerance.last_copy)
    )
}

fn faults(faults: Faults) -> String {
    match faults.short {
        0 => format!(
            "{} or {}",
            counted(faults.nodes as u64, "node", "nodes"),
            counted(faults.zones as u64, "zone", "zones")
        ),
        short => format!(
            "short in {}",
            counted(short as u64, "partition", "partitions")
        ),
    }
}

/// The same, for programs.
pub(super) fn tolerates_json(tolerance: Tolerance) -> Value {
    let faults = |faults: Faults| json!({ "nodes": faults.nodes, "zones": faults.zones, "partitions_short": faults.short });
    json!({
        "majority": faults(tolerance.majority),
        "last_copy": faults(tolerance.last_copy),
    })
}

/// The plan, for programs.
pub(super) fn json_of(shape: &Shape, plan: &Plan) -> Value {
    let mut object = json!({
        "based_on": plan.based_on.to_string(),
        "staged": staged_json(&shape.state),
    });
    let next = match &plan.next {
        Ok(next) => next,
        Err(why) => {
            object["refused"] = json!(why);
            return object;
        }
    };
    let node = |node: &super::plan::NodePlan| {
        json!({
            "node": node.name,
            "zone": node.zone,
            "now": node.now,
            "after": node.after,
            "gains": node.gains,
            "gives_up": node.loses,
            "bytes": node.bytes,
            "load_percent": node.load,
        })
    };
    let nodes: Value = next.nodes.iter().map(node).collect();
    object["layout"] = json!(next.layout.number());
    object["nodes"] = nodes;
    object["copies"] = json!(next.copies);
    object["copies_least"] = json!(next.copies_least);
    object["bytes"] = json!(next.bytes);
    object["seconds_least"] = json!(next.seconds_least);
    object["load_percent"] = json!({ "now": next.load_now, "after": next.load_after });
    object["tolerates"] = json!({
        "now": tolerates_json(next.now),
        "meanwhile": tolerates_json(next.during),
        "after": tolerates_json(next.after),
    });
    object["warnings"] = json!(next.warnings);
    object
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    const RATE: u64 = 64 << 20;

    #[test]
    fn a_plan_is_a_table_and_five_lines() {
        let shape = samples::shape(samples::joining(), &[]);
        let plan = Plan::of(&shape, RATE).unwrap().unwrap();
        let next = plan.next.as_ref().unwrap();
        assert_eq!(
            table(next).lines(),
            [
                "NODE  ZONE  NOW  AFTER  GAINS  GIVES UP   TO COPY   LOAD",
                "n1    z1     16     12      0         4       0 B  100 %",
                "n2    z2     16     12      0         4       0 B  100 %",
                "n3    z3     16     12      0         4       0 B  100 %",
                "n4    z4      0     12     12         0  12.0 KiB  100 %",
            ]
        );
        assert_eq!(
            lines(next, RATE),
            [
                "moves:     12 copies to make, the fewest possible; about 12.0 KiB, about a second at \
                 64.0 MiB a second",
                "balance:   the fullest node has 100 % of its fair share, 100 % now",
                "tolerates: now 1 node or 1 zone by majority; 2 nodes or 2 zones by last copy",
                "           meanwhile 1 node or 1 zone by majority; 2 nodes or 2 zones by last copy",
                "           after 1 node or 1 zone by majority; 2 nodes or 2 zones by last copy",
            ]
        );
        let json = json_of(&shape, &plan);
        assert_eq!(json["nodes"][3]["gains"], 12);
        assert_eq!(json["tolerates"]["after"]["majority"]["nodes"], 1);
    }

    #[test]
    fn partitions_that_are_short_are_counted_instead() {
        let shape = samples::shape(samples::joining(), &["n1", "n2"]);
        let plan = Plan::of(&shape, RATE).unwrap().unwrap();
        let now = tolerates(plan.next.unwrap().now);
        assert_eq!(
            now,
            "short in 16 partitions by majority; 0 nodes or 0 zones by last copy"
        );
    }

    #[test]
    fn long_moves_take_at_least_their_time() {
        assert_eq!(at_least(0), "about a second");
        assert_eq!(at_least(75), "at least 1m 15s");
    }
}
