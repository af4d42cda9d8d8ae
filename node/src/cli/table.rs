//! Columns for people.

use std::io;

use super::output::Output;

/// Which way a column leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lean {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under heads.
#[derive(Debug)]
pub(crate) struct Table {
    heads: Vec<(&'static str, Lean)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads.
    pub(crate) fn new(heads: impl IntoIterator<Item = (&'static str, Lean)>) -> Self {
        Self {
            heads: heads.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Its lines, the head first. Nothing trails.
    pub(crate) fn lines(&self) -> Vec<String> {
        let width = |column: usize, head: &str| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .chain([head.len()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = self
            .heads
            .iter()
            .enumerate()
            .map(|(column, (head, _))| width(column, head))
            .collect();
        let heads = self
            .heads
            .iter()
            .map(|(head, _)| (*head).to_owned())
            .collect();
        std::iter::once(&heads)
            .chain(&self.rows)
            .map(|row: &Vec<String>| {
                let cells: Vec<String> = row
                    .iter()
                    .zip(&self.heads)
                    .zip(&widths)
                    .map(|((cell, (_, lean)), width)| match lean {
                        Lean::Left => format!("{cell:<width$}"),
                        Lean::Right => format!("{cell:>width$}"),
                    })
                    .collect();
                cells.join("  ").trim_end().to_owned()
            })
            .collect()
    }

    /// Shows it.
    pub(crate) fn show(&self, out: &mut Output) -> io::Result<()> {
        self.lines().iter().try_for_each(|line| out.line(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([
            ("NAME", Lean::Left),
            ("ROWS", Lean::Right),
            ("X", Lean::Left),
        ]);
        table.row(["n1".to_owned(), "12345".to_owned(), "é".to_owned()]);
        table.row(["longer".to_owned(), "7".to_owned(), String::new()]);
        assert_eq!(
            table.lines(),
            ["NAME     ROWS  X", "n1      12345  é", "longer      7"]
        );
    }
}
