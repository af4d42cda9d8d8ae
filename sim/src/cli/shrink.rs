//! A smaller case of a failing seed, on demand.

use std::process::ExitCode;

use dunlin_sim::{Case, print_line, shrink};

/// Shrinks a case and says what is left of it.
pub(crate) fn shrink_case(case: &Case, runs_max: u64) -> ExitCode {
    // What panics does so many times over.
    std::panic::set_hook(Box::new(|_| {}));
    let told = |smaller: &Case| print_line!("still fails: {smaller}");
    match shrink(case, runs_max, told) {
        Ok(Some(shrunk)) => {
            print_line!("after {} runs:", shrunk.runs);
            print_line!("  {}", shrunk.violation);
            print_line!("  replay: {} --trace", shrunk.case.command());
            print_line!("  for sim/seeds.txt, once it is known what was lost:");
            print_line!("  {} # {}: ", shrunk.case, shrunk.violation.checker);
            ExitCode::FAILURE
        }
        Ok(None) => {
            print_line!("it holds: {case}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{case}: {error}");
            ExitCode::from(2)
        }
    }
}
