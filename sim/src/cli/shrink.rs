//! A smaller case of a failing seed, on demand.

use std::process::ExitCode;

use dunlin_sim::{Case, shrink};

/// Shrinks a case and says what is left of it.
pub(crate) fn shrink_case(case: &Case, runs_max: u64) -> ExitCode {
    // What panics does so many times over.
    std::panic::set_hook(Box::new(|_| {}));
    let told = |smaller: &Case| println!("still fails: {smaller}");
    match shrink(case, runs_max, told) {
        Ok(Some(shrunk)) => {
            println!("after {} runs:", shrunk.runs);
            println!("  {}", shrunk.violation);
            println!("  replay: {} --trace", shrunk.case.command());
            println!("  for sim/seeds.txt, once it is known what was lost:");
            println!("  {} # {}: ", shrunk.case, shrunk.violation.checker);
            ExitCode::FAILURE
        }
        Ok(None) => {
            println!("it holds: {case}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{case}: {error}");
            ExitCode::from(2)
        }
    }
}
