//! The fields of a map as an indented tree, line by line as they come.
//!
//! ```text
//! address:map
//!   city:register  Bern
//! tags:set
//!   - new
//! visits:counter  3
//! ```

use std::io;

use dunlin_client::{FieldEntry, FieldPath, FieldValue};

use super::field::show_step;
use super::map::At;
use super::output::Output;

/// Remembers what was shown last, since a head is shown once for all that is below it.
#[derive(Debug, Default)]
pub(crate) struct TreeLines {
    last: Option<FieldPath>,
}

impl TreeLines {
    /// Shows one row. Rows come in the order of their paths.
    pub(crate) fn show(
        &mut self,
        out: &mut Output,
        at: &At<'_>,
        entry: &FieldEntry,
    ) -> io::Result<()> {
        let steps = entry.path.steps();
        let above = self.last.as_ref().map_or(&[][..], FieldPath::steps);
        let common = steps
            .iter()
            .zip(above)
            .take_while(|(new, old)| new == old)
            .count();
        for (depth, (name, kind)) in steps.iter().enumerate().skip(common) {
            let indent = "  ".repeat(depth);
            let value = match depth + 1 == steps.len() {
                true => value_of(out, &entry.value),
                false => String::new(),
            };
            out.line(&format!("{indent}{}{value}", show_step(name, *kind)))?;
        }
        let indent = "  ".repeat(steps.len());
        match &entry.value {
            FieldValue::Present => {
                let element = out.shown(entry.element.as_deref().unwrap_or_default());
                out.line(&format!("{indent}- {element}"))?;
            }
            FieldValue::Register(found) if found.is_conflict() => {
                for (number, value) in (1..).zip(&found.values) {
                    let shown = out.shown(value);
                    out.line(&format!("{indent}{number}: {shown}"))?;
                }
                let command = at.field(&entry.path).settling(&found.context, out.form());
                out.line(&format!("{indent}to settle them: {command}"))?;
            }
            FieldValue::Register(_)
            | FieldValue::Lww(_)
            | FieldValue::Counter(_)
            | FieldValue::On => {}
        }
        self.last = Some(entry.path.clone());
        Ok(())
    }
}

/// What stands beside the name.
fn value_of(out: &Output, value: &FieldValue) -> String {
    match value {
        FieldValue::Register(found) => match found.single() {
            Some(value) => format!("  {}", out.shown(value)),
            None => format!("  {} siblings, written concurrently:", found.values.len()),
        },
        FieldValue::Lww(latest) => format!("  {}", out.shown(&latest.value)),
        FieldValue::Counter(sum) => format!("  {sum}"),
        FieldValue::On => "  on".to_owned(),
        FieldValue::Present => String::new(),
    }
}
