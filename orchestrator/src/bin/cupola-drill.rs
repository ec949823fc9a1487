//! `cupola-drill JOB_FILE`: the worker of `cupola chaos` and of the step benchmark. It does nothing but speak the contract, fast.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(job) = std::env::args_os().nth(1) else {
        eprintln!("usage: cupola-drill JOB_FILE\n\nRuns one step of a drill; `cupola chaos` starts it.");
        return ExitCode::from(2);
    };
    match cupola::chaos::run_drill_step(Path::new(&job)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cupola-drill: {error}");
            ExitCode::FAILURE
        }
    }
}
