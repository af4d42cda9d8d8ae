//! A seed is one run, on whatever machine and in whatever process.

use std::error::Error;
use std::process::Command;

use dunlin_sim::{Overrides, run};

type Outcome = Result<(), Box<dyn Error>>;

#[test]
fn seeds_have_one_trace_in_two_processes() -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin-sim"))
        .args([
            "--twice",
            "3..5",
            "--run-ms",
            "1000",
            "--nodes",
            "3",
            "--clients",
            "4",
        ])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("2 seeds run twice, 0 with two traces"),
        "{said}"
    );
    Ok(())
}

#[test]
fn seeds_have_different_traces_and_a_fault_left_out_makes_one_too() -> Outcome {
    let overrides = Overrides {
        run_ms: Some(1_500),
        nodes: Some(3),
        clients: Some(4),
        ..Overrides::default()
    };
    let fewer = Overrides {
        without: Some([0].into_iter().collect()),
        ..overrides.clone()
    };
    let (three, seven) = (run(3, &overrides, false)?, run(7, &overrides, false)?);
    assert!(three.faults > 1, "{three:?}");
    let without_the_first = run(3, &fewer, false)?;
    assert_ne!(three.hash, seven.hash);
    assert_ne!(three.hash, without_the_first.hash);
    // What remains was drawn as before.
    assert_eq!(three.faults, without_the_first.faults);
    Ok(())
}
