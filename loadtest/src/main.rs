//! The `dunlin-loadtest` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    dunlin_loadtest::run(std::env::args_os())
}
