//! The values of a register: one as it is, several as siblings with the command that settles them.

use std::io;
use std::path::Path;

use dunlin_client::{Context, Siblings};

use super::output::Output;
use super::text::{Form, Room, shell_word, to_hex};

/// Where siblings were found, for the command that settles them.
#[derive(Clone, Debug)]
pub(crate) struct FoundAt<'a> {
    /// `put`, or `map set`.
    pub(crate) command: &'static str,
    /// The bucket.
    pub(crate) bucket: &'a str,
    /// The key.
    pub(crate) key: &'a [u8],
    /// The field, in a map.
    pub(crate) field: Option<String>,
    /// The cluster file, if it was named.
    pub(crate) cluster_file: Option<&'a Path>,
}

impl FoundAt<'_> {
    /// The command that settles them, to be pasted; `VALUE` is for the user to fill in.
    pub(crate) fn settling(&self, context: &Context, form: Form) -> String {
        let as_text = std::str::from_utf8(self.key)
            .ok()
            .filter(|key| form == Form::Text && !key.starts_with('-'))
            .filter(|key| !key.chars().any(char::is_control));
        let (key, hex) = match as_text {
            Some(key) => (key.to_owned(), ""),
            None => (to_hex(self.key), " --hex"),
        };
        let field = self
            .field
            .as_ref()
            .map_or_else(String::new, |f| format!(" {}", shell_word(f)));
        let cluster = self.cluster_file.map_or_else(String::new, |file| {
            format!(" --cluster {}", shell_word(&file.to_string_lossy()))
        });
        format!(
            "dunlin {} {} {}{field} VALUE --context {context}{hex}{cluster}",
            self.command,
            self.bucket,
            shell_word(&key),
        )
    }
}

/// Shows the values for people. A value alone has the output to itself.
pub(crate) fn show(out: &mut Output, siblings: &Siblings, at: &FoundAt<'_>) -> io::Result<()> {
    if let Some(value) = siblings.single() {
        let shown = out.form().shown(value, Room::Whole).into_owned();
        return out.line(&shown);
    }
    out.line(&format!(
        "{} siblings, written concurrently:",
        siblings.values.len()
    ))?;
    for (number, value) in (1..).zip(&siblings.values) {
        let shown = out.shown(value);
        out.line(&format!("  {number}: {shown}"))?;
    }
    let command = at.settling(&siblings.context, out.form());
    out.line(&format!("to settle them: {command}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(key: &[u8]) -> FoundAt<'_> {
        FoundAt {
            command: "put",
            bucket: "carts",
            key,
            field: None,
            cluster_file: None,
        }
    }

    #[test]
    fn the_settling_command_can_be_pasted() {
        let context = Context::from_bytes(vec![1, 0xab]);
        let command = |at: FoundAt<'_>, form| at.settling(&context, form);
        assert_eq!(
            command(at(b"ana"), Form::Text),
            "dunlin put carts ana VALUE --context 01ab"
        );
        assert_eq!(
            command(at(b"ana b"), Form::Text),
            "dunlin put carts 'ana b' VALUE --context 01ab"
        );
        for key in [&b"\xff"[..], b"-x", b"a\n"] {
            let hex = to_hex(key);
            assert_eq!(
                command(at(key), Form::Text),
                format!("dunlin put carts {hex} VALUE --context 01ab --hex")
            );
        }
        let in_map = FoundAt {
            command: "map set",
            field: Some("name:register".to_owned()),
            cluster_file: Some(Path::new("c.toml")),
            ..at(b"ana")
        };
        assert_eq!(
            command(in_map, Form::Text),
            "dunlin map set carts ana name:register VALUE --context 01ab --cluster c.toml"
        );
    }
}
