//! One line on standard error that says how far long work is, if that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Often enough to look alive, and no more.
const INTERVAL: Duration = Duration::from_millis(200);

/// The line. Nothing is shown where nobody would see it, or before the first interval is over.
#[derive(Debug)]
pub(crate) struct Progress {
    last: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// A line, if standard error is a terminal that can overwrite one.
    pub(crate) fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_shown = io::stderr().is_terminal() && !is_dumb;
        Self {
            last: is_shown.then(Instant::now),
            shown: false,
        }
    }

    /// Shows how far it is, if it is time to.
    pub(crate) fn show(&mut self, line: impl FnOnce() -> String) {
        if let Some(last) = self.last
            && last.elapsed() >= INTERVAL
        {
            self.last = Some(Instant::now());
            self.shown = true;
            // Progress is no reason to fail.
            let _ = write!(io::stderr(), "\r\x1b[K{}", line());
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A count with its thousands apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that leaves one to four digits: `731 B`, `14.2 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut tenths = u128::from(number) * 10;
    let mut unit = "B";
    for next in units {
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = next;
    }
    match unit {
        "B" => format!("{number} B"),
        unit => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// How long, to two units: `3d 4h`, `12s`.
pub(crate) fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    match (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    ) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, _, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        let counts: Vec<_> = [0, 999, 1000, 1_234_567].into_iter().map(count).collect();
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        let sizes: Vec<_> = [0, 731, 1023, 1024, 1536, 14_889_779, u64::MAX]
            .into_iter()
            .map(bytes)
            .collect();
        assert_eq!(
            sizes,
            [
                "0 B", "731 B", "1023 B", "1.0 KiB", "1.5 KiB", "14.2 MiB", "16.0 EiB"
            ]
        );
        let times: Vec<_> = [999, 12_000, 61_000, 7_260_000, 277_200_000]
            .into_iter()
            .map(time)
            .collect();
        assert_eq!(times, ["0s", "12s", "1m 1s", "2h 1m", "3d 5h"]);
    }
}
