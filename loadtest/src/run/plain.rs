//! Progress as lines, for logs and whoever has no terminal.

use std::time::{Duration, Instant};

use super::board::{Board, Phase, shown};

/// Between lines.
const EVERY: Duration = Duration::from_secs(5);

/// Says a line every few seconds, and when something else begins.
#[derive(Debug, Default)]
pub(super) struct Plain {
    said: Option<(Instant, String)>,
}

impl Plain {
    /// A line, if it is time for one.
    pub(super) fn line(&mut self, board: &Board, now: Instant) -> Option<String> {
        let phase = match board.phase {
            // How far it is, is no other phase.
            Phase::Loading { of, .. } => format!("loading {of} keys"),
            _ => board.doing(),
        };
        let is_due = match &self.said {
            None => true,
            Some((at, last)) => *last != phase || now.duration_since(*at) >= EVERY,
        };
        if !is_due {
            return None;
        }
        self.said = Some((now, phase));
        let mut line = format!("{:>4} s  {}", board.elapsed.as_secs(), board.doing());
        if board.sum.done() > 0 {
            let latencies = board.sum.all();
            line += &format!(
                ": {}/s, p50 {}, p99 {}, max {}",
                board.rates.back().copied().unwrap_or(0),
                shown(latencies.per_mille(500)),
                shown(latencies.per_mille(990)),
                shown(latencies.max()),
            );
        }
        if board.sum.failures() > 0 {
            line += &format!("; failed: {}", board.sum.failures_in_words());
        }
        if board.sum.not_sent > 0 {
            line += &format!("; {} not sent", board.sum.not_sent);
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_when_something_begins_and_every_few_seconds() {
        let (mut plain, mut board) = (Plain::default(), Board::new("a run".to_owned()));
        let start = Instant::now();
        let mut say =
            |board: &Board, seconds| plain.line(board, start + Duration::from_secs(seconds));
        assert_eq!(say(&board, 0).as_deref(), Some("   0 s  starting"));
        board.begin(Phase::Loading { done: 0, of: 90 });
        assert!(say(&board, 1).is_some());
        board.phase = Phase::Loading { done: 30, of: 90 };
        assert_eq!(say(&board, 2), None);
        let later = say(&board, 6).unwrap();
        assert!(later.contains("30 of 90"), "{later}");
    }
}
