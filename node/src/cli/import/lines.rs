//! Lines of a file, however long they are, in bounded memory.

use std::io::{self, BufRead};

/// The longest line that is taken: the siblings of the largest row, written as hex, and room.
pub(crate) const LINE_BYTES_MAX: usize = 24 << 20;

/// Some editors begin a file with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One line, with its number from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: u64,
    /// The line with what ends it; nothing if it is longer than may be, and was passed over.
    pub(crate) bytes: Option<Vec<u8>>,
}

/// The lines of an input.
pub(crate) struct Lines<R> {
    input: R,
    bytes_max: usize,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// From the beginning of an input.
    pub(crate) fn new(input: R, bytes_max: usize) -> Self {
        Self {
            input,
            bytes_max,
            number: 0,
        }
    }

    /// How many lines were read.
    pub(crate) fn count(&self) -> u64 {
        self.number
    }

    /// The next line; nothing at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let mut fits = true;
        let mut is_at_end = true;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                break;
            }
            is_at_end = false;
            let end = available
                .iter()
                .position(|byte| *byte == b'\n')
                .map(|at| at + 1);
            let taken = end.unwrap_or(available.len());
            if bytes.len() + taken > self.bytes_max {
                fits = false;
                bytes = Vec::new();
            } else if fits {
                bytes.extend(available.iter().take(taken));
            }
            self.input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        if is_at_end {
            return Ok(None);
        }
        self.number += 1;
        if self.number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Some(Line {
            number: self.number,
            bytes: fits.then_some(bytes),
        }))
    }
}

/// Whether there is nothing in a line.
pub(crate) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn all(input: impl Read, bytes_max: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        // A small buffer, so that lines are put together from pieces.
        let mut lines = Lines::new(BufReader::with_capacity(3, input), bytes_max);
        std::iter::from_fn(|| lines.next().unwrap())
            .map(|l| (l.number, l.bytes))
            .collect()
    }

    fn some(text: &str) -> Option<Vec<u8>> {
        Some(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_counted_from_one_and_keep_their_ends() {
        let lines = all(&b"first\r\n\nlast"[..], 100);
        assert_eq!(
            lines,
            [(1, some("first\r\n")), (2, some("\n")), (3, some("last"))]
        );
        assert_eq!(all(&b""[..], 100), []);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let lines = all(&b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n"[..], 100);
        assert_eq!(lines[0], (1, some("a\n")));
        assert_eq!(lines[1].1.as_deref(), Some(&b"\xef\xbb\xbfb\n"[..]));
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_the_next_one_read() {
        let lines = all(&b"1234567\n12345678\nlast\n"[..], 8);
        assert_eq!(
            lines,
            [(1, some("1234567\n")), (2, None), (3, some("last\n"))]
        );
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_a_line_may() {
        // 16 MiB, of which at most 1 KiB is held at a time.
        let endless = io::repeat(b'x').take(16 << 20);
        let mut lines = Lines::new(BufReader::with_capacity(1 << 16, endless), 1024);
        assert_eq!(
            lines.next().unwrap(),
            Some(Line {
                number: 1,
                bytes: None
            })
        );
        assert_eq!(lines.next().unwrap(), None);
    }
}
