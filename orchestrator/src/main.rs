//! The `cupola` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    cupola::cli::main()
}
