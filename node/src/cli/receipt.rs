//! Who holds a write and who answered a read, as lines and as JSON.

use std::io;

use dunlin_client::{NodeRef, ReadInfo, Receipt};
use serde_json::{Map, Value, json};

use super::output::{Output, note};

/// Whether the context of a write is of any use for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShowContext {
    /// It was a register: the context lets the writer replace this write.
    Yes,
    /// Writes of this kind take no context.
    No,
}

/// What was done, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// In this word.
    Word(&'static str),
    /// A counter was added to.
    Added(i64),
}

/// Shows the receipt of a write.
pub(crate) fn show(
    out: &mut Output,
    done: Done,
    receipt: &Receipt,
    context: ShowContext,
) -> io::Result<()> {
    if out.is_json() {
        let mut object = json_of(receipt);
        let word = match done {
            Done::Word(word) => word,
            Done::Added(amount) => {
                object.insert("amount".to_owned(), json!(amount));
                "added"
            }
        };
        object.insert("done".to_owned(), json!(word));
        return out.json_line(&Value::Object(object));
    }
    let done = match done {
        Done::Word(word) => word.to_owned(),
        Done::Added(amount) => format!("added {amount}"),
    };
    out.line(&format!("{done}: {}", line_of(receipt)))?;
    match context {
        ShowContext::Yes => out.line(&format!("context: {}", receipt.context)),
        ShowContext::No => Ok(()),
    }
}

fn line_of(receipt: &Receipt) -> String {
    if receipt.copies.is_empty() {
        let nothing = match receipt.context.as_bytes().is_empty() {
            true => "there was nothing to change",
            false => "no node was to hold it before the answer",
        };
        return nothing.to_owned();
    }
    let copies: Vec<String> = receipt
        .copies
        .iter()
        .map(|copy| {
            let role = match &copy.hint_for {
                None => "owner".to_owned(),
                Some(owner) => format!("hint for {owner}"),
            };
            let synced = if copy.synced { "synced" } else { "not synced" };
            format!("{} ({role}, {synced})", copy.node)
        })
        .collect();
    copies.join(", ")
}

fn json_of(receipt: &Receipt) -> Map<String, Value> {
    let copies: Vec<Value> = receipt
        .copies
        .iter()
        .map(|copy| {
            json!({
                "node": copy.node.to_string(),
                "hint_for": copy.hint_for.as_ref().map(NodeRef::to_string),
                "synced": copy.synced,
            })
        })
        .collect();
    let mut object = Map::new();
    object.insert("copies".to_owned(), copies.into());
    object.insert("context".to_owned(), json!(receipt.context.to_string()));
    object.insert(
        "coordinator".to_owned(),
        json!(receipt.coordinator.to_string()),
    );
    object
}

/// Names in a row: `n1, n2`.
pub(crate) fn names(nodes: &[NodeRef]) -> String {
    let names: Vec<String> = nodes.iter().map(NodeRef::to_string).collect();
    names.join(", ")
}

/// Adds who answered a read to its JSON.
pub(crate) fn add_answerers(object: &mut Map<String, Value>, info: &ReadInfo) {
    let names = |nodes: &[NodeRef]| -> Value { nodes.iter().map(NodeRef::to_string).collect() };
    object.insert("owners".to_owned(), names(&info.owners));
    object.insert("fallbacks".to_owned(), names(&info.fallbacks));
}

/// Tells people who answered: always if it was not the owners alone, and else if they ask.
pub(crate) fn note_answerers(info: &ReadInfo, verbose: bool) {
    if verbose {
        note(&format!("answered by {}", names(&info.owners)));
    }
    if !info.fallbacks.is_empty() {
        note(&format!(
            "note: owners are away, and {} answered with what it keeps for them; acknowledged writes \
             are shown, others may be missing",
            names(&info.fallbacks)
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dunlin_client::{Context, Copy, NodeId, Rest};

    use super::*;

    fn node(name: &str) -> NodeRef {
        NodeRef {
            id: NodeId::from_name(name),
            name: Some(Arc::from(name)),
        }
    }

    fn receipt() -> Receipt {
        Receipt {
            copies: vec![
                Copy {
                    node: node("n1"),
                    hint_for: None,
                    synced: true,
                },
                Copy {
                    node: node("n4"),
                    hint_for: Some(node("n3")),
                    synced: false,
                },
            ],
            context: Context::from_bytes(vec![0xab]),
            coordinator: node("n1"),
            rest: Rest::Done,
            attempts: 1,
        }
    }

    #[test]
    fn a_receipt_names_owners_and_hints_and_what_is_synced() {
        assert_eq!(
            line_of(&receipt()),
            "n1 (owner, synced), n4 (hint for n3, not synced)"
        );
        let object = json_of(&receipt());
        assert_eq!(
            object["copies"][0],
            json!({"node": "n1", "hint_for": null, "synced": true})
        );
        assert_eq!(
            object["copies"][1],
            json!({"node": "n4", "hint_for": "n3", "synced": false})
        );
        assert_eq!(object["context"], "ab");
    }

    #[test]
    fn a_receipt_of_no_copies_says_so() {
        let none = Receipt {
            copies: vec![],
            ..receipt()
        };
        assert!(line_of(&none).contains("no node"));
    }
}
