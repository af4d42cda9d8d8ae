//! What was measured: once as a table to read, once as JSON, from the same cells.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::rounds::Rounds;

/// A figure with its unit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Not measured, or not measurable here.
    Absent,
    /// Words.
    Text(String),
    /// How many.
    Count(u64),
    /// How many a second.
    PerSecond(f64),
    /// A time in microseconds.
    Micros(f64),
    /// A time in seconds.
    Seconds(f64),
    /// A size in bytes.
    Bytes(f64),
    /// One thing to another.
    Ratio(f64),
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn micros(time: Duration) -> Self {
        Self::Micros(time.as_secs_f64() * 1e6)
    }

    pub(crate) fn seconds(time: Duration) -> Self {
        Self::Seconds(time.as_secs_f64())
    }

    pub(crate) fn bytes(bytes: u64) -> Self {
        Self::Bytes(bytes as f64)
    }

    /// The median of rounds, in this unit.
    pub(crate) fn median(rounds: &Rounds, unit: impl FnOnce(f64) -> Self) -> Self {
        rounds.median().map_or(Self::Absent, unit)
    }

    /// The lowest and the highest of rounds, to judge the noise by.
    pub(crate) fn range(rounds: &Rounds, unit: impl Fn(f64) -> Self) -> Self {
        rounds.range().map_or(Self::Absent, |(low, high)| {
            Self::Text(format!("{}..{}", unit(low).shown(), unit(high).shown()))
        })
    }

    fn shown(&self) -> String {
        match self {
            Self::Absent => "-".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::PerSecond(rate) => format!("{rate:.0}/s"),
            Self::Micros(micros) if *micros >= 100_000.0 => format!("{:.0} ms", micros / 1e3),
            Self::Micros(micros) if *micros >= 1_000.0 => format!("{:.2} ms", micros / 1e3),
            Self::Micros(micros) => format!("{micros:.1} us"),
            Self::Seconds(seconds) => format!("{seconds:.2} s"),
            Self::Bytes(bytes) if bytes.abs() >= 10_485_760.0 => {
                format!("{:.1} MiB", bytes / 1_048_576.0)
            }
            Self::Bytes(bytes) if bytes.abs() >= 10_240.0 => format!("{:.1} KiB", bytes / 1024.0),
            Self::Bytes(bytes) => format!("{bytes:.0} B"),
            Self::Ratio(ratio) => format!("{ratio:.2}"),
        }
    }

    /// The bare number, in the unit that [`key`](Self::key) names.
    fn json(&self) -> Value {
        match self {
            Self::Absent => Value::Null,
            Self::Text(text) => json!(text),
            Self::Count(count) => json!(count),
            Self::PerSecond(number)
            | Self::Micros(number)
            | Self::Seconds(number)
            | Self::Bytes(number)
            | Self::Ratio(number) => json!((number * 1e3).round() / 1e3),
        }
    }

    /// The name of a figure in JSON: words joined, the unit last.
    fn key(&self, name: &str) -> String {
        let unit = match self {
            Self::Absent | Self::Text(_) | Self::Count(_) | Self::Ratio(_) => "",
            Self::PerSecond(_) => " per second",
            Self::Micros(_) => " us",
            Self::Seconds(_) => " s",
            Self::Bytes(_) => " bytes",
        };
        let words = format!("{name}{unit}");
        let keep = |c: char| c.is_ascii_alphanumeric() || c == '.';
        let words: Vec<_> = words
            .split(|c| !keep(c))
            .filter(|word| !word.is_empty())
            .collect();
        words.join("_").replace('.', "").to_lowercase()
    }
}

/// Figures, one row for each thing measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(columns: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// One more row, in the order of the columns.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        assert_eq!(
            cells.len(),
            self.columns.len(),
            "a row has a cell for each column"
        );
        self.rows.push(cells);
    }

    fn render(&self, out: &mut String) {
        let shown: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(Cell::shown).collect())
            .collect();
        let width = |column: usize, name: &str| {
            let cells = shown.iter().filter_map(|row| row.get(column));
            cells
                .map(String::len)
                .chain([name.len()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, name)| width(at, name))
            .collect();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for (at, (cell, width)) in cells.zip(&widths).enumerate() {
                // What is measured to the left, figures to the right.
                let _ = match at {
                    0 => write!(text, "{cell:<width$}"),
                    _ => write!(text, "  {cell:>width$}"),
                };
            }
            out.push_str(text.trim_end());
            out.push('\n');
        };
        line(&mut self.columns.iter().copied());
        for row in &shown {
            line(&mut row.iter().map(String::as_str));
        }
    }

    fn json(&self) -> Value {
        let row = |cells: &Vec<Cell>| {
            let named = self.columns.iter().zip(cells);
            named
                .map(|(name, cell)| (cell.key(name), cell.json()))
                .collect::<Map<_, _>>()
        };
        self.rows
            .iter()
            .map(|cells| Value::Object(row(cells)))
            .collect()
    }
}

/// All that a command has to say.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    command: &'static str,
    facts: Vec<(&'static str, Cell)>,
    tables: Vec<(&'static str, Table)>,
    notes: Vec<&'static str>,
    wrong: Vec<String>,
}

impl Report {
    pub(crate) fn new(command: &'static str) -> Self {
        Self {
            command,
            facts: Vec::new(),
            tables: Vec::new(),
            notes: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// One figure by itself.
    pub(crate) fn fact(&mut self, name: &'static str, cell: Cell) {
        self.facts.push((name, cell));
    }

    /// Figures side by side.
    pub(crate) fn table(&mut self, name: &'static str, table: Table) {
        self.tables.push((name, table));
    }

    /// How to read the figures.
    pub(crate) fn note(&mut self, note: &'static str) {
        self.notes.push(note);
    }

    /// Something that must not be. The program's exit code tells it as well.
    pub(crate) fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    pub(crate) fn is_wrong(&self) -> bool {
        !self.wrong.is_empty()
    }

    pub(crate) fn render(&self, as_json: bool) -> String {
        if as_json {
            return format!("{:#}\n", self.json());
        }
        let mut out = format!("{}\n", self.command);
        let width = self
            .facts
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0);
        for (name, cell) in &self.facts {
            let _ = writeln!(out, "  {name:<width$}  {}", cell.shown());
        }
        for (name, table) in &self.tables {
            let _ = writeln!(out, "\n{name}");
            table.render(&mut out);
        }
        if !self.notes.is_empty() {
            out.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(out, "{note}");
        }
        for wrong in &self.wrong {
            let _ = writeln!(out, "WRONG: {wrong}");
        }
        out
    }

    fn json(&self) -> Value {
        let facts: Map<String, Value> = self
            .facts
            .iter()
            .map(|(name, cell)| (cell.key(name), cell.json()))
            .collect();
        let tables: Map<String, Value> = self
            .tables
            .iter()
            .map(|(name, table)| (Cell::Absent.key(name), table.json()))
            .collect();
        json!({
            "command": self.command,
            "facts": facts,
            "tables": tables,
            "notes": self.notes,
            "wrong": self.wrong,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut table = Table::new(["what", "p99.9", "CPU per put"]);
        table.row([Cell::text("put"), Cell::Micros(1234.5), Cell::Micros(21.0)]);
        table.row([Cell::text("get, both"), Cell::Absent, Cell::Micros(9.25)]);
        let mut report = Report::new("ops");
        report.fact("memory", Cell::bytes(20 << 20));
        report.table("latency", table);
        report
    }

    #[test]
    fn columns_line_up() {
        let text = report().render(false);
        let lines: Vec<&str> = text.lines().skip_while(|line| *line != "latency").collect();
        assert_eq!(
            lines,
            [
                "latency",
                "what         p99.9  CPU per put",
                "put        1.23 ms      21.0 us",
                "get, both        -       9.2 us",
            ]
        );
    }

    #[test]
    fn json_names_figures_with_their_unit() {
        let json = report().json();
        assert_eq!(json["facts"]["memory_bytes"], json!(20971520.0));
        assert_eq!(json["tables"]["latency"][0]["p999_us"], json!(1234.5));
        assert_eq!(json["tables"]["latency"][1]["p999"], Value::Null);
    }

    #[test]
    fn something_wrong_is_shown_and_told() {
        let mut report = report();
        assert!(!report.is_wrong());
        report.wrong("an answer was stale".to_owned());
        assert!(report.is_wrong());
        assert!(report.render(false).contains("WRONG: an answer was stale"));
    }
}
