//! `cupola-worker JOB_FILE`: runs one step of a plan in this process.

use std::process::ExitCode;

fn main() -> ExitCode {
    cupola_runtime::job::main()
}
