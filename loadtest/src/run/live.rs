//! The view of a run on a terminal: how many a second, how long they take, what fails.

use std::io;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Gauge, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};

use super::board::{Board, shown};
use crate::histogram::Histogram;

/// A terminal that is drawn on. Dropped, and if anything panics, it is as it was before.
pub(super) struct Live(DefaultTerminal);

impl Live {
    /// Takes the terminal.
    pub(super) fn start() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }

    pub(super) fn show(&mut self, board: &Board) -> io::Result<()> {
        self.0.draw(|frame| draw(frame, board)).map(|_| ())
    }

    /// Whether q or Ctrl-C was pressed, which is no signal while the terminal is ours.
    pub(super) fn is_stop_wanted(&self) -> io::Result<bool> {
        let mut wanted = false;
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()? {
                wanted |= is_stop(key);
            }
        }
        Ok(wanted)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn is_stop(key: KeyEvent) -> bool {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press
        && (key.code == KeyCode::Char('q') || (key.code == KeyCode::Char('c') && is_control))
}

fn draw(frame: &mut Frame<'_>, board: &Board) {
    let failures = board.sum.failed.len().clamp(1, 6) as u16;
    let [head, gauge, rates, latencies, errors, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(5),
        Constraint::Length(board.sum.classes.len().max(1) as u16 + 4),
        Constraint::Length(failures + 2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let elapsed = board.elapsed.as_secs();
    let title = format!(
        "dunlin-loadtest run  {}  {:02}:{:02}",
        board.title,
        elapsed / 60,
        elapsed % 60
    );
    let title = Line::styled(title, Modifier::BOLD);
    frame.render_widget(Paragraph::new(title), head);
    let done = Gauge::default()
        .ratio(board.part.clamp(0.0, 1.0))
        .label(board.doing());
    frame.render_widget(done, gauge);
    draw_rates(frame, rates, board);
    draw_latencies(frame, latencies, board);
    draw_errors(frame, errors, board);
    let keys = "q: stop here and keep what was measured";
    frame.render_widget(Paragraph::new(keys), foot);
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let now = board.rates.back().copied().unwrap_or(0);
    let most = board.rates.iter().max().copied().unwrap_or(0);
    let block = Block::bordered().title(format!(" done a second: {now}, at most {most} "));
    // The newest are on the right, as many as there is room for.
    let room = usize::from(area.width.saturating_sub(2));
    let skip = board.rates.len().saturating_sub(room);
    let data: Vec<u64> = board.rates.iter().skip(skip).copied().collect();
    frame.render_widget(Sparkline::default().block(block).data(data), area);
}

fn draw_latencies(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let row = |name: &str, latencies: &Histogram, last: u64, failed: u64| {
        let times = [500, 990, 999, 1000].map(|share| match latencies.count() {
            0 => "-".to_owned(),
            _ => shown(latencies.per_mille(share)),
        });
        let counts = [last.to_string(), latencies.count().to_string()];
        let words = [name.to_owned()].into_iter().chain(counts).chain(times);
        Row::new(words.chain([failed.to_string()]).map(Cell::from))
    };
    let mut rows: Vec<Row<'_>> = Vec::new();
    for (class, counts) in &board.sum.classes {
        let last = board.last.of(*class).count();
        rows.push(row(class.tag(), &counts.latencies, last, counts.failed));
    }
    let all = row(
        "all",
        &board.sum.all(),
        board.last.done(),
        board.sum.failures(),
    );
    rows.push(all.style(Style::new().add_modifier(Modifier::BOLD)));
    let header = ["", "per s", "done", "p50", "p99", "p99.9", "max", "failed"];
    let widths = [8, 9, 11, 10, 10, 10, 10, 8].map(Constraint::Length);
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(Modifier::DIM))
        .block(Block::bordered().title(" latency, from when requests were due "));
    frame.render_widget(table, area);
}

fn draw_errors(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (word, failed) in &board.sum.failed {
        lines.push(Line::raw(format!("{:>9}  {word}", failed.count)));
    }
    if lines.is_empty() {
        lines.push(Line::raw("        0"));
    }
    let (not_sent, not_found) = (board.sum.not_sent, board.sum.not_found());
    let title = format!(" failed; not sent: {not_sent}; not found: {not_found} ");
    let block = Block::bordered().title(title);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::load::{Class, End, Reason, Step, Tally};
    use crate::run::board::Phase;
    use crate::run::seconds::Slot;

    fn drawn(board: &Board, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, board)).unwrap();
        terminal.backend().to_string()
    }

    fn board() -> Board {
        let mut board = Board::new("ycsb-f, 3 nodes".to_owned());
        board.begin(Phase::Step {
            number: 1,
            of: 4,
            due_per_second: Some(2_000.0),
        });
        board.part = 0.5;
        board.elapsed = Duration::from_secs(75);
        let mut tally = Tally::default();
        for ms in 1..=100 {
            let (what, end) = (Class::Read, End::Done);
            tally.add(Step { what, end }, Duration::from_millis(ms));
        }
        let (what, end) = (Class::Modify, End::Failed(Reason::ours("timeout")));
        tally.add(Step { what, end }, Duration::ZERO);
        tally.not_sent = 7;
        let slot = Slot {
            from_ms: 0,
            ms: 1_000,
            drain: false,
        };
        board.add(slot, &tally);
        board
    }

    #[test]
    fn what_is_measured_is_on_the_screen() {
        let screen = drawn(&board(), 90, 24);
        for part in [
            "ycsb-f, 3 nodes  01:15",
            "step 2 of 4, 2000 due a second",
            "done a second: 100, at most 100",
            "50.0",
            "99.0",
            "100.0",
            "rmw",
            "1  timeout",
            "not sent: 7",
            "q: stop",
        ] {
            assert!(screen.contains(part), "{part}:\n{screen}");
        }
    }

    #[test]
    fn an_empty_run_and_a_small_terminal_are_drawn_too() {
        let board = Board::new("nothing yet".to_owned());
        assert!(drawn(&board, 80, 24).contains("starting"));
        for (width, height) in [(1, 1), (10, 5), (300, 3)] {
            drawn(&self::board(), width, height);
        }
    }

    #[test]
    fn q_and_control_c_stop_and_other_keys_do_not() {
        let key = |code, modifiers| is_stop(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!key(KeyCode::Enter, KeyModifiers::NONE));
    }
}
