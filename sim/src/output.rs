//! Lines for whoever ran the program, who may have seen enough.

use std::fmt::Arguments;
use std::io::{self, Write};

/// Writes a line to the standard output. If nobody reads it any more, as behind `| head`, the process ends.
pub fn write_line(line: Arguments<'_>) {
    if writeln!(io::stdout().lock(), "{line}").is_err() {
        std::process::exit(1);
    }
}

/// As `println!`, which panics where nobody reads any more.
#[macro_export]
macro_rules! print_line {
    ($($text:tt)*) => {
        $crate::write_line(format_args!($($text)*))
    };
}
