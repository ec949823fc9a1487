//! `cupola-shim ATTEMPT WORKER TOKEN THREADS`: the process that each local attempt runs under. It is a binary of its own because a
//! thousand short steps start it a thousand times: it is small and starts in a fraction of a millisecond.

use std::path::Path;
use std::process::ExitCode;

use cupola::executor::{ShimOrder, run_shim};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let order = match &arguments[..] {
        [attempt, worker, token, threads] => threads.parse().ok().map(|threads| ShimOrder {
            attempt: Path::new(attempt),
            worker: Path::new(worker),
            token,
            threads,
        }),
        _ => None,
    };
    let Some(order) = order else {
        eprintln!(
            "usage: cupola-shim ATTEMPT WORKER TOKEN THREADS\n\nRuns one attempt of a step; `cupola apply` starts it."
        );
        return ExitCode::from(2);
    };
    match run_shim(&order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cupola-shim: {error}");
            ExitCode::FAILURE
        }
    }
}
